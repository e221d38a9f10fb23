"""When each access key was last used: noted without asking anybody, told to Redis every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from quota.live import LiveState, LiveStateError

#: Seconds between two tellings: what a list shows of other processes is at most that old.
TELL_SECONDS: Final = 10.0


class Uses:
    """What one process has seen of its access keys since Redis was last told."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def note(self, access_key_id: str) -> None:
        """It was let in just now."""
        self._seen[access_key_id] = time.time_ns() // 1_000_000

    def seen(self, access_key_id: str) -> int:
        """Return when (ms, UTC) it was used here since the last telling; 0 for not."""
        return self._seen.get(access_key_id, 0)

    async def tell(self, live: LiveState) -> None:
        """Tell Redis now. Raises `LiveStateError`, and tells again the next time."""
        told, self._seen = self._seen, {}
        if not told:
            return
        try:
            await live.tell_uses(told)
        except (LiveStateError, asyncio.CancelledError):
            self._seen = told | self._seen
            raise

    async def run(self, live: LiveState) -> None:
        """Tell Redis every few seconds, until cancelled, through outages."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            with contextlib.suppress(LiveStateError):
                await self.tell(live)
