"""One change of one key, from its hold to its settlement: released or settled exactly once, on every path out.

States: held → (base known) → released to the node → done | none | doubt. What may interrupt: the client goes, the
node goes, a revocation, the lease ends, Redis goes. The rules are 5 to 8 of the protocol; `quota/lua/lib/groups.lua`
keeps the books, this keeps the promises of one member:

- its final byte (for empty bodies: the headers) goes to the node only after `may_release` has returned;
- it ends as *none* only where the node certainly has nothing of it; every other end that is no success is *doubt*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Self

from quota import Denial, DenialCode, Outcome, Settlement
from quota.gate import Gate, GateUnavailable, Stake

#: Pauses (seconds) between questions while another member reads the base.
_FIRST_PAUSE: Final = 0.002
_LAST_PAUSE: Final = 0.1
#: Seconds that a member waits for another's base: whoever owes it is dead, or its node is.
_PATIENCE: Final = 30.0


class Base:
    """What a key holds: bytes and objects (0 or 1)."""

    __slots__ = (
        "bytes",
        "objects",
    )

    def __init__(
        self,
        bytes: int,
        objects: int,
    ) -> None:
        self.bytes: Final = bytes
        self.objects: Final = objects


class Denied(Exception):
    """The live state said no after the request had begun; carries the denial to the border."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.code.value)
        self.denial = denial


Look = Callable[[], Awaitable[Base]]


class Mutation:
    """A member of a key's group. `look` reads what the key holds at the node now.

    `duty` is what admit answered. Use as `with`: leaving without an outcome settles as *none* before
    `released`, and as *doubt* after.
    """

    def __init__(
        self,
        gate: Gate,
        hold: str,
        duty: str,
        look: Look,
        *,
        presume_absent: bool = False,
        stake: Stake | None = None,
    ) -> None:
        self._gate = gate
        self._hold = hold
        self._duty = duty
        self._look = look
        self._presume_absent = presume_absent and duty == "read"
        self._stake = stake
        self._reading: asyncio.Task[Base] | None = None
        self._base: Base | None = None
        self._told = False
        self._ended = False
        #: Set just before the final byte may reach the node.
        self.released = False
        #: The size that the hold stands for, in bytes.
        self.size = 0
        #: Whether the final byte may have reached the node, once it was released; told by who sends it.
        self.was_sent: Callable[[], bool] = _presumably
        #: Whether a part was stored for an upload that is gone.
        self.is_orphan = False
        #: How it ended, once it has.
        self.outcome: Outcome | None = None

    @property
    def needs_size(self) -> bool:
        """Whether nothing is held yet, because the full size has no room or the size is not known."""
        return self._duty in ("size", "wait-size")

    def start_reading(self) -> None:
        """Begin to read the base beside what else goes on, where this member owes it."""
        if self._duty in ("read", "tell", "size") and self._reading is None and not self._presume_absent:
            self._reading = asyncio.get_running_loop().create_task(_read(self._look))

    async def _read_base(self) -> Base:
        if self._base is None:
            if self._reading is not None:
                self._base = await asyncio.shield(self._reading)
            else:
                self._base = await self._look()
        return self._base

    async def tell_base(self) -> None:
        """Read the base and tell it, so that others on this key need not wait for the end of a long body."""
        if self._duty in ("read", "tell") and not self._told and not self._presume_absent:
            await self._settle_size(-1, 0, ())

    async def take_size(self, size: int, objects: int, parts: tuple[int, ...] = ()) -> int:
        """Tell the size (bytes) that was not known at admit; returns it. Raises `Denied` where it has no room.

        `parts` makes it the sum of those parts of the upload.
        """
        return await self._settle_size(size, objects, parts)

    async def ensure_room(self) -> None:
        """Where the full size has no room: find out whether the difference has. Raises `Denied`."""
        if self.needs_size:
            await self._settle_size(-1, 0, ())

    async def _settle_size(self, size: int, objects: int, parts: tuple[int, ...]) -> int:
        pause = _FIRST_PAUSE
        base = Base(-1, 0)
        if self._duty in ("read", "tell", "size") and not self._presume_absent:
            base = await self._read_base()
        loop = asyncio.get_running_loop()
        patience = loop.time() + _PATIENCE
        while True:
            answer = await self._gate.size(
                self._hold,
                base=base.bytes,
                base_objects=base.objects,
                size=size,
                objects=objects,
                parts=parts,
            )
            if isinstance(answer, Denial):
                self._ended = answer.code is not DenialCode.NOT_READY
                raise Denied(answer)
            if isinstance(answer, int):
                self._duty, self._told, self.size = "known", True, answer
                return answer
            if answer == "read":
                self._base = None
                base = await self._read_base()
                continue
            if loop.time() > patience:
                raise Denied(Denial(DenialCode.RECOUNTING, ("workspace", "")))
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LAST_PAUSE)

    async def may_release(self) -> None:
        """Return when the final byte may go: the base is known, here or to the group. Raises `Denied`."""
        if self._duty in ("tell", "wait", "size", "wait-size"):
            await self._settle_size(-1, 0, ())
        elif self._duty == "read" and not self._presume_absent:
            await self._read_base()
        if self._ended:
            # The node has answered before the end of the body, and that was settled.
            raise RuntimeError("the change has ended already")
        self.released = True
        if self._stake is not None:
            self._gate.released[self._hold] = self._stake.of_size(max(0, self.size))

    def not_sent(self) -> None:
        """The final byte did not go after all: the connection failed before it."""
        self.released = False
        self._gate.released.pop(self._hold, None)

    async def done(self, size: int, objects: int) -> str:
        """The node holds `size` bytes and `objects` objects by this change; returns what the books say."""
        base = Base(0, 0) if self._presume_absent and self._duty == "read" else self._base
        return await self._settle(Outcome.DONE, base, size, objects)

    async def none(self) -> None:
        """The node holds nothing of this change, for certain."""
        await self._settle(Outcome.NONE, self._base, 0, 0)

    async def doubt(self) -> None:
        """The node may hold it or not."""
        await self._settle(Outcome.DOUBT, self._base, 0, 0)

    async def _settle(self, outcome: Outcome, base: Base | None, size: int, objects: int) -> str:
        if self._ended:
            return "gone"
        self._ended = True
        self.outcome = outcome
        reading = self._reading
        if reading is not None and not reading.done():
            reading.cancel()
        told = base or Base(-1, 0)
        try:
            (result,) = await self._gate.settle(
                [Settlement(self._hold, outcome, told.bytes, told.objects, size, objects)]
            )
            if result == "look":
                await settle_by_look(self._gate, self._hold, self._look)
        except GateUnavailable:
            # The node has stored, or has not; the gate owes the settlement and pays it later (rule 8).
            return "owed"
        self.is_orphan = result == "orphan"
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._ended:
            return
        self._ended = True
        if self._reading is not None:
            self._reading.cancel()
        base = self._base or Base(-1, 0)
        outcome = Outcome.DOUBT if self.released and self.was_sent() else Outcome.NONE
        self.outcome = outcome
        # Not awaited: this path may be a cancellation, and the settlement must not be.
        self._gate.settle_later(Settlement(self._hold, outcome, base.bytes, base.objects))


async def settle_by_look(gate: Gate, hold: str, look: Look) -> None:
    """End the last of several members: only a look tells which of them the node kept.

    A look that fails leaves them in doubt; the request itself has succeeded.
    """
    result = "look"
    while result == "look":
        try:
            found = await look()
        except BaseException as failure:
            gate.settle_later(Settlement(hold, Outcome.DOUBT))
            if isinstance(failure, Exception):
                return
            raise
        (result,) = await gate.settle(
            [Settlement(hold, Outcome.LOOK, bytes=found.bytes, objects=found.objects)]
        )


def _presumably() -> bool:
    return True


async def _read(look: Look) -> Base:
    return await look()
