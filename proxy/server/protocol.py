"""HTTP/1.1 as a data plane needs it: uvicorn's server, with another protocol class.

uvicorn gives an application no way to cut a connection, to see what waits in its buffers, or to refuse a
body in manners; it copies bodies twice, has no deadline for heads, and takes targets apart as URLs. Only
its bookkeeping of connections and tasks is kept.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakKeyDictionary

import httptools
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from proxy.cut import cut
from proxy.server import answers
from proxy.server.answers import Refusal, Refused
from proxy.server.cycle import RequestCycle
from proxy.server.limits import ServerLimits
from proxy.server.target import decode_path, split_target
from proxy.splicing import IS_POSSIBLE, Lent
from proxy.sweep import NEVER, Sweeper

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, HTTPScope
    from uvicorn.config import Config
    from uvicorn.server import ServerState

_log = logging.getLogger(__name__)

#: From this length on, what is left of a body is counted instead of parsed: a parser copies each piece of it.
_COUNTED_BYTES: Final = 64 * 1024
_SWEEP_SECONDS: Final = 0.5
_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}
_WATCHED: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})

_sweepers: WeakKeyDictionary[ServerState, Sweeper] = WeakKeyDictionary()


class WioHttpProtocol:
    """One client connection. `scope["extensions"]["wio"]` is the request's `Connection`.

    `raw_path` and `query_string` are the request's target as it came, split once at its first `?` (an
    absolute form loses its scheme and authority); bytes that a target cannot hold, more than ASCII
    included, are refused by the parser. Refused as well are both `Content-Length` and `Transfer-Encoding`
    or either twice, transfer codings other than `chunked`, and any number of `Host` headers but one (RFC
    9112, sections 3.2 and 6.3).
    """

    def __init__(
        self,
        app: ASGI3Application,
        server_state: ServerState,
        app_state: dict[str, Any],
        limits: ServerLimits,
    ) -> None:
        self.app = app
        self.app_state = app_state
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.server_state = server_state
        self.connections: set[Any] = server_state.connections
        self.tasks = server_state.tasks
        self.transport: asyncio.Transport = None  # type: ignore[assignment]
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme = "http"
        self.is_write_paused = False
        self.deadline = NEVER
        self._waiting: deque[RequestCycle] = deque()
        self._drain_waiter: asyncio.Future[None] | None = None
        self._is_read_paused = False
        self._is_lingering = False
        self._left = 0
        self._is_counting = False
        self._window_bytes = 0
        self._window_seconds = 0.0
        self._stalled_since = NEVER
        self.cycle: RequestCycle | None = None
        self._ready: deque[RequestCycle] = deque()
        self.task: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._is_lost = False
        self._lent: Lent | None = None
        self._defaults: tuple[object, list[bytes]] = (None, [])
        self._make_parser()
        self._reset_head()

    def _reset_head(self) -> None:
        self._is_in_head = True
        self._head_bytes = 0
        self._length = 0
        self._hosts = 0
        self._is_chunked = False
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.expect_100_continue = False

    def _make_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    # For the cycle

    def encode_defaults(self) -> list[bytes]:
        """Return the lines of the headers that every response has: `date`, which uvicorn renews each
        second.
        """
        headers = self.server_state.default_headers
        if self._defaults[0] is not headers:
            self._defaults = (headers, [name + b": " + value for name, value in headers])
        return [*self._defaults[1]]

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        self.transport.write(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        """The same for several pieces, in one system call."""
        self.transport.writelines(parts)

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written, or is gone."""
        while self.is_write_paused:
            if self._drain_waiter is None:
                self._drain_waiter = self.loop.create_future()
            await asyncio.shield(self._drain_waiter)

    def write_buffer_size(self) -> int:
        """Return how many bytes wait for the socket."""
        return self.transport.get_write_buffer_size()

    def lend(self) -> Lent | None:
        """Lend the socket to somebody who writes to it himself; None where bytes are encrypted, or wait here."""
        if not self._is_lendable or self.transport.get_write_buffer_size():
            return None
        self._lent = Lent(self.loop, self.transport)
        return self._lent

    def lend_body(self, least: int) -> tuple[Lent, int] | None:
        """Lend the socket to somebody who reads what is left of a body; see `Connection`."""
        if not self._is_counting or self._left < least or not self._is_lendable:
            return None
        self.pause_reading()
        self._lent = Lent(self.loop, self.transport)
        return self._lent, self._left

    @property
    def _is_lendable(self) -> bool:
        return IS_POSSIBLE and self.scheme == "http" and not self.transport.is_closing()

    def took(self, size: int) -> None:
        """So many bytes of the body were read from the lent socket."""
        self._left -= size
        self._window_bytes += size

    def take_back(self) -> None:
        """End what `lend` or `lend_body` began; harmless when it has ended."""
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.close()

    def pause_reading(self) -> None:
        """Read no more from the socket until `resume_reading`."""
        if not self._is_read_paused:
            self._is_read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again, unless a pipelined request has to wait."""
        if self._is_read_paused and not self._waiting:
            self._is_read_paused = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close with RST and forget what is buffered; requests of this connection see a disconnect at once."""
        # While somebody else has the socket open as well, nothing is closed.
        self.take_back()
        cut(self.transport)
        self._disconnect()

    def on_cycle_complete(self, cycle: RequestCycle) -> None:
        """The response is written: go on to the next request, or end the connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not cycle.more_body:
            if not cycle.keep_alive:
                self._close()
            elif self._waiting:
                self._start(self._waiting.popleft())
            else:
                limits = self.limits
                seconds = limits.head_seconds if self._head_bytes else limits.keep_alive_seconds
                self.deadline = self.loop.time() + seconds
                self.resume_reading()
        elif cycle.linger_seconds > 0:
            self._is_lingering = True
            self.deadline = self.loop.time() + cycle.linger_seconds
            self._waiting.clear()
            self.resume_reading()
        else:
            self._close()

    def _close(self) -> None:
        self.transport.close()
        # A client that takes nothing would otherwise hold what is still to be flushed for ever.
        self.deadline = self.loop.time() + self.limits.stall_seconds

    def _disconnect(self) -> None:
        if self.cycle is not None:
            self.cycle.disconnect()
        for cycle in self._waiting:
            cycle.disconnect()
        self._waiting.clear()
        self.is_write_paused = False
        self._wake_writers()

    def _wake_writers(self) -> None:
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.connections.add(self)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        # Never 0: uvloop's TLS then pauses at an empty buffer, and nothing ever resumes it.
        high = max(self.limits.write_bytes, 1)
        transport.set_write_buffer_limits(high=high, low=high // 4)
        handle = transport.get_extra_info("socket")
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.limits.send_buffer_bytes)
            if handle.family in (socket.AF_INET, socket.AF_INET6):
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.deadline = self.loop.time() + self.limits.head_seconds
        sweeper = _sweepers.get(self.server_state)
        if sweeper is None:
            sweeper = _sweepers[self.server_state] = Sweeper(
                self.loop, _SWEEP_SECONDS, _make_sweep(self.connections)
            )
        sweeper.start()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.connections.discard(self)
        self._is_lost = True
        self.take_back()
        self._end_idleness()
        self._disconnect()
        self.parser = None  # type: ignore[assignment]

    def eof_received(self) -> None:
        """A client that has sent all it will is gone for us: no S3 client half-closes and waits for an
        answer.
        """

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._stalled_since = NEVER
        self._wake_writers()

    def shutdown(self) -> None:
        """Finish what is under way, and take no other request."""
        if self.cycle is None or self.cycle.response_complete:
            self._close()
        else:
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self._is_counting:
            size = len(data)
            self._window_bytes += size
            if size < self._left:
                self._left -= size
                self._feed(data)
                return
            rest = data[self._left :]
            self._feed(data[: self._left] if rest else data)
            self._left = 0
            self._is_counting = False
            self._make_parser()
            self._end_message()
            if not rest:
                return
            data = rest
        if not self.transport.is_closing():
            self._parse(data)

    def _feed(self, data: bytes) -> None:
        cycle = self.cycle
        assert cycle is not None
        if not cycle.response_complete and not cycle.disconnected:
            cycle.feed(data)

    def _parse(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        else:
            self._window_bytes += len(data)
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # A server may ignore the wish (RFC 9110, section 7.8); the parser does not go on by itself.
                data = data[upgrade.args[0] :]
                self._make_parser()
                if data and not self.transport.is_closing():
                    continue
            except httptools.HttpParserError as error:
                cause = error.__context__
                self._refuse(cause.refusal if isinstance(cause, Refused) else answers.BAD_REQUEST)
                return
            break
        if self._is_in_head:
            if self._head_bytes > self.limits.head_bytes:
                self._refuse(answers.HEAD_TOO_LARGE)
            elif self._head_bytes and (self.cycle is None or self.cycle.response_complete):
                self.deadline = min(self.deadline, self.loop.time() + self.limits.head_seconds)
        elif self._left >= _COUNTED_BYTES:
            self._is_counting = True

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what never became a request, after which nothing on this connection can be believed."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # The application is still busy with a request that came before, or with this one's body.
            self.abort()
            return
        _log.debug("refused: %s", refusal.code)
        self.write(refusal.encode())
        self._is_in_head = False
        self._close()

    # httptools

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            # Trailers of HTTP's own are for nobody here, but must end.
            self._head_bytes += len(name) + len(value) + 4
            if self._head_bytes > self.limits.head_bytes:
                raise Refused(answers.HEAD_TOO_LARGE)
            return
        name = name.lower()
        if name in _WATCHED:
            if name == b"host":
                self._hosts += 1
            elif name == b"content-length":
                self._length = int(value)
            elif name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise Refused(answers.BAD_CODING)
                self._is_chunked = True
            elif value.lower() == b"100-continue":
                self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.transport.is_closing():
            # What follows a request that was the last one is nobody's.
            return
        parser, headers, limits = self.parser, self.headers, self.limits
        version = parser.get_http_version()
        if len(headers) > limits.headers:
            raise Refused(answers.HEAD_TOO_LARGE)
        if self._head_bytes > limits.head_bytes:
            # Much of what came along may be the body, or requests before this one.
            size = len(self.url) + sum(len(name) + len(value) for name, value in headers)
            if size > limits.head_bytes:
                raise Refused(answers.HEAD_TOO_LARGE)
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise Refused(answers.BAD_HOST)
        if version != "1.1" and (version != "1.0" or self._is_chunked):
            raise Refused(answers.BAD_CODING)
        if parser.should_upgrade() and (self._length or self._is_chunked):
            raise Refused(answers.BAD_UPGRADE)
        method = parser.get_method().decode("ascii")
        raw_path, query = split_target(self.url, method)
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": method,
            "path": decode_path(raw_path),
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "state": self.app_state,
        }
        cycle = RequestCycle(
            self,
            cast("HTTPScope", scope),
            keep_alive=version == "1.1" and parser.should_keep_alive(),
            is_continue_expected=self.expect_100_continue,
        )
        scope["extensions"] = {"wio": cycle}
        self.deadline = NEVER
        self._is_in_head = False
        self._head_bytes = 0
        self._left = self._length
        self._window_bytes = 0
        self._window_seconds = 0.0
        before, self.cycle = self.cycle, cycle
        if before is None or before.response_complete:
            self._start(cycle)
        elif before.disconnected or len(self._waiting) >= limits.pipelined:
            raise Refused(answers.BAD_REQUEST)
        else:
            self._waiting.append(cycle)
            self.pause_reading()

    def _start(self, cycle: RequestCycle) -> None:
        self._ready.append(cycle)
        if self.task is None:
            self.task = self.loop.create_task(self._work())
            self.tasks.add(self.task)
        else:
            self._end_idleness()

    def _end_idleness(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _work(self) -> None:
        """Run the requests of this connection, one after the other.

        A task for each of them would cost as much as checking its signature. `tasks` holds this one while it
        is busy.
        """
        task = self.task
        assert task is not None
        try:
            while not self._is_lost:
                self.tasks.add(task)
                while self._ready:
                    is_full = len(self.connections) > self.limits.connections
                    app = cast("ASGI3Application", _too_many if is_full else self.app)
                    await self._ready.popleft().run(app)
                self.tasks.discard(task)
                self._idle = self.loop.create_future()
                await self._idle
        finally:
            self.tasks.discard(task)
            self.task = self._idle = None
            if self._ready:
                # It was cancelled for another one's sake.
                self._start(self._ready.popleft())

    def on_body(self, body: bytes) -> None:
        self._left -= len(body)
        self._feed(body)

    def on_message_complete(self) -> None:
        self._end_message()

    def _end_message(self) -> None:
        cycle = self.cycle
        assert cycle is not None
        self._reset_head()
        if not cycle.response_complete:
            cycle.end_body()
        elif self._is_lingering:
            self._close()

    # Deadlines

    def sweep(self, now: float) -> None:
        """Act on what has taken too long."""
        limits = self.limits
        if now - self._stalled_since > limits.stall_seconds:
            self.abort()
        elif self.deadline <= now:
            self.deadline = NEVER
            if self.transport.is_closing():
                self.abort()
            elif self._is_in_head and self._head_bytes and not self._is_lingering:
                self._refuse(answers.TOO_SLOW)
            else:
                self._close()
        elif self.cycle is not None and self.cycle.is_waiting_for_body:
            self._window_seconds += _SWEEP_SECONDS
            if self._window_seconds >= limits.body_seconds:
                if self._window_bytes < limits.body_rate * self._window_seconds:
                    _log.info("a request's body came too slowly")
                    self.abort()
                self._window_seconds = 0.0
                self._window_bytes = 0


def make_protocol(limits: ServerLimits) -> type[asyncio.Protocol]:
    """Return what makes protocols that keep to `limits`, for uvicorn's `Config(http=…)`, which wants no more."""

    def make(
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> WioHttpProtocol:
        if not config.loaded:
            config.load()
        return WioHttpProtocol(cast("ASGI3Application", config.loaded_app), server_state, app_state, limits)

    return cast("type[asyncio.Protocol]", make)


def _make_sweep(connections: set[Any]) -> Callable[[float], bool]:
    def sweep(now: float) -> bool:
        for connection in list(connections):
            connection.sweep(now)
        return bool(connections)

    return sweep


async def _too_many(scope: HTTPScope, receive: object, send: Any) -> None:  # noqa: ARG001
    refusal = answers.TOO_MANY
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [
                (b"content-type", b"application/xml"),
                (b"content-length", b"%d" % len(refusal.body)),
                (b"retry-after", b"1"),
                (b"connection", b"close"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": refusal.body})
