"""Bodies that pass from a node to a client inside the kernel: whole, in order, cut where they must be, nothing left."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy import splicing
from proxy.server import ClientDisconnected
from proxy.upstream import RemoteProtocolError, Timeouts, Upstream, UpstreamError
from tests.proxy.transport.scripted import Peer, node
from tests.proxy.transport.serving import Client, Start

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

SIZE = 5 * 1024 * 1024 + 17
BODY = random.Random(7).randbytes(SIZE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE
GET = b"GET /k HTTP/1.1\r\nHost: h\r\n\r\n"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def until_open_files(most: int) -> None:
    """Wait until no more are open; the other ends of what was cut are closed in their own time."""
    async with asyncio.timeout(5):
        while open_files() > most:
            await asyncio.sleep(0.01)


class Relay:
    """An application that relays a node's answers, and notes what became of each."""

    def __init__(self, upstream: Upstream, origin: Any, read_seconds: float = 5.0) -> None:
        self.upstream, self.origin = upstream, origin
        self.timeouts = Timeouts(read=read_seconds)
        self.is_allowed = True
        self.moved: list[int] = []
        self.spliced = 0
        self.ends: list[BaseException | None] = []
        self.running: set[asyncio.Task[Any]] = set()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["wio"]
        connection.set_guard(lambda: self.is_allowed)
        failure: BaseException | None = None
        try:
            exchange = await self.upstream.exchange(self.origin, b"GET", b"/", [], None, self.timeouts)
            try:
                connection.begin(200, [(b"content-length", b"%d" % SIZE)])
                left = SIZE
                async for chunk in exchange:
                    left -= len(chunk)
                    await connection.write(chunk, is_last=not left)
                    lent = exchange.lend_body(splicing.LEAST_BYTES)
                    if lent is not None:
                        assert lent[1] == left
                        self.spliced += 1
                        assert await connection.splice(exchange, *lent, self.moved.append)
                        break
            finally:
                exchange.abort()
        except BaseException as error:
            failure = error
            connection.abort()
            if not isinstance(error, (UpstreamError, ClientDisconnected)):
                raise
        finally:
            self.ends.append(failure)
            self.ended.set()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    yield upstream
    await upstream.aclose()


async def whole(client: Client) -> bytes:
    await client.say(GET)
    assert b" 200 " in await client.head()
    async with asyncio.timeout(10):
        return await client.reader.readexactly(SIZE)


async def until_ended(relay: Relay) -> BaseException | None:
    async with asyncio.timeout(5):
        await relay.ended.wait()
    return relay.ends[-1]


def sending(pieces: list[int], *, answers: int = 1) -> Any:
    """Plays a node that sends the body in pieces of those sizes (the last one repeats)."""

    async def play(peer: Peer) -> None:
        for _ in range(answers):
            await peer.head()
            await peer.say(HEAD)
            at, n = 0, 0
            while at < SIZE:
                size = pieces[min(n, len(pieces) - 1)]
                await peer.say(BODY[at : at + size])
                at, n = at + size, n + 1
                if size < 100_000:
                    await asyncio.sleep(0)
        await peer.until_gone()

    return play


@pytest.mark.parametrize(
    "pieces", [[SIZE], [1, 1, SIZE], [70_000], [300_000, 4096, 1_500_000], [SIZE - 1, 1]], ids=str
)
async def test_a_body_arrives_whole_on_connections_that_go_on(
    start: Start, upstream: Upstream, pieces: list[int]
) -> None:
    async with node(sending(pieces, answers=3)) as served:
        relay = Relay(upstream, served.origin)
        client = await start(relay)
        await whole(client)
        files = open_files()
        for _ in range(2):
            assert await whole(client) == BODY
        assert len(served.peers) == 1
        assert relay.spliced == 3
        # The first pipe is kept for all of them, and nothing else stays open.
        assert open_files() == files


async def test_a_client_that_takes_little_at_a_time_gets_it_all(start: Start, upstream: Upstream) -> None:
    async with node(sending([SIZE])) as served:
        relay = Relay(upstream, served.origin)
        client = await start(relay)
        await client.say(GET)
        await client.head()
        got = bytearray()
        async with asyncio.timeout(20):
            while len(got) < SIZE:
                got += await client.reader.readexactly(min(131_071, SIZE - len(got)))
                await asyncio.sleep(0)
        assert bytes(got) == BODY
        assert relay.spliced == 1


@asynccontextmanager
async def on_the_way(
    start: Start, upstream: Upstream, then: Callable[[Peer], Awaitable[None]]
) -> AsyncIterator[tuple[Relay, Client, asyncio.Event]]:
    """A body of which the client has had a million bytes; the node does what comes `then` once the event is set."""

    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + BODY[:1_000_000])
        await go_on.wait()
        await then(peer)

    go_on = asyncio.Event()
    async with node(play) as served:
        relay = Relay(upstream, served.origin)
        client = await start(relay)
        await client.say(GET)
        await client.head()
        await client.reader.readexactly(1_000_000)
        yield relay, client, go_on


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_a_body_that_the_node_cuts_is_cut_for_the_client(
    start: Start, upstream: Upstream, ending: str
) -> None:
    async def cut(peer: Peer) -> None:
        peer.hang_up() if ending == "fin" else peer.reset()

    async with on_the_way(start, upstream, cut) as (relay, client, go_on):
        files = open_files()
        go_on.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert isinstance(await until_ended(relay), RemoteProtocolError)
        assert relay.spliced == 1
        # Both connections, both lent sockets, the pipe if anything was in it.
        assert open_files() < files


async def test_a_node_that_stops_is_not_waited_for_longer_than_ever(start: Start, upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(HEAD + BODY[:1_000_000])
        await peer.until_gone()

    async with node(play) as served:
        relay = Relay(upstream, served.origin, read_seconds=0.3)
        client = await start(relay)
        await client.say(GET)
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert "stopped sending" in str(await until_ended(relay))


async def test_a_client_that_goes_away_ends_it(start: Start, upstream: Upstream) -> None:
    async with node(sending([SIZE])) as served:
        relay = Relay(upstream, served.origin)
        client = await start(relay)
        before = open_files()
        await client.say(GET)
        await client.head()
        client.writer.transport.abort()
        assert isinstance(await until_ended(relay), ClientDisconnected)
        # Our end, the client's and the node's are closed; what it listened with since is one more.
        await until_open_files(before)


async def test_what_may_not_move_any_more_is_cut_before_the_next_write(
    start: Start, upstream: Upstream
) -> None:
    async def send_the_rest(peer: Peer) -> None:
        await peer.say(BODY[1_000_000:])

    async with on_the_way(start, upstream, send_the_rest) as (relay, client, go_on):
        relay.is_allowed = False
        go_on.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        assert client.received == 0
        assert isinstance(await until_ended(relay), ClientDisconnected)


@pytest.mark.parametrize("waits_for", ["node", "client"])
async def test_a_cancelled_or_aborted_splice_leaves_nothing_open(
    start: Start, upstream: Upstream, waits_for: str
) -> None:
    """An abort takes the lent sockets back at once, whatever the splice waits for (a revocation is one)."""
    sent = 1_000_000 if waits_for == "node" else SIZE
    more = BODY * 8

    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(more) + more[:sent])
        if waits_for == "client":
            await peer.say(more[sent:])
        await peer.until_gone()

    class Held(Relay):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            connection = self.connection = scope["extensions"]["wio"]
            exchange = self.exchange = await self.upstream.exchange(self.origin, b"GET", b"/", [])
            connection.begin(200, [(b"content-length", b"%d" % len(more))])
            try:
                await connection.write(await anext(exchange), is_last=False)
                while (lent := exchange.lend_body(splicing.LEAST_BYTES)) is None:
                    await connection.write(await anext(exchange), is_last=False)
                await connection.splice(exchange, *lent, self.moved.append)
            except BaseException as error:
                self.ends.append(error)
                raise
            finally:
                exchange.abort()
                self.ended.set()

    async with node(play) as served:
        relay = Held(upstream, served.origin)
        client = await start(relay)
        before = open_files()
        await client.say(GET)
        await client.head()
        # It stands still once nothing has moved for a while, though nobody is done.
        moved = -1
        while not relay.moved or moved != sum(relay.moved):
            moved = sum(relay.moved)
            await asyncio.sleep(0.1)
        relay.connection.abort()
        relay.exchange.abort()
        assert isinstance(await until_ended(relay), (UpstreamError, ClientDisconnected))
        with pytest.raises(ConnectionResetError):
            await client.rest()
        # Of pipes only empty ones are kept.
        await until_open_files(before + 2 * len(splicing._pipes))
    for out, _into in splicing._pipes:
        with pytest.raises(BlockingIOError):
            os.read(out, 1)
