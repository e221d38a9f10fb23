"""Stopping without tearing: what was begun ends first, and what does not hear a cancellation is told again.

A change that is committed in SQL should also be applied; and redis-py may swallow a cancellation (`quota.stopping`):
the loops around its blocking reads look for it themselves, everything else is told again here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

T = TypeVar("T")
#: How long a cancelled caller waits for its work to end by itself, in seconds.
LONGEST_SECONDS: Final = 20.0
#: Seconds after which a task that still runs is cancelled again.
_AGAIN_SECONDS: Final = 0.5


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. When the caller is cancelled, `work` ends first, and then the cancellation goes on."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _ended(task)
        raise


async def _ended(task: asyncio.Future[Any]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LONGEST_SECONDS
    while not task.done() and (left := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)
        except asyncio.CancelledError:
            # Told again: the caller raises the first cancellation as soon as the work has ended.
            continue


async def stop_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks, again and again while any goes on, and waits for them: about a minute at most."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 3 * LONGEST_SECONDS
    pending = set(tasks)
    while pending and loop.time() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
