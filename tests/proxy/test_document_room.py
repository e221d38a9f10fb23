"""What documents may take of a worker at once: given in order, waited for a bounded time, never lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.document_room import DocumentRoom
from proxy.s3.plan import DOCUMENT_BYTES
from tests import servers
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.proxy.signer import Signer
from tests.proxy.wire import Reply

ROOM = max(DOCUMENT_BYTES.values())


async def test_beyond_the_room_one_waits_and_is_let_in() -> None:
    room = DocumentRoom(10, seconds=30)
    assert await room.take(6)
    waiting = asyncio.create_task(room.take(6))
    behind = asyncio.create_task(room.take(4))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give_back(6)
    assert await waiting
    assert await behind
    room.give_back(6)
    room.give_back(4)
    assert room.free == 10


async def test_the_wait_is_bounded_and_leaves_no_trace() -> None:
    room = DocumentRoom(10, seconds=0.05)
    assert await room.take(8)
    assert not await room.take(4)
    assert await room.take(2)
    room.give_back(8)
    room.give_back(2)
    assert room.free == 10


async def test_who_goes_away_takes_nothing_along() -> None:
    room = DocumentRoom(10, seconds=30)
    assert await room.take(10)
    gone = asyncio.create_task(room.take(9))
    small = asyncio.create_task(room.take(1))
    await asyncio.sleep(0)
    room.give_back(10)
    # Its turn came and its end at once: the room goes back.
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await small
    room.give_back(1)
    assert room.free == 10


@pytest.fixture
def small(minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path) -> Iterator[Gate]:
    """A gate with room for one document of the largest size."""
    with running_gate(minio, valkey, tmp_path, WIO_DOCUMENT_ROOM_BYTES=str(ROOM)) as running:
        yield running


@contextmanager
def all_room(gate: Gate, alice: Signer) -> Iterator[None]:
    """A client that has said that it sends as much as there is room for, and sends nothing."""
    target = "/photos?delete"
    fields = [("content-length", str(ROOM)), ("expect", "100-continue")]
    headers = alice.headers("POST", target, "UNSIGNED-PAYLOAD", *fields, ("content-md5", "A" * 22 + "=="))
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
    with socket.create_connection(("127.0.0.1", gate.port), timeout=30) as sock:
        sock.sendall(head.encode() + b"\r\n")
        # It is asked for its body once it has the room.
        assert sock.recv(4096).startswith(b"HTTP/1.1 100 ")
        yield


def delete(alice: Signer, keys: int) -> Reply:
    """Delete so many keys that are not there; the longest key makes a hundred of them a large document."""
    names = "".join(f"<Object><Key>{i:03}{'k' * 900}</Key></Object>" for i in range(keys))
    body = f"<Delete>{names}</Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return alice.send("POST", "/photos?delete", body, ("content-md5", md5))


def test_documents_beyond_the_room_are_told_to_slow_down(small: Gate) -> None:
    alice = Signer(small.endpoint, KEYS["alice"], secret_of("alice"))
    with all_room(small, alice):
        refused = delete(alice, 100)
        assert (refused.status, refused.code) == (503, "SlowDown")
        assert int(refused.headers["retry-after"]) > 0
        # Small ones take none of the room, and objects neither.
        assert delete(alice, 5).status == 200
        assert alice.send("PUT", "/photos/a", b"x" * 200_000).status == 200
    assert delete(alice, 100).status == 200
    # Who waits is let in as soon as the room is given back.
    with ThreadPoolExecutor(1) as pool:
        with all_room(small, alice):
            waiting = pool.submit(delete, alice, 100)
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
        assert waiting.result(4).status == 200
