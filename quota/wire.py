"""One connection to Redis that pipelines whatever is in flight.

redis-py costs 60 to 110 microseconds of CPU a call, which would be a third of the hot path; this costs
about a tenth. It does one thing only: commands out in order, replies in in order, over one connection that
mends itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import hiredis

from quota.waiting import within
from quota.wire_address import WireAddress

#: What a command is made of; integers go as decimal digits.
Argument: TypeAlias = bytes | str | int

_log = logging.getLogger(__name__)

#: Seconds between attempts to reconnect, doubled from the first to the last.
_FIRST_BACKOFF: Final = 0.05
_LAST_BACKOFF: Final = 1.0
#: Commands that may wait for their replies at once; more of them means that nothing is answering.
_MOST_IN_FLIGHT: Final = 20_000
_NOTHING: Final = object()

#: How a string of each length begins, as far as lengths are common.
_BEGINNINGS: Final = tuple(b"$%d\r\n" % size for size in range(1024))


def encode(command: Sequence[Argument]) -> bytes:
    """Return a command as it is sent: an array of strings (https://valkey.io/topics/protocol). Text is UTF-8;
    UnicodeEncodeError where it has none.
    """
    return b"*%d\r\n%b" % (len(command), _encode_items(command))


def _encode_items(items: Sequence[Argument]) -> bytes:
    # Compiled, this takes half the time of hiredis' own, which looks at each item in more ways.
    parts: list[bytes] = []
    for item in items:
        if isinstance(item, str):
            data = item.encode()
        elif isinstance(item, bytes):
            data = item
        else:
            data = b"%d" % item
        size = len(data)
        parts.append(_BEGINNINGS[size] if size < 1024 else b"$%d\r\n" % size)
        parts.append(data)
        parts.append(b"\r\n")
    return b"".join(parts)


class WireError(Exception):
    """Redis could not be asked, or refused. Unless a subclass says more, the command may have run."""


class WireClosed(WireError):
    """There is no connection (the command was not sent), or it was lost before the reply."""


class WireTimeout(WireError):
    """No reply within the deadline: a paused or overloaded Redis. The command may still run later."""


class WireReplyError(WireError):
    """Redis answered with an error; `str()` is its message."""


class _Link(asyncio.Protocol):
    """One connection: replies go to the callers in the order of the commands, and never to anybody else.

    A caller that is cancelled leaves its place in the queue behind, so that its reply is dropped and not
    handed to the next one (redis/redis-py#2624). Whatever upsets the order ends the connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout: float, on_lost: Callable[[_Link], None]
    ) -> None:
        self._loop = loop
        self._timeout = timeout
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=WireReplyError, notEnoughData=_NOTHING)
        self._pending: deque[tuple[asyncio.Future[Any] | None, float]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_lost = False
        self.lost = loop.create_future()

    def send(self, command: bytes) -> asyncio.Future[Any]:
        """Queue an encoded command, to be written at the end of this tick of the loop; return its future
        reply.
        """
        if self._is_lost:
            raise WireClosed("the connection to Redis is lost")
        if len(self._pending) >= _MOST_IN_FLIGHT:
            raise WireClosed("too many commands wait for Redis")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue(command, future)
        return future

    def tell(self, command: bytes) -> None:
        """Queue an encoded command whose reply nobody waits for; nothing happens where it cannot be sent."""
        if not self._is_lost and len(self._pending) < _MOST_IN_FLIGHT:
            self._queue(command, None)

    def _queue(self, command: bytes, future: asyncio.Future[Any] | None) -> None:
        deadline = self._loop.time() + self._timeout
        self._pending.append((future, deadline))
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check_deadline)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(command)

    def drop(self, make_error: Callable[[], WireError]) -> None:
        """End the connection at once; everything in flight fails."""
        if self._is_lost:
            return
        self._is_lost = True
        self._outgoing.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self)
        while self._pending:
            future, _ = self._pending.popleft()
            if future is not None and not future.done():
                future.set_exception(make_error())
                # A caller cancelled in this very tick never looks; that is no reason for a warning.
                future.exception()
        if not self.lost.done():
            self.lost.set_result(None)

    def _flush(self) -> None:
        outgoing = self._outgoing
        if not outgoing or self._transport is None:
            return
        self._transport.write(outgoing[0] if len(outgoing) == 1 else b"".join(outgoing))
        outgoing.clear()

    def _check_deadline(self) -> None:
        # All deadlines lie the same time ahead, so the oldest caller's is the next: one timer serves all.
        self._timer = None
        if not self._pending:
            return
        deadline = self._pending[0][1]
        if self._loop.time() >= deadline:
            self.drop(lambda: WireTimeout(f"no reply from Redis within {self._timeout:g} s"))
        else:
            self._timer = self._loop.call_at(deadline, self._check_deadline)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        reader, pending = self._reader, self._pending
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING:
                future, _ = pending.popleft()
                if isinstance(reply, WireReplyError):
                    if future is not None and not future.done():
                        future.set_exception(reply)
                        future.exception()
                    if str(reply).startswith("READONLY"):
                        # This server has become a replica: the name may lead to the primary next time.
                        self.drop(lambda: WireClosed("this Redis is not the primary any more"))
                        return
                elif future is not None and not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop(lambda: WireClosed("Redis sent what no command asked for"))

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f": {type(exc).__name__}" if exc is not None else ""
        self.drop(lambda: WireClosed(f"the connection to Redis was lost{reason}"))


class Wire:
    """A self-mending, pipelined connection to one Redis primary.

    `timeout` is in seconds and holds for each command and for connecting. `on_connect` is called with the
    server's `run_id` after each successful greeting and before any command is sent on that connection, so
    that a caller can void what it knew of another Redis (protocol, rule 3); `on_lost` is called without
    arguments when a published connection goes. Both run inside the event loop and must not block.

    A command is never sent twice, except a script that Redis says it does not know (and so did not run).
    Not for commands that block, and not for use from several event loops.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 1.5,
        client_name: str = "wio",
        on_connect: Callable[[str], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._address = WireAddress.parse(url)
        self._timeout = timeout
        self._client_name = client_name
        self._on_connect = on_connect
        self._on_lost = on_lost
        self._scripts: dict[str, tuple[str, str]] = {}
        self._calls: dict[tuple[str, int], tuple[Sequence[bytes | str], bytes]] = {}
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self.run_id: str | None = None

    def __repr__(self) -> str:
        where = self._address.path or f"{self._address.host}:{self._address.port}"
        return f"<Wire {where} {'connected' if self.is_connected else 'down'}>"

    @property
    def is_connected(self) -> bool:
        """Whether commands are being sent; when not, they fail at once with `WireClosed`."""
        return self._link is not None

    def register(self, name: str, source: str) -> str:
        """Make a Lua script callable by `name`; return its SHA-1. Loaded at each connect and whenever it is
        missing.
        """
        sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self._scripts[name] = (sha, source)
        self._calls.clear()
        return sha

    async def connect(self) -> None:
        """Connect, and stay connected until `aclose`.

        Raises `WireError` when the first attempt fails; attempts go on in the background even then, so that a
        caller may start without Redis and refuse until `on_connect` is called.
        """
        if self._keeper is None:
            loop = asyncio.get_running_loop()
            self._first = loop.create_future()
            self._keeper = loop.create_task(self._keep_connected(), name="wire")
        if self._first is not None:
            await asyncio.shield(self._first)

    async def aclose(self) -> None:
        """Drop the connection and stop reconnecting. What is in flight fails with `WireClosed`."""
        if self._link is not None:
            self._link.drop(lambda: WireClosed("the connection to Redis was closed"))
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    async def execute(self, *args: Argument) -> Any:
        """Send one command and return its reply, strings as `bytes`.

        Raises `WireReplyError`, `WireTimeout` or `WireClosed`.
        """
        link = self._link
        if link is None:
            raise WireClosed("there is no connection to Redis")
        return await link.send(encode(args))

    def tell(self, *args: Argument) -> None:
        """Send one command and do not wait for its reply; where there is no connection, or an error, nothing
        happens.
        """
        if self._link is not None:
            self._link.tell(encode(args))

    async def evalsha(self, sha: str, keys: Sequence[bytes | str], args: Sequence[Argument]) -> Any:
        """Run a script that Redis has loaded; errors as for `execute`."""
        link = self._link
        if link is None:
            raise WireClosed("there is no connection to Redis")
        return await link.send(encode(("EVALSHA", sha, len(keys), *keys, *args)))

    async def call(self, name: str, keys: Sequence[bytes | str], args: Sequence[Argument]) -> Any:
        """Run a registered script; where Redis has lost it, load it and try once more. Errors as for
        `execute`.
        """
        link = self._link
        if link is None:
            raise WireClosed("there is no connection to Redis")
        command = self._encode_call(name, keys, args)
        try:
            return await link.send(command)
        except WireReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        _, source = self._scripts[name]
        # Pipelined on the same connection, so nothing can come between the two.
        loaded = link.send(encode(("SCRIPT", "LOAD", source)))
        again = link.send(command)
        await loaded
        return await again

    def _encode_call(self, name: str, keys: Sequence[bytes | str], args: Sequence[Argument]) -> bytes:
        # The same script is called with the same keys again and again: that part is encoded once.
        count = len(args)
        known = self._calls.get((name, count))
        if known is None or known[0] is not keys:
            sha, _ = self._scripts[name]
            fixed = ("EVALSHA", sha, len(keys), *keys)
            known = (keys, b"*%d\r\n%b" % (len(fixed) + count, _encode_items(fixed)))
            self._calls[name, count] = known
        return known[1] + _encode_items(args)

    async def _keep_connected(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                link = await self._open()
            except (WireError, OSError) as error:
                self._settle_first(error if isinstance(error, WireError) else _unreachable(error))
                _log.debug("Redis cannot be reached: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 -- it must not end the reconnecting
                # `on_connect`'s, mostly: as long as it fails nothing may be sent, and it will be asked again.
                self._settle_first(WireClosed("the connection to Redis could not be taken into use"))
                _log.exception("the connection to Redis could not be taken into use")
            else:
                backoff = _FIRST_BACKOFF
                self._settle_first(None)
                await link.lost
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter is no secret
            backoff = min(backoff * 2, _LAST_BACKOFF)

    def _settle_first(self, error: WireError | None) -> None:
        first, self._first = self._first, None
        if first is None or first.done():
            return
        if error is None:
            first.set_result(None)
        else:
            first.set_exception(error)
            first.exception()

    async def _open(self) -> _Link:
        link = _Link(asyncio.get_running_loop(), self._timeout, self._forget)
        try:
            run_id = await within(self._timeout, self._reach(link))
            if self._on_connect is not None:
                self._on_connect(run_id)
        except TimeoutError:
            link.drop(lambda: WireTimeout("Redis did not answer the greeting"))
            raise WireTimeout("Redis did not answer the greeting") from None
        except BaseException:
            link.drop(lambda: WireClosed("the greeting failed"))
            raise
        self.run_id = run_id
        if link.lost.done():
            raise WireClosed("the connection to Redis was lost")
        self._link = link
        return link

    async def _reach(self, link: _Link) -> str:
        loop, address = asyncio.get_running_loop(), self._address
        if address.path is not None:
            await loop.create_unix_connection(lambda: link, address.path)
        else:
            await loop.create_connection(lambda: link, address.host, address.port, ssl=address.tls)
        return await self._greet(link)

    async def _greet(self, link: _Link) -> str:
        commands: list[tuple[str, ...]] = [*self._address.greeting, ("CLIENT", "SETNAME", self._client_name)]
        commands += [("SCRIPT", "LOAD", source) for _, source in self._scripts.values()]
        # PING is refused while Redis still loads its data; INFO is not.
        commands += [("PING",), ("INFO", "server")]
        replies = [link.send(encode(command)) for command in commands]
        for reply in replies:
            info = await reply
        for line in info.splitlines():
            if line.startswith(b"run_id:"):
                return str(line[7:].strip(), "ascii")
        raise WireClosed("Redis does not say its run_id")

    def _forget(self, link: _Link) -> None:
        if self._link is link:
            self._link = None
            if self._on_lost is not None:
                self._on_lost()


def _unreachable(error: OSError) -> WireClosed:
    closed = WireClosed(f"Redis cannot be reached: {error.strerror or type(error).__name__}")
    closed.__cause__ = error
    return closed
