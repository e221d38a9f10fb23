"""One connection to a node: bytes in, one exchange at a time out."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import httptools

from proxy.cut import cut
from proxy.splicing import IS_POSSIBLE, Lent
from proxy.upstream.errors import RemoteProtocolError, UpstreamError
from proxy.upstream.origin import Limits

if TYPE_CHECKING:
    from proxy.upstream.exchange import Exchange

#: From this length on, a body is counted instead of parsed: a parser copies each piece of it.
_COUNTED_BYTES: Final = 64 * 1024


class Connection(asyncio.Protocol):
    """Parses answers (RFC 9112) for the exchange that is bound to it, and holds that exchange's backpressure.

    `on_released` is called when an exchange is complete and the connection may serve another; `on_gone`
    once, as soon as it may not any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        on_released: Callable[[Connection], None],
        on_gone: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._on_released = on_released
        self._on_gone = on_gone
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._poll: select.poll | None = None
        self._lent: Lent | None = None
        self._is_gone = False
        self._is_reading_paused = False
        self._reset()
        self.exchange: Exchange | None = None
        self.is_reused = False
        self.is_write_paused = False
        self.idle_since = 0.0

    def _reset(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._is_head_done = False
        self._is_interim = False
        self._is_message_done = False
        self._is_clean = True
        self._keeps_alive = False
        self._length: int | None = None
        self._is_chunked = False
        self._left = 0
        self._is_counting = False

    @property
    def is_usable(self) -> bool:
        """Whether another exchange may begin here, as far as is known."""
        return (
            not self._is_gone
            and self.exchange is None
            and self._transport is not None
            and not self._transport.is_closing()
        )

    @property
    def has_unsent(self) -> bool:
        """Whether bytes that were written have not reached the socket."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0

    def is_stale(self) -> bool:
        """Ask the socket itself whether the node has hung up (or spoken out of turn) while this was idle.

        The event loop only knows what it has polled; this narrows the keep-alive race to the time of flight.
        """
        if self._transport is None or self._transport.is_closing():
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def bind(self, exchange: Exchange) -> None:
        """Begin an exchange; nothing is written yet."""
        self.exchange = exchange
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport, which hands what it can to the socket at once."""
        assert self._transport is not None
        self._transport.write(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        """The same for several pieces, in one system call and without joining them."""
        assert self._transport is not None
        self._transport.writelines(parts)

    def pause_body(self) -> None:
        """Stop reading from the socket until `resume_body`."""
        if not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def resume_body(self) -> None:
        """Read from the socket again."""
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def lend_body(self, least: int) -> Lent | None:
        """Lend the socket for the rest of the answer's body, if `least` bytes of it or more are to come as they are.

        What is read from it is told to `took`.
        """
        transport = self._lendable_transport()
        if transport is None or not self._is_counting or self._left < least:
            return None
        self.pause_body()
        self._lent = Lent(self._loop, transport)
        return self._lent

    def lend(self) -> Lent | None:
        """Lend the socket to somebody who writes to it; None where bytes are encrypted, or wait here."""
        transport = self._lendable_transport()
        if transport is None or transport.get_write_buffer_size():
            return None
        self._lent = Lent(self._loop, transport)
        return self._lent

    def _lendable_transport(self) -> asyncio.Transport | None:
        transport = self._transport
        if not IS_POSSIBLE or transport is None or transport.is_closing():
            return None
        return transport if transport.get_extra_info("ssl_object") is None else None

    def pause_when_unsent(self, *, at_all: bool) -> None:
        """Count writing as paused while anything waits to be sent, or (as at first) only while much does."""
        if self._transport is not None and not self._transport.is_closing():
            high = 1 if at_all else max(self._limits.write_high_bytes, 1)
            self._transport.set_write_buffer_limits(high=high, low=high // 4)

    @property
    def body_left(self) -> int:
        """How many bytes of the body are still to come."""
        return self._left

    def took(self, size: int) -> None:
        """So many bytes of the body were read from the lent socket."""
        self._left -= size
        if not self._left:
            self._take_back()
            self._parser = None
            self._finish()

    def take_back(self) -> None:
        """End what `lend` or `lend_body` began: the rest goes and comes by the transport."""
        self._take_back()
        self.resume_body()

    def _take_back(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.close()

    def close(self) -> None:
        """Close an idle connection in good manners."""
        if self._transport is not None:
            self._transport.close()
        self._go()

    def abort(self) -> None:
        """Close at once with RST; nothing that is buffered is sent. An exchange must have been failed
        before.
        """
        if self._is_gone:
            return
        # While somebody else has the socket open as well, nothing is closed.
        self._take_back()
        if self._transport is not None:
            cut(self._transport)
        self._go()

    def fail(
        self, make_error: Callable[[str], UpstreamError], message: str, *, is_unsent: bool = False
    ) -> None:
        """End the exchange with an error, and this connection with it. `is_unsent`: some of the request is
        not out.
        """
        exchange, self.exchange = self.exchange, None
        is_unsent = is_unsent or self.has_unsent
        self.abort()
        if exchange is not None:
            exchange.on_failed(make_error, message, is_unsent=is_unsent)

    def _go(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._parser = None
            self._take_back()
            self._on_gone(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        # Never 0: uvloop's TLS then pauses at an empty buffer, and nothing ever resumes it.
        high = max(self._limits.write_high_bytes, 1)
        self._transport.set_write_buffer_limits(high=high, low=high // 4)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.exchange is not None and exc is not None:
            self._is_clean = False
            self._salvage()
        if self.exchange is not None:
            reason = f" ({type(exc).__name__})" if exc is not None else ""
            message = f"the node closed the connection before its answer was whole{reason}"
            self.fail(RemoteProtocolError, message, is_unsent=self.is_write_paused)
        self._go()

    def _salvage(self) -> None:
        """Read what the node said before it reset the connection under our writes: an early answer, mostly."""
        transport = self._transport
        handle = transport.get_extra_info("socket") if transport is not None else None
        if (
            transport is None
            or handle is None
            or handle.fileno() < 0
            or transport.get_extra_info("ssl_object")
        ):
            return
        with _borrow(handle) as dying:
            try:
                while self.exchange is not None and (data := dying.recv(65536, socket.MSG_DONTWAIT)):
                    self.data_received(data)
            except OSError:
                pass

    def eof_received(self) -> None:
        exchange = self.exchange
        if exchange is None:
            self.close()
        elif self._is_head_done and self._length is None and not self._is_chunked and exchange.status >= 400:
            # Where only the end delimits a body, a node that died half-way looks the same as one that was
            # done. An error's text may be cut; an object may not.
            self._is_clean = False
            self._finish()
        else:
            self.fail(RemoteProtocolError, "the node hung up before its answer was whole")

    def pause_writing(self) -> None:
        self.is_write_paused = True

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.exchange is not None:
            self.exchange.wake()

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or not exchange.has_begun:
            self.fail(RemoteProtocolError, "the node spoke before it was asked")
        elif self._is_counting:
            self._count(exchange, data)
        else:
            self._parse(data)

    def _count(self, exchange: Exchange, data: bytes) -> None:
        size = len(data)
        if size > self._left:
            self._is_clean = False
            data, size = data[: self._left], self._left
        self._left -= size
        exchange.on_chunk(data)
        if not self._left:
            self._parser = None
            self._finish()

    def _parse(self, data: bytes) -> None:
        assert self._parser is not None
        if not self._is_head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # A callback's own exception arrives as the cause of a parser's error.
            if not self._is_message_done:
                cause = error.__context__
                if isinstance(cause, RemoteProtocolError):
                    self.fail(RemoteProtocolError, str(cause))
                else:
                    self.fail(RemoteProtocolError, f"the node's answer is not HTTP/1.1: {error}")
                return
            self._is_clean = False
        if self._is_message_done:
            self._finish()
        elif not self._is_head_done:
            if self._head_bytes > self._limits.head_bytes:
                self.fail(RemoteProtocolError, "the node's answer has a head beyond all bounds")
        elif self._length is not None and self._left >= _COUNTED_BYTES:
            self._is_counting = True

    def _finish(self) -> None:
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        is_unsent = self.has_unsent
        exchange.on_complete(is_unsent=is_unsent)
        if (
            self._is_clean
            and self._keeps_alive
            and exchange.is_request_done
            and not is_unsent
            and not self._is_gone
        ):
            self._reset()
            self.resume_body()
            self.is_reused = True
            self.idle_since = self._loop.time()
            self._on_released(self)
        else:
            self.abort()

    # httptools

    def on_message_begin(self) -> None:
        if self._is_message_done:
            self._is_clean = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_head_done:
            # Trailers: nothing that S3 sends there is ours to relay, but they must end.
            self._head_bytes += len(name) + len(value) + 4
            if self._head_bytes > self._limits.head_bytes:
                raise RemoteProtocolError("the node's trailers are beyond all bounds")
            return
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._is_chunked = value.lower().endswith(b"chunked")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        exchange, parser = self.exchange, self._parser
        if self._is_message_done or exchange is None or parser is None:
            return
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise RemoteProtocolError("the node switched protocols unasked")
            self._is_interim = True
            self._headers, self._length, self._is_chunked = [], None, False
            return
        headers = self._headers
        if len(headers) > self._limits.headers:
            raise RemoteProtocolError("the node's answer has too many headers")
        if self._head_bytes > self._limits.head_bytes:
            # Most of what came along may be the body.
            size = sum(len(name) + len(value) for name, value in headers)
            if size > self._limits.head_bytes:
                raise RemoteProtocolError("the node's answer has a head beyond all bounds")
            self._head_bytes = size
        self._is_head_done = True
        if exchange.method == b"HEAD" or status == 204 or status == 304:
            # The parser cannot know that this was a HEAD and would wait for a body.
            self._keeps_alive = (
                not self._is_chunked and parser.get_http_version() == "1.1" and not _closes(headers)
            )
            self._is_message_done = True
            self._parser = None
        else:
            self._keeps_alive = parser.should_keep_alive()
            self._left = self._length or 0
        exchange.on_head(status, headers)

    def on_body(self, body: bytes) -> None:
        if self._is_message_done:
            self._is_clean = False
            return
        self._left -= len(body)
        if self.exchange is not None:
            self.exchange.on_chunk(body)

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
        else:
            self._is_message_done = True


@contextmanager
def _borrow(handle: socket.socket) -> Iterator[socket.socket]:
    """A transport shows its socket, but lets nobody read from it."""
    borrowed = socket.socket(handle.family, handle.type, handle.proto, fileno=handle.fileno())
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _closes(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"connection" and b"close" in value.lower() for name, value in headers)
