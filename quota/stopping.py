"""Loops around blocking reads that end when they are told to."""

from __future__ import annotations

import asyncio


def raise_if_cancelled() -> None:
    """Raise the cancellation of the current task that an awaited call has swallowed; to be called after each.

    redis-py 8.1 does so now and then: when the cancellation and an empty answer of a blocking read come together, the
    read returns as if nothing had been asked. A task keeps count of what was asked of it all the same.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task, and once more whenever it goes on all the same, until it has ended; its outcome is dropped."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
