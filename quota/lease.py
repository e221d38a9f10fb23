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
from quota.live import LEASE_MARGIN, LiveState
from quota.stopping import raise_if_cancelled
from quota.wire import WireError

log = structlog.get_logger("quota.lease")

#: Of a lease, how long a worker serves once it has been told of a revocation that it has not applied. What is left is
#: for the renewal that told it: so it ends within a lease of the revocation even where the state's clock stands still.
_BEHIND: Final = 0.75

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

    def cut_all(self, floor: int | None = None) -> int:
        """Abort every transfer; returns how many there were.

        With `floor` also forget what was revoked so far, and refuse from now on what was admitted before that number.
        """

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
        self._epoch = ""
        self._reap_at = 0.0
        self._behind_since: float | None = None
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

    @property
    def seen(self) -> int:
        """The number of the last revocation that this worker has applied."""
        return self._seen

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
                await self._gate.run("leave", self._gate.worker, self._gate.commit_ms, 0)
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
                    await self._reap()
                else:
                    await self._join()
            except (GateUnavailable, WireError, OSError) as error:
                log.debug("lease_not_renewed", error=type(error).__name__)
            except Exception:
                # Nobody else would renew: go on, and let the lease run out where it goes on failing.
                log.exception("lease_failed")
            wait = pause if self._gate.epoch else 0.1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew_now.wait(), wait)

    async def _reap(self) -> None:
        """End the leases of workers that died: others wait for what those held, with or without a broker."""
        if self._gate.epoch and now() >= self._reap_at:
            self._reap_at = now() + self._seconds
            await self._gate.run("leave", "", self._gate.commit_ms, int(LEASE_MARGIN * 1000))

    async def _join(self) -> None:
        """Take a new lease under a new id, once Redis holds a state of its own server."""
        layout = self._gate.layout
        reply = await self._gate.wire.execute("HMGET", layout["STATE"], "epoch", "run_id")
        epoch, run_id = reply
        if epoch is None or text(run_id) != self._gate.wire.run_id:
            return
        # Whatever ran under the old lease was decided by a state that this one does not vouch for; nor may replies
        # that are still under way begin anything (`Gate` compares the worker's id).
        self._expires, self._gate.worker = 0.0, ""
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
        self._behind_since = None
        self._cuts.clear()
        self._transfers.cut_all(self._seen)
        if text(epoch) != self._epoch and (taken := await self._gate.reassert(text(epoch), worker)):
            log.warning("mutations_reasserted", count=taken)
        self._epoch = text(epoch)
        self._grant(asked, int(answer[1]))
        self._gate.worker, self._gate.epoch = worker, text(epoch)
        log.info("lease_taken", worker=worker)

    async def _renew(self) -> None:
        async with self._renewing:
            worker = self._gate.worker
            cuts, self._cuts = self._cuts, {}
            told = json.dumps(self._transfers.describe()) if self._watched else ""
            asked = now()
            try:
                answer = await self._gate.run(
                    "renew",
                    worker,
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
            if self._gate.worker != worker:
                # The lease ran out while the answer was under way, and what it kept has been cut.
                return
            refused = denial(answer)
            if refused is not None:
                # Not ready: keep what runs until the lease ends. Fenced: others were told that we are gone.
                self._gate.epoch = ""
                if refused.code is not DenialCode.NOT_READY:
                    self._end()
                return
            self._grant(asked, self._limited(asked, int(answer[1]), int(answer[2])))
            self._watched = answer[4] == b"1"

    def _limited(self, asked: float, granted_ms: int, newest: int) -> int:
        """Return what of a granted lease may be used by a worker that revocations do not reach."""
        if newest <= self._seen:
            self._behind_since = None
            return granted_ms
        if self._behind_since is None:
            self._behind_since = asked
        return min(granted_ms, int((self._behind_since + self._seconds * _BEHIND - asked) * 1000))

    def _grant(self, asked: float, granted_ms: int) -> None:
        # From before asking: the state's own count began later.
        self._expires = asked + granted_ms / 1000
        if self._lapse is not None:
            self._lapse.cancel()
        loop = asyncio.get_running_loop()
        self._lapse = loop.call_later(max(0.0, self._expires - now()), self._check_lapse)

    def _check_lapse(self) -> None:
        left = self._expires - now()
        if left <= 0:
            self._end()
        else:
            # Another clock's timer may come early.
            self._lapse = asyncio.get_running_loop().call_later(left + 0.001, self._check_lapse)

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
                raise_if_cancelled()
                log.debug("revocations_interrupted", error=type(error).__name__)
                await asyncio.sleep(0.1)
                continue
            raise_if_cancelled()
            if self._gate.epoch != epoch or not found:
                continue
            try:
                for _name, entries in found:
                    for entry, fields in entries:
                        self._stream = text(entry)
                        self._apply(epoch, fields)
            except Exception:
                # What cannot be understood may have named anything.
                log.exception("revocation_not_understood")
                self._end()
                continue
            # Told at once: the command that revoked waits for it.
            self._renew_now.set()

    def _apply(self, epoch: str, fields: dict[bytes, bytes]) -> None:
        number = int(fields[b"n"])
        if text(fields[b"epoch"]) != epoch or number <= self._seen:
            return
        if number != self._seen + 1:
            log.warning("revocations_missing", expected=self._seen + 1, got=number)
            cut = self._transfers.cut_all(number)
        else:
            cut = self._transfers.cut(number, json.loads(fields[b"names"]))
        self._seen = number
        if cut:
            self._cuts[number] = self._cuts.get(number, 0) + cut
