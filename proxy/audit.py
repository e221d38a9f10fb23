"""What the audit trail must know of this worker: denials by share or quota, and transfers that were cut.

Told to the broker over a bounded stream, a few times a second and off the path of requests. A storm of denials cannot
flood it: of each credential so many a minute are told one by one, the rest as a number with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final

from quota import Layout
from quota.wire import Wire, WireError

if TYPE_CHECKING:
    from proxy.call import Call

#: The refusals that are about what somebody may do or use, not about how they asked.
DENIALS: Final = frozenset({"AccessDenied", "QuotaExceeded"})
#: Denials of one credential that are told one by one in a minute.
PER_MINUTE: Final = 20
_PAUSE: Final = 0.2
_BATCH: Final = 100
_WAITING: Final = 20_000
_CREDENTIALS: Final = 10_000
#: Entries that wait for a broker, in Redis.
_STREAM_LENGTH: Final = 100_000


class _Minute:
    __slots__ = ("count", "ends", "left_out")

    def __init__(self) -> None:
        self.ends = 0.0
        self.count = 0
        self.left_out = 0


class AuditTrail:
    """Collects, and tells in the background; what Redis cannot take now waits, up to a bound."""

    def __init__(self, wire: Wire, realm: str) -> None:
        self._wire = wire
        self._stream = Layout(realm)["AUDIT"]
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_WAITING)
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="audit")

    async def aclose(self) -> None:
        """Tell what is left, if Redis is there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        with contextlib.suppress(WireError):
            await self._tell()

    def ended(self, call: Call) -> None:
        """Look at a request that has ended; most leave nothing."""
        transfer = call.transfer
        if transfer is not None and transfer.cut_by is not None:
            outcome = call.mutation.outcome if call.mutation is not None else None
            self._waiting.append(
                {
                    **_facts(call),
                    "action": "transfer.cut",
                    "user": transfer.user,
                    "workspace": transfer.workspace,
                    "detail": {
                        "direction": transfer.direction,
                        "bytes": transfer.bytes,
                        "revocation": transfer.cut_by or None,
                        "shares": [name[2:] for name in transfer.chain if name.startswith("s:")],
                        "outcome": _OUTCOMES[outcome.value] if outcome is not None else None,
                    },
                }
            )
        elif call.code in DENIALS and call.is_planned:
            self._denied(call)

    def _denied(self, call: Call) -> None:
        minute = self._minutes.get(call.access_key_id)
        if minute is None:
            minute = self._minutes[call.access_key_id] = _Minute()
            if len(self._minutes) > _CREDENTIALS:
                self._minutes.popitem(last=False)
        now = time.monotonic()
        if now >= minute.ends:
            minute.ends, minute.count = now + 60, 0
        if minute.count >= PER_MINUTE:
            minute.left_out += 1
            return
        minute.count += 1
        self._waiting.append(
            {
                **_facts(call),
                "action": "denied.quota" if call.code == "QuotaExceeded" else "denied.share",
                "user": call.admitted.user if call.is_admitted else None,
                "workspace": call.admitted.workspace if call.is_admitted else None,
                "detail": {"more_before": minute.left_out} if minute.left_out else {},
            }
        )
        minute.left_out = 0

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            # With Redis away they wait.
            with contextlib.suppress(WireError):
                await self._tell()

    async def _tell(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            told = [
                self._wire.execute(
                    "XADD", self._stream, "MAXLEN", "~", _STREAM_LENGTH, "*", "row", json.dumps(row)
                )
                for row in batch
            ]
            results = await asyncio.gather(*told, return_exceptions=True)
            failed = [
                row for row, result in zip(batch, results, strict=True) if isinstance(result, BaseException)
            ]
            if failed:
                self._waiting.extendleft(reversed(failed))
                raise WireError("not all of it was told")


#: How a mutation ended that was cut.
_OUTCOMES: Final = {"done": "completed", "none": "nothing stored", "doubt": "in doubt", "look": "completed"}


def _facts(call: Call) -> dict[str, Any]:
    plan = call.plan
    return {
        "at": int(time.time() * 1000),
        "credential": call.access_key_id,
        "request_id": call.request_id.decode(),
        "operation": plan.operation.name,
        "bucket": plan.bucket or "",
        "key": plan.key,
    }
