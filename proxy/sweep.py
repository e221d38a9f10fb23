"""Deadlines without a timer each.

A timer costs about a microsecond to set and to cancel, several times a request. Connections write their
deadlines down instead, and one timer per kind of connection looks at all of them a few times a second. A
deadline is so met up to one `interval` late, which is nothing to a timeout of seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: A deadline that never comes.
NEVER: Final = float("inf")


class Sweeper:
    """Calls `sweep(now)` every `interval` seconds of loop time from `start` until it returns `False`, or
    `stop`.
    """

    __slots__ = ("_interval", "_loop", "_sweep", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval: float, sweep: Callable[[float], bool]
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._sweep = sweep
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sweep; without effect while it does."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._run)

    def stop(self) -> None:
        """Sweep no more, until the next `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        if self._sweep(self._loop.time()):
            self.start()
