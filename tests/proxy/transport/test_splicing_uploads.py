"""Bodies that pass from a client to a node inside the kernel, all but the last byte, which waits for leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

import sigv4
from proxy import bodies
from proxy.call import Call, ClientGone
from proxy.splicing import Rest
from proxy.upstream import Timeouts, Upstream, UpstreamError, WriteTimeout
from tests.proxy.transport.scripted import OK, Peer, node
from tests.proxy.transport.serving import Client, Start
from tests.proxy.transport.test_splicing import BODY, SIZE, open_files, until_open_files

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

HEAD = b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE
#: More than the kernel takes on for somebody who does not read.
LARGE = 8 * SIZE
LARGE_HEAD = b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % LARGE


class Store:
    """An application that stores bodies at a node as the gate does, and notes what became of each."""

    def __init__(
        self,
        upstream: Upstream,
        origin: Any,
        *,
        size: int = SIZE,
        stored: int = SIZE,
        write_seconds: float = 5.0,
    ) -> None:
        self.upstream, self.origin, self.size, self.stored = upstream, origin, size, stored
        self.timeouts = Timeouts(write=write_seconds)
        self.is_allowed = True
        self.may_release = asyncio.Event()
        self.may_release.set()
        self.spliced = 0
        self.releases = 0
        self.calls: list[Call] = []
        self.ends: list[BaseException | int] = []
        self.ended = asyncio.Event()

    async def release(self) -> None:
        await self.may_release.wait()
        self.releases += 1

    def body(self, call: Call) -> AsyncIterator[bytes | Rest]:
        return bodies.plain(call, self.size, self.release, None)

    async def pieces(self, call: Call) -> AsyncIterator[bytes | Rest]:
        async for piece in self.body(call):
            yield piece
            if isinstance(piece, Rest):
                self.spliced += piece.moved

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        worker: Any = SimpleNamespace(lease=SimpleNamespace(is_valid=lambda: self.is_allowed))
        call = Call(worker, scope, receive)
        self.calls.append(call)
        try:
            exchange = await self.upstream.exchange(
                self.origin,
                b"PUT",
                b"/",
                [(b"content-length", b"%d" % self.stored)],
                self.pieces(call),
                self.timeouts,
            )
            body = await exchange.read(1000)
            self.ends.append(exchange.status)
            call.connection.begin(exchange.status, [(b"content-length", b"%d" % len(body))])
            await call.connection.write(body, is_last=True)
        except BaseException as error:
            self.ends.append(error)
            call.connection.abort()
            if not isinstance(error, (UpstreamError, ClientGone, sigv4.SigV4Error)):
                raise
        finally:
            self.ended.set()

    async def until_ended(self) -> BaseException | int:
        async with asyncio.timeout(5):
            await self.ended.wait()
        return self.ends[-1]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    yield upstream
    await upstream.aclose()


class Receiver:
    """Plays a node that takes bodies, and keeps them."""

    def __init__(self, piece: int = 1 << 20, size: int = SIZE) -> None:
        self.piece, self.size = piece, size
        self.received = bytearray()
        self.more = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.head()
            self.received = bytearray()
            while len(self.received) < self.size:
                data = await peer.reader.read(min(self.piece, self.size - len(self.received)))
                if not data:
                    return
                self.received += data
                self.more.set()
            await peer.say(OK)

    async def until(self, size: int) -> None:
        async with asyncio.timeout(5):
            while len(self.received) < size:
                self.more.clear()
                await self.more.wait()


@pytest.mark.parametrize("piece", [SIZE, 900_000, 70_000])
async def test_a_body_arrives_whole_on_connections_that_go_on(
    start: Start, upstream: Upstream, piece: int
) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client = await start(store)
        for n in range(3):
            await client.say(HEAD)
            for at in range(0, SIZE, piece):
                await client.say(BODY[at : at + piece])
            assert await client.answer() == (200, b"ok")
            assert bytes(receiver.received) == BODY
            assert store.calls[n].bytes_in == SIZE
        assert store.spliced > SIZE
        assert store.releases == 3
        assert len(served.peers) == 1


async def test_the_last_byte_waits_for_leave(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        store.may_release.clear()
        client = await start(store)
        await client.say(HEAD + BODY)
        await receiver.until(SIZE - 1)
        await asyncio.sleep(0.05)
        assert len(receiver.received) == SIZE - 1
        assert store.spliced
        store.may_release.set()
        assert await client.answer() == (200, b"ok")


async def test_a_node_that_takes_little_at_a_time_gets_it_all(start: Start, upstream: Upstream) -> None:
    receiver = Receiver(piece=50_000)
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client = await start(store)
        await client.say(HEAD + BODY)
        assert await client.answer() == (200, b"ok")
        assert bytes(receiver.received) == BODY
        assert store.spliced


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_a_client_that_goes_away_leaves_a_body_that_is_cut(
    start: Start, upstream: Upstream, ending: str
) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client = await start(store)
        before = open_files()
        await client.say(HEAD + BODY[: SIZE // 2])
        await receiver.until(SIZE // 2)
        client.writer.close() if ending == "fin" else client.writer.transport.abort()
        assert isinstance(await store.until_ended(), ClientGone)
        await until_open_files(before)
        assert len(receiver.received) == SIZE // 2
        assert store.releases == 0


async def test_an_early_answer_stops_it(start: Start, upstream: Upstream) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.head()
        await peer.body(1_000_000)
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.until_gone()

    async with node(refuse) as served:
        store = Store(upstream, served.origin)
        client = await start(store)
        await client.say(HEAD + BODY[:1_500_000])
        assert await client.answer() == (403, b"no")
        assert store.ends == [403]
        assert store.releases == 0


async def test_a_node_that_takes_no_more_is_not_waited_for_longer_than_ever(
    start: Start, upstream: Upstream
) -> None:
    async def stop(peer: Peer) -> None:
        await peer.head()
        await peer.body(1_000_000)
        await over.wait()

    over = asyncio.Event()
    async with node(stop) as served:
        store = Store(upstream, served.origin, size=LARGE, write_seconds=0.3)
        client = await start(store)
        sending = asyncio.create_task(client.say(LARGE_HEAD + BODY * 8))
        assert isinstance(await store.until_ended(), WriteTimeout)
        over.set()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_a_node_that_goes_away_ends_it(start: Start, upstream: Upstream, ending: str) -> None:
    async def leave(peer: Peer) -> None:
        await peer.head()
        await peer.body(1_000_000)
        peer.hang_up() if ending == "fin" else peer.reset()

    async with node(leave) as served:
        store = Store(upstream, served.origin, size=LARGE)
        client = await start(store)
        sending = asyncio.create_task(client.say(LARGE_HEAD + BODY * 8))
        assert isinstance(await store.until_ended(), UpstreamError)
        await asyncio.gather(sending, return_exceptions=True)
        assert store.releases == 0


async def test_what_may_not_move_any_more_is_cut(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client = await start(store)
        await client.say(HEAD + BODY[:1_000_000])
        await receiver.until(1_000_000)
        store.is_allowed = False
        await client.say(BODY[1_000_000:2_000_000])
        assert isinstance(await store.until_ended(), ClientGone)
        assert len(receiver.received) == 1_000_000


async def test_a_client_that_sends_too_slowly_is_cut(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client = await start(store, body_rate=100_000, body_seconds=0.5)
        await client.say(HEAD + BODY[:1_000_000])
        await receiver.until(1_000_000)
        assert store.spliced == 0  # it is under way: the rest is told when it ends
        with pytest.raises(ConnectionError):
            await client.trickle(0.02)
        assert isinstance(await store.until_ended(), ClientGone)


async def test_an_abort_ends_it_at_once(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Store(upstream, served.origin)
        client: Client = await start(store)
        before = open_files()
        await client.say(HEAD + BODY[:1_000_000])
        await receiver.until(1_000_000)
        store.calls[0].connection.abort()
        assert isinstance(await store.until_ended(), ClientGone)
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await until_open_files(before)
