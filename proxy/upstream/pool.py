"""Connections to one origin: a bounded number of slots, each an open connection or one being made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from proxy.upstream.connection import Connection
from proxy.upstream.errors import PoolTimeout
from proxy.upstream.origin import Timeouts


class Pool:
    """Hands out connections, newest first; waiters queue, first come first served.

    A slot is taken before a connection is made and given back exactly once: by `forget`, when that
    connection is gone, or here, when it was never made. What a cancelled waiter had been handed goes to the
    next one.
    """

    __slots__ = ("_idle", "_limit", "_loop", "_make", "_slots_taken", "_waiters")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        make: Callable[[Pool, Timeouts], Awaitable[Connection]],
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._make = make
        self._idle: list[Connection] = []
        self._slots_taken = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()

    def __repr__(self) -> str:
        return f"<Pool {self._slots_taken}/{self._limit} idle={len(self._idle)} waiting={len(self._waiters)}>"

    @property
    def is_empty(self) -> bool:
        """Whether no connection, no attempt and no waiter is left."""
        return not self._slots_taken and not self._waiters

    def take(self) -> Connection | None:
        """Return an idle connection, if there is one, without waiting."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    async def acquire(self, timeouts: Timeouts, *, fresh: bool = False) -> Connection:
        """Return a connection: an idle one unless `fresh`, a new one, or one that another exchange is done
        with.

        Raises `PoolTimeout`, `ConnectTimeout` or `ConnectError`.
        """
        until = self._loop.time() + timeouts.pool
        while True:
            if fresh:
                # One that had gone stale says the same of the others: the oldest makes room first.
                while self._slots_taken >= self._limit and self._idle:
                    self._idle.pop(0).abort()
            elif (connection := self.take()) is not None:
                return connection
            if self._slots_taken < self._limit:
                self._slots_taken += 1
            elif (handed := await self._wait(until)) is not None:
                if handed.is_usable:
                    return handed
                handed.abort()
                continue
            try:
                return await self._make(self, timeouts)
            except BaseException:
                self._free_slot()
                raise

    def release(self, connection: Connection) -> None:
        """Take back a connection whose exchange is complete."""
        waiter = self._next_waiter()
        if waiter is None:
            self._idle.append(connection)
        else:
            waiter.set_result(connection)

    def forget(self, connection: Connection) -> None:
        """Give back the slot of a connection that is gone; called once for each that `make` returned."""
        if connection in self._idle:
            self._idle.remove(connection)
        self._free_slot()

    async def _wait(self, until: float) -> Connection | None:
        """Return a connection, or `None` for a slot to make one in."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        timer = self._loop.call_at(until, _expire, waiter)
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                handed = waiter.result()
                if handed is None:
                    self._free_slot()
                elif handed.is_usable:
                    self.release(handed)
                else:
                    handed.abort()
            raise
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = self._next_waiter()
        if waiter is None:
            self._slots_taken -= 1
        else:
            waiter.set_result(None)


def _expire(waiter: asyncio.Future[Connection | None]) -> None:
    if not waiter.done():
        waiter.set_exception(PoolTimeout("all connections to the node are in use"))
