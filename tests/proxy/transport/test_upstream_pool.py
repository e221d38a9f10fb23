"""Slots: bounded, queued for, and never lost, wherever a caller is cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import pytest

from proxy.upstream import Exchange, Limits, Origin, PoolTimeout, Timeouts, Upstream, UpstreamError
from tests.proxy.transport.scripted import OK, Peer, node, playing

HOST = [(b"host", b"node")]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def slots(upstream: Upstream) -> int:
    return sum(pool._slots_taken for pool in upstream._pools.values())


async def echoing(peer: Peer) -> None:
    """Answer every request, after it was read whole."""
    while True:
        head = await peer.head()
        _, found, rest = head.partition(b"content-length: ")
        if found:
            await peer.body(int(rest.split(b"\r\n")[0]))
        await peer.say(OK)


async def test_no_more_connections_than_allowed() -> None:
    upstream = Upstream(limits=Limits(connections=3))
    async with node(echoing) as at:

        async def ask() -> None:
            for _ in range(10):
                exchange = await upstream.exchange(at.origin, b"GET", b"/k", HOST)
                assert await exchange.read(10) == b"ok"

        await asyncio.gather(*(ask() for _ in range(20)))
        assert len(at.peers) <= 3
        assert slots(upstream) == len(upstream._connections) <= 3
        await upstream.aclose()


async def test_waiting_for_a_slot_has_an_end() -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.until_gone()

    upstream = Upstream(limits=Limits(connections=1))
    async with node(play) as at:
        busy = asyncio.create_task(upstream.exchange(at.origin, b"GET", b"/k", HOST))
        await until(lambda: len(at.peers) == 1)
        with pytest.raises(PoolTimeout) as caught:
            await upstream.exchange(at.origin, b"PUT", b"/k", HOST, b"x", Timeouts(pool=0.1))
        assert not caught.value.body_sent
        waiting = asyncio.create_task(upstream.exchange(at.origin, b"GET", b"/k", HOST))
        await asyncio.sleep(0)
        # A cut connection's slot goes to who waits.
        busy.cancel()
        await until(lambda: len(at.peers) == 2)
        waiting.cancel()
        await asyncio.wait([busy, waiting])
        assert slots(upstream) == 0
        await upstream.aclose()


async def test_idle_connections_expire() -> None:
    upstream = Upstream(limits=Limits(keep_alive=0.2))
    async with node(echoing) as at:
        exchange = await upstream.exchange(at.origin, b"GET", b"/k", HOST)
        await exchange.read(10)
        assert len(upstream._connections) == 1
        await until(lambda: not upstream._connections and not upstream._pools)
        assert asyncio.all_tasks() - {asyncio.current_task()} == {
            task for task in asyncio.all_tasks() if "echoing" in repr(task) or "serve" in repr(task)
        }
        await upstream.aclose()


async def test_a_connection_that_the_node_closes_leaves_the_pool() -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        peer.hang_up()

    upstream = Upstream()
    async with node(play) as at:
        await (await upstream.exchange(at.origin, b"GET", b"/k", HOST)).read(10)
        await until(lambda: not upstream._connections)
        assert slots(upstream) == 0
        await upstream.aclose()


async def test_a_node_that_speaks_unasked_leaves_the_pool() -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await asyncio.sleep(0.02)
        await peer.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await peer.until_gone()

    upstream = Upstream()
    async with node(play) as at:
        await (await upstream.exchange(at.origin, b"GET", b"/k", HOST)).read(10)
        await until(lambda: not upstream._connections)
        await upstream.aclose()


async def test_closing_ends_what_is_under_way() -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.until_gone()

    upstream = Upstream(limits=Limits(connections=2))
    async with node(play) as at:
        tasks = [asyncio.create_task(upstream.exchange(at.origin, b"GET", b"/k", HOST)) for _ in range(4)]
        await until(lambda: len(at.peers) == 2)
        await upstream.aclose()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, UpstreamError) for outcome in done)
        with pytest.raises(UpstreamError):
            await upstream.exchange(at.origin, b"GET", b"/k", HOST)
        assert slots(upstream) == 0


class CancelAt:
    """Runs a coroutine, and cancels the current task at its n-th suspension, as another task would."""

    def __init__(self, coroutine: Coroutine[Any, Any, object], suspension: int) -> None:
        self.coroutine = coroutine
        self.left = suspension
        self.was_reached = False

    def __await__(self) -> Generator[Any, Any, object]:
        task = asyncio.current_task()
        assert task is not None
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                step = self.coroutine.throw(error) if error is not None else self.coroutine.send(value)
            except StopIteration as stop:
                return stop.value
            self.left -= 1
            if not self.left:
                self.was_reached = True
                asyncio.get_running_loop().call_soon(task.cancel)
            value = error = None
            try:
                value = yield step
            except BaseException as thrown:  # noqa: BLE001 -- the coroutine decides
                error = thrown


async def lagging(peer: Peer) -> None:
    """A node that reads and writes so that both sides have to wait for each other."""
    while True:
        head = await peer.head()
        if head.startswith(b"PUT"):
            left = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            await asyncio.sleep(0.01)
            while left:
                left -= len(await peer.reader.read(left))
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
        for _ in range(3):
            await asyncio.sleep(0.002)
            await peer.say(b"x" * 100_000)


async def download(upstream: Upstream, origin: Origin) -> None:
    exchange = await upstream.exchange(origin, b"GET", b"/k", HOST)
    try:
        async for _ in exchange:
            await asyncio.sleep(0)
    finally:
        await exchange.aclose()


async def upload(upstream: Upstream, origin: Origin) -> None:
    async def source() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0)
            yield b"y" * 4_000_000

    headers = [*HOST, (b"content-length", b"16000000")]
    exchange = await upstream.exchange(origin, b"PUT", b"/k", headers, source())
    try:
        async for _ in exchange:
            pass
    finally:
        await exchange.aclose()


async def queued(upstream: Upstream, origin: Origin) -> None:
    """Wait for a slot behind somebody who holds the only one."""
    first = await upstream.exchange(origin, b"GET", b"/k", HOST)
    second = asyncio.ensure_future(upstream.exchange(origin, b"GET", b"/k", HOST))
    try:
        async for _ in first:
            await asyncio.sleep(0)
        await (await second).aclose()
    finally:
        await first.aclose()
        second.cancel()
        await asyncio.wait([second])
        if not second.cancelled() and second.exception() is None:
            await second.result().aclose()


async def queued_for_a_slot(upstream: Upstream, origin: Origin) -> None:
    holder: Exchange = await upstream.exchange(origin, b"GET", b"/k", HOST)
    loop = asyncio.get_running_loop()
    loop.call_later(0.02, holder.abort)
    try:
        await (await upstream.exchange(origin, b"GET", b"/k", HOST)).aclose()
    finally:
        holder.abort()


@pytest.mark.parametrize("scenario", [download, upload, queued, queued_for_a_slot])
@pytest.mark.parametrize("is_warm", [False, True])
async def test_cancelled_at_every_await(
    scenario: Callable[[Upstream, Origin], Coroutine[Any, Any, None]], is_warm: bool
) -> None:
    async with node(lagging) as at:
        for suspension in range(1, 400):
            upstream = Upstream(limits=Limits(connections=1))
            if is_warm:
                await download(upstream, at.origin)
            run = CancelAt(scenario(upstream, at.origin), suspension)

            async def scene(run: CancelAt = run) -> None:
                await run

            task = asyncio.create_task(scene())
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            for pool in upstream._pools.values():
                assert pool._slots_taken == len(upstream._connections)
                assert not pool._waiters
            assert all(connection.exchange is None for connection in upstream._connections)
            # The slot is there for the next one.
            await asyncio.wait_for(download(upstream, at.origin), 5)
            await upstream.aclose()
            if not run.was_reached:
                assert suspension > 3
                break


async def test_a_storm_of_cancellations_leaks_nothing() -> None:
    rng = random.Random(5)
    upstream = Upstream(limits=Limits(connections=4))
    async with node(echoing) as at:

        async def ask() -> None:
            exchange = await upstream.exchange(at.origin, b"PUT", b"/k", HOST, b"x" * 1000)
            try:
                assert await exchange.read(10) == b"ok"
            finally:
                await exchange.aclose()

        for _ in range(30):
            tasks = [asyncio.create_task(ask()) for _ in range(30)]
            for _ in range(5):
                await asyncio.sleep(rng.random() / 500)
                for task in rng.sample(tasks, 4):
                    task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError)
            assert slots(upstream) == len(upstream._connections) <= 4
        await upstream.aclose()
        assert slots(upstream) == 0


async def test_pools_are_apart_by_pinned_address() -> None:
    upstream = Upstream()
    async with node(playing(OK)) as at:
        for address in (None, "127.0.0.1"):
            origin = Origin("http", "localhost", at.origin.port, address)
            await (await upstream.exchange(origin, b"GET", b"/k", HOST)).read(10)
        assert len(upstream._pools) == 2
        await upstream.aclose()
