"""Requests that two readers might understand in two ways: what is authorised must be what is done."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import pytest

from tests.proxy.gates import Gate
from tests.security.attacks import Attacker, talk

SECRET_BODY = b"alice's private words"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture(scope="module", autouse=True)
def stored(gate: Gate) -> None:
    """Something worth stealing: in alice's `inbox`, which bob has no share on, and beside all workspaces."""
    gate.client().put_object(Bucket="inbox", Key="secret", Body=SECRET_BODY)
    gate.client().put_object(Bucket="photos", Key="open", Body=b"for bob")
    gate.node_client().put_object(Bucket=gate.bucket, Key="outside", Body=SECRET_BODY)


def keys_at_node(gate: Gate) -> set[str]:
    pages = gate.node_client().get_paginator("list_objects_v2").paginate(Bucket=gate.bucket)
    return {item["Key"] for page in pages for item in page.get("Contents", ())}


@contextlib.contextmanager
def nothing_changes(gate: Gate) -> Iterator[None]:
    before = keys_at_node(gate)
    yield
    assert keys_at_node(gate) == before


SPELLINGS = (
    "/alice.photos/../alice.inbox/secret",
    "/alice.photos/..%2falice.inbox%2fsecret",
    "/alice.photos/%2e%2e/alice.inbox/secret",
    "/alice.photos/%2e%2e%2f%2e%2e%2finbox.wsinbox/secret",
    "/alice.photos/../inbox.wsinbox/secret",
    "/alice.photos/./../inbox.wsinbox/secret",
    "/alice.photos/a/../../inbox.wsinbox/secret",
    "/alice.photos//../inbox.wsinbox/secret",
    "/alice.photos/..",
    "/alice.photos/%00/../secret",
    "/alice.photos/x%00",
    "/alice.photos%2f..%2falice.inbox/secret",
    "/alice.photos%2Fopen/../../alice.inbox/secret",
    "//alice.inbox/secret",
    "/%61lice.inbox/secret",
    "/alice.inbox%2fsecret",
    "/alice.photos/..;/alice.inbox/secret",
    "/alice.photos/%252e%252e/inbox.wsinbox/secret",
    "/alice.photos/%c0%ae%c0%ae/inbox.wsinbox/secret",
    "/alice.photos/..%5cinbox.wsinbox%5csecret",
    "/alice.photos\\..\\alice.inbox\\secret",
    "http://alice.inbox/secret",
    "http://127.0.0.1/alice.inbox/secret",
)


@pytest.mark.parametrize("target", SPELLINGS)
def test_no_spelling_of_a_path_leads_out_of_a_workspace(gate: Gate, target: str) -> None:
    bob = Attacker(gate, "bob")
    signed = target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        with nothing_changes(gate) if method != "GET" else contextlib.nullcontext():
            reply = bob.send(method, target, signed_target=signed)
        assert reply.status >= 400 or reply.status == 0, (method, target, reply)
        assert SECRET_BODY not in reply.body


@pytest.mark.parametrize(
    "query",
    [
        "prefix=../inbox.wsinbox/",
        "prefix=..%2Finbox.wsinbox%2F",
        "prefix=base/alice/inbox.wsinbox/",
        "list-type=2&prefix=../",
        "list-type=2&start-after=../../",
        "marker=../../",
        "list-type=2&prefix=a&prefix=../",
        "list-type=2&delimiter=/&prefix=",
        "versions&prefix=..%2f",
        "versions&key-marker=..%2f",
        "list-type=2&continuation-token=YmFzZS9hbGljZS9pbmJveA==",
        "list-type=2&continuation-token=base/alice/inbox.wsinbox/",
        "key=secret",
        "bucket=inbox",
    ],
)
def test_no_query_replaces_what_is_authorised(gate: Gate, query: str) -> None:
    reply = Attacker(gate, "bob").send("GET", f"/alice.photos?{query}")
    assert b"secret" not in reply.body.replace(query.encode(), b""), reply.body
    assert b"inbox.ws" not in reply.body.replace(b"inbox.wsinbox", b"") or reply.status >= 400
    assert b"outside" not in reply.body


def test_duplicates_are_refused(gate: Gate) -> None:
    alice = Attacker(gate)
    assert alice.send("GET", "/photos?list-type=2&prefix=a&prefix=b").status == 400
    assert alice.send("GET", "/photos/open?versionId=null&versionId=x").status == 400
    twice = [("x-amz-content-sha256", EMPTY)]
    assert alice.send("GET", "/photos/open", unsigned=twice).status in (400, 403)
    for name, value in (("host", "inbox.s3.example.org"), ("authorization", "AWS4-HMAC-SHA256 x")):
        assert alice.send("GET", "/photos/open", unsigned=[(name, value)]).status == 400
    for pair in (("if-match", "a"), ("range", "bytes=0-0"), ("content-md5", "x")):
        reply = alice.send("PUT", "/photos/dup", headers=[pair], unsigned=[pair], body=b"x")
        assert reply.status in (400, 403), (pair, reply)


SMUGGLED = b"GET /alice.inbox/secret HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 44\r\n",
        b"Content-Length: +4\r\n",
        b"Content-Length: 4,4\r\n",
        b"Content-Length: 0x4\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b" Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Content-Length: 4\r\n\tTransfer-Encoding: chunked\r\n",
    ],
)
def test_ambiguous_framing_ends_the_connection(gate: Gate, framing: bytes) -> None:
    head = b"PUT /photos/smuggled HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n"
    with nothing_changes(gate):
        reply = talk(gate, head + b"0\r\n\r\n" + SMUGGLED, seconds=15)
    assert reply.status in (0, 400, 403, 411, 501), reply
    assert reply.body.count(b"HTTP/1.1 ") == 0, "a second answer: the smuggled request was taken up"


@pytest.mark.parametrize(
    "spelling",
    [
        "/minio/admin/v3/info", "/%6dinio/admin/v3/info", "/minio%2fadmin/v3/info", "//minio/admin/v3/info",
        "/minio//admin/v3/info", "/minio/./admin/v3/info", "/minio/health/../admin/v3/info",
        "/MINIO/admin/v3/info", "/minio/admin/v3/get-bucket-quota/../info", "/minio", "/minio/",
        "/minio/v2/metrics/cluster", "/minio/health/live/../../v2/metrics/cluster", "/minio/storage/x",
        "/minio/peer/v1", "/minio/lock/v1", "/minio/bootstrap/v1/verify", "/minio/kms/v1/status",
        "/minio/webrpc", "/minio/zip", "/minio-console", "/photos/../minio/admin/v3/info",
        "/photos/%2e%2e/%2e%2e/minio/admin/v3/info", "/minio/admin/v3/get-bucket-quota%00",
    ],
)  # fmt: skip
def test_no_path_of_minio_passes(gate: Gate, spelling: str) -> None:
    for user in ("alice", "carol"):
        for method in ("GET", "POST", "PUT"):
            reply = Attacker(gate, user).send(method, spelling)
            assert reply.status >= 400, (method, spelling, reply)
    assert talk(gate, f"GET {spelling} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).status >= 400


def test_quota_call_needs_a_share(gate: Gate) -> None:
    path = "/minio/admin/v3/get-bucket-quota?bucket=alice.photos"
    assert Attacker(gate, "carol").send("GET", path).status == 403
    assert talk(gate, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).status == 403


def test_host_header_names_the_bucket_only_when_signed(gate: Gate) -> None:
    bob = Attacker(gate, "bob", host="alice.photos.s3.example.org")
    assert bob.send("GET", "/open").body == b"for bob"
    # The path never names another bucket then, whatever it looks like.
    assert bob.send("GET", "/alice.inbox/secret").status == 404
    for host in (
        "alice.inbox.s3.example.org",
        "alice.inbox.S3.EXAMPLE.ORG.",
        "alice.inbox.s3.example.org:80",
    ):
        reply = Attacker(gate, "bob", host=host).send("GET", "/secret")
        assert reply.status == 403, (host, reply)
        assert SECRET_BODY not in reply.body
    # Forwarded headers are nobody's Host.
    reply = Attacker(gate, "bob").send(
        "GET", "/alice.photos/secret",
        headers=[("x-forwarded-host", "alice.inbox.s3.example.org"), ("x-original-url", "/alice.inbox/secret"),
                 ("x-rewrite-url", "/alice.inbox/secret"), ("forwarded", "host=alice.inbox.s3.example.org")],
    )  # fmt: skip
    assert reply.status == 404


def test_posts_to_a_virtual_host_are_not_taken_for_sts(gate: Gate) -> None:
    gate.client().put_object(Bucket="photos", Key="doomed", Body=b"x")
    alice = Attacker(gate, host="photos.s3.example.org")
    body = b"<Delete><Object><Key>doomed</Key></Object></Delete>"
    reply = alice.send(
        "POST", "/?delete", body=body, headers=[("x-amz-checksum-sha256", _sha256_base64(body))]
    )
    assert (reply.status, reply.find("Deleted") is not None) == (200, True), reply.body
    assert "doomed" not in {key.rpartition("/")[2] for key in keys_at_node(gate)}


def _sha256_base64(body: bytes) -> str:
    import base64
    import hashlib

    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def test_nothing_that_a_header_holds_reaches_another_header(gate: Gate) -> None:
    """Line breaks, by any road into a header of the node's request: metadata, hoisted parameters, overrides."""
    alice = Attacker(gate)
    with nothing_changes(gate):
        for name, value in (
            ("x-amz-meta-a", "b\r\nx-amz-meta-snowball-auto-extract: true"),
            ("X-Amz-Meta-A", "b\nx-minio-source-mtime: 1"),
            ("x-amz-storage-class", "STANDARD\r\n\r\nGET / HTTP/1.1"),
            ("x-amz-tagging", "a=b\0c"),
            ("x-amz-meta-a\r\nx-amz-acl", "public-read"),
            ("x-amz-meta-a: b", "c"),
        ):
            target = alice.presign("PUT", "/photos/injected", [(name, value)])
            head = f"PUT {target} HTTP/1.1\r\nHost: {alice.host_header}\r\nContent-Length: 1\r\n\r\n"
            reply = talk(gate, head.encode() + b"x", "PUT")
            assert reply.status in (400, 403), (name, value, reply)
    reply = alice.send("GET", "/photos/open?response-content-type=a%0d%0aset-cookie:%20x=y")
    assert "set-cookie" not in reply.headers


SNOWBALL = ("x-amz-meta-snowball-auto-extract", "true")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        SNOWBALL,
        ("X-Amz-Meta-Snowball-Auto-Extract", "TRUE"),
        ("x-minio-extract", "true"),
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "uri=x"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-write-offset-bytes", "1"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-expected-bucket-owner", "1"),
    ],
)
def test_what_the_gate_does_not_carry_out_is_refused_in_every_place(
    gate: Gate, name: str, value: str
) -> None:
    alice = Attacker(gate)
    with nothing_changes(gate):
        assert alice.send("PUT", "/photos/odd", headers=[(name, value)], body=b"x").status in (400, 403, 501)
        for spelling in (name, name.upper(), name.title()):
            target = alice.presign("PUT", "/photos/odd", [(spelling, value)])
            head = f"PUT {target} HTTP/1.1\r\nHost: {alice.host_header}\r\nContent-Length: 1\r\n\r\n"
            reply = talk(gate, head.encode() + b"x", "PUT")
            if spelling.lower().startswith("x-minio"):
                assert reply.status == 501
            assert reply.status in (400, 403, 501), (spelling, reply)


@pytest.mark.parametrize(
    "name",
    ["x-minio-source-mtime", "x-minio-source-etag", "x-minio-source-replication-request",
     "x-minio-replication-server-side-encryption-sealed-key", "x-minio-replication-actual-object-size",
     "x-minio-replication-ssec-crc", "x-minio-force-delete", "x-minio-internal-actual-size",
     "x-minio-enable-post-restore", "x-minio-source-deletemarker", "x-minio-source-proxy-request"],
)  # fmt: skip
def test_headers_of_minio_never_reach_it(gate: Gate, name: str) -> None:
    """By a header, and by a parameter of a presigned URL; MinIO takes them from whoever may replicate: the gate."""
    alice, etag = Attacker(gate), '"5d41402abc4b2a76b9719d911017c592"'
    value = {"x-minio-source-mtime": "2001-01-01T00:00:00Z", "x-minio-source-etag": etag}.get(name, "true")
    reply = alice.send("PUT", "/photos/replicated", headers=[(name, value)], body=b"x")
    assert reply.status in (200, 400, 403, 501)
    reply = alice.send("PUT", "/photos/replicated", body=b"x", unsigned=[(name, value)])
    if reply.status == 200:
        seen = gate.client().head_object(Bucket="photos", Key="replicated")
        assert seen["LastModified"].year > 2020
        assert seen["ETag"] != etag
        assert "x-amz-replication-status" not in seen["ResponseMetadata"]["HTTPHeaders"]


def test_presigned_payload_kind_has_one_reading(gate: Gate) -> None:
    """`X-Amz-Content-Sha256` in another case is no other parameter to the planner than to the verifier."""
    alice = Attacker(gate)
    framed = b"1\r\nx\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    for name in ("x-amz-content-sha256", "X-AMZ-CONTENT-SHA256"):
        target = alice.presign(
            "PUT", "/photos/framed",
            [(name, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("x-amz-decoded-content-length", str(len(framed))),
             ("x-amz-trailer", "x-amz-checksum-crc32")],
        )  # fmt: skip
        head = f"PUT {target} HTTP/1.1\r\nHost: {alice.host_header}\r\nContent-Length: {len(framed)}\r\n\r\n"
        with nothing_changes(gate):
            assert talk(gate, head.encode() + framed, "PUT").status == 400
    # A trailer that only the query announces would be nobody's to check.
    target = alice.presign(
        "PUT", "/photos/framed",
        [("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), ("X-Amz-Trailer", "x-amz-checksum-crc32")],
        signed=[("x-amz-decoded-content-length", "1")],
    )  # fmt: skip
    head = (
        f"PUT {target} HTTP/1.1\r\nHost: {alice.host_header}\r\nx-amz-decoded-content-length: 1\r\n"
        f"Content-Length: {len(framed)}\r\n\r\n"
    )
    with nothing_changes(gate):
        assert talk(gate, head.encode() + framed, "PUT").status == 400


def test_responses_name_no_server(gate: Gate) -> None:
    reply = Attacker(gate).send("GET", "/photos/open")
    assert "server" not in reply.headers
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=10)
    connection.request("GET", "/-/live")
    assert connection.getresponse().getheader("server") is None
    connection.close()
