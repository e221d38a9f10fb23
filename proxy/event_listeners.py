"""Who listens to what changes in a workspace: one line to Redis for a worker, a queue for each listener."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from proxy.events import Event, channel
from quota import LiveState

#: Events that wait for one listener; a slower one loses some.
_WAITING: Final = 4096
_POLL_SECONDS: Final = 1.0

Listener = asyncio.Queue[Event | None]


class Listeners:
    """The listeners of one worker."""

    def __init__(self, realm: str) -> None:
        self._realm = realm
        self._listeners: dict[str, set[Listener]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._reader: asyncio.Task[None] | None = None
        self._pubsub: PubSub | None = None

    @asynccontextmanager
    async def listen(self, live: LiveState, workspace: str) -> AsyncIterator[Listener]:
        """A queue of what happens from now on; None in it means that the line to Redis broke.

        Raises `RedisError`, or `TimeoutError` (an `OSError`), when Redis cannot be asked.
        """
        name = channel(self._realm, workspace)
        queue: Listener = asyncio.Queue(_WAITING)
        listeners = self._listeners.setdefault(name, set())
        listeners.add(queue)
        try:
            if self._pubsub is None:
                self._pubsub = live.redis.pubsub()
            confirmed = self._confirmed.get(name)
            if confirmed is None:
                confirmed = self._confirmed[name] = asyncio.Event()
                await self._pubsub.subscribe(name)
            if self._reader is None:
                self._reader = asyncio.get_running_loop().create_task(self._read(), name="events")
            await asyncio.wait_for(confirmed.wait(), 2 * _POLL_SECONDS)
            yield queue
        finally:
            listeners.discard(queue)
            if not listeners and self._listeners.get(name) is listeners:
                del self._listeners[name]
                self._confirmed.pop(name, None)
                if self._pubsub is not None:
                    with contextlib.suppress(RedisError, OSError):
                        await self._pubsub.unsubscribe(name)

    async def aclose(self) -> None:
        """Stop; listeners hear that the line broke."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._drop()

    async def _read(self) -> None:
        pubsub = self._pubsub
        assert pubsub is not None
        try:
            while self._listeners:
                message = await pubsub.get_message(timeout=_POLL_SECONDS)
                if message is not None:
                    self._take(message)
        except (RedisError, OSError):
            pass
        finally:
            self._reader = None
        await self._drop()

    def _take(self, message: dict[str, Any]) -> None:
        name = message["channel"].decode()
        if message["type"] == "subscribe":
            confirmed = self._confirmed.get(name)
            if confirmed is not None:
                confirmed.set()
        elif message["type"] == "message":
            event = Event(*json.loads(message["data"]))
            for queue in self._listeners.get(name, ()):
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(event)

    async def _drop(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        listeners, self._listeners = self._listeners, {}
        self._confirmed.clear()
        for queues in listeners.values():
            for queue in queues:
                while queue.full():
                    queue.get_nowait()
                queue.put_nowait(None)
        if pubsub is not None:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
