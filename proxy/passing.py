"""Bytes from one socket to another, past somebody who has to see them: a body whose signatures are checked as it goes.

What `proxy/splicing.py` is for bytes that nobody looks at. The event loop makes an object of each read, and keeps what
is written until it has left; here the bytes lie in one buffer, used again while the processor's caches still have it,
and are handed on from there. All else that holds for a splice holds here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from proxy.splicing import Lent, Rest, Source, Target

Piece = bytes | bytearray | memoryview
#: Given the next bytes of a body, returns what may be sent of it now, or raises. It must keep none of them.
Pass = Callable[[memoryview], Sequence[Piece]]

#: What is read at a time: the most that waits here for a node that takes nothing, as with buffers.
_BUFFER_BYTES: Final = 256 * 1024
#: What is moved without a pause before others have their turn.
_UNBROKEN_BYTES: Final = 512 * 1024
#: Of more pieces than this one is made: the system takes only so many, and so many small ones cost more than a copy.
_MOST_PIECES: Final = 64
#: Buffers that are kept for the next bytes of anybody.
_KEPT_BUFFERS: Final = 8


class SeenRest(Rest):
    """A `Rest` whose `size` bytes are shown to `let_pass` on their way, which may keep some back: of those that leave
    `moved` tells.
    """

    __slots__ = ("_let_pass",)

    def __init__(
        self, source: Source, reading: Lent, size: int, check: Callable[[], None], let_pass: Pass
    ) -> None:
        super().__init__(source, reading, size, check)
        self._let_pass = let_pass

    async def move(self, target: Target, writing: Lent) -> None:
        await relay(self.source, self.reading, target, writing, self.size, self._let_pass)


async def relay(
    source: Source, reading: Lent, target: Target, writing: Lent, size: int, let_pass: Pass
) -> None:
    """Read exactly `size` bytes, and write what `let_pass` makes of them. Raises what source, target and `let_pass`
    raise; then what has been read and not written is lost.
    """
    unbroken = 0
    while size:
        # Whoever waits for a slow client holds none.
        buffer = _buffers.pop() if _buffers else memoryview(bytearray(_BUFFER_BYTES))
        try:
            taken = os.readv(reading.fd, [buffer[:size]])
        except BlockingIOError:
            _keep(buffer)
            unbroken = 0
            await source.wait_readable(reading)
            continue
        except OSError as error:
            source.ended_early(error)
        if not taken:
            source.ended_early(None)
        size -= taken
        unbroken += taken
        source.took(taken)
        pieces = let_pass(buffer[:taken])
        if len(pieces) > _MOST_PIECES:
            pieces = [b"".join(pieces)]
        while pieces:
            target.check()
            try:
                moved = os.writev(writing.fd, pieces)
            except BlockingIOError:
                unbroken = 0
                await target.wait_writable(writing)
                continue
            except OSError:
                await target.failed()
            target.wrote(moved)
            pieces = _after(pieces, moved)
        _keep(buffer)
        if unbroken >= _UNBROKEN_BYTES:
            # Where neither side ever waits, the others would.
            unbroken = 0
            await asyncio.sleep(0)


_buffers: Final[list[memoryview]] = []


def _keep(buffer: memoryview) -> None:
    if len(_buffers) < _KEPT_BUFFERS:
        _buffers.append(buffer)


def _after(pieces: Sequence[Piece], size: int) -> Sequence[Piece]:
    """Return what is left of `pieces` behind the first `size` bytes."""
    for index, piece in enumerate(pieces):
        if size < len(piece):
            return [memoryview(piece)[size:], *pieces[index + 1 :]]
        size -= len(piece)
    return ()
