"""Requests to storage nodes: connections kept per origin, and one exchange after another on each."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from proxy.splicing import Rest
from proxy.sweep import Sweeper
from proxy.upstream.connection import Connection
from proxy.upstream.errors import ConnectError, ConnectTimeout, RemoteProtocolError
from proxy.upstream.exchange import BodyFeed, Exchange, StaleConnection
from proxy.upstream.head import encode_head
from proxy.upstream.origin import Limits, Origin, Timeouts
from proxy.upstream.pool import Pool
from quota.waiting import afterwards, within

#: Seconds between looks at deadlines, and so how late one may be met.
_SWEEP_SECONDS: Final = 0.1

DEFAULT_TIMEOUTS: Final = Timeouts()


class Upstream:
    """Connections to storage nodes, kept alive and bounded per origin, for one event loop.

    No redirect is followed, nothing is decompressed, no name is looked up where an address is pinned, and
    no environment variable is read. `ssl_context` is used for `https` origins (by default the system's
    authorities).
    """

    def __init__(self, *, limits: Limits | None = None, ssl_context: ssl.SSLContext | None = None) -> None:
        self._limits = limits or Limits()
        self._ssl_context = ssl_context
        self._pools: dict[Origin, Pool] = {}
        self._connections: set[Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: Sweeper | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Upstream {len(self._connections)} connections to {len(self._pools)} origins>"

    async def exchange(
        self,
        origin: Origin,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes | Rest] | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        *,
        on_start: Callable[[Exchange], None] | None = None,
    ) -> Exchange:
        """Send a request and return once its answer's head is there.

        Target and headers go out verbatim, in order; `host` and the body's framing are added where absent.
        A body that comes as an iterator is pulled in the caller's task and never twice; when the node
        answers before its end, sending stops (the source sees a cancellation where it waits, then `aclose`)
        and the answer is returned with `body_sent` false. `on_start` gets the exchange before its first
        byte is written, and anew for a second attempt, so that somebody else may abort it.

        A request is sent a second time, over a new connection, only if nothing of it was written, or if it
        is a GET, HEAD or OPTIONS without a body and a reused connection ended without a byte of answer.

        Raises the errors of `proxy.upstream.errors` and whatever the body's source raises, and leaves no
        connection in use; cancelling it does the same.
        """
        loop = self._loop or self._start()
        head, length = encode_head(origin, method, target, headers, body)
        if body is None or isinstance(body, bytes):
            return await self._attempt(
                loop, origin, method, head + body if body else head, None, timeouts, on_start
            )
        feed = BodyFeed(body, length)
        work = self._attempt(loop, origin, method, head, feed, timeouts, on_start)
        return await afterwards(work, feed.aclose)

    async def _attempt(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        method: bytes,
        head: bytes,
        feed: BodyFeed | None,
        timeouts: Timeouts,
        on_start: Callable[[Exchange], None] | None,
    ) -> Exchange:
        """Send once, or twice where that does no harm. Without a feed `head` is the whole request."""
        is_second = False
        while True:
            pool = self._pools.get(origin) or self._make_pool(origin)
            connection = None if is_second else pool.take()
            if connection is None:
                connection = await pool.acquire(timeouts, fresh=is_second)
            is_reused = connection.is_reused
            exchange = Exchange(loop, connection, method, timeouts, self._limits.buffer_bytes)
            try:
                if on_start is not None:
                    on_start(exchange)
                if feed is None:
                    exchange.send_whole(head)
                else:
                    await exchange.send_streamed(head, feed)
                await exchange.await_head()
            except StaleConnection:
                exchange.abort()
                if is_second:
                    raise ConnectError("the node closes every connection at once") from None
            except RemoteProtocolError:
                if is_second or not is_reused or feed is not None or not exchange.is_repeatable:
                    raise
            except BaseException:
                exchange.abort()
                raise
            else:
                return exchange
            is_second = True

    async def aclose(self) -> None:
        """Close all connections; what is under way fails with `Aborted`. No exchange may begin afterwards."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.stop()
        for connection in list(self._connections):
            if connection.exchange is not None:
                connection.exchange.abort()
            else:
                connection.close()
        # Transports call back once more when they are closed.
        await asyncio.sleep(0)

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._is_closed:
            raise RuntimeError("this Upstream is closed")
        self._loop = asyncio.get_running_loop()
        self._sweeper = Sweeper(self._loop, _SWEEP_SECONDS, self._sweep)
        return self._loop

    def _make_pool(self, origin: Origin) -> Pool:
        loop = self._loop
        assert loop is not None

        async def connect(pool: Pool, timeouts: Timeouts) -> Connection:
            return await self._connect(loop, origin, pool, timeouts)

        pool = self._pools[origin] = Pool(loop, self._limits.connections, connect)
        return pool

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, pool: Pool, timeouts: Timeouts
    ) -> Connection:
        if self._is_closed:
            raise ConnectError("this Upstream is closed")

        def forget(connection: Connection) -> None:
            if connection in self._connections:
                self._connections.remove(connection)
                pool.forget(connection)

        connection = Connection(loop, self._limits, pool.release, forget)
        is_tls = origin.scheme == "https"
        try:
            connecting = loop.create_connection(
                lambda: connection,
                origin.address or origin.host,
                origin.port,
                ssl=self._make_ssl_context() if is_tls else None,
                server_hostname=origin.host if is_tls else None,
            )
            await within(timeouts.connect, connecting)
        except BaseException as error:
            connection.abort()
            if isinstance(error, TimeoutError):
                raise ConnectTimeout(f"no connection to {origin} in time") from error
            if isinstance(error, OSError):
                raise ConnectError(f"no connection to {origin}: {_reason(error)}") from error
            raise
        self._connections.add(connection)
        if self._sweeper is not None:
            self._sweeper.start()
        return connection

    def _make_ssl_context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context

    def _sweep(self, now: float) -> bool:
        expired = now - self._limits.keep_alive
        for connection in list(self._connections):
            exchange = connection.exchange
            if exchange is not None:
                if exchange.deadline <= now:
                    exchange.expire()
            elif connection.is_reused and connection.idle_since < expired:
                connection.close()
        for origin in [origin for origin, pool in self._pools.items() if pool.is_empty]:
            del self._pools[origin]
        return bool(self._connections)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "TLS failed"
    return error.strerror or type(error).__name__
