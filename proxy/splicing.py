"""Bytes from one socket to another without leaving the kernel: splice(2), by way of a pipe.

A relay in Python costs about twice the processor time of one that never sees the bytes. Both sockets belong to
transports, which stand still while their sockets are lent; nothing else of what holds for a relay is different: leave
is asked before each write, backpressure is the kernel's own, and a cut leaves nothing that could still go out.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, Protocol

#: Whether this system can (Linux).
IS_POSSIBLE: Final = hasattr(os, "splice")
#: From how many bytes on it is worth two more system calls and a pipe.
LEAST_BYTES: Final = 256 * 1024
#: What a pipe holds, where the system lets it: the most that a client who takes nothing keeps here, as with buffers.
_PIPE_BYTES: Final = 256 * 1024
#: What is moved without a pause before others have their turn.
_UNBROKEN_BYTES: Final = 1024 * 1024
#: Pipes that are kept for the next body; each holds nothing while it waits.
_KEPT_PIPES: Final = 32
_MOVE: Final = 1  # SPLICE_F_MOVE
_NOW: Final = 2  # SPLICE_F_NONBLOCK


class Lent:
    """A transport's socket, in the hands of somebody else: who lends it closes it, and may do so at any time."""

    __slots__ = ("_loop", "_waiter", "fd")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.BaseTransport) -> None:
        self._loop = loop
        # The event loop lets nobody watch a transport's own descriptor.
        self.fd = os.dup(transport.get_extra_info("socket").fileno())
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the lender has taken it back."""
        return self.fd < 0

    async def readable(self) -> None:
        """Wait until there is something to read, an end included, or it is closed."""
        await self._wait(self._loop.add_reader, self._loop.remove_reader)

    async def writable(self) -> None:
        """Wait until something can be written, or it is closed."""
        await self._wait(self._loop.add_writer, self._loop.remove_writer)

    async def _wait(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        if self.fd < 0:
            return
        self._waiter = self._loop.create_future()
        add(self.fd, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self.fd >= 0:
                remove(self.fd)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Take it back; harmless when that has been done."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if self._waiter is not None:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        os.close(fd)
        self._wake()


class Source(Protocol):
    """Where the bytes come from."""

    async def wait_readable(self, lent: Lent) -> None:
        """Wait until there are more, or it has ended."""

    def took(self, size: int) -> None:
        """So many bytes have been taken off the socket."""

    def ended_early(self, cause: OSError | None) -> NoReturn:
        """The socket has ended or failed, or was taken back: raise what that means."""


class Target(Protocol):
    """Where they go."""

    async def wait_writable(self, lent: Lent) -> None:
        """Wait until there is room, or nobody is left."""

    def check(self) -> None:
        """Raise when not another byte may be written."""

    def wrote(self, size: int) -> None:
        """So many bytes were written."""

    async def failed(self) -> NoReturn:
        """The socket has failed, or was taken back: raise what that means."""


class Rest:
    """In place of the next piece of a body: its next `size` bytes, which are still in a lent socket.

    Whoever gets it may splice them on, asking `check` before each write. `moved` then tells how many have left; none
    where that could not be, and they come as pieces after all.
    """

    __slots__ = ("check", "moved", "reading", "size", "source")

    def __init__(self, source: Source, reading: Lent, size: int, check: Callable[[], None]) -> None:
        self.source = source
        self.reading = reading
        self.size = size
        self.check = check
        self.moved = 0

    async def move(self, target: Target, writing: Lent) -> None:
        """Move them. Raises what source and target raise; then what is in between is lost."""
        await splice(self.source, self.reading, target, writing, self.size)


async def splice(source: Source, reading: Lent, target: Target, writing: Lent, size: int) -> None:
    """Move exactly `size` bytes. Raises what source and target raise; then what is in between is lost."""
    pipe = _pipes.pop() if _pipes else _make_pipe()
    out, into = pipe
    inside = unbroken = 0
    try:
        while size:
            try:
                inside = os.splice(reading.fd, into, min(size, _PIPE_BYTES), flags=_MOVE | _NOW)
            except BlockingIOError:
                unbroken = 0
                await source.wait_readable(reading)
                continue
            except OSError as error:
                source.ended_early(error)
            if not inside:
                source.ended_early(None)
            size -= inside
            unbroken += inside
            source.took(inside)
            while inside:
                target.check()
                try:
                    moved = os.splice(out, writing.fd, inside, flags=_MOVE | _NOW)
                except BlockingIOError:
                    unbroken = 0
                    await target.wait_writable(writing)
                    continue
                except OSError:
                    await target.failed()
                inside -= moved
                target.wrote(moved)
            if unbroken >= _UNBROKEN_BYTES:
                # Where neither side ever waits, the others would.
                unbroken = 0
                await asyncio.sleep(0)
    finally:
        if inside or len(_pipes) >= _KEPT_PIPES:
            os.close(out)
            os.close(into)
        else:
            _pipes.append(pipe)


_pipes: Final[list[tuple[int, int]]] = []


def _make_pipe() -> tuple[int, int]:
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # One user's pipes are bounded together; a small one does the same in more turns.
    with suppress(OSError):
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return out, into
