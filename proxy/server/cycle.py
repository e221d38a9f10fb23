"""One request and its response, as ASGI sees them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from proxy.server.answers import CONTINUE, INTERNAL_ERROR, STATUS_LINES
from proxy.server.errors import ClientDisconnected
from proxy.splicing import Lent, Source, splice

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent, HTTPScope

    from proxy.server.protocol import WioHttpProtocol

_log = logging.getLogger(__name__)

#: Beside a body up to this size the head is copied; beyond it they go out as two pieces.
_JOINED_BYTES: Final = 16 * 1024
_NUL: Final = 0x00
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class Connection(Protocol):
    """What `scope["extensions"]["wio"]` offers to the application, for its own request."""

    @property
    def body_started(self) -> bool:
        """Whether the application has asked for the body (so that `100 Continue` was sent, if it was
        expected).
        """

    @property
    def is_disconnected(self) -> bool:
        """Whether the client is gone, or was cut."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that carries this request out, and then the next one of its connection."""

    def abort(self) -> None:
        """Cut the connection now, with RST: nothing buffered is flushed, and no later `send` writes a byte."""

    def write_buffer_size(self) -> int:
        """Return how many bytes of the response wait in this process for the socket."""

    def refuse_body(self, seconds: float = 2.0) -> None:
        """Answer without (the rest of) the body: the response says `Connection: close`, and up to `seconds`
        of the body are read and dropped before the connection is closed, so that the client sees the
        answer.
        """

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the response: what ASGI's `http.response.start` does, for less."""

    async def write(self, body: bytes, *, is_last: bool) -> None:
        """Send the next piece of the response: what ASGI's `http.response.body` does, for less. Raises
        `ClientDisconnected`.
        """

    async def splice(self, source: Source, reading: Lent, size: int, on_moved: Callable[[int], None]) -> bool:
        """Send the next `size` bytes of the response, the last ones, from a lent socket; False, and nothing is sent,
        where that cannot be. Tells how many have left as they do. Raises what the source raises, and
        `ClientDisconnected`.
        """

    def lend_body(self, least: int) -> tuple[Lent, int] | None:
        """Lend the client's socket for what is left of the body, in place of receiving it; with how many bytes are to
        come. None where that cannot be: something is buffered, less than `least` is to come, or the bytes are not the
        body's own (TLS, chunks). `took` is told what is read from it, and `take_back` ends it.
        """

    def took(self, size: int) -> None:
        """So many bytes of the body were read from the lent socket, though never all."""

    def take_back(self) -> None:
        """End what `lend_body` began; harmless when it has ended."""

    async def wait_readable(self, lent: Lent) -> None:
        """Wait until the lent socket has more of the body, or has ended."""

    def set_guard(self, may_write: Callable[[], bool]) -> None:
        """Ask before each write of the response, after every wait: where the answer is no, the connection
        is cut.
        """

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call back, in the event loop, when the client goes away or is cut before the response is
        complete.
        """


class RequestCycle:
    """The ASGI callables of one request, and its `Connection`."""

    __slots__ = (
        "_body_bytes", "_callbacks", "_chunks", "_expected", "_guard", "_head", "_is_at_socket", "_is_chunked",
        "_is_end_told", "_is_head_only", "_protocol", "_waiter", "body_started", "disconnected",
        "is_continue_expected", "keep_alive", "linger_seconds", "more_body", "response_complete", "response_started",
        "scope",
    )  # fmt: skip

    def __init__(
        self, protocol: WioHttpProtocol, scope: HTTPScope, *, keep_alive: bool, is_continue_expected: bool
    ) -> None:
        self._protocol = protocol
        self.scope = scope
        self.keep_alive = keep_alive
        self.is_continue_expected = is_continue_expected
        self.linger_seconds = protocol.limits.linger_seconds
        self.body_started = False
        self.disconnected = False
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self._chunks: deque[bytes] = deque()
        self._body_bytes = 0
        self._callbacks: list[Callable[[], None]] | None = None
        self._guard: Callable[[], bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_end_told = False
        self._is_at_socket = False
        self._head: bytes | None = None
        self._is_head_only = False
        self._is_chunked = False
        self._expected = 0

    # Connection

    @property
    def is_disconnected(self) -> bool:
        return self.disconnected

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._protocol.task

    def abort(self) -> None:
        self._protocol.abort()

    def write_buffer_size(self) -> int:
        return self._protocol.write_buffer_size()

    def refuse_body(self, seconds: float = 2.0) -> None:
        self.keep_alive = False
        self.linger_seconds = seconds

    def lend_body(self, least: int) -> tuple[Lent, int] | None:
        if self._chunks or self.disconnected or not self.more_body:
            return None
        return self._protocol.lend_body(least)

    def took(self, size: int) -> None:
        self._protocol.took(size)

    def take_back(self) -> None:
        self._protocol.take_back()

    async def wait_readable(self, lent: Lent) -> None:
        self._is_at_socket = True
        try:
            await lent.readable()
        finally:
            self._is_at_socket = False

    def set_guard(self, may_write: Callable[[], bool]) -> None:
        self._guard = may_write

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        if self.disconnected:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    # For the protocol

    @property
    def is_waiting_for_body(self) -> bool:
        """Whether the application waits for bytes that the client should be sending."""
        return (self._waiter is not None or self._is_at_socket) and self.more_body

    def feed(self, chunk: bytes) -> None:
        """More of the body has come."""
        self._chunks.append(chunk)
        self._body_bytes += len(chunk)
        if self._body_bytes > self._protocol.limits.read_bytes:
            self._protocol.pause_reading()
        self._wake()

    def end_body(self) -> None:
        """The body is complete."""
        self.more_body = False
        self._wake()

    def disconnect(self) -> None:
        """The client is gone, or cut."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        self._chunks.clear()
        self._wake()
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:  # noqa: BLE001 -- the others must be called all the same
                _log.exception("a callback failed when its client went away")

    async def run(self, app: ASGI3Application) -> None:
        """Run the application. Whatever it leaves undone ends as an error that the client can see."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 -- this is where an application's errors end
            if not (self.disconnected and isinstance(error, ClientDisconnected)):
                _log.exception("the application failed")
        else:
            if not self.response_complete and not self.disconnected:
                _log.error("the application returned without a complete response")
        finally:
            self._fail()
            # These lead back here; without this every request would be left to the garbage collector.
            self.scope["extensions"] = {}
            self._callbacks = self._guard = None

    def _fail(self) -> None:
        if self.response_complete or self.disconnected:
            return
        if self.response_started and self._head is None:
            # Some of it is out, and must not look complete.
            self.abort()
            return
        self.response_started = self.response_complete = True
        self.keep_alive = False
        self._protocol.write(INTERNAL_ERROR.encode())
        self._protocol.on_cycle_complete(self)

    # ASGI

    async def receive(self) -> ASGIReceiveEvent:
        protocol = self._protocol
        self.body_started = True
        if self.is_continue_expected:
            self.is_continue_expected = False
            if self.more_body and not self.response_started and not self.disconnected:
                protocol.write(CONTINUE)
        while not self.disconnected and not self.response_complete:
            if self._chunks:
                chunk = self._chunks.popleft()
                self._body_bytes -= len(chunk)
                more_body = self.more_body or bool(self._chunks)
                self._is_end_told = not more_body
                return {"type": "http.request", "body": chunk, "more_body": more_body}
            if not self.more_body and not self._is_end_told:
                self._is_end_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            protocol.resume_reading()
            self._waiter = protocol.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return {"type": "http.disconnect"}

    async def send(self, message: ASGISendEvent) -> None:
        protocol = self._protocol
        if protocol.is_write_paused and not self.disconnected:
            await protocol.drain()
        if self.disconnected:
            raise ClientDisconnected("the client is gone")
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"expected http.response.start, not {kind}")
            self.begin(message["status"], message.get("headers", ()))  # type: ignore[typeddict-item]
            return
        if kind != "http.response.body" or self.response_complete:
            raise RuntimeError(f"unexpected {kind}")
        self._send_body(message.get("body", b""), is_last=not message.get("more_body", False))  # type: ignore[arg-type]

    def begin(self, status: int, headers: Any) -> None:
        # ASGI wants the head held back until the first piece of the body; both then leave in one write.
        self._head = self._encode_head(status, headers)
        self.response_started = True

    async def write(self, body: bytes, *, is_last: bool) -> None:
        if self._protocol.is_write_paused and not self.disconnected:
            await self._protocol.drain()
        self._send_body(body, is_last=is_last)

    async def splice(self, source: Source, reading: Lent, size: int, on_moved: Callable[[int], None]) -> bool:
        protocol = self._protocol
        if self._head is not None or self._is_chunked or self._expected != size or self.disconnected:
            return False
        await protocol.drain()
        writing = None if self.is_disconnected else protocol.lend()
        if writing is None:
            return False
        try:
            await splice(source, reading, _Spliced(self, protocol, on_moved), writing, size)
        finally:
            protocol.take_back()
        self._expected = 0
        self._complete()
        return True

    def check(self) -> None:
        """Cut the connection and raise `ClientDisconnected` when not another byte may be written."""
        if self.disconnected:
            raise ClientDisconnected("the client is gone")
        if self._guard is not None and not self._guard():
            self.abort()
            raise ClientDisconnected("the response was cut")

    def _send_body(self, body: bytes, *, is_last: bool) -> None:
        self.check()
        protocol = self._protocol
        size = len(body)
        parts: tuple[bytes, ...]
        if self._is_head_only or (not size and not self._is_chunked):
            parts = ()
        elif self._is_chunked:
            parts = (b"%x\r\n" % size, body, b"\r\n") if size else ()
            if is_last:
                parts = (*parts, b"0\r\n\r\n")
        else:
            if self._expected >= 0:
                self._expected -= size
                if self._expected < 0:
                    raise RuntimeError("the response is longer than its content-length")
            parts = (body,)
        if is_last and self._expected > 0:
            raise RuntimeError("the response is shorter than its content-length")
        if self._head is not None:
            parts = (self._head, *parts)
            self._head = None
        if len(parts) == 1:
            protocol.write(parts[0])
        elif size <= _JOINED_BYTES:
            protocol.write(b"".join(parts))
        else:
            protocol.writelines(parts)
        if is_last:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self._wake()
        self._protocol.on_cycle_complete(self)

    def _encode_head(self, status: int, headers: Any) -> bytes:
        protocol = self._protocol
        scope = self.scope
        parts = protocol.encode_defaults()
        length: int | None = None
        is_chunked = False
        for name, value in headers:
            parts.append(name + b": " + value)
            lowered = name.lower()
            if lowered in _FRAMING:
                if lowered == b"content-length":
                    length = int(value)
                elif lowered == b"connection":
                    if b"close" in value.lower():
                        self.keep_alive = False
                        parts.pop()
                else:
                    # Ours to say: the response is framed here.
                    parts.pop()
        self._is_head_only = scope["method"] == "HEAD" or status in (204, 304)
        if self.more_body:
            # What is left of the body is not read before the next request, but dropped with the connection.
            self.keep_alive = False
        if length is None and not self._is_head_only:
            if scope["http_version"] == "1.0":
                self.keep_alive = False
            else:
                is_chunked = True
                parts.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            parts.append(b"connection: close")
        self._is_chunked = is_chunked
        self._expected = -1 if length is None else 0 if self._is_head_only else length
        parts.append(b"\r\n")
        head = b"\r\n".join(parts)
        breaks = len(parts)
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or _NUL in head:
            raise RuntimeError("a response header holds a line break or NUL")
        return STATUS_LINES[status] + head

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Spliced:
    """A client's socket as the end of a splice."""

    def __init__(
        self, cycle: RequestCycle, protocol: WioHttpProtocol, on_moved: Callable[[int], None]
    ) -> None:
        self._protocol = protocol
        self.check = cycle.check
        self.wrote = on_moved

    async def wait_writable(self, lent: Lent) -> None:
        # A client that takes nothing is found as it is where the transport waits for it.
        self._protocol.pause_writing()
        try:
            await lent.writable()
        finally:
            self._protocol.resume_writing()

    async def failed(self) -> NoReturn:
        self._protocol.abort()
        raise ClientDisconnected("the client is gone")
