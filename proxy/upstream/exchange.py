"""One request and its answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Final, NoReturn, Self

from proxy.splicing import Lent, Rest
from proxy.sweep import NEVER
from proxy.upstream.connection import Connection
from proxy.upstream.errors import (
    Aborted,
    LocalProtocolError,
    ReadTimeout,
    RemoteProtocolError,
    UpstreamError,
    WriteTimeout,
)
from proxy.upstream.head import CHUNKED
from proxy.upstream.origin import Timeouts

_SAFE_METHODS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class StaleConnection(Exception):
    """The connection was gone before it could matter: the same request may go out on another one."""


class BodyFeed:
    """A request's body as it is pulled from its source, once and for all attempts.

    A chunk stays `pending` until it is written, so that finding a dead connection does not cost it.
    """

    __slots__ = ("_iterator", "is_exhausted", "length", "pending")

    def __init__(self, source: AsyncIterator[bytes | Rest], length: int) -> None:
        self._iterator = aiter(source)
        self.length = length
        self.pending: bytes | Rest | None = None
        self.is_exhausted = False

    async def pull(self) -> None:
        """Make the next chunk `pending`, or set `is_exhausted`. Exceptions of the source pass through."""
        try:
            while not self.pending:
                self.pending = await anext(self._iterator)
        except StopAsyncIteration:
            self.is_exhausted = True

    async def aclose(self) -> None:
        """Close the source, if it can be closed and has not ended by itself."""
        if not self.is_exhausted and (close := getattr(self._iterator, "aclose", None)) is not None:
            await close()


class Exchange:
    """The answer as an async iterator of its body's chunks, `bytes` as they came, with its request's
    progress.

    Made by `Upstream.exchange`. `status` is the answer's; `headers` are as received, names in lower case.
    Iterating raises `ReadTimeout` when the node stops, and `RemoteProtocolError` where the body is cut: it
    only ends when it is whole. One task iterates at a time. Whoever does not iterate to the end must call
    `aclose` or `abort`.
    """

    __slots__ = (
        "_body_sent", "_buffered", "_chunks", "_connection", "_deadline_error", "_error", "_is_complete",
        "_is_head_done", "_is_interrupted", "_is_last_written", "_limit", "_loop", "_pulling", "_timeouts", "_waiter",
        "deadline", "has_begun", "headers", "method", "status",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        method: bytes,
        timeouts: Timeouts,
        buffer_bytes: int,
    ) -> None:
        self._loop = loop
        self._connection: Connection | None = connection
        self._timeouts = timeouts
        self._limit = buffer_bytes
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._deadline_error: tuple[Callable[[str], UpstreamError], str] | None = None
        self._error: UpstreamError | None = None
        self._pulling: asyncio.Task[object] | None = None
        self._is_interrupted = False
        self._is_head_done = False
        self._is_complete = False
        self._is_last_written = False
        self._body_sent = False
        self.has_begun = False
        self.deadline = NEVER
        self.method = method
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        connection.bind(self)

    def __repr__(self) -> str:
        state = "complete" if self._is_complete else "failed" if self._error is not None else "open"
        return f"<Exchange {self.method.decode('latin-1')} {self.status} {state}>"

    @property
    def body_sent(self) -> bool:
        """Whether the request's final body byte (for empty bodies: its headers) was handed to the socket.

        Where it cannot be known, `True`. Final once the exchange is complete, failed, closed or aborted.
        """
        if self._connection is None:
            return self._body_sent
        return self._is_last_written and not self._connection.has_unsent

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer has been received, though perhaps not iterated over."""
        return self._is_complete

    @property
    def is_request_done(self) -> bool:
        """Whether all of the request was written."""
        return self._is_last_written

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunks = self._chunks
        while not chunks:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                raise StopAsyncIteration
            await self._park(self._timeouts.read, ReadTimeout, "the node stopped sending")
        chunk = chunks.popleft()
        self._buffered -= len(chunk)
        if not chunks and self._connection is not None:
            self._connection.resume_body()
        return chunk

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise `RemoteProtocolError`, and cut the connection, beyond `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for chunk in self:
            size += len(chunk)
            if size > limit:
                self.abort()
                raise RemoteProtocolError("the node's answer is beyond all bounds", body_sent=self.body_sent)
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def lend_body(self, least: int) -> tuple[Lent, int] | None:
        """Lend the node's socket for the rest of the body, in place of iterating; with how many bytes are to come.

        None where that cannot be: something is buffered here, less than `least` is to come, or the bytes are not the
        body's own (TLS, chunks).
        """
        connection = self._connection
        if self._chunks or connection is None:
            return None
        lent = connection.lend_body(least)
        return None if lent is None else (lent, connection.body_left)

    def take_back(self) -> None:
        """End what `lend_body` began: the rest is iterated over."""
        if self._connection is not None:
            self._connection.take_back()

    async def wait_readable(self, lent: Lent) -> None:
        """Wait, no longer than for any other piece of the answer, until the lent socket has more."""
        await self._wait_within(self._timeouts.read, ReadTimeout, "the node stopped sending", lent.readable())

    def took(self, size: int) -> None:
        """So many bytes of the body were read from the lent socket."""
        if self._connection is not None:
            self._connection.took(size)

    def ended_early(self, cause: OSError | None) -> NoReturn:
        """The lent socket ended before the body did. Raises what iterating would."""
        if self._connection is not None:
            reason = f" ({type(cause).__name__})" if cause is not None else ""
            self._connection.fail(
                RemoteProtocolError, f"the node closed the connection before its answer was whole{reason}"
            )
        raise self._error or Aborted("the exchange was aborted")

    async def aclose(self) -> None:
        """Be done with it, as often as wanted: an answer that is not complete costs its connection."""
        self.abort()

    def abort(self) -> None:
        """Cut it now: RST, nothing buffered goes out or in, and who waits for it gets `Aborted`."""
        self._chunks.clear()
        self._buffered = 0
        if self._connection is not None:
            self._connection.fail(Aborted, "the exchange was aborted")

    # For the connection

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The answer's head is there (and no interim one)."""
        self.status = status
        self.headers = headers
        self._is_head_done = True
        self._interrupt()
        self.wake()

    def on_chunk(self, chunk: bytes) -> None:
        """More of the answer's body is there."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > self._limit and self._connection is not None:
            self._connection.pause_body()
        self.wake()

    def on_complete(self, *, is_unsent: bool) -> None:
        """The answer is whole, and the connection no longer ours."""
        self._body_sent = self._is_last_written and not is_unsent
        self._connection = None
        self._is_complete = True
        self.wake()

    def on_failed(self, make_error: Callable[[str], UpstreamError], message: str, *, is_unsent: bool) -> None:
        """There will be no whole answer, and the connection is gone."""
        self._body_sent = self._is_last_written and not is_unsent
        self._connection = None
        self._error = make_error(message)
        self._error.body_sent = self._body_sent
        if self.has_begun or make_error is Aborted:
            self._interrupt()
        self.wake()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._connection is not None and self._deadline_error is not None:
            self._connection.fail(*self._deadline_error)

    def wake(self) -> None:
        """Something that a waiting task looks at has changed."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # For Upstream

    def send_whole(self, data: bytes) -> None:
        """Write a request that is all there."""
        connection = self._connection
        if connection is None:
            self._raise_stale()
        if connection.is_reused and self.method not in _SAFE_METHODS and connection.is_stale():
            raise StaleConnection
        self.has_begun = True
        connection.write(data)
        self._is_last_written = True

    async def send_streamed(self, head: bytes, feed: BodyFeed) -> None:
        """Write a request whose body comes bit by bit, until it ends or the node has answered.

        The head waits for the first chunk, so that both leave in one packet and a connection that died
        meanwhile costs nothing. Each chunk is written as soon as it is there: what its source checked last
        still holds.
        """
        while not feed.is_exhausted:
            while not self._is_answered and self._connection is not None and self._connection.is_write_paused:
                await self._park(self._timeouts.write, WriteTimeout, "the node stopped taking the body")
            if not self._is_answered:
                await self._pull(feed)
            if self._is_answered:
                break
            if isinstance(feed.pending, Rest):
                await self._unless_answered(self._splice(feed, feed.pending))
                feed.pending = None
            else:
                self._write_pending(head, feed)
        if self._error is not None and not self.has_begun:
            self._raise_stale()

    async def await_head(self) -> None:
        """Wait for the answer's head. Raises what became of it instead, or `StaleConnection`."""
        while not self._is_head_done:
            if self._error is not None:
                raise self._error
            await self._park(self._timeouts.read, ReadTimeout, "the node does not answer")

    @property
    def is_repeatable(self) -> bool:
        """Whether the same request may be sent again, though this one was: it changes nothing and heard
        nothing.
        """
        return self.method in _SAFE_METHODS and not self._is_head_done

    @property
    def _is_answered(self) -> bool:
        return self._is_head_done or self._error is not None

    def _raise_stale(self) -> NoReturn:
        if isinstance(self._error, Aborted):
            raise self._error
        raise StaleConnection

    def _write_pending(self, head: bytes, feed: BodyFeed) -> None:
        connection = self._connection
        assert connection is not None
        parts: tuple[bytes, ...] = ()
        is_last = False
        chunk = feed.pending
        if chunk is not None:
            assert isinstance(chunk, bytes)
            size = len(chunk)
            if feed.length == CHUNKED:
                parts = (b"%x\r\n" % size, chunk, b"\r\n")
            elif size > feed.length:
                raise LocalProtocolError(
                    "the body is longer than its content-length", body_sent=self.body_sent
                )
            else:
                parts = (chunk,)
                is_last = size == feed.length
        if feed.is_exhausted:
            if feed.length == CHUNKED:
                parts = (*parts, b"0\r\n\r\n")
            elif feed.length and not is_last:
                raise LocalProtocolError("the body is shorter than its content-length", body_sent=False)
            is_last = True
        if not self.has_begun:
            if connection.is_reused and connection.is_stale():
                raise StaleConnection
            self.has_begun = True
            parts = (head, *parts)
        if parts:
            connection.writelines(parts)
        if chunk is not None:
            if feed.length != CHUNKED:
                feed.length -= len(chunk)
            feed.pending = None
        if is_last:
            self._is_last_written = True

    async def _splice(self, feed: BodyFeed, rest: Rest) -> None:
        """Let the next bytes of the body pass from their socket into the node's, if that can be."""
        connection = self._connection
        assert connection is not None
        assert self.has_begun
        connection.pause_when_unsent(at_all=True)
        try:
            while connection.is_write_paused:
                await self._park(self._timeouts.write, WriteTimeout, "the node stopped taking the body")
        finally:
            connection.pause_when_unsent(at_all=False)
        writing = connection.lend()
        if writing is None:
            return
        try:
            await rest.move(_Spliced(self, feed, rest), writing)
        finally:
            connection.take_back()

    async def wait_writable(self, lent: Lent) -> None:
        """Wait, no longer than for any other piece of the body, until the lent socket takes more."""
        await self._wait_within(
            self._timeouts.write, WriteTimeout, "the node stopped taking the body", lent.writable()
        )

    async def await_failure(self) -> NoReturn:
        """The node takes no more. Raises why, or is stopped by its answer, as soon as the transport knows."""
        while self._error is None:
            await self._park(self._timeouts.read, ReadTimeout, "the node does not answer")
        raise self._error

    async def _pull(self, feed: BodyFeed) -> None:
        """Get the next chunk, unless the node answers first."""
        if feed.pending is None and not feed.is_exhausted:
            await self._unless_answered(feed.pull())

    async def _unless_answered(self, work: Coroutine[None, None, None]) -> None:
        """Do some of the sending, unless the node answers first: an answer then stops it where it waits.

        The same task does both, and is woken as `asyncio.timeout` would wake it, so that no other task is
        needed.
        """
        task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        self._pulling = task
        try:
            await work
        except asyncio.CancelledError:
            if not self._is_interrupted:
                raise
            self._is_interrupted = False
            if task.uncancel() > cancelling:
                raise
        finally:
            self._pulling = None
            if self._is_interrupted:
                # It ended in another way in the meantime.
                self._is_interrupted = False
                task.uncancel()

    def _interrupt(self) -> None:
        if self._pulling is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._pulling.cancel()

    async def _park(self, seconds: float, make_error: Callable[[str], UpstreamError], message: str) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._wait_within(seconds, make_error, message, self._waiter)
        finally:
            self._waiter = None

    async def _wait_within(
        self,
        seconds: float,
        make_error: Callable[[str], UpstreamError],
        message: str,
        event: Awaitable[None],
    ) -> None:
        """Wait for `event`; after `seconds` the exchange fails, which is an event as well."""
        self._deadline_error = (make_error, message)
        self.deadline = self._loop.time() + seconds
        try:
            await event
        finally:
            self.deadline = NEVER


class _Spliced:
    """A node's socket as the end of a splice."""

    def __init__(self, exchange: Exchange, feed: BodyFeed, rest: Rest) -> None:
        self._feed = feed
        self._rest = rest
        self.check = rest.check
        self.wait_writable = exchange.wait_writable
        self.failed = exchange.await_failure

    def wrote(self, size: int) -> None:
        self._feed.length -= size
        self._rest.moved += size
