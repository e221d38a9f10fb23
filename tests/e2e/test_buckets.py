"""Buckets are workspaces: made and removed by S3 clients, renamed, handed over, mapped, never overlapping."""

from __future__ import annotations

import time
from typing import Any

import boto3
import pytest

from broker.stack.child import wait_until
from tests.e2e.newcomer import Person, Stack, boto, buckets, error_of, own_key, user
from tests.servers import Minio


@pytest.fixture(scope="module")
def ben(admin: Person) -> Person:
    """A user with workspaces of his own."""
    return user(admin, "ben")


@pytest.fixture(scope="module")
def bens(stack: Stack, ben: Person) -> Any:
    """Ben's S3 client."""
    return boto(stack, own_key(ben))


def test_aws_and_mc_make_and_remove_buckets(stack: Stack, ben: Person, bens: Any) -> None:
    key = own_key(ben)
    ben.aws("s3", "mb", "s3://by-aws", by=key)
    shown = ben.json("workspace", "show", "by-aws")
    assert (shown["owner"], shown["bucket"]) == ("ben", "ben.by-aws")
    bens.put_object(Bucket="by-aws", Key="x", Body=b"x")
    assert "BucketNotEmpty" in ben.aws_fails("s3", "rb", "s3://by-aws", by=key)
    ben.aws("s3", "rb", "s3://by-aws", "--force", by=key)
    ben.json("workspace", "show", "by-aws", code=3)
    line = {"MC_HOST_gate": stack.endpoint.replace("//", f"//{':'.join(key.values())}@")}
    ben.run("mc", "mb", "gate/by-mc", **line)
    assert buckets(bens) == ["by-mc"]
    ben.run("mc", "rb", "gate/by-mc", **line)
    assert buckets(bens) == []


def test_making_what_one_may_use_says_it_is_yours(admin: Person, ben: Person, bens: Any) -> None:
    """rclone sends CreateBucket before every upload, and takes no other no."""
    bens.create_bucket(Bucket="mine-already")
    assert error_of(bens.create_bucket, Bucket="mine-already")[:2] == (409, "BucketAlreadyOwnedByYou")
    admin.json("workspace", "create", "lent-to-ben")
    assert error_of(bens.create_bucket, Bucket="admin.lent-to-ben")[0] == 403
    admin.json("share", "create", "lent-to-ben", "ben", "--permission", "read")
    told = error_of(bens.create_bucket, Bucket="admin.lent-to-ben")
    assert told[:2] == (409, "BucketAlreadyOwnedByYou")
    assert error_of(bens.delete_bucket, Bucket="admin.lent-to-ben")[:2] == (403, "AccessDenied")
    assert error_of(bens.create_bucket, Bucket="Not_A_Name")[1] == "InvalidBucketName"
    bens.delete_bucket(Bucket="mine-already")


def test_a_rename_moves_nothing_and_the_name_is_free_again(ben: Person, bens: Any) -> None:
    made = ben.json("workspace", "create", "before")
    bens.put_object(Bucket="before", Key="kept", Body=b"kept")
    renamed = ben.json("workspace", "rename", "before", "after")
    assert renamed["id"] == made["id"]
    assert bens.get_object(Bucket="after", Key="kept")["Body"].read() == b"kept"
    again = ben.json("workspace", "create", "before")
    assert again["id"] != made["id"]
    assert bens.list_objects_v2(Bucket="before")["KeyCount"] == 0
    ben.json("workspace", "delete", "before")
    ben.json("workspace", "delete", "after", "--purge")


def test_an_alias_is_one_more_name(ben: Person, bens: Any) -> None:
    ben.json("workspace", "create", "first-name")
    ben.json("workspace", "alias", "first-name", "second-name")
    bens.put_object(Bucket="second-name", Key="x", Body=b"one")
    assert bens.get_object(Bucket="ben.second-name", Key="x")["Body"].read() == b"one"
    assert bens.get_object(Bucket="first-name", Key="x")["Body"].read() == b"one"
    ben.json("workspace", "delete", "first-name", "--purge")
    assert error_of(bens.list_objects_v2, Bucket="second-name")[0] in (403, 404)


def test_a_transfer_takes_data_and_usage_along(stack: Stack, admin: Person, ben: Person, bens: Any) -> None:
    kim = user(admin, "kim")
    ben.json("workspace", "create", "handed")
    bens.put_object(Bucket="handed", Key="x", Body=b"12345")
    before = ben.json("quota", "show", "user", "ben")["used_bytes"]
    ben.json("workspace", "transfer", "handed", "kim")
    kims = boto(stack, own_key(kim))
    assert kims.get_object(Bucket="handed", Key="x")["Body"].read() == b"12345"
    assert kim.json("quota", "show", "user", "kim")["used_bytes"] == 5
    assert ben.json("quota", "show", "user", "ben")["used_bytes"] == before - 5
    assert "ben.handed" not in buckets(bens)
    assert kim.json("workspace", "show", "handed")["used_bytes"] == 5


def test_only_purge_deletes_what_is_not_empty(ben: Person, bens: Any) -> None:
    ben.json("workspace", "create", "full")
    bens.put_object(Bucket="full", Key="x", Body=b"x")
    upload = bens.create_multipart_upload(Bucket="full", Key="y")["UploadId"]
    bens.upload_part(Bucket="full", Key="y", UploadId=upload, PartNumber=1, Body=b"part")
    told = ben.json("workspace", "delete", "full", code=6)["error"]
    assert "--purge" in told["message"]
    ben.json("workspace", "delete", "full", "--purge")
    assert ben.json("quota", "show", "user", "ben")["used_bytes"] == 0
    ben.json("workspace", "create", "full")
    assert bens.list_objects_v2(Bucket="full")["KeyCount"] == 0
    assert "Uploads" not in bens.list_multipart_uploads(Bucket="full")
    ben.json("workspace", "delete", "full")


def test_existing_data_is_mapped_and_imported(stack: Stack, admin: Person, minio: Minio) -> None:
    """Given a MinIO with data of its own, an unmanaged root shows it; prefixes never overlap."""
    direct = boto3.client(
        "s3",
        endpoint_url=minio.endpoint,
        region_name="us-east-1",
        aws_access_key_id=minio.access_key,
        aws_secret_access_key=minio.secret_key,
    )
    direct.create_bucket(Bucket="archive")
    for key in ("2024/a.txt", "2024/b.txt", "2025/c.txt"):
        direct.put_object(Bucket="archive", Key=key, Body=b"four")
    admin.json(
        "node", "create", "old", "--endpoint", minio.endpoint, "--access-key-id", minio.access_key,
        "--secret-stdin", stdin=minio.secret_key + "\n",
    )  # fmt: skip
    stack.secrets.add(minio.secret_key)
    admin.json("root", "create", "archive", "--node", "old", "--bucket", "archive", "--kind", "unmanaged")
    imported = admin.json("root", "import", "archive")
    assert sorted(row["name"] for row in imported) == ["2024", "2025"]
    mine = boto(stack, admin.key())
    assert [row["Key"] for row in mine.list_objects_v2(Bucket="admin.2024")["Contents"]] == ["a.txt", "b.txt"]
    # What was there before is charged too, soon.
    assert wait_until(
        lambda: admin.json("workspace", "show", "2024")["used_bytes"] == 8, time.monotonic() + 30
    )
    told = admin.json("workspace", "create", "overlap", "--root", "archive", "--prefix", "2024/a/", code=6)
    assert told["error"]["message"]
    admin.json("workspace", "create", "whole", "--root", "archive", "--prefix", "", code=6)
    admin.json("workspace", "create", "deep", "--root", "archive", "--prefix", "2026/jan/")
    mine.put_object(Bucket="deep", Key="new.txt", Body=b"new")
    assert direct.get_object(Bucket="archive", Key="2026/jan/new.txt")["Body"].read() == b"new"
    told = admin.json(
        "root", "create", "again", "--node", "old", "--bucket", "archive", "--kind", "private", code=6
    )
    assert told["error"]["message"]
