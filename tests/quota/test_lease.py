"""Leases and revocations on a real server: what a worker may still do, and how long anybody waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.transfers import Transfer, TransferTable
from quota import Denial, LiveState
from quota.gate import NOT_READY
from quota.lease import Lease
from quota.live import LEASE_MARGIN
from tests.quota.conftest import World

SECONDS = 1.0
SLACK = 1.5


class Table(TransferTable):
    """Notes what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, Sequence[str]]] = []
        self.floors: list[int | None] = []

    def cut(self, number: int, names: Sequence[str]) -> int:
        self.told.append((number, names))
        return super().cut(number, names)

    def cut_all(self, floor: int | None = None) -> int:
        self.floors.append(floor)
        return super().cut_all(floor)


@asynccontextmanager
async def holding(world: World) -> AsyncIterator[tuple[Lease, Table]]:
    world.gate.epoch = world.gate.worker = ""
    table = Table()
    lease = Lease(world.gate, world.live, table, seconds=SECONDS, info={})
    lease.start()
    try:
        await until(lambda: lease.is_held)
        yield lease, table
    finally:
        await lease.aclose()


async def until(holds: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def transfer(table: Table, *chain: str, rev: int = 1 << 40) -> tuple[Transfer, list[str], bool]:
    cut: list[str] = []
    one = Transfer(
        f"t{len(table)}-{time.monotonic_ns()}",
        chain=chain,
        user="bob",
        workspace="ws1",
        bucket="alice.photos",
        key="k",
        operation="GetObject",
        direction="download",
        abort=lambda: cut.append("cut"),
    )
    return one, cut, table.register(one, rev)


async def test_a_revocation_is_told_applied_and_acknowledged(world: World) -> None:
    async with holding(world) as (_lease, table):
        _one, cut, taken = transfer(table, "s:share1")
        _other, spared, _ = transfer(table, "s:share2")
        assert taken
        number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
        acks = await world.live.await_acks(number)
        assert (acks.transfers_cut, acks.workers_unreachable) == (1, 0)
        assert acks.seconds < SECONDS
        assert cut == ["cut"]
        assert spared == []


async def test_admitted_then_revoked_then_started(world: World) -> None:
    async with holding(world) as (_lease, table):
        admitted = await world.gate.admit_read("B", "alice.photos", 1)
        assert not isinstance(admitted, Denial)
        await world.live.await_acks(await world.define("grant", "ws1|u:bob", None, ("s:share1",)))
        _one, _cut, taken = transfer(table, *admitted.chain, rev=admitted.rev)
        assert not taken


async def test_an_admit_reply_that_crosses_a_lost_lease_begins_nothing(world: World) -> None:
    async with holding(world) as (lease, _table):
        call = world.gate.wire.call
        held = asyncio.Event()

        async def delayed(verb: str, *args: Any) -> Any:
            reply = await call(verb, *args)
            if verb in ("admit", "admit_read"):
                await held.wait()
            return reply

        world.gate.wire.call = delayed  # type: ignore[method-assign]
        asking = asyncio.ensure_future(world.gate.admit_read("B", "alice.photos", 1))
        writing = asyncio.ensure_future(
            world.gate.admit("A", "photos", 2, "put", "hold1", b"k", size=10, objects=1)
        )
        await asyncio.sleep(0.1)
        worker = world.gate.worker
        lease._end()
        await until(lambda: lease.is_held and world.gate.worker != worker)
        held.set()
        assert await asking == NOT_READY
        assert await writing == NOT_READY
        world.gate.wire.call = call  # type: ignore[method-assign]

        async def given_back() -> bool:
            usage = await world.usage()
            return usage["hb"] == 0

        async with asyncio.timeout(5):
            while not await given_back():
                await asyncio.sleep(0.02)


async def test_a_new_lease_refuses_what_an_older_revocation_saw(world: World) -> None:
    async with holding(world) as (lease, table):
        for i in range(3):
            number = await world.define("grant", "ws1|u:bob", None, (f"s:x{i}",))
        worker = world.gate.worker
        lease._end()
        await until(lambda: lease.is_held and world.gate.worker != worker)
        assert table.floors[-1] == number
        assert not transfer(table, "s:whatever", rev=number - 1)[2]
        assert transfer(table, "s:whatever", rev=number)[2]


async def test_a_gap_cuts_everything(world: World) -> None:
    async with holding(world) as (lease, table):
        _one, cut, _ = transfer(table, "s:unrelated")
        # Two numbers at once, the first of which never reaches the stream.
        await world.live.redis.hincrby(world.live.layout["STATE"], "rev", 1)
        number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
        await until(lambda: bool(cut))
        assert number in table.floors
        assert not transfer(table, "s:unrelated", rev=number - 1)[2]
        await until(lambda: lease.is_held)


async def test_a_worker_that_renews_and_never_acknowledges_loses_its_lease(world: World) -> None:
    async with holding(world) as (lease, table):
        lease._tasks[1].cancel()
        _one, cut, _ = transfer(table, "s:unrelated")
        number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
        began = time.monotonic()
        acks = await world.live.await_acks(number)
        took = time.monotonic() - began
        assert not table.told
        assert took < SECONDS + LEASE_MARGIN + SLACK
        # By the time that the command returns, it had stopped by itself.
        assert cut == ["cut"]
        assert acks.workers_unreachable <= 1


async def test_a_state_whose_clock_stands_still_does_not_lengthen_a_lease(world: World) -> None:
    async with holding(world) as (lease, table):
        worker, ahead = world.gate.worker, int(time.time() * 1000) + 3_600_000
        await world.live.redis.hset(world.live.layout["STATE"], "clock", str(ahead))
        # By that clock its lease is long over: it takes another one.
        await until(lambda: lease.is_held and world.gate.worker != worker)
        lease._tasks[1].cancel()
        _one, cut, _ = transfer(table, "s:unrelated")
        number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
        began = time.monotonic()
        await world.live.await_acks(number)
        assert time.monotonic() - began < SECONDS + LEASE_MARGIN + SLACK
        assert cut == ["cut"]


async def test_the_wait_is_bounded_where_redis_does_not_answer(world: World) -> None:
    number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
    await world.live.redis.hdel(world.live.layout["STATE"], "epoch")
    began = time.monotonic()
    acks = await world.live.await_acks(number)
    took = time.monotonic() - began
    assert SECONDS <= took < SECONDS + LEASE_MARGIN + SLACK
    assert acks.workers_unreachable == 1


async def test_an_early_timer_does_not_forget_the_lapse(world: World) -> None:
    async with holding(world) as (lease, table):
        for task in lease._tasks:
            task.cancel()
        _one, cut, _ = transfer(table, "s:share1")
        lease._check_lapse()
        assert not cut
        await until(lambda: bool(cut), SECONDS + SLACK)
        assert not lease.is_valid()


async def test_one_that_left_is_not_waited_for(world: World) -> None:
    async with holding(world):
        pass
    number = await world.define("grant", "ws1|u:bob", None, ("s:share1",))
    acks = await world.live.await_acks(number)
    assert acks.workers_unreachable == 0
    assert acks.seconds < SECONDS / 2


async def test_a_share_that_ends_cuts_at_its_time(world: World) -> None:
    ends = int(time.time() * 1000) + 400
    await world.define("grant", "ws1|u:bob", {"share": "s9", "permission": 1, "expires": ends, "chain": []})
    admitted = await world.gate.admit_read("B", "alice.photos", 1)
    assert not isinstance(admitted, Denial)
    assert 0 < admitted.share_ends_ms <= 400
    table = Table()
    one = Transfer(
        "t1", chain=admitted.chain, user="bob", workspace="ws1", bucket="alice.photos", key="k",
        operation="GetObject", direction="download", abort=lambda: None,
    )  # fmt: skip
    assert table.register(one, admitted.rev, admitted.share_ends_ms)
    await until(lambda: one.cut_by is not None)


@pytest.mark.parametrize("names", [["s:a"], ["s:a", "c:b"]])
async def test_two_brokers_number_in_one_sequence(world: World, names: list[str]) -> None:
    other = await LiveState.connect(world.settings)
    try:
        first = await world.live.apply([], names)
        assert await other.apply([], names) == first + 1
    finally:
        await other.aclose()
