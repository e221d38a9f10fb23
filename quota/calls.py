"""Calls from the data plane to the control plane, over Redis: the one address that both know.

A call is an entry on the stream `calls`; its answer arrives on a list of its own. Payloads are sealed, because some
carry new secrets. A call may be lost or run twice: handlers must bear it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import structlog
from redis.exceptions import RedisError, ResponseError

from quota.ids import new_id
from quota.live import LiveState
from quota.sealing import Sealer, SealError
from quota.stopping import raise_if_cancelled

log = structlog.get_logger("quota.calls")

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_GROUP: Final = "brokers"
#: Calls that may be at work at once in one broker.
_AT_ONCE: Final = 64
#: How old (seconds) a call may be when it is taken up: after that its caller has given up.
_STALE: Final = 10.0
#: Calls that one worker may have waiting: each holds a connection, and the worker needs some to hear of revocations.
_WAITING: Final = 32


class CallFailed(Exception):
    """No broker answered in time, or its handler failed."""


class CallClient:
    """The caller's side, in a proxy worker."""

    def __init__(self, live: LiveState, sealer: Sealer) -> None:
        self._live = live
        self._sealer = sealer
        self._room = asyncio.Semaphore(_WAITING)

    async def call(self, name: str, payload: dict[str, Any], timeout: float = 5.0) -> dict[str, Any]:
        """Return the handler's answer. Raises `CallFailed` after `timeout` seconds without one."""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout):
                await self._room.acquire()
        except TimeoutError:
            raise CallFailed("too many calls wait for the broker") from None
        try:
            return await self._call(name, payload, started + timeout)
        finally:
            self._room.release()

    async def _call(self, name: str, payload: dict[str, Any], deadline: float) -> dict[str, Any]:
        call, redis, layout = new_id(), self._live.redis, self._live.layout
        body = self._sealer.seal(json.dumps(payload).encode(), b"call:" + call.encode())
        reply = layout.reply(call)
        try:
            seconds, micros = await redis.time()
            await redis.xadd(
                layout["CALLS"],
                {"call": call, "name": name, "body": body, "at": str(seconds + micros / 1e6)},
                maxlen=10_000,
                approximate=True,
            )
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                # Shorter than the socket's timeout, which a blocking command must not exceed.
                answer = await cast(Awaitable[Any], redis.blpop([reply], timeout=min(left, 1.0)))
                if answer is not None:
                    return self._read(call, answer[1])
        except (RedisError, OSError, TimeoutError) as error:
            raise CallFailed("Redis cannot be used now") from error
        raise CallFailed("the broker did not answer: is it running?")

    def _read(self, call: str, raw: bytes) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._sealer.open(raw.decode(), b"answer:" + call.encode()))
        except SealError as error:
            raise CallFailed("the broker has another deployment secret") from error
        if answer.get("failed"):
            raise CallFailed("the broker failed at it; its log says why")
        return cast("dict[str, Any]", answer["value"])


class CallServer:
    """The answering side, in a broker; several brokers share the calls."""

    def __init__(self, live: LiveState, sealer: Sealer, handlers: Mapping[str, Handler]) -> None:
        self._live = live
        self._sealer = sealer
        self._handlers = dict(handlers)
        self._me = new_id()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Answer calls until cancelled, through outages of Redis."""
        try:
            while True:
                try:
                    await self._serve()
                except (RedisError, OSError, TimeoutError) as error:
                    raise_if_cancelled()
                    log.warning("calls_interrupted", error=type(error).__name__)
                    await asyncio.sleep(0.2)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self) -> None:
        redis, stream = self._live.redis, self._live.layout["CALLS"]
        try:
            await redis.xgroup_create(stream, _GROUP, id="$", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        while True:
            found: Any = await redis.xreadgroup(
                _GROUP, self._me, {stream: ">"}, count=16, block=1000, noack=True
            )
            raise_if_cancelled()
            for _stream, entries in found or ():
                for _id, fields in entries:
                    await self._room.acquire()
                    task = asyncio.create_task(self._answer(fields))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call_not_answered", error=type(error).__name__)

    async def _answer(self, fields: dict[bytes, bytes]) -> None:
        call, name = fields[b"call"].decode(), fields[b"name"].decode()
        redis, layout = self._live.redis, self._live.layout
        seconds, micros = await redis.time()
        if seconds + micros / 1e6 - float(fields[b"at"]) > _STALE:
            return
        answer: dict[str, Any]
        try:
            payload = json.loads(self._sealer.open(fields[b"body"].decode(), b"call:" + call.encode()))
            answer = {"value": await self._handlers[name](payload)}
        except Exception as error:
            log.exception("call_failed", call=name, error=type(error).__name__)
            answer = {"failed": True}
        sealed = self._sealer.seal(json.dumps(answer).encode(), b"answer:" + call.encode())
        reply = layout.reply(call)
        async with redis.pipeline(transaction=True) as pipe:
            pipe.rpush(reply, sealed)
            pipe.expire(reply, 30)
            await pipe.execute()
