"""All interleavings of two operations on one key, and a worker killed at each step (protocol, test 1).

At every instant what is charged is at least what the node holds; and it is the same after a recount.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Iterator

import pytest

from broker.quotas.recount import count
from tests.quota.bookkeeping import Node, NodePlace, Operation, Runner
from tests.quota.conftest import World

#: At most so many steps has an operation.
STEPS = 5

OPERATIONS = (
    Operation("put", 70),
    Operation("put", 30),
    Operation("delete"),
    Operation("copy", 50),
    Operation("complete", 60),
    Operation("abort"),
    Operation("part", 90),
    Operation("put", 40, fails="5xx"),
    Operation("put", 80, fails="4xx"),
    Operation("complete", 60, fails="5xx"),
)
PAIRS = tuple(itertools.combinations_with_replacement(OPERATIONS, 2))


def schedules(first: int, second: int) -> Iterator[str]:
    """Every order of `first` steps of a and `second` of b, as words of a and b."""
    for places in itertools.combinations(range(first + second), first):
        yield "".join("a" if i in places else "b" for i in range(first + second))


#: All 252 orders of twice five steps in `make soak`; some of them, spread evenly, in `make test`.
ORDERS = tuple(schedules(STEPS, STEPS))[:: 1 if "WIO_SOAK" in os.environ else 37]


class Books:
    """One key with something on it, one upload with a part; made anew for each schedule."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.node = Node()

    async def begin(self) -> None:
        world, redis, layout = self.world, self.world.live.redis, self.world.live.layout
        await redis.unlink(*(layout[name] for name in ("USAGE", "HOLDS", "KEYS_HASH", "UPLOADS", "DIRTY")))
        self.node = Node()
        for seed in (Operation("put", 20),):
            await self._whole(seed)
        await world.gate.begin_upload("ws1", "up", b"k", "node1", world.sealer.seal(b"up", b"node-upload"))
        self.node.uploads["up"] = {}
        await self._whole(Operation("part", 60))
        assert await self.charged() == self.node.stored() == (80, 1)

    async def _whole(self, operation: Operation) -> None:
        async def on(_name: str) -> None:
            return None

        await operation.run(self.world, self.node, on)

    async def charged(self) -> tuple[int, int]:
        usage = await self.world.usage()
        return usage["b"] + usage["hb"] + usage["db"], usage["o"] + usage["ho"] + usage["do"]

    async def check(self, story: str) -> None:
        charged, stored = await self.charged(), self.node.stored()
        assert charged[0] >= stored[0], f"{story}: {charged} charged, {stored} stored"
        assert charged[1] >= stored[1], f"{story}: {charged} charged, {stored} stored"

    async def bury(self) -> None:
        """End the lease of the worker."""
        live = self.world.live
        dead = json.dumps({"exp": 0, "seen": 0, "info": "{}"})
        await live.redis.hset(live.layout["WORKERS"], self.world.gate.worker, dead)
        assert await live.run("leave", await live.epoch(), "", 0, 0) == [b"ok", b"worker1"]

    async def end(self, story: str) -> None:
        """End the leases of the dead, and recount: then the books are exact."""
        world = self.world
        await self.bury()
        await self.check(f"{story}, dead reaped")
        place = NodePlace(self.node)
        await count(world.live, world.sealer, place, "ws1", versioned=False, patience=3)  # type: ignore[arg-type]
        assert await self.charged() == self.node.stored(), story
        redis, layout = world.live.redis, world.live.layout
        assert not await redis.hgetall(layout["KEYS_HASH"]), story
        assert not await redis.hlen(layout["DIRTY"]), story
        usage = await world.usage("u:alice")
        assert (usage["b"], usage["o"]) == self.node.stored(), story


@pytest.fixture
async def books(world: World) -> Books:
    # What is in doubt may be looked at at once: the node here commits when it is told to, and never later.
    world.gate.commit_ms = 0
    return Books(world)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
async def test_every_order_of_two_operations(books: Books, pair: tuple[Operation, Operation]) -> None:
    for order in ORDERS:
        await books.begin()
        runners = {name: Runner(books.world, books.node, one) for name, one in zip("ab", pair, strict=True)}
        for runner in runners.values():
            await runner.settle_down()
        story = f"{pair[0]} and {pair[1]} in the order "
        for name in order:
            await runners[name].grant()
            story += f"{name}:{runners[name].at} "
            await books.check(story)
        for _ in range(2 * STEPS):
            for runner in runners.values():
                if not runner.task.done():
                    await runner.grant()
                    await books.check(story)
        for runner in runners.values():
            await asyncio.wait_for(runner.task, 2)
        await books.end(story)


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
@pytest.mark.parametrize("victim", OPERATIONS, ids=str)
async def test_a_worker_killed_at_each_step_beside_another(
    books: Books, victim: Operation, late: bool
) -> None:
    """`late`: what the dead worker had released is stored by the node after its death."""
    for other, steps in itertools.product((OPERATIONS[0], OPERATIONS[2], OPERATIONS[4]), range(STEPS + 1)):
        await books.begin()
        dying, living = (Runner(books.world, books.node, one) for one in (victim, other))
        story = f"{victim} killed after {steps} steps, beside {other}"
        await living.grant()
        for _ in range(steps):
            await dying.grant()
            await books.check(story)
        was_released = dying.at == "released"
        await dying.kill()
        if late and was_released:
            victim.commit(books.node)
            await books.check(f"{story}, stored late")
        await books.bury()
        await books.check(f"{story}, reaped")
        # The survivor's own hold was under the same worker id, and is in doubt now as well; it goes on all the same.
        for _ in range(2 * STEPS):
            if not living.task.done():
                await living.grant()
                await books.check(story)
        await asyncio.wait_for(living.task, 5)
        await books.end(story)
