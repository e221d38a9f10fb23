"""A worker's lease: how long it may act on what it was last told, and how it learns what was revoked (rules 12, 13)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol, cast

import structlog
from redis.exceptions import RedisError

from quota.answers import DenialCode, denial, text
from quota.gate import Gate, GateUnavailable
from quota.ids import new_id
from quota.live import LiveState
from quota.wire import WireError

log = structlog.get_logger("quota.lease")

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: How long one read of the stream waits (ms); shorter than the client's socket timeout.
_BLOCK_MS: Final = 1000


def now() -> float:
    """Return seconds on a clock that goes on while the machine sleeps and never jumps."""
    return time.clock_gettime(_CLOCK)


class Transfers(Protocol):
    """What a lease does to the transfers of its worker; none of it waits."""

    def cut(self, number: int, names: Sequence[str]) -> int:
        """Abort every transfer that depends on one of `names`, and refuse those admitted before `number`."""

    def cut_all(self) -> int:
        """Abort every transfer; returns how many there were."""

    def describe(self) -> list[dict[str, Any]]:
        """Return what runs now, as `wio transfers` shows it."""


class Lease:
    """Keeps `gate` ready while Redis confirms it, and unready otherwise.

    `is_valid()` is checked before each write to a socket. When the lease ends without renewal, all transfers are
    aborted and the worker takes a new id; when the epoch changes, the same. A gap in the revocations cuts everything.
    """

    def __init__(
        self, gate: Gate, live: LiveState, transfers: Transfers, *, seconds: float, info: dict[str, Any]
    ) -> None:
        self._gate = gate
        self._live = live
        self._transfers = transfers
        self._seconds = seconds
        self._info = json.dumps(info)
        self._expires = 0.0
        self._seen = 0
        self._stream = "0-0"
        self._cuts: dict[int, int] = {}
        self._watched = False
        self._renew_now = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._lapse: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        """Whether requests are served."""
        return bool(self._gate.epoch) and self.is_valid()

    def is_valid(self) -> bool:
        """Whether this worker may still hand bytes to a socket."""
        return time.clock_gettime(_CLOCK) < self._expires

    def start(self) -> None:
        """Begin to take and keep the lease, in the background."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._keep(), name="lease"),
            loop.create_task(self._listen(), name="revocations"),
        ]

    async def aclose(self) -> None:
        """Give the lease back; whatever is still held becomes doubt."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._lapse is not None:
            self._lapse.cancel()
        if self._gate.epoch and self._gate.worker:
            with contextlib.suppress(GateUnavailable):
                await self._gate.run("leave", self._gate.worker, 0, 0)
        self._gate.epoch = ""
        self._expires = 0.0

    def void(self) -> None:
        """Stop trusting the state: the server is another one than opened the epoch (rule 3)."""
        if self._gate.epoch:
            self._gate.epoch = ""
            self._renew_now.set()

    async def _keep(self) -> None:
        pause = self._seconds / 5
        while True:
            self._renew_now.clear()
            try:
                if self._gate.epoch and self._gate.worker:
                    await self._renew()
                else:
                    await self._join()
            except (GateUnavailable, WireError, OSError) as error:
                log.debug("lease_not_renewed", error=type(error).__name__)
            wait = pause if self._gate.epoch else 0.1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew_now.wait(), wait)

    async def _join(self) -> None:
        """Take a new lease under a new id, once Redis holds a state of its own server."""
        layout = self._gate.layout
        reply = await self._gate.wire.execute("HMGET", layout["STATE"], "epoch", "run_id")
        epoch, run_id = reply
        if epoch is None or text(run_id) != self._gate.wire.run_id:
            return
        # Whatever ran under the old lease was decided by a state that this one does not vouch for.
        if cut := self._transfers.cut_all():
            log.warning("transfers_cut_at_new_epoch", count=cut)
        worker = new_id()
        asked = now()
        answer = await self._gate.wire.call(
            "renew",
            layout.keys(("STATE", "WORKERS", "REVOCATIONS", "REVISIONS")),
            (epoch, worker, "", int(self._seconds * 1000), self._info, "", ""),
        )
        if denial(answer) is not None:
            return
        self._seen, self._stream = int(answer[2]), text(answer[3])
        self._cuts.clear()
        self._grant(asked, int(answer[1]))
        self._gate.worker, self._gate.epoch = worker, text(epoch)
        log.info("lease_taken", worker=worker)

    async def _renew(self) -> None:
        async with self._renewing:
            cuts, self._cuts = self._cuts, {}
            told = json.dumps(self._transfers.describe()) if self._watched else ""
            asked = now()
            try:
                answer = await self._gate.run(
                    "renew",
                    self._gate.worker,
                    self._seen,
                    int(self._seconds * 1000),
                    self._info,
                    " ".join(f"{number}:{count}" for number, count in cuts.items()),
                    told,
                )
            except GateUnavailable:
                for number, count in cuts.items():
                    self._cuts[number] = self._cuts.get(number, 0) + count
                raise
            refused = denial(answer)
            if refused is not None:
                # Not ready: keep what runs until the lease ends. Fenced: others were told that we are gone.
                self._gate.epoch = ""
                if refused.code is not DenialCode.NOT_READY:
                    self._end()
                return
            self._grant(asked, int(answer[1]))
            self._watched = answer[4] == b"1"

    def _grant(self, asked: float, granted_ms: int) -> None:
        # From before asking: the state's own count began later.
        self._expires = asked + granted_ms / 1000
        if self._lapse is not None:
            self._lapse.cancel()
        loop = asyncio.get_running_loop()
        self._lapse = loop.call_later(max(0.0, self._expires - now()), self._check_lapse)

    def _check_lapse(self) -> None:
        if not self.is_valid():
            self._end()

    def _end(self) -> None:
        self._expires = 0.0
        self._gate.epoch = ""
        self._gate.worker = ""
        if cut := self._transfers.cut_all():
            log.warning("lease_ended", transfers_cut=cut)
        self._renew_now.set()

    async def _listen(self) -> None:
        stream = self._gate.layout["REVOCATIONS"]
        while True:
            epoch = self._gate.epoch
            if not epoch:
                await asyncio.sleep(0.05)
                continue
            try:
                found = await cast(
                    "Awaitable[Any]",
                    self._live.redis.xread({stream: self._stream}, count=100, block=_BLOCK_MS),
                )
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("revocations_interrupted", error=type(error).__name__)
                await asyncio.sleep(0.1)
                continue
            if self._gate.epoch != epoch or not found:
                continue
            for _name, entries in found:
                for entry, fields in entries:
                    self._stream = text(entry)
                    self._apply(epoch, fields)
            # Told at once: the command that revoked waits for it.
            self._renew_now.set()

    def _apply(self, epoch: str, fields: dict[bytes, bytes]) -> None:
        number = int(fields[b"n"])
        if text(fields[b"epoch"]) != epoch or number <= self._seen:
            return
        if number != self._seen + 1:
            log.warning("revocations_missing", expected=self._seen + 1, got=number)
            cut = self._transfers.cut_all()
        else:
            cut = self._transfers.cut(number, json.loads(fields[b"names"]))
        self._seen = number
        if cut:
            self._cuts[number] = self._cuts.get(number, 0) + cut
