"""What documents may take of a worker at once: given in order, waited for a bounded time, never lost."""

from __future__ import annotations

import asyncio

import pytest

from proxy.document_room import DocumentRoom


async def test_beyond_the_room_one_waits_and_is_let_in() -> None:
    room = DocumentRoom(10, seconds=30)
    assert await room.take(6)
    waiting = asyncio.create_task(room.take(6))
    behind = asyncio.create_task(room.take(4))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.give_back(6)
    assert await waiting
    assert await behind
    room.give_back(6)
    room.give_back(4)
    assert room.free == 10


async def test_the_wait_is_bounded_and_leaves_no_trace() -> None:
    room = DocumentRoom(10, seconds=0.05)
    assert await room.take(8)
    assert not await room.take(4)
    assert await room.take(2)
    room.give_back(8)
    room.give_back(2)
    assert room.free == 10


async def test_who_goes_away_takes_nothing_along() -> None:
    room = DocumentRoom(10, seconds=30)
    assert await room.take(10)
    gone = asyncio.create_task(room.take(9))
    small = asyncio.create_task(room.take(1))
    await asyncio.sleep(0)
    room.give_back(10)
    # Its turn came and its end at once: the room goes back.
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await small
    room.give_back(1)
    assert room.free == 10
