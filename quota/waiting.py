"""Waiting while an error is on its way, for modules that are compiled.

mypyc keeps an error that waits in a `finally`, an `except` or an `async with` in a place that the next call of the
same coroutine takes over, so that a request could end with another one's error. This module stays plain Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """Return what `work` gives; TimeoutError when that takes longer, and `work` is cancelled."""
    async with asyncio.timeout(seconds):
        return await work


async def afterwards(work: Awaitable[Result], clean_up: Callable[[], Awaitable[None]]) -> Result:
    """Return what `work` gives, or raise what it raises, once `clean_up` is done in either case."""
    try:
        return await work
    finally:
        await clean_up()
