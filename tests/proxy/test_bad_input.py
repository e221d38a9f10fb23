"""What is malformed, forged or late is refused with S3's own error, as XML, and nothing of it is stored."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import sigv4
from sigv4 import PayloadKind
from tests.proxy.gates import KEYS, Gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import Reply, send

Pairs = list[tuple[str, str]]
EMPTY = sigv4.EMPTY_SHA256


@pytest.fixture
def alice(gate: Gate) -> Signer:
    return Signer(gate.endpoint, KEYS["alice"], secret_of("alice"))


@pytest.fixture(scope="module")
def node(gate: Gate) -> Any:
    return gate.node_client()


@pytest.fixture(autouse=True)
def nothing_is_stored(gate: Gate, node: Any) -> Iterator[None]:
    yield
    assert node.list_objects_v2(Bucket=gate.bucket)["KeyCount"] == 0
    deadline = time.monotonic() + 5
    while gate.charged() != (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gate.charged() == (0, 0), "no hold stays behind"


def refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/xml"
    assert reply.find("RequestId") == reply.headers["x-amz-request-id"]


def changed(headers: Pairs, name: str, value: str | None) -> Pairs:
    kept = [(one, old) for one, old in headers if one.lower() != name]
    return kept if value is None else [*kept, (name, value)]


AUTHORIZATIONS: list[tuple[Callable[[str], str], int, str]] = [
    (lambda value: "", 403, "AccessDenied"),
    (lambda value: "AWS4-HMAC-SHA256", 400, "AuthorizationHeaderMalformed"),
    (lambda value: value.replace("Credential=", "Credentials="), 400, "AuthorizationHeaderMalformed"),
    (lambda value: value.replace("/s3/", "/ec2/"), 400, "AuthorizationHeaderMalformed"),
    (lambda value: value.replace("/us-east-1/", "/eu-west-1/"), 400, "AuthorizationHeaderMalformed"),
    (lambda value: value.replace("aws4_request", "aws3_request"), 400, "AuthorizationHeaderMalformed"),
    (lambda value: value.replace("/20", "/19", 1), 400, "AuthorizationHeaderMalformed"),
    (lambda value: value + ", Signature=0", 400, "AuthorizationHeaderMalformed"),
    (lambda value: value[:-64] + "0" * 64, 403, "SignatureDoesNotMatch"),
    (lambda value: value[:-1], 403, "SignatureDoesNotMatch"),
    (lambda value: "Bearer abc", 400, "InvalidArgument"),
    (lambda value: "\x7f" * 5000, 400, "InvalidArgument"),
    (lambda value: value.replace(KEYS["alice"], "WIOANOBODYNOBODYNOB2"), 403, "InvalidAccessKeyId"),
    (lambda value: value.replace(KEYS["alice"], "WIOA\u00ff"), 400, "AuthorizationHeaderMalformed"),
]


@pytest.mark.parametrize("number", range(len(AUTHORIZATIONS)))
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_authorization_headers(gate: Gate, alice: Signer, number: int, method: str) -> None:
    change, status, code = AUTHORIZATIONS[number]
    headers = alice.headers(method, "/photos/k", EMPTY)
    value = change(dict(headers)["authorization"])
    sent = send(gate.endpoint, method, "/photos/k", changed(headers, "authorization", value or None))
    assert sent.status == status
    # Which of two true things is said of a header that is not even one may differ by how much of it is read.
    assert sent.code == code or (status == 400 and sent.code.startswith(("Authorization", "Invalid", "Bad")))


def test_clocks(gate: Gate, alice: Signer) -> None:
    for offset in (-16 * 60, 16 * 60):
        reply = alice.send("PUT", "/photos/k", b"x", now=time.time() + offset)
        refused(reply, 403, "RequestTimeTooSkewed")
    headers = alice.headers("GET", "/photos", EMPTY)
    for bad in ("yesterday", "20260101", "20261399T000000Z", None):
        assert send(gate.endpoint, "GET", "/photos", changed(headers, "x-amz-date", bad)).status in (400, 403)


def test_what_is_not_signed_is_not_taken(gate: Gate, alice: Signer) -> None:
    headers = alice.headers("PUT", "/photos/k", sigv4.UNSIGNED_PAYLOAD)
    for extra in ("x-amz-meta-a", "x-amz-acl", "x-amz-copy-source", "x-amz-tagging", "x-amz-security-token"):
        reply = send(gate.endpoint, "PUT", "/photos/k", [*headers, (extra, "/photos/secret")], b"x")
        assert (reply.status, reply.code) in ((403, "AccessDenied"), (400, "InvalidToken")), extra
    url = alice.presigned("PUT", "/photos/k")
    refused(send(gate.endpoint, "PUT", url, [("x-amz-meta-a", "1")], b"x"), 403, "AccessDenied")
    twice = [*headers, ("x-amz-date", "20200101T000000Z")]
    assert send(gate.endpoint, "PUT", "/photos/k", twice, b"x").status in (400, 403)


def test_two_forms_at_once(gate: Gate, alice: Signer) -> None:
    url = alice.presigned("PUT", "/photos/k")
    headers = alice.headers("PUT", url, sigv4.UNSIGNED_PAYLOAD)
    refused(send(gate.endpoint, "PUT", url, headers, b"x"), 400, "InvalidArgument")
    v2 = f"{url}&AWSAccessKeyId=x&Signature=y&Expires=9"
    assert send(gate.endpoint, "PUT", v2, (), b"x").status == 400


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=604801"),
            "AuthorizationQueryParametersError",
        ),
        (
            lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=-1"),
            "AuthorizationQueryParametersError",
        ),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=x"), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("&X-Amz-Date=", "&X-Amz-Dates="), "AuthorizationQueryParametersError"),
        (lambda url: url.replace("us-east-1", "eu-west-1"), "AuthorizationQueryParametersError"),
        (lambda url: url + "&X-Amz-Expires=60", "AuthorizationQueryParametersError"),
        (lambda url: url + "&x-id=PutObject", "SignatureDoesNotMatch"),
        (lambda url: url + "&a=%zz", "InvalidURI"),
        (lambda url: url.replace("/photos/k", "/photos/k2"), "SignatureDoesNotMatch"),
    ],
)
def test_presigned_urls(gate: Gate, alice: Signer, change: Callable[[str], str], code: str) -> None:
    reply = send(gate.endpoint, "PUT", change(alice.presigned("PUT", "/photos/k")), (), b"x")
    assert reply.code == code or (code.startswith("Authorization") and reply.status == 400), reply.body


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/photos/%zz", "InvalidURI"),
        ("/photos/%ff%fe", "InvalidURI"),
        ("/photos/a/../b", "InvalidURI"),
        ("/photos/a/%2e%2e/b", "InvalidURI"),
        ("/photos/%00", "InvalidURI"),
        ("/photos/" + "k" * 1025, "KeyTooLongError"),
        ("/photos/" + "k" * 1020, "KeyTooLongError"),
        ("/Photos/k", "InvalidBucketName"),
        ("/a..b/k", "InvalidBucketName"),
        ("/minio/admin/v3/info", "AccessDenied"),
        ("/photos/k?acl", "NotImplemented"),
        ("/photos/k?unknown-thing", "NotImplemented"),
        ("/photos/k?versionId=%00", "InvalidURI"),
    ],
)
def test_keys_and_parameters(alice: Signer, target: str, code: str) -> None:
    # What is no URI cannot be signed, and is not looked at as far as a signature.
    reply = (
        send(alice.endpoint, "PUT", target, (), b"x") if "%zz" in target else alice.send("PUT", target, b"x")
    )
    assert reply.code == code, reply.body
    assert code != "NotImplemented" or "wio " in reply.find("Message")


def chunks(alice: Signer, body: bytes, *, declared: int = 10, kind: str = "", trailer: str = "") -> Reply:
    kind = kind or PayloadKind.STREAMING_UNSIGNED_TRAILER.value
    more = [("x-amz-decoded-content-length", str(declared)), ("content-encoding", "aws-chunked")]
    if "TRAILER" in kind:
        more.append(("x-amz-trailer", trailer or "x-amz-checksum-crc32"))
    return send(alice.endpoint, "PUT", "/photos/k", alice.headers("PUT", "/photos/k", kind, *more), body)


GOOD = b"a\r\n0123456789\r\n0\r\nx-amz-checksum-crc32:phT8cg==\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"zz\r\n0123456789\r\n0\r\n\r\n",
        b"-a\r\n0123456789\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n0123456789",
        b"a\n0123456789\n0\n\n",
        b"a\r\n012345678",
        b"a\r\n0123456789",
        b"a\r\n0123456789\r\n",
        b"a\r\n0123456789\r\n0\r\n\r\n",
        b"9\r\n012345678\r\n0\r\nx-amz-checksum-crc32:phT8cg==\r\n\r\n",
        b"b\r\n0123456789x\r\n0\r\nx-amz-checksum-crc32:phT8cg==\r\n\r\n",
        GOOD.replace(b"phT8cg==", b"AAAAAA=="),
        GOOD.replace(b"phT8cg==", b"nonsense"),
        GOOD.replace(b"crc32", b"sha256"),
        GOOD[:-2],
        GOOD + b"more",
        GOOD.replace(b"\r\n0\r\n", b"\r\n0;chunk-signature=" + b"0" * 64 + b"\r\n"),
        b"x" * 100_000,
    ],
    ids=range(18),
)
def test_chunks_and_trailers(alice: Signer, body: bytes) -> None:
    reply = chunks(alice, body)
    assert 400 <= reply.status < 404, reply
    assert reply.code


def test_chunk_signatures(gate: Gate, alice: Signer) -> None:
    for kind in (PayloadKind.STREAMING_SIGNED, PayloadKind.STREAMING_SIGNED_TRAILER):
        for body in (
            b"a;chunk-signature="
            + b"0" * 64
            + b"\r\n0123456789\r\n0;chunk-signature="
            + b"0" * 64
            + b"\r\n\r\n",
            b"a\r\n0123456789\r\n0\r\n\r\n",
        ):
            reply = chunks(alice, body, kind=kind.value)
            assert reply.code in ("SignatureDoesNotMatch", "InvalidChunkSizeError", "IncompleteBody", "InvalidRequest",
                                  "MalformedTrailerError"), reply.body  # fmt: skip


def test_bodies_that_are_not_what_was_signed(gate: Gate, alice: Signer) -> None:
    for size in (10, 200_000):
        headers = alice.headers("PUT", "/photos/k", "0" * 64)
        refused(
            send(gate.endpoint, "PUT", "/photos/k", headers, b"x" * size), 400, "XAmzContentSHA256Mismatch"
        )
    headers = alice.headers("PUT", "/photos/k", "nonsense")
    assert send(gate.endpoint, "PUT", "/photos/k", headers, b"x").status == 400
    no_length = changed(
        alice.headers("PUT", "/photos/k", sigv4.UNSIGNED_PAYLOAD), "transfer-encoding", "chunked"
    )
    refused(
        send(gate.endpoint, "PUT", "/photos/k", no_length, b"1\r\nx\r\n0\r\n\r\n"),
        411,
        "MissingContentLength",
    )
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    headers = alice.headers("POST", "/photos?delete", "0" * 64)
    assert send(gate.endpoint, "POST", "/photos?delete", headers, body).code == "XAmzContentSHA256Mismatch"


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete>",
        b"\xff\xfe\x00",
        b"<Other/>",
        BOMB + b"<Delete><Object><Key>&b;</Key></Object></Delete>",
        OUTSIDE + b"<Delete><Object><Key>&a;</Key></Object></Delete>",
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
        b"<Delete>" + b"<a>" * 100 + b"</a>" * 100 + b"</Delete>",
        b"<Delete>" + b" " * 5_000_000 + b"</Delete>",
    ],
    ids=range(9),
)
def test_documents(alice: Signer, body: bytes) -> None:
    digest = ("content-md5", base64.b64encode(hashlib.md5(body).digest()).decode())
    refused(alice.send("POST", "/photos?delete", body, digest), 400, "MalformedXML")


def test_requests_that_are_no_http(gate: Gate) -> None:
    for raw in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /photos HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /photos HTTP/1.1\r\nHost: x\r\n" + b"a: " + b"x" * 200_000 + b"\r\n\r\n",
        b"PUT /photos/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", gate.port), timeout=10) as connection:
            answer = b""
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:
                # The refusal may come before the end, with a reset.
                pass
            assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:200]
    assert send(gate.endpoint, "GET", "/-/live").status == 200


def test_copy_sources(alice: Signer) -> None:
    for source in ("", "photos", "/", "photos/../x", "Other/k", "photos/k?versionId=%00", "%ff%fe/k"):
        reply = alice.send("PUT", "/photos/k", b"", ("x-amz-copy-source", source))
        assert 400 <= reply.status < 405, source
    assert alice.send("PUT", "/photos/k", b"", ("x-amz-copy-source", "bob.nothing/k")).status == 403
