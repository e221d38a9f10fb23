"""A node in memory, and operations on it that go one step at a time: what an interleaving is made of.

The operations are the proxy's own `Mutation` on a real server's books; only the node and its network are played here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from broker.quotas.listing import Entry
from proxy.mutation import Base, Denied, Mutation
from quota import Denial, new_id
from quota.gate import Stake
from tests.quota.conftest import World


@dataclass
class Node:
    """Objects by key, uploads with their parts; every change is at once and for good."""

    objects: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, dict[int, int]] = field(default_factory=dict)

    def stored(self) -> tuple[int, int]:
        waiting = sum(sum(parts.values()) for parts in self.uploads.values())
        return sum(self.objects.values()) + waiting, len(self.objects)

    async def look(self, key: str) -> Base:
        return Base(self.objects[key], 1) if key in self.objects else Base(0, 0)

    # What a recount asks of a `Place`.

    async def entries(self) -> AsyncIterator[Entry]:
        for key, size in sorted(self.objects.items()):
            yield Entry(key, size, True)

    async def parts(self, _key: str, upload: str) -> dict[str, int] | None:
        found = self.uploads.get(upload)
        return None if found is None else {str(number): size for number, size in found.items()}


class NodePlace:
    """The node as a recount sees it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries, self.parts = node.entries, node.parts

    async def look(self, key: str) -> tuple[int, int]:
        found = await self.node.look(key)
        return found.bytes, found.objects


class Killed(Exception):
    """The worker is gone: nothing of it runs on."""


Step = Callable[[str], Awaitable[None]]


@dataclass
class Operation:
    """One request. `kind`: put, delete, copy, complete, abort or part; `size` in bytes. `fails`: the node's answer."""

    kind: str
    size: int = 0
    key: str = "k"
    upload: str = "up"
    number: int = 1
    fails: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{self.size or ''}{self.fails}"

    async def run(self, world: World, node: Node, step: Step) -> None:
        """Carry it out; `step(name)` returns when it may go on, or raises `Killed`."""
        if self.kind == "abort":
            await self._abort(world, node, step)
            return
        hold, size, objects = new_id(), self.size, 1
        if self.kind in ("copy", "complete"):
            size = -1
        if self.kind == "delete":
            size = objects = 0
        if self.kind == "part":
            objects = 0
        upload = self.upload if self.kind in ("part", "complete") else ""
        await step("admit")
        answer = await world.gate.admit(
            "A", "photos", 2, self.kind, hold, self.key.encode(), size=size, objects=objects, upload=upload,
            part=self.number,
        )  # fmt: skip
        if isinstance(answer, Denial):
            return

        async def look() -> Base:
            await step("look")
            if self.kind == "part":
                return Base(node.uploads.get(self.upload, {}).get(self.number, 0), 0)
            return await node.look(self.key)

        stake = Stake("ws1", self.kind, self.key.encode(), upload, self.number, objects=objects)
        mutation = Mutation(world.gate, hold, answer.duty, look, stake=stake)
        mutation.size = size
        try:
            await self._change(mutation, node, step)
        except Denied:
            pass
        except Killed:
            # Its worker settles nothing any more; those who live on end its lease.
            world.gate.released.pop(hold, None)
            raise

    async def _change(self, mutation: Mutation, node: Node, step: Step) -> None:
        if self.kind == "copy":
            await mutation.take_size(self.size, 1)
        elif self.kind == "complete":
            await mutation.take_size(0, 1, (self.number,))
        else:
            await mutation.ensure_room()
        await mutation.may_release()
        await step("released")
        stored = self.fails == "" and self.commit(node)
        await step("stored")
        if self.fails == "5xx":
            self.commit(node)
            await mutation.doubt()
        elif stored:
            size = {"delete": 0, "complete": mutation.size}.get(self.kind, self.size)
            await mutation.done(size, int(self.kind not in ("delete", "part")))
        else:
            await mutation.none()
        await step("settled")

    def commit(self, node: Node) -> bool:
        """What the node does with it, whenever it comes to it; whether it did."""
        if self.kind == "delete":
            node.objects.pop(self.key, None)
        elif self.kind == "part":
            if self.upload not in node.uploads:
                return False
            node.uploads[self.upload][self.number] = self.size
        elif self.kind == "complete":
            parts = node.uploads.pop(self.upload, None)
            if parts is None:
                return False
            node.objects[self.key] = parts[self.number]
        else:
            node.objects[self.key] = self.size
        return True

    async def _abort(self, world: World, node: Node, step: Step) -> None:
        await step("admit")
        node.uploads.pop(self.upload, None)
        await step("stored")
        await world.gate.end_upload("ws1", self.upload)
        await step("settled")


class Runner:
    """Runs an operation between the steps that a test grants it."""

    def __init__(self, world: World, node: Node, operation: Operation) -> None:
        self.operation = operation
        self.at = ""
        self._go = asyncio.Event()
        self._arrived = asyncio.Event()
        self._is_killed = False
        self.task = asyncio.create_task(operation.run(world, node, self._step))

    async def _step(self, name: str) -> None:
        self.at = name
        self._arrived.set()
        await self._go.wait()
        self._go.clear()
        if self._is_killed:
            raise Killed

    async def settle_down(self, seconds: float = 0.006) -> None:
        """Wait until it stands at a step, has ended, or waits for another."""
        arrived = asyncio.create_task(self._arrived.wait())
        await asyncio.wait([arrived, self.task], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        arrived.cancel()

    async def grant(self) -> None:
        """Let it do one step more."""
        if not self._arrived.is_set():
            await self.settle_down()
        if self._arrived.is_set():
            self._arrived.clear()
            self._go.set()
        await self.settle_down()

    async def kill(self) -> None:
        """End it where it stands, as SIGKILL would: nothing is settled."""
        self._is_killed = True
        self._arrived.clear()
        self._go.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
