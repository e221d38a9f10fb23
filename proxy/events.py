"""What changed in a workspace, told to whoever listens to it, in any worker: by Redis's publish and subscribe.

The gate tells of the changes that it makes itself. So listening works on every kind of node, costs a node nothing,
and cannot show a neighbour's events; and it is prompt, where MinIO of 2026 lets its own stream go only in pieces of
4 KiB. Nothing rests on an event: one that is lost (a slow listener, Redis away) is lost, as it is with MinIO.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from proxy.call import Call, Headers, header
from quota import LiveState
from quota.wire import Wire

#: Events that wait for one listener; a slower one loses some.
_WAITING: Final = 4096
_POLL_SECONDS: Final = 1.0


class Event(NamedTuple):
    """One change: `name` as S3's (`s3:ObjectCreated:Put`), `time` in RFC 3339; `size` in bytes, -1 when unknown."""

    name: str
    key: str
    time: str
    size: int
    etag: str
    version_id: str
    sequencer: str


Listener = asyncio.Queue[Event | None]


class Events:
    """The events of one worker. `publish` never waits and never fails."""

    def __init__(self, wire: Wire, realm: str) -> None:
        self._wire = wire
        self._realm = realm
        self._listeners: dict[str, set[Listener]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}
        self._reader: asyncio.Task[None] | None = None
        self._pubsub: PubSub | None = None

    def publish(self, workspace: str, events: Sequence[Event]) -> None:
        """Tell of changes that a node has made."""
        for event in events:
            self._wire.tell("PUBLISH", self._channel(workspace), json.dumps(event, separators=(",", ":")))

    @asynccontextmanager
    async def listen(self, live: LiveState, workspace: str) -> AsyncIterator[Listener]:
        """A queue of what happens from now on; None in it means that the line to Redis broke.

        Raises `RedisError`, or `TimeoutError` (an `OSError`), when Redis cannot be asked.
        """
        channel = self._channel(workspace)
        queue: Listener = asyncio.Queue(_WAITING)
        listeners = self._listeners.setdefault(channel, set())
        listeners.add(queue)
        try:
            if self._pubsub is None:
                self._pubsub = live.redis.pubsub()
            confirmed = self._confirmed.get(channel)
            if confirmed is None:
                confirmed = self._confirmed[channel] = asyncio.Event()
                await self._pubsub.subscribe(channel)
            if self._reader is None:
                self._reader = asyncio.get_running_loop().create_task(self._read(), name="events")
            await asyncio.wait_for(confirmed.wait(), 2 * _POLL_SECONDS)
            yield queue
        finally:
            listeners.discard(queue)
            if not listeners and self._listeners.get(channel) is listeners:
                del self._listeners[channel]
                self._confirmed.pop(channel, None)
                if self._pubsub is not None:
                    with contextlib.suppress(RedisError, OSError):
                        await self._pubsub.unsubscribe(channel)

    async def aclose(self) -> None:
        """Stop; listeners hear that the line broke."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        await self._drop()

    def _channel(self, workspace: str) -> str:
        return f"{{{self._realm}}}:events:{workspace}"

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
        channel = message["channel"].decode()
        if message["type"] == "subscribe":
            confirmed = self._confirmed.get(channel)
            if confirmed is not None:
                confirmed.set()
        elif message["type"] == "message":
            event = Event(*json.loads(message["data"]))
            for queue in self._listeners.get(channel, ()):
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


def tell(
    call: Call, name: str, key: str | None = None, *, size: int = -1, etag: str = "", headers: Headers = ()
) -> None:
    """Tell of what this request changed at its node: `name` without its `s3:`; the plan's key if no other."""
    etag = etag or (header(headers, b"etag") or b"").decode("latin-1")
    event = make_event(
        name,
        call.plan.key if key is None else key,
        size=size,
        etag=etag,
        version_id=(header(headers, b"x-amz-version-id") or b"").decode("latin-1"),
    )
    call.worker.events.publish(call.admitted.workspace, (event,))


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


def make_event(name: str, key: str, *, size: int = -1, etag: str = "", version_id: str = "") -> Event:
    """One event of this moment."""
    now = time.time_ns()
    moment = f"{_second(now // 1_000_000_000)}.{now // 1_000_000 % 1000:03d}Z"
    return Event(f"s3:{name}", key, moment, size, etag.strip('"'), version_id, f"{now:016X}")
