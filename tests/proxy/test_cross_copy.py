"""Copies between two real nodes, one of them over TLS, and customers' keys on the way."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests import servers
from tests.certificates import make_certificate
from tests.proxy.gates import Gate, code, running_gate

MIB = 1024 * 1024


@dataclass
class Far:
    """A second node, which speaks TLS: customers' keys go nowhere else."""

    gate: Gate
    endpoint: str
    access_key: str
    secret_key: str
    ca: str
    bucket: str = "far-bucket"

    def client(self) -> Any:
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            verify=self.ca,
        )

    def stored(self) -> tuple[int, int]:
        found = self.client().list_objects_v2(Bucket=self.bucket, Prefix="far/").get("Contents", ())
        return sum(item["Size"] for item in found), len(found)


@pytest.fixture(scope="module")
def far(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    (folder / "certs").mkdir()
    pem = make_certificate(folder / "node.pem", "localhost", "127.0.0.1").read_text()
    key_block, certificate = pem.split("-----BEGIN CERT")
    cert = folder / "certs" / "public.crt"
    cert.write_text("-----BEGIN CERT" + certificate)
    (folder / "certs" / "private.key").write_text(key_block)
    port, key, secret = servers.free_port(), "far-node", "far-secret-far-secret"
    context = ssl.create_default_context(cafile=str(cert))

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/minio/health/live", context=context):
                return True
        except OSError:
            return False

    command = [
        servers.find_program("minio"), "server", "--quiet", "--certs-dir", str(folder / "certs"),
        "--address", f"127.0.0.1:{port}", str(folder / "data"),
    ]  # fmt: skip
    env = servers.clean_env(
        HOME=str(folder),
        MINIO_ROOT_USER=key,
        MINIO_ROOT_PASSWORD=secret,
        MINIO_BROWSER="off",
        MINIO_UPDATE="off",
    )
    (folder / "data").mkdir()
    with (
        servers.running(command, ready=ready, log=folder / "minio.log", env=env),
        running_gate(minio, valkey, folder / "gate", WIO_NODE_CA=str(cert)) as gate,
    ):
        far = Far(gate, f"https://127.0.0.1:{port}", key, secret, str(cert))
        far.client().create_bucket(Bucket=far.bucket)
        sealed = gate.sealer.seal(secret.encode(), b"node:node2")
        gate.apply(
            [
                gate.node("node2", endpoint=far.endpoint, access_key_id=key, secret=sealed),
                gate.workspace("far", node="node2", bucket=far.bucket, prefix="far/"),
            ]
        )
        yield far


@pytest.fixture
def alice(far: Far) -> Any:
    return far.gate.client("alice")


def exact(far: Far) -> None:
    assert far.gate.charged("w:wsfar") == far.stored()


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MIB])
@pytest.mark.parametrize("algorithm", [None, "CRC32", "SHA256"])
def test_there_and_back(far: Far, alice: Any, size: int, algorithm: str | None) -> None:
    body = os.urandom(size)
    key = "odd ü+&<key>"
    put: dict[str, Any] = {"ContentType": "image/png", "ContentEncoding": "gzip", "CacheControl": "no-store"}
    alice.put_object(
        Bucket="photos", Key=key, Body=body, Metadata={"who": "me"}, Tagging="a=1&b=x%20y", **put,
        **({"ChecksumAlgorithm": algorithm} if algorithm else {}),
    )  # fmt: skip
    done = alice.copy_object(Bucket="far", Key=key, CopySource={"Bucket": "photos", "Key": key})
    assert done["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = alice.get_object(Bucket="far", Key=key, ChecksumMode="ENABLED")
    assert got["Body"].read() == body
    assert {name: got[name] for name in put} == put
    assert (got["Metadata"], got["TagCount"]) == ({"who": "me"}, 2)
    # What has come across with a checksum has one there, too: the node checked it.
    assert not size or f"Checksum{algorithm or 'CRC32'}" in got
    straight = far.client().get_object(Bucket=far.bucket, Key=f"far/{key}")
    assert straight["ContentEncoding"] == "gzip"
    exact(far)
    alice.copy_object(
        Bucket="photos", Key="back", CopySource={"Bucket": "far", "Key": key}, MetadataDirective="REPLACE",
        ContentType="text/plain", Metadata={"now": "this"}, TaggingDirective="REPLACE", Tagging="c=2",
    )  # fmt: skip
    back = alice.get_object(Bucket="photos", Key="back")
    assert back["Body"].read() == body
    assert (back["ContentType"], back["Metadata"], back["TagCount"]) == ("text/plain", {"now": "this"}, 1)
    assert "CacheControl" not in back
    assert far.gate.charged() == far.gate.stored()


def test_conditions_hold_across(far: Far, alice: Any) -> None:
    etag = alice.put_object(Bucket="photos", Key="c", Body=b"x")["ETag"]
    alice.put_object(Bucket="far", Key="there", Body=b"y")
    source = {"Bucket": "photos", "Key": "c"}
    with pytest.raises(ClientError) as error:
        alice.copy_object(Bucket="far", Key="new", CopySource=source, CopySourceIfNoneMatch=etag)
    assert code(error) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as error:
        alice.copy_object(Bucket="far", Key="there", CopySource=source, IfNoneMatch="*")
    assert code(error) == (412, "PreconditionFailed")
    with pytest.raises(ClientError) as error:
        alice.copy_object(Bucket="far", Key="new", CopySource={"Bucket": "photos", "Key": "not there"})
    assert code(error)[0] == 404
    exact(far)


def test_parts_copied_across(far: Far, alice: Any) -> None:
    body = os.urandom(12 * MIB)
    alice.put_object(Bucket="photos", Key="long", Body=body)
    for more in ({}, {"ChecksumAlgorithm": "CRC32"}):
        upload = alice.create_multipart_upload(Bucket="far", Key="joined", **more)["UploadId"]
        parts = []
        for number, (first, last) in enumerate([(0, 5 * MIB - 1), (5 * MIB, 12 * MIB - 1)], 1):
            part = alice.upload_part_copy(
                Bucket="far", Key="joined", UploadId=upload, PartNumber=number,
                CopySource={"Bucket": "photos", "Key": "long"}, CopySourceRange=f"bytes={first}-{last}",
            )["CopyPartResult"]  # fmt: skip
            parts.append({"PartNumber": number, **{k: v for k, v in part.items() if k != "LastModified"}})
        alice.complete_multipart_upload(
            Bucket="far", Key="joined", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        assert alice.get_object(Bucket="far", Key="joined")["Body"].read() == body
        exact(far)
    alice.copy({"Bucket": "photos", "Key": "long"}, "far", "managed")
    assert alice.get_object(Bucket="far", Key="managed")["Body"].read() == body
    exact(far)


def test_a_full_destination_takes_nothing(far: Far, alice: Any) -> None:
    alice.put_object(Bucket="photos", Key="big", Body=b"x" * MIB)
    used = far.gate.charged("w:wsfar")
    far.gate.apply([far.gate.limit("w:wsfar", bytes=used[0] + 1000)])
    try:
        with pytest.raises(ClientError) as error:
            alice.copy_object(Bucket="far", Key="too big", CopySource={"Bucket": "photos", "Key": "big"})
        assert code(error) == (403, "QuotaExceeded")
        assert far.gate.charged("w:wsfar") == used
    finally:
        far.gate.delete("limit", "w:wsfar")


def customer(key: bytes, prefix: str = "") -> dict[str, str]:
    return {
        f"{prefix}SSECustomerAlgorithm": "AES256",
        f"{prefix}SSECustomerKey": key,  # type: ignore[dict-item]
    }


def test_customers_keys_everywhere(far: Far, alice: Any) -> None:
    one, two = os.urandom(32), os.urandom(32)
    body = os.urandom(200_000)
    alice.put_object(Bucket="far", Key="locked", Body=body, **customer(one))
    exact(far)
    with pytest.raises(ClientError) as error:
        alice.get_object(Bucket="far", Key="locked")
    assert code(error)[0] == 400
    with pytest.raises(ClientError) as error:
        alice.get_object(Bucket="far", Key="locked", **customer(two))
    assert code(error) == (403, "AccessDenied")
    got = alice.get_object(Bucket="far", Key="locked", **customer(one))
    assert got["Body"].read() == body
    assert got["SSECustomerKeyMD5"] == base64.b64encode(hashlib.md5(one).digest()).decode()
    assert alice.head_object(Bucket="far", Key="locked", **customer(one))["ContentLength"] == len(body)
    # On one node, to another key; to another node, and back under a key.
    source = {"Bucket": "far", "Key": "locked"}
    alice.copy_object(
        Bucket="far", Key="relocked", CopySource=source, **customer(one, "CopySource"), **customer(two)
    )
    assert alice.get_object(Bucket="far", Key="relocked", **customer(two))["Body"].read() == body
    alice.copy_object(Bucket="photos", Key="open", CopySource=source, **customer(one, "CopySource"))
    assert alice.get_object(Bucket="photos", Key="open")["Body"].read() == body
    alice.copy_object(
        Bucket="far", Key="locked", CopySource={"Bucket": "photos", "Key": "open"}, **customer(two)
    )
    assert alice.get_object(Bucket="far", Key="locked", **customer(two))["Body"].read() == body
    with pytest.raises(ClientError) as error:
        alice.copy_object(Bucket="photos", Key="open", CopySource=source)
    assert code(error)[0] == 400
    exact(far)
    upload = alice.create_multipart_upload(Bucket="far", Key="parts", **customer(one))["UploadId"]
    part = alice.upload_part(
        Bucket="far", Key="parts", UploadId=upload, PartNumber=1, Body=body, **customer(one)
    )
    done = [{"PartNumber": 1, "ETag": part["ETag"]}]
    alice.complete_multipart_upload(
        Bucket="far", Key="parts", UploadId=upload, MultipartUpload={"Parts": done}, **customer(one)
    )
    assert alice.get_object(Bucket="far", Key="parts", **customer(one))["Body"].read() == body
    alice.delete_object(Bucket="far", Key="locked")
    exact(far)
