"""Finishing what was begun: work on SQL is never cancelled in its middle.

A cancelled aiosqlite call can leave its connection waiting for ever for an answer that no thread gives
any more; and a change that is committed should also be applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
#: How long a cancelled caller waits for its work to end by itself, in seconds.
LONGEST_SECONDS = 20.0


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. When the caller is cancelled, `work` ends first, and then the cancellation goes on."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=LONGEST_SECONDS)
        raise
