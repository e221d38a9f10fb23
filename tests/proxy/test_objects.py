"""Objects through the gate, by boto3 as it comes, against a real MinIO."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.proxy.gates import Gate, code

KEYS = [
    "plain.txt",
    "with space and +plus",
    "ünï/cødé/日本.txt",
    "a&b<c>'\"",
    "percent%20literal",
    "deep/er/and/deeper",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [0, 1, 4096, 100_000, 3 * 1024 * 1024])
def test_what_was_put_is_got(gate: Gate, alice: Any, key: str, size: int) -> None:
    body = os.urandom(size)
    alice.put_object(Bucket="photos", Key=key, Body=body, ContentType="image/png", Metadata={"who": "me"})
    got = alice.get_object(Bucket="alice.photos", Key=key)
    assert got["Body"].read() == body
    assert (got["ContentType"], got["Metadata"]) == ("image/png", {"who": "me"})
    head = alice.head_object(Bucket="photos", Key=key)
    assert head["ContentLength"] == size
    straight = gate.node_client().get_object(Bucket=gate.bucket, Key=gate.prefix("photos") + key)
    assert straight["Body"].read() == body


def test_usage_is_what_is_stored_after_all_that(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="usage", Body=b"x" * 1000)
    alice.put_object(Bucket="photos", Key="usage", Body=b"x" * 10)
    assert gate.charged() == gate.stored()
    alice.delete_object(Bucket="photos", Key="usage")
    alice.delete_object(Bucket="photos", Key="usage")
    assert gate.charged() == gate.stored()


def test_ranges_and_conditions(alice: Any) -> None:
    etag = alice.put_object(Bucket="photos", Key="r", Body=b"0123456789")["ETag"]
    assert alice.get_object(Bucket="photos", Key="r", Range="bytes=2-4")["Body"].read() == b"234"
    with pytest.raises(ClientError) as error:
        alice.get_object(Bucket="photos", Key="r", IfNoneMatch=etag)
    assert code(error)[0] == 304
    with pytest.raises(ClientError) as error:
        alice.put_object(Bucket="photos", Key="r", Body=b"x", IfNoneMatch="*")
    assert code(error) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as error:
        alice.get_object(Bucket="photos", Key="r", Range="bytes=50-60")
    assert code(error) == (416, "InvalidRange")


def test_a_missing_key_names_nothing_of_the_node(gate: Gate, alice: Any) -> None:
    with pytest.raises(ClientError) as error:
        alice.get_object(Bucket="photos", Key="nope")
    assert code(error) == (404, "NoSuchKey")
    assert gate.bucket not in str(error.value.response)
    assert "base/" not in str(error.value.response)


def test_multipart_through_boto3(gate: Gate, alice: Any) -> None:
    body = os.urandom(21 * 1024 * 1024)
    alice.upload_fileobj(io.BytesIO(body), "photos", "big")
    into = io.BytesIO()
    alice.download_fileobj("photos", "big", into)
    assert into.getvalue() == body
    assert gate.charged() == gate.stored()


def test_multipart_step_by_step(gate: Gate, alice: Any) -> None:
    upload = alice.create_multipart_upload(Bucket="inbox", Key="m/k")["UploadId"]
    listed = alice.list_multipart_uploads(Bucket="inbox")["Uploads"]
    assert [(one["Key"], one["UploadId"][:2]) for one in listed] == [("m/k", upload[:2])]
    etags = [
        alice.upload_part(Bucket="inbox", Key="m/k", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, b"a" * 5 * 1024 * 1024), (2, b"tail"), (3, b"left out"))
    ]
    parts = alice.list_parts(Bucket="inbox", Key="m/k", UploadId=upload)
    assert [part["Size"] for part in parts["Parts"]] == [5 * 1024 * 1024, 4, 8]
    assert gate.usage("w:wsinbox")["mb"] == 5 * 1024 * 1024 + 12
    done = alice.complete_multipart_upload(
        Bucket="inbox",
        Key="m/k",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etags[n - 1]} for n in (1, 2)]},
    )
    assert (done["Bucket"], done["Key"]) == ("inbox", "m/k")
    assert gate.bucket not in done["Location"]
    assert gate.charged("w:wsinbox") == gate.stored("inbox") == (5 * 1024 * 1024 + 4, 1)
    with pytest.raises(ClientError) as error:
        alice.upload_part(Bucket="inbox", Key="m/k", UploadId=upload, PartNumber=4, Body=b"late")
    assert code(error) == (404, "NoSuchUpload")


def test_an_upload_id_from_elsewhere_opens_nothing(gate: Gate, alice: Any) -> None:
    theirs = gate.node_client().create_multipart_upload(Bucket=gate.bucket, Key=gate.prefix("inbox") + "k")[
        "UploadId"
    ]
    for made_up in (theirs, "1.abc", "x" * 5000):
        with pytest.raises(ClientError) as error:
            alice.upload_part(Bucket="inbox", Key="k", UploadId=made_up, PartNumber=1, Body=b"x")
        assert code(error) == (404, "NoSuchUpload")


def test_abort_gives_back(gate: Gate, alice: Any) -> None:
    before = gate.charged("w:wsinbox")
    upload = alice.create_multipart_upload(Bucket="inbox", Key="a")["UploadId"]
    alice.upload_part(Bucket="inbox", Key="a", UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    assert gate.charged("w:wsinbox")[0] == before[0] + 1000
    alice.abort_multipart_upload(Bucket="inbox", Key="a", UploadId=upload)
    assert gate.charged("w:wsinbox") == before


def test_copies(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="src é", Body=b"copy me", Metadata={"a": "b"})
    done = alice.copy_object(Bucket="inbox", Key="dst", CopySource={"Bucket": "photos", "Key": "src é"})
    assert done["CopyObjectResult"]["ETag"]
    got = alice.get_object(Bucket="inbox", Key="dst")
    assert (got["Body"].read(), got["Metadata"]) == (b"copy me", {"a": "b"})
    alice.copy_object(
        Bucket="inbox", Key="dst", CopySource="/inbox/dst", Metadata={"c": "d"}, MetadataDirective="REPLACE"
    )
    assert gate.charged("w:wsinbox") == gate.stored("inbox")
    upload = alice.create_multipart_upload(Bucket="inbox", Key="parts")["UploadId"]
    part = alice.upload_part_copy(
        Bucket="inbox",
        Key="parts",
        UploadId=upload,
        PartNumber=1,
        CopySource={"Bucket": "photos", "Key": "src é"},
        CopySourceRange="bytes=0-3",
    )["CopyPartResult"]
    alice.complete_multipart_upload(
        Bucket="inbox",
        Key="parts",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    assert alice.get_object(Bucket="inbox", Key="parts")["Body"].read() == b"copy"
    assert gate.charged("w:wsinbox") == gate.stored("inbox")


def test_a_copy_needs_both_workspaces(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="inbox", Key="private", Body=b"x")
    bob = gate.client("bob")
    with pytest.raises(ClientError) as error:
        bob.copy_object(
            Bucket="alice.photos", Key="k", CopySource={"Bucket": "alice.inbox", "Key": "private"}
        )
    assert code(error) == (403, "AccessDenied")


def test_delete_many(gate: Gate, alice: Any) -> None:
    keys = [f"many/{i:04}" for i in range(40)]
    for key in keys:
        alice.put_object(Bucket="inbox", Key=key, Body=b"12345")
    answer = alice.delete_objects(
        Bucket="inbox", Delete={"Objects": [{"Key": key} for key in [*keys, "many/not there", "ü"]]}
    )
    assert len(answer["Deleted"]) == 42
    assert "Errors" not in answer
    assert gate.charged("w:wsinbox") == gate.stored("inbox")


def test_listings(alice: Any) -> None:
    for key in ("l/a", "l/b/1", "l/b/2", "l/c &<é", "l/d"):
        alice.put_object(Bucket="inbox", Key=key, Body=b"x")
    page = alice.list_objects_v2(Bucket="inbox", Prefix="l/", Delimiter="/", MaxKeys=2)
    assert page["Name"] == "inbox"
    assert page["Prefix"] == "l/"
    seen, token = [], None
    while True:
        more = {"ContinuationToken": token} if token else {}
        page = alice.list_objects_v2(Bucket="inbox", Prefix="l/", MaxKeys=2, **more)
        seen += [item["Key"] for item in page["Contents"]]
        token = page.get("NextContinuationToken")
        if not token:
            break
        assert "base" not in token
    assert seen == ["l/a", "l/b/1", "l/b/2", "l/c &<é", "l/d"]
    v1 = alice.list_objects(Bucket="inbox", Prefix="l/", Delimiter="/")
    assert [item["Key"] for item in v1["Contents"]] == ["l/a", "l/c &<é", "l/d"]
    assert [item["Prefix"] for item in v1["CommonPrefixes"]] == ["l/b/"]


def test_buckets(gate: Gate, alice: Any) -> None:
    assert [b["Name"] for b in alice.list_buckets()["Buckets"]] == ["inbox", "photos"]
    bob = gate.client("bob")
    assert [b["Name"] for b in bob.list_buckets()["Buckets"]] == ["alice.photos"]
    bob.head_bucket(Bucket="alice.photos")
    assert bob.get_bucket_location(Bucket="alice.photos")["LocationConstraint"] is None
    with pytest.raises(ClientError) as error:
        bob.create_bucket(Bucket="alice.photos")
    assert code(error) == (409, "BucketAlreadyOwnedByYou")
    assert "Status" not in bob.get_bucket_versioning(Bucket="alice.photos")


def test_a_reader_reads_and_is_told_what_is_missing(gate: Gate, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="shared", Body=b"hello")
    bob = gate.client("bob")
    assert bob.get_object(Bucket="alice.photos", Key="shared")["Body"].read() == b"hello"
    for write in (
        lambda: bob.put_object(Bucket="alice.photos", Key="shared", Body=b"x"),
        lambda: bob.delete_object(Bucket="alice.photos", Key="shared"),
        lambda: bob.create_multipart_upload(Bucket="alice.photos", Key="shared"),
        lambda: bob.delete_objects(Bucket="alice.photos", Delete={"Objects": [{"Key": "shared"}]}),
    ):
        with pytest.raises(ClientError) as error:
            write()
        assert code(error) == (403, "AccessDenied")
        assert "readwrite on alice.photos" in str(error.value)


def test_unknown_and_unshared_look_alike(gate: Gate) -> None:
    carol = gate.client("carol")
    answers = []
    for bucket in ("alice.photos", "alice.nothing"):
        with pytest.raises(ClientError) as error:
            carol.list_objects_v2(Bucket=bucket)
        answers.append(code(error))
    assert answers == [(403, "AccessDenied")] * 2


def test_what_is_not_implemented_says_so(alice: Any) -> None:
    with pytest.raises(ClientError) as error:
        alice.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    assert code(error) == (501, "NotImplemented")
    assert "wio" in str(error.value)


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_an_object_called_as_the_prefix_hides_nothing_behind_it(
    gate: Gate, alice: Any, operation: str, delimiter: str
) -> None:
    """As tools leave it in a bucket that was there before: it has no name here, and its page would have no key."""
    gate.apply([gate.workspace("old")])
    gate.node_client().put_object(Bucket=gate.bucket, Key=gate.prefix("old"), Body=b"")
    for key in ("a", "b", "c/d"):
        alice.put_object(Bucket="old", Key=key, Body=b"x")
    ask = {"Bucket": "old", **({"Delimiter": delimiter} if delimiter else {})}
    first = getattr(alice, operation)(**ask, MaxKeys=1)
    items = "Versions" if "versions" in operation else "Contents"
    assert [item["Key"] for item in first[items]] == ["a"]
    pages = alice.get_paginator(operation).paginate(**ask, PaginationConfig={"PageSize": 1})
    seen = [
        item.get("Key") or item["Prefix"]
        for page in pages
        for item in (*page.get(items, ()), *page.get("CommonPrefixes", ()))
    ]
    assert seen == ["a", "b", "c/" if delimiter else "c/d"]
