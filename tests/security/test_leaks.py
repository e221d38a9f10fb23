"""Nothing of where a workspace lives reaches a client, and nothing secret a log: by asking for much that is odd."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from proxy.s3.operation_table import OPERATIONS, Scope
from tests import servers
from tests.proxy.gates import Gate, running_gate, secret_of
from tests.security.attacks import Attacker, talk

VALUES = (
    "",
    "1",
    "0",
    "-1",
    "x",
    "null",
    "999999999999999999999",
    "../",
    "a/b",
    "%",
    "a b",
    "é",
    "2",
    "true",
    "url",
)
HEADERS = (
    ("range", "bytes=0-0"), ("range", "bytes=99999-"), ("range", "x"), ("if-match", "x"), ("if-none-match", "*"),
    ("x-amz-copy-source", "photos/open"), ("x-amz-copy-source", "alice.photos/absent"), ("content-md5", "x"),
    ("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-storage-class", "NOWHERE"), ("x-amz-tagging", "a=b&a=c"),
    ("x-amz-server-side-encryption", "AES256"), ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-website-redirect-location", "/x"), ("x-amz-object-attributes", "ETag,ObjectParts"),
    ("x-amz-metadata-directive", "NONSENSE"), ("expires", "x"), ("x-amz-mp-object-size", "1"),
    ("x-amz-checksum-mode", "ENABLED"), ("content-type", "multipart/form-data; boundary=b"), ("content-encoding", "x"),
)  # fmt: skip
BODIES = (
    b"", b"x", b"<Delete><Object><Key>absent</Key></Object></Delete>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
    b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    b"<LegalHold><Status>ON</Status></LegalHold>", b"<!DOCTYPE a><a/>", b"<a>" * 2000,
    b"<SelectObjectContentRequest><Expression>select 1</Expression></SelectObjectContentRequest>",
)  # fmt: skip


@pytest.fixture(scope="module")
def chatty(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A gate that logs all it can."""
    with running_gate(minio, valkey, tmp_path_factory.mktemp("chatty"), WIO_LOG_LEVEL="debug") as running:
        yield running


def test_nothing_physical_and_nothing_secret(chatty: Gate) -> None:
    gate = chatty
    chance = random.Random(7)
    alice = Attacker(gate)
    gate.client().put_object(Bucket="photos", Key="open", Body=b"data", Metadata={"a": "b"})
    upload = alice.send("POST", "/photos/up?uploads").find("UploadId")
    node_upload = gate.node_client().list_multipart_uploads(
        Bucket=gate.bucket, Prefix=gate.prefix("photos") + "up"
    )
    physical = [
        gate.bucket, ".wsphotos", "base/alice", gate.minio.endpoint.removeprefix("http://"), gate.minio.access_key,
        gate.minio.secret_key, "MinIO", "minio", "node1", "root1", "Traceback", 'File "/',
        *(item["UploadId"] for item in node_upload.get("Uploads", ())),
    ]  # fmt: skip
    signed: set[str] = set()
    for operation in OPERATIONS:
        if operation.name in ("ListenNotification", "CreateBucket", "DeleteBucket"):
            continue
        for _ in range(6):
            path = {
                Scope.SERVICE: "/", Scope.BUCKET: "/photos",
                Scope.OBJECT: chance.choice(("/photos/open", "/photos/absent", "/photos/up", "/photos/" + "k" * 1000)),
            }[operation.scope]  # fmt: skip
            names = [name for name, _ in operation.markers]
            names += chance.sample(sorted(operation.query), min(2, len(operation.query)))
            fixed = dict(operation.markers)
            pairs = []
            for name in dict.fromkeys(names):
                value = fixed.get(name) or (upload if name == "uploadId" else chance.choice(VALUES))
                pairs.append(f"{name}={value.replace('%', '%25').replace(' ', '%20').replace('é', '%C3%A9')}")
            headers = dict(chance.sample(HEADERS, 2))
            if operation.header:
                headers[operation.header] = "photos/open"
            target = path + ("?" + "&".join(pairs) if pairs else "")
            body = chance.choice(BODIES) if operation.method in ("PUT", "POST") else b""
            if operation.method == "DELETE" and path == "/photos":
                continue
            head = alice.head(
                operation.method, target, [*headers.items()], body=body,
                unsigned=[("content-length", str(len(body)))] if operation.method in ("PUT", "POST") else [],
            )  # fmt: skip
            signed |= {
                line.rpartition(b"Signature=")[2].decode()
                for line in head.split(b"\r\n")
                if b"Signature=" in line
            }
            reply = talk(gate, head + body, operation.method)
            shown = str(dict(reply.headers)) + reply.body.decode("utf-8", "replace")
            found = [word for word in physical if word and word in shown]
            assert not found, (operation.method, target, headers, body, found, shown)
            # 500 is for what failed here or at the node, never for what a client sent.
            assert reply.status != 500, (operation.method, target, headers, body, shown)
    log = gate.log.read_text()
    for secret in (secret_of("alice"), gate.minio.secret_key, "a deployment secret", *signed):
        assert secret not in log
    assert gate.settings.redis_url.split("@")[0] not in log
    for line in log.splitlines():
        if line.startswith("{"):
            json.loads(line)
    assert "Traceback" not in log


def test_a_log_line_is_one_line(chatty: Gate) -> None:
    """What a path holds cannot end a line of the log and begin another."""
    alice = Attacker(chatty)
    alice.send("GET", "/photos/a%0a%7b%22event%22%3a%22forged%22%7d%0d")
    lines = [line for line in chatty.log.read_text().splitlines() if "forged" in line]
    assert all(line.startswith("{") and json.loads(line)["event"] != "forged" for line in lines)


CORRUPT = (
    "not json", "[]", "{}", '{"user":1, "ws":"wsphotos", "nu":"x", "key":"k", "node":"node1", "t":1}',
    '{"secret":"x","kind":"key","ws":"wsphotos"}',
)  # fmt: skip


@pytest.mark.parametrize("name", ["CREDENTIALS", "NODES", "WORKSPACES", "UPLOADS"])
def test_records_that_cannot_be_read_are_malfunctions_in_s3s_words(chatty: Gate, name: str) -> None:
    import redis

    from quota.layout import Layout

    gate = chatty
    client = redis.Redis.from_url(gate.settings.redis_url)
    layout = Layout(gate.settings.realm)
    try:
        for number, value in enumerate(CORRUPT):
            field = {"CREDENTIALS": f"WIOACORRUPT{number}", "NODES": f"broken{number}", "WORKSPACES": "wsinbox",
                     "UPLOADS": f"broken{number}"}[name]  # fmt: skip
            before = client.hget(layout[name], field)
            client.hset(layout[name], field, value)
            if name == "NODES":
                gate.apply([gate.workspace(f"broken{number}", node=field)])
            attacker = Attacker(gate, access_key_id=field) if name == "CREDENTIALS" else Attacker(gate)
            target = {"CREDENTIALS": "/photos/open", "NODES": f"/broken{number}/open", "WORKSPACES": "/inbox/open",
                      "UPLOADS": "/photos?uploads"}[name]  # fmt: skip
            reply = attacker.send("GET", target)
            if name == "UPLOADS" and value == "{}":
                # Of no workspace, and so not of this one.
                assert reply.status == 200
                client.hdel(layout[name], field)
                continue
            assert reply.status in (403, 404, 500, 503), (value, reply)
            assert reply.code, (value, reply.body)
            assert b"Traceback" not in reply.body
            client.hdel(layout[name], field)
            if before is not None:
                client.hset(layout[name], field, before)
    finally:
        client.close()
    assert Attacker(gate).send("GET", "/photos/absent").status == 404


def test_connections_that_only_hang_do_not_stop_the_others(chatty: Gate) -> None:
    """Half-sent heads and bodies, and downloads that nobody reads: the next request is served."""
    import socket

    gate, alice = chatty, Attacker(chatty)
    gate.client().put_object(Bucket="photos", Key="large", Body=bytes(8 << 20))
    held: list[socket.socket] = []
    try:
        for number in range(150):
            sock = socket.create_connection(("127.0.0.1", gate.port), timeout=10)
            held.append(sock)
            kind = number % 4
            if kind == 0:
                sock.sendall(b"GET /photos/open HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            elif kind == 1:
                sock.sendall(alice.head("GET", "/photos/large"))
            elif kind == 2:
                head = alice.head(
                    "PUT", f"/photos/slow{number}", payload="UNSIGNED-PAYLOAD",
                    unsigned=[("content-length", "1000000")],
                )  # fmt: skip
                sock.sendall(head + bytes(100_000))
            else:
                sock.sendall(b"")
        assert alice.send("GET", "/photos/open").status in (200, 404)
        assert gate.process is not None
        assert gate.process.poll() is None
    finally:
        for sock in held:
            sock.close()
    assert alice.send("HEAD", "/photos/large").status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET /?" + b"a&" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nX\x00: y\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_a_short_answer(chatty: Gate, head: bytes) -> None:
    reply = talk(chatty, head + b"\r\n\r\n", seconds=15)
    assert reply.status in (0, 400, 403, 405, 501), reply
    assert len(reply.body) < 20_000
