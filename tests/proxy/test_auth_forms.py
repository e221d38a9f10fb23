"""Every form in which a request may say who asks, over the wire, with a key and with a session."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import sigv4
from sigv4 import PayloadKind
from tests import servers
from tests.certificates import make_certificate
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import send

DOMAIN = "s3.localhost"
SESSION = ("WIOSALICEALICEALICE2", "session-secret-of-alice-xxxxxxxxxxxxxxxx", "token-of-alice/+=")


@pytest.fixture(scope="module")
def gate(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    with running_gate(minio, valkey, tmp_path_factory.mktemp("gate"), WIO_DOMAINS=f'["{DOMAIN}"]') as running:
        running.apply([running.session(SESSION[0], "alice", SESSION[1], SESSION[2])])
        yield running


@pytest.fixture(params=["key", "session"])
def alice(gate: Gate, request: pytest.FixtureRequest) -> Signer:
    if request.param == "key":
        return Signer(gate.endpoint, KEYS["alice"], secret_of("alice"))
    return Signer(gate.endpoint, *SESSION)


def stored(gate: Gate, key: str) -> bytes:
    body: bytes = (
        gate.node_client().get_object(Bucket=gate.bucket, Key=gate.prefix("photos") + key)["Body"].read()
    )
    return body


BODIES = [b"", b"x", os.urandom(70_000), os.urandom(1_500_000)]


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_header(gate: Gate, alice: Signer, body: bytes) -> None:
    assert alice.send("PUT", "/photos/header", body).status == 200
    assert stored(gate, "header") == body
    assert alice.send("GET", "/photos/header").body == body
    assert alice.send("GET", "/alice.photos/header").body == body


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_unsigned_payload(gate: Gate, alice: Signer, body: bytes) -> None:
    assert alice.send("PUT", "/photos/unsigned", body, payload=sigv4.UNSIGNED_PAYLOAD).status == 200
    assert stored(gate, "unsigned") == body


@pytest.mark.parametrize("body", BODIES, ids=len)
def test_presigned(gate: Gate, alice: Signer, body: bytes) -> None:
    assert send(gate.endpoint, "PUT", alice.presigned("PUT", "/photos/presigned"), (), body).status == 200
    assert stored(gate, "presigned") == body
    reply = send(
        gate.endpoint, "GET", alice.presigned("GET", "/photos/presigned?response-content-type=text%2Fx")
    )
    assert (reply.body, reply.headers["content-type"]) == (body, "text/x")
    assert send(gate.endpoint, "HEAD", alice.presigned("HEAD", "/photos/presigned")).status == 200
    late = alice.presigned("GET", "/photos/presigned", expires=5, now=time.time() - 60)
    assert send(gate.endpoint, "GET", late).code == "AccessDenied"
    other = alice.presigned("GET", "/photos/presigned").replace("presigned?", "other?")
    assert send(gate.endpoint, "GET", other).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize(
    ("kind", "trailer"),
    [
        (PayloadKind.STREAMING_SIGNED, None),
        *((PayloadKind.STREAMING_SIGNED_TRAILER, name) for name in ("crc32", "sha256")),
        *(
            (PayloadKind.STREAMING_UNSIGNED_TRAILER, name)
            for name in ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
        ),
    ],
)
def test_chunks(gate: Gate, alice: Signer, kind: PayloadKind, trailer: str | None, body: bytes) -> None:
    reply = alice.chunked("/photos/chunks", body, kind, trailer)
    assert reply.status == 200, reply.body
    assert stored(gate, "chunks") == body
    head = alice.send("HEAD", "/photos/chunks", b"", ("x-amz-checksum-mode", "ENABLED"))
    assert "content-encoding" not in head.headers
    if trailer:
        checksum = sigv4.Checksum(trailer)
        checksum.update(body)
        assert head.headers[f"x-amz-checksum-{trailer}"] == checksum.base64()
    assert gate.charged() == gate.stored()


def test_the_token_must_be_the_sessions(gate: Gate) -> None:
    akid, secret, token = SESSION
    for wrong in (None, "another", token + "x"):
        reply = Signer(gate.endpoint, akid, secret, wrong).send("GET", "/photos")
        assert (reply.status, reply.code) == (400, "InvalidToken")
    keyed = Signer(gate.endpoint, KEYS["alice"], secret_of("alice"), "a token where none belongs")
    assert keyed.send("GET", "/photos").code == "InvalidToken"
    expired = ("WIOSEXPIREDEXPIRED22", "expired-secret-expired-secret-expired-xx", "t")
    gate.apply(
        [gate.session(expired[0], "alice", expired[1], expired[2], expires=int(time.time() * 1000) - 1)]
    )
    reply = Signer(gate.endpoint, *expired).send("GET", "/photos")
    assert (reply.status, reply.code) == (400, "ExpiredToken")


def test_anonymous_is_refused(gate: Gate) -> None:
    for method, target in (
        ("GET", "/"), ("GET", "/photos"), ("GET", "/photos/k"), ("PUT", "/photos/k"), ("POST", "/photos?delete"),
        ("DELETE", "/photos/k"), ("GET", "/nobody.nothing"),
    ):  # fmt: skip
        reply = send(gate.endpoint, method, target)
        assert (reply.status, reply.code) == (403, "AccessDenied"), target


def test_mechanisms_that_are_not_taken(gate: Gate, alice: Signer) -> None:
    date = ("date", "Tue, 24 Nov 2026 10:00:00 GMT")
    v2 = send(gate.endpoint, "GET", "/photos", [("authorization", f"AWS {alice.access_key_id}:c2ln"), date])
    v2_url = f"/photos?AWSAccessKeyId={alice.access_key_id}&Signature=c2ln&Expires=9999999999"
    v4a = dict(alice.headers("GET", "/photos", sigv4.EMPTY_SHA256))
    v4a["authorization"] = v4a["authorization"].replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")
    for reply in (v2, send(gate.endpoint, "GET", v2_url), send(gate.endpoint, "GET", "/photos", v4a)):
        assert (reply.status, reply.code) == (400, "InvalidRequest")
        assert "AWS4-HMAC-SHA256" in reply.find("Message")


@pytest.mark.parametrize("bucket", ["photos", "alice.photos"])
def test_virtual_hosts(gate: Gate, alice: Signer, bucket: str) -> None:
    host = f"{bucket}.{DOMAIN}:{gate.port}"
    assert alice.send("PUT", "/by%20host", b"hello", host=host).status == 200
    assert stored(gate, "by host") == b"hello"
    assert alice.send("GET", f"/{bucket}/by%20host").body == b"hello"
    reply = alice.send("GET", "/?list-type=2&prefix=by", host=host)
    assert (reply.find("Name"), reply.find("Key")) == (bucket, "by host")
    assert alice.send("HEAD", "/", host=host).status == 200
    assert alice.send("GET", "/", host=f"{DOMAIN}:{gate.port}").find("Name") == "inbox"
    # The host is signed: a request for one bucket is none for another.
    headers = alice.headers("GET", "/by%20host", sigv4.EMPTY_SHA256, host=host)
    moved = [(name, value.replace(bucket, "inbox") if name == "host" else value) for name, value in headers]
    assert send(gate.endpoint, "GET", "/by%20host", moved).code == "SignatureDoesNotMatch"


def test_virtual_hosts_by_boto3(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def resolve_here(host: str, *more: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host.endswith(DOMAIN) else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{DOMAIN}:{gate.port}",
        aws_access_key_id=KEYS["alice"],
        aws_secret_access_key=secret_of("alice"),
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "virtual"}),
    )
    client.put_object(Bucket="photos", Key="v", Body=b"x")
    assert client.get_object(Bucket="photos", Key="v")["Body"].read() == b"x"
    url = client.generate_presigned_post("photos", "f")["url"]
    assert url == f"http://photos.{DOMAIN}:{gate.port}/"


def test_tls(minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tls")
    pem = make_certificate(folder / "gate.pem", "localhost", "127.0.0.1")
    with running_gate(minio, valkey, folder, WIO_TLS_CERT=str(pem), WIO_TLS_KEY=str(pem)) as gate:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=f"https://127.0.0.1:{gate.port}",
            aws_access_key_id=KEYS["alice"],
            aws_secret_access_key=secret_of("alice"),
            region_name="us-east-1",
            verify=str(pem),
        )
        body = os.urandom(9_000_000)
        client.put_object(Bucket="photos", Key="k", Body=body)
        assert client.get_object(Bucket="photos", Key="k")["Body"].read() == body
        (folder / "file").write_bytes(body * 2)
        client.upload_file(str(folder / "file"), "photos", "parts")
        assert client.head_object(Bucket="photos", Key="parts")["ContentLength"] == 2 * len(body)
        client.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "k"}]})
        with pytest.raises(ClientError):
            client.head_object(Bucket="photos", Key="k")
        assert gate.charged() == gate.stored()
