"""Live clients against our verifier, and our signer against a live MinIO."""

from __future__ import annotations

import http.client
import io
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

import sigv4
from sigv4 import PayloadKind
from tests import servers
from tests.sigv4.verifier import AKID, SECRET, Bucket, receive, verifier

KEYS = ["plain", "a b+c", "a(1)!'*~", "ünïcode/ሴ", "x//y", "100%", "q?&=;:@$,#[]", "dir/"]


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with verifier() as made:
        yield made


#: Without `signature_version` boto3 presigns with SigV2 in us-east-1, which AWS and we refuse.
def client(url: str, akid: str = AKID, secret: str = SECRET) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=akid,
        aws_secret_access_key=secret,
        config=Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}
        ),
    )


@pytest.mark.parametrize("key", KEYS)
def test_boto3_over_a_socket(bucket: Bucket, key: str) -> None:
    s3 = client(bucket.url)
    s3.put_object(Bucket="bkt", Key=key, Body=b"hello", Metadata={"note": "a   b"})
    assert s3.get_object(Bucket="bkt", Key=key, Range="bytes=0-9")["Body"].read() == b"hello"
    s3.list_objects_v2(Bucket="bkt", Prefix=key, Delimiter="/")
    for method, data in (("get_object", None), ("put_object", b"again")):
        url = s3.generate_presigned_url(method, Params={"Bucket": "bkt", "Key": key}, ExpiresIn=60)
        request = urllib.request.Request(url, data=data, method=method[:3].upper())
        request.add_header("Content-Type", "")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200
    assert bucket.objects == {f"/bkt/{key}": b"again"}
    assert bucket.refused == []


class NoBody(io.BytesIO):
    """What botocore reads an answer's body from."""

    def stream(self) -> Iterator[bytes]:
        return iter(())


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("payload", [b"", b"x", b"0123456789" * 300_000])
def test_boto3_streams_with_trailers_over_tls(algorithm: str, payload: bytes) -> None:
    seen: list[tuple[sigv4.Presented, bytes]] = []

    def before_send(request: Any, **_: Any) -> AWSResponse:
        body = request.body
        data = body.read() if hasattr(body, "read") else body or b""
        headers = [
            (k.lower().encode(), v if isinstance(v, bytes) else v.encode())
            for k, v in request.headers.items()
        ]
        target = request.url.split(urlsplit(request.url).netloc, 1)[1]
        seen.append(receive(request.method, target, headers, data, now=time.time()))
        return AWSResponse(request.url, 200, {}, NoBody())

    s3 = client("https://gate.example:9000")
    s3.meta.events.register("before-send.s3", before_send)
    s3.put_object(Bucket="bkt", Key="k", Body=io.BytesIO(payload), ChecksumAlgorithm=algorithm)
    (presented, received), *_ = seen
    assert presented.payload is PayloadKind.STREAMING_UNSIGNED_TRAILER
    assert presented.trailers == (f"x-amz-checksum-{algorithm.lower()}",)
    assert received == payload


@pytest.mark.parametrize("size", [0, 5, 200_000])
@pytest.mark.parametrize("checksum", [None, "CRC32C"])
def test_mc_streams_signed_chunks(
    bucket: Bucket, mc: Path, tmp_path: Path, size: int, checksum: str | None
) -> None:
    source = tmp_path / "file"
    source.write_bytes(os.urandom(size))
    host = bucket.url.replace("http://", f"http://{AKID}:{SECRET}@")
    options = ["--checksum", checksum] if checksum else []
    subprocess.run(
        [mc, "--config-dir", tmp_path / "mc", "put", *options, source, "gate/bkt/k"],
        env=servers.clean_env(MC_HOST_gate=host),
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert bucket.refused == []
    assert bucket.objects == {"/bkt/k": source.read_bytes()}
    assert any(kind.chunked or kind is PayloadKind.SIGNED for kind in bucket.kinds)


def send(
    minio: servers.Minio,
    method: str,
    path: bytes,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> tuple[int, bytes]:
    host = minio.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        target = path.decode() + (f"?{query.decode()}" if query else "")
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in [*headers, (b"content-length", b"%d" % len(body))]:
            connection.putheader(name.decode(), value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture
def node_bucket(minio: servers.Minio) -> str:
    name = f"sigv4-{os.urandom(4).hex()}"
    client(minio.endpoint, minio.access_key, minio.secret_key).create_bucket(Bucket=name)
    return name


@pytest.mark.parametrize("key", [key for key in KEYS if key != "x//y"])
def test_minio_takes_our_signatures(minio: servers.Minio, node_bucket: str, key: str) -> None:
    host = (b"host", minio.endpoint.removeprefix("http://").encode())
    path = sigv4.encode_path(f"/{node_bucket}/{key}".encode())
    now = sigv4.format_amz_date(time.time())
    ours = {
        "access_key_id": minio.access_key,
        "secret": minio.secret_key,
        "amz_date": now,
        "region": "us-east-1",
    }
    headers = [host, (b"content-type", b"text/plain"), (b"x-amz-meta-note", b"a  b")]
    added = sigv4.sign("PUT", path, b"", headers, payload_sha256="UNSIGNED-PAYLOAD", **ours)
    assert send(minio, "PUT", path, b"", headers + added, b"")[0] == 200
    query = sigv4.presign("GET", path, b"response-content-type=a%2Fb", [host], expires=60, **ours)
    assert send(minio, "GET", path, query, [host], b"")[0] == 200
    listing = sigv4.sign(
        "GET", f"/{node_bucket}".encode(), b"prefix=a+b", [host], payload_sha256="UNSIGNED-PAYLOAD", **ours
    )
    assert send(minio, "GET", f"/{node_bucket}".encode(), b"prefix=a%20b", [host, *listing], b"")[0] == 200


@pytest.mark.parametrize("kind", [kind for kind in PayloadKind if kind.chunked])
@pytest.mark.parametrize("size", [0, 1, 200_000])
def test_minio_takes_our_chunks(minio: servers.Minio, node_bucket: str, kind: PayloadKind, size: int) -> None:
    payload = os.urandom(size)
    checksum = sigv4.Checksum("crc32c")
    checksum.update(payload)
    name = "x-amz-checksum-crc32c"
    trailers = {name: checksum.base64()} if kind.has_trailer else {}
    headers = [
        (b"host", minio.endpoint.removeprefix("http://").encode()),
        (b"content-encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"%d" % size),
        *[(b"x-amz-trailer", name.encode()) for name in trailers],
    ]
    path = f"/{node_bucket}/k".encode()
    added, context = sigv4.sign_streaming(
        "PUT",
        path,
        b"",
        headers,
        access_key_id=minio.access_key,
        secret=minio.secret_key,
        amz_date=sigv4.format_amz_date(time.time()),
        region="us-east-1",
        payload_sha256=kind.value,
    )
    signer = context if kind.chunks_signed else None
    body = sigv4.encode_chunked(payload, context=signer, chunk_size=65536, trailers=trailers)
    status, answer = send(minio, "PUT", path, b"", headers + added, body)
    assert (status, answer) == (200, b"")
    s3 = client(minio.endpoint, minio.access_key, minio.secret_key)
    assert s3.get_object(Bucket=node_bucket, Key="k")["Body"].read() == payload
