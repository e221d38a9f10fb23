"""A bound on what a worker's requests read whole at once: documents of up to 4 MiB each, parsed in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

#: Bytes that all documents of one worker may have together.
DOCUMENT_ROOM: Final = 64 * 1024 * 1024
#: Seconds that a request waits for room before it is told to slow down.
WAIT_SECONDS: Final = 5.0


class DocumentRoom:
    """Gives bytes out, first come first served; whoever took them gives them back, once."""

    def __init__(self, size: int = DOCUMENT_ROOM, seconds: float = WAIT_SECONDS) -> None:
        self._free = size
        self._seconds = seconds
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        """Bytes that are not taken."""
        return self._free

    async def take(self, size: int) -> bool:
        """Take `size` bytes, waiting for them a bounded time. False, with nothing taken, when there were none."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return True
        turn = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            await asyncio.wait((turn,), timeout=self._seconds)
        except asyncio.CancelledError:
            self._leave(entry)
            if turn.done():
                self.give_back(size)
            raise
        if turn.done():
            return True
        self._leave(entry)
        return False

    def give_back(self, size: int) -> None:
        """Undo one `take` that said yes."""
        self._free += size
        self._next()

    def _leave(self, entry: tuple[int, asyncio.Future[None]]) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
            # A smaller one behind it may fit now.
            self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            size, turn = self._waiting.popleft()
            self._free -= size
            turn.set_result(None)
