"""aws s3, aws s3api and boto3 as they come."""

from __future__ import annotations

import io
import json
import os
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.cli.conftest import Wio
from tests.clients.conftest import Person, clear, same


def aws(person: Person, *words: str, **more: Any) -> str:
    return person.run("aws", *words, **more)


def test_s3_commands(jane: Person, bucket: str) -> None:
    there, home = f"s3://{bucket}", jane.home
    aws(jane, "s3", "cp", "tree/a.txt", f"{there}/")
    aws(jane, "s3", "sync", "tree", f"{there}/tree")
    assert aws(jane, "s3", "sync", "tree", f"{there}/tree") == "", "nothing is left to do"
    listed = aws(jane, "s3", "ls", "--recursive", there)
    assert [line.split(maxsplit=3)[3] for line in listed.splitlines()] == [
        "a.txt", "tree/a.txt", "tree/people.csv", "tree/sub/big.bin", "tree/sub/ü +x&y.txt",
    ]  # fmt: skip
    aws(jane, "s3", "mv", f"{there}/a.txt", f"{there}/b.txt")
    aws(jane, "s3", "cp", f"{there}/tree/sub/big.bin", f"{there}/copy.bin")
    body = (home / "tree/sub/big.bin").read_bytes()
    aws(jane, "s3", "cp", "-", f"{there}/stream", stdin=body)
    aws(jane, "s3", "cp", f"{there}/stream", "stream.bin")
    assert (home / "stream.bin").read_bytes() == body
    aws(jane, "s3", "sync", f"{there}/tree", "back")
    same(home / "tree", home / "back")
    (clear(home / "none") / "keep").write_text("x")
    aws(jane, "s3", "sync", "--delete", "none", f"{there}/tree")
    assert aws(jane, "s3", "ls", f"{there}/tree/").split()[-1] == "keep"
    aws(jane, "s3", "rm", "--recursive", there)
    assert aws(jane, "s3", "ls", there, code=None) == ""


def test_buckets(jane: Person) -> None:
    aws(jane, "s3", "mb", "s3://made-by-aws")
    assert "made-by-aws" in aws(jane, "s3", "ls")
    aws(jane, "s3", "mb", "s3://made-by-aws", code=1)
    aws(jane, "s3", "cp", "tree/a.txt", "s3://made-by-aws/")
    aws(jane, "s3", "rb", "s3://made-by-aws", code=1)
    aws(jane, "s3", "rb", "--force", "s3://made-by-aws")
    assert aws(jane, "s3", "ls", "s3://made-by-aws", code=None) == ""


def test_presigned(jane: Person, bucket: str) -> None:
    aws(jane, "s3", "cp", "tree/a.txt", f"s3://{bucket}/")
    # Without this, aws of version 1 presigns with SigV2 in us-east-1, which no new region of AWS takes.
    aws(jane, "configure", "set", "default.s3.signature_version", "s3v4")
    url = aws(jane, "s3", "presign", f"s3://{bucket}/a.txt", "--expires-in", "60").strip()
    assert "X-Amz-Signature" in url
    with urlopen(url) as answer:
        assert answer.read() == b"hello\n"


def test_s3api(jane: Person, bucket: str) -> None:
    def api(*words: str) -> Any:
        said = aws(jane, "s3api", words[0], "--bucket", bucket, *words[1:])
        return json.loads(said) if said else None

    api("head-bucket")
    assert api("get-bucket-location") == {"LocationConstraint": None}
    assert api("get-bucket-versioning") is None
    etag = api(
        "put-object", "--key", "k", "--body", "tree/a.txt", "--metadata", "who=me", "--tagging", "a=1"
    )["ETag"]
    assert api("head-object", "--key", "k")["Metadata"] == {"who": "me"}
    assert api("get-object", "--key", "k", "out")["ETag"] == etag
    facts = api("get-object-attributes", "--key", "k", "--object-attributes", "ETag", "ObjectSize")
    assert facts["ObjectSize"] == 6
    api("copy-object", "--key", "k2", "--copy-source", f"{bucket}/k", "--metadata-directive", "REPLACE")
    api("put-object-tagging", "--key", "k2", "--tagging", "TagSet=[{Key=x,Value=y}]")
    assert api("get-object-tagging", "--key", "k2")["TagSet"] == [{"Key": "x", "Value": "y"}]
    api("delete-object-tagging", "--key", "k2")
    upload = api("create-multipart-upload", "--key", "m")["UploadId"]
    part = api(
        "upload-part", "--key", "m", "--upload-id", upload, "--part-number", "1", "--body", "tree/a.txt"
    )
    assert api("list-multipart-uploads")["Uploads"][0]["Key"] == "m"
    assert len(api("list-parts", "--key", "m", "--upload-id", upload)["Parts"]) == 1
    done = json.dumps({"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    api("complete-multipart-upload", "--key", "m", "--upload-id", upload, "--multipart-upload", done)
    assert [row["Key"] for row in api("list-objects-v2")["Contents"]] == ["k", "k2", "m"]
    assert [row["Key"] for row in api("list-objects", "--max-items", "2")["Contents"]] == ["k", "k2"]
    assert len(api("list-object-versions")["Versions"]) == 3
    doomed = json.dumps({"Objects": [{"Key": "k"}, {"Key": "k2"}, {"Key": "m"}]})
    assert len(api("delete-objects", "--delete", doomed)["Deleted"]) == 3


def test_boto3_as_it_comes(jane: Person, bucket: str) -> None:
    s3 = jane.s3()
    body = os.urandom(20_000_000)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big")
    into = io.BytesIO()
    s3.download_fileobj(bucket, "big", into)
    assert into.getvalue() == body
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "copy")
    assert s3.head_object(Bucket=bucket, Key="copy")["ContentLength"] == len(body)
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        put = s3.put_object(Bucket=bucket, Key=algorithm, Body=b"x" * 100_000, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert got["Body"].read() == b"x" * 100_000
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
    presigned = jane.s3(config=Config(signature_version="s3v4"))
    url = presigned.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "SHA1"})
    with urlopen(url) as answer:
        assert len(answer.read()) == 100_000


@pytest.mark.parametrize("how", ["process", "role"])
def test_profiles_that_renew_by_themselves(jane: Person, admin: Wio, bucket: str, how: str) -> None:
    config = jane.home / ".aws" / "config"
    config.parent.mkdir()
    if how == "process":
        command = " ".join(admin.command("token", "create", "--format", "process"))
        config.write_text(f"[profile gate]\ncredential_process = {command}\nregion = us-east-1\n")
    else:
        config.write_text(
            f"[profile gate]\nrole_arn = arn:wio:iam:::role/admin.{bucket}/read\n"
            "credential_source = Environment\nregion = us-east-1\n"
        )
    more = {"WIO_DIR": admin.environment["WIO_DIR"]}
    if how == "process":
        more["PYTHONPATH"] = admin.variables()["PYTHONPATH"]
    jane.s3().put_object(Bucket=bucket, Key="k", Body=b"by profile")
    profile = ["--profile", "gate"]
    assert aws(jane, "s3", "cp", f"s3://{bucket}/k", "-", *profile, **more) == "by profile"
    if how == "role":
        refused = aws(jane, "s3", "cp", "tree/a.txt", f"s3://{bucket}/no", *profile, code=1, **more)
        assert "upload:" not in refused


def test_a_session_of_sts(jane: Person, bucket: str) -> None:
    role = f"arn:wio:iam:::role/admin.{bucket}/readwrite"
    told = json.loads(aws(jane, "sts", "assume-role", "--role-arn", role, "--role-session-name", "test"))
    made = told["Credentials"]
    session = Person(
        jane.endpoint, made["AccessKeyId"], made["SecretAccessKey"], jane.home, made["SessionToken"]
    )
    session.s3().put_object(Bucket=bucket, Key="k", Body=b"x")
    assert [one["Name"] for one in session.s3().list_buckets()["Buckets"]] == [bucket]
    with pytest.raises(ClientError, match="InvalidToken"):
        Person(jane.endpoint, made["AccessKeyId"], made["SecretAccessKey"], jane.home).s3().list_buckets()
    assert "Account" in json.loads(aws(jane, "sts", "get-caller-identity"))
