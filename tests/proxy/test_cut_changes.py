"""Changes that are cut while a node has all of them, or not yet: none is lost from the books, none is told wrongly."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.stack.child import wait_until
from tests import servers
from tests.proxy.flows import Upload
from tests.proxy.gates import KEYS, Gate, running_gate

LEASE = 2.0


class Node(ThreadingHTTPServer):
    """Answers changes when it is told to; every key of its holds 5 bytes where the key says `there`, else nothing."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.may_answer = threading.Event()
        self.may_read = threading.Event()
        self.got: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Node

    def log_message(self, *_args: Any) -> None:
        pass

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "content_length" not in headers and status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        if "there" in self.path:
            self.send_response(200)
            self.send_header("content-length", "5")
            self.end_headers()
        else:
            self._say(404)

    def do_PUT(self) -> None:
        self._change(200, b"")

    def do_DELETE(self) -> None:
        self._change(204, b"")

    def do_POST(self) -> None:
        keys = "base/alice/photos.wsphotos/there"
        self._change(200, f"<DeleteResult><Deleted><Key>{keys}</Key></Deleted></DeleteResult>".encode())

    def _change(self, status: int, body: bytes) -> None:
        assert self.server.may_read.wait(60)
        length = int(self.headers.get("content-length") or 0)
        with suppress(OSError):
            if len(self.rfile.read(length)) < length:
                self.close_connection = True
                return
            self.server.got.append(self.command)
            assert self.server.may_answer.wait(60)
            self._say(status, body, etag='"e"')


@pytest.fixture
def node() -> Iterator[Node]:
    server = Node()
    server.may_read.set()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.may_answer.set()
    server.may_read.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def shared(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    with running_gate(minio, valkey, tmp_path_factory.mktemp("cuts")) as running:
        yield running


@pytest.fixture
def gate(shared: Gate, node: Node) -> Gate:
    """The gate over the scripted node, with a workspace of nothing."""
    shared.apply([shared.node(endpoint=node.endpoint), shared.grant("photos", "u:bob", 2)], ["node:node1"])
    return shared


class Asking(threading.Thread):
    """One request in another thread, and how it ended: its status, or None for a cut."""

    def __init__(self, gate: Gate, operation: str, **params: Any) -> None:
        super().__init__(daemon=True)
        url = gate.client("bob").generate_presigned_url(
            operation, Params={"Bucket": "alice.photos", **params}
        )
        self.parts = urlsplit(url)
        self.method = {"put_object": "PUT", "delete_object": "DELETE"}[operation]
        self.status: int | None = None

    def run(self) -> None:
        body = b"12345678" if self.method == "PUT" else b""
        head = f"{self.method} {self.parts.path}?{self.parts.query} HTTP/1.1\r\nHost: {self.parts.netloc}\r\n"
        with (
            suppress(OSError),
            socket.create_connection((self.parts.hostname, self.parts.port), timeout=30) as sock,
        ):
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            if answer := sock.recv(65536):
                self.status = int(answer.split(b" ", 2)[1])


def until(holds: Callable[[], Any], seconds: float = 10.0) -> None:
    assert wait_until(lambda: bool(holds()), time.monotonic() + seconds), "it did not come to hold"


def revoke(gate: Gate) -> Any:
    return gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])


def told(gate: Gate) -> list[dict[str, Any]]:
    """What went to the audit trail."""

    async def read() -> Any:
        live = await gate.live()
        try:
            return await live.redis.xrange(live.layout["AUDIT"])
        finally:
            await live.aclose()

    return [json.loads(fields[b"row"]) for _id, fields in asyncio.run(read())]


def outcome(gate: Gate, key: str) -> str | None:
    rows = [row for row in told(gate) if row["key"] == key and row["action"] == "transfer.cut"]
    found: str | None = rows[-1]["detail"]["outcome"] if rows else None
    return found


def cut_once_received(gate: Gate, node: Node, operation: str, key: str) -> Asking:
    """A change that the node has wholly received, and that is then cut before the node answers."""
    asking = Asking(gate, operation, Key=key)
    asking.start()
    until(lambda: node.got)
    assert revoke(gate).transfers_cut == 1
    return asking


def test_a_put_that_the_node_completes_within_a_lease(gate: Gate, node: Node) -> None:
    before = gate.charged()
    asking = cut_once_received(gate, node, "put_object", "completes")
    asking.join(10)
    assert asking.status is None
    node.may_answer.set()
    until(lambda: outcome(gate, "completes"))
    assert outcome(gate, "completes") == "completed"
    usage = gate.usage()
    assert (gate.charged()[0] - before[0], usage["db"], usage["hb"]) == (8, 0, 0)


def test_a_put_that_the_node_never_answers(gate: Gate, node: Node) -> None:
    before = gate.charged()
    cut_once_received(gate, node, "put_object", "hangs")
    until(lambda: outcome(gate, "hangs"), LEASE + 10)
    assert outcome(gate, "hangs") == "in doubt"
    until(lambda: gate.usage()["hb"] == 0)
    assert gate.charged()[0] - before[0] == 8
    assert gate.usage()["db"] == 8


def test_a_deletion_that_the_node_completes(gate: Gate, node: Node) -> None:
    asking = cut_once_received(gate, node, "delete_object", "there")
    asking.join(10)
    assert asking.status is None
    node.may_answer.set()
    until(lambda: outcome(gate, "there"))
    assert outcome(gate, "there") == "completed"


def test_a_body_whose_last_byte_was_not_sent(gate: Gate, node: Node) -> None:
    """The node takes nothing, so the end of the body waits in the gate: it must never go out."""
    doubt = gate.usage()["db"]
    node.may_read.clear()
    url = gate.client("bob").generate_presigned_url(
        "put_object", Params={"Bucket": "alice.photos", "Key": "stuck"}
    )
    flow = Upload(url, 24 << 20, pause=0.0)
    flow.start()
    flow.wait_moving(1 << 20)
    time.sleep(0.5)
    assert revoke(gate).transfers_cut == 1
    assert flow.wait_end() == "cut"
    node.may_read.set()
    node.may_answer.set()
    until(lambda: outcome(gate, "stuck"))
    assert outcome(gate, "stuck") == "nothing stored"
    until(lambda: gate.usage()["hb"] == 0)
    assert gate.usage()["db"] == doubt
    assert not node.got


def test_a_deletion_of_many_is_waited_for(gate: Gate, node: Node) -> None:
    def ask() -> None:
        with suppress(Exception):
            gate.client("bob").delete_objects(Bucket="alice.photos", Delete={"Objects": [{"Key": "there"}]})

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    until(lambda: node.got)
    doubt = gate.usage()["db"]
    assert revoke(gate).transfers_cut == 1
    asking.join(15)
    node.may_answer.set()
    until(lambda: any(row["operation"] == "DeleteObjects" for row in told(gate)), LEASE + 10)
    assert gate.usage()["db"] == doubt


def test_denials_are_told(gate: Gate, node: Node) -> None:
    revoke(gate)
    asking = Asking(gate, "put_object", Key="denied")
    asking.start()
    asking.join(10)
    assert asking.status == 403
    until(lambda: any(row["key"] == "denied" for row in told(gate)))
    (row,) = [row for row in told(gate) if row["key"] == "denied"]
    assert (row["action"], row["credential"], row["bucket"]) == ("denied.share", KEYS["bob"], "alice.photos")
    # Nobody is denied in another's name: an unproven signature leaves no row.
    forged = gate.client_of(KEYS["bob"], "not the secret at all").generate_presigned_url(
        "put_object", Params={"Bucket": "alice.photos", "Key": "forged"}
    )
    flow = Upload(forged, 8, pause=0.0)
    flow.start()
    flow.wait_end()
    time.sleep(1.0)
    assert not any(row["key"] == "forged" for row in told(gate))
