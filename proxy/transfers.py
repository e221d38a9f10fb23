"""The requests that run now, known by everything that they depend on, so that a revocation finds them (rule 12)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

#: Revocations remembered to refuse requests that were admitted before them; older ones cut everything anyway.
_REMEMBERED: Final = 100_000


class Transfer:
    """One admitted request.

    `abort` is called at most once, when it is cut; it must not wait. `bytes` counts payload moved, in either
    direction. `started` is on the monotonic clock.
    """

    __slots__ = (
        "abort",
        "admitted_at",
        "bucket",
        "bytes",
        "chain",
        "cut_by",
        "direction",
        "expiry",
        "id",
        "key",
        "operation",
        "started",
        "user",
        "workspace",
    )

    def __init__(
        self,
        id: str,
        *,
        chain: tuple[str, ...],
        user: str,
        workspace: str,
        bucket: str,
        key: str,
        operation: str,
        direction: str,
        abort: Callable[[], None],
    ) -> None:
        self.id = id
        self.chain = chain
        self.user = user
        self.workspace = workspace
        self.bucket = bucket
        self.key = key
        self.operation = operation
        self.direction = direction
        self.abort = abort
        self.bytes = 0
        self.started = time.monotonic()
        self.admitted_at = time.time()
        self.cut_by: int | None = None
        self.expiry: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "running" if self.cut_by is None else f"cut by {self.cut_by}"
        return f"<Transfer {self.id} {self.operation} {self.bucket}/{self.key} {state}>"

    def cut(self, number: int) -> bool:
        """Abort, once; returns whether it still ran."""
        if self.cut_by is not None:
            return False
        self.cut_by = number
        self.abort()
        return True


class TransferTable:
    """All transfers of one worker. Nothing in it waits."""

    def __init__(self, on_cut: Callable[[Transfer], None] | None = None) -> None:
        self._running: dict[str, Transfer] = {}
        self._revoked: dict[str, int] = {}
        self._floor = 0
        self._on_cut = on_cut

    def __len__(self) -> int:
        return len(self._running)

    def register(self, transfer: Transfer, rev: int, ends_ms: int = 0) -> bool:
        """Take a transfer in before it is forwarded; False when what it depends on was revoked after `rev`.

        After `ends_ms` (0 for never) it is cut: a share's end ends its transfers.
        """
        revoked = self._revoked
        if rev < self._floor:
            return False
        if revoked:
            for name in transfer.chain:
                if revoked.get(name, 0) > rev:
                    return False
        self._running[transfer.id] = transfer
        if ends_ms:
            transfer.expiry = asyncio.get_running_loop().call_later(ends_ms / 1000, self._expire, transfer)
        return True

    def finish(self, transfer: Transfer) -> None:
        """Let a transfer go; harmless when it is not there."""
        if self._running.pop(transfer.id, None) is None:
            return
        if transfer.expiry is not None:
            transfer.expiry.cancel()

    def cut(self, number: int, names: Sequence[str]) -> int:
        """Abort all that depends on one of `names`, and refuse what was admitted before `number`."""
        count = 0
        for name in names:
            self._revoked.pop(name, None)
            self._revoked[name] = number
        # A look at all that runs is a millisecond for thousands; an index would be kept up for every request.
        named = frozenset(names)
        for transfer in list(self._running.values()):
            if not named.isdisjoint(transfer.chain):
                count += self._cut(transfer, number)
        while len(self._revoked) > _REMEMBERED:
            oldest = next(iter(self._revoked))
            self._floor = max(self._floor, self._revoked.pop(oldest))
        return count

    def cut_all(self, floor: int | None = None) -> int:
        """Abort everything. With `floor`, refuse from now on just what was admitted before that revocation."""
        if floor is not None:
            self._floor = floor
            self._revoked.clear()
        return sum(self._cut(transfer, 0) for transfer in list(self._running.values()))

    def _cut(self, transfer: Transfer, number: int) -> bool:
        if not transfer.cut(number):
            return False
        if self._on_cut is not None:
            self._on_cut(transfer)
        return True

    def _expire(self, transfer: Transfer) -> None:
        self._cut(transfer, 0)

    def describe(self) -> list[dict[str, Any]]:
        """Return what runs, at most 1,000, as `wio transfers` shows it; sizes in bytes, times in seconds."""
        now = time.monotonic()
        found = []
        for transfer in list(self._running.values())[:1000]:
            seconds = max(now - transfer.started, 1e-3)
            found.append(
                {
                    "id": transfer.id,
                    "user": transfer.user,
                    "workspace": transfer.workspace,
                    "bucket": transfer.bucket,
                    "key": transfer.key,
                    "operation": transfer.operation,
                    "direction": transfer.direction,
                    "bytes": transfer.bytes,
                    "bytes_per_second": int(transfer.bytes / seconds),
                    "started_at": transfer.admitted_at,
                    "shares": [name[2:] for name in transfer.chain if name.startswith("s:")],
                    "credential": next((name[2:] for name in transfer.chain if name.startswith("c:")), ""),
                    "chain": list(transfer.chain),
                }
            )
        return found
