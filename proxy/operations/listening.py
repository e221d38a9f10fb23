"""MinIO's ListenNotification: the events of one workspace, for as long as the client listens."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from proxy.admission import admit_read
from proxy.call import Call
from proxy.events import Event
from proxy.operations.multipart import owner_of
from proxy.s3.errors import Code, Refusal, S3Error, error
from proxy.s3.notification import PING, asked_events, event_line, matches, ping_seconds
from proxy.s3.target import key_problem


async def listen(call: Call) -> S3Error | None:
    """ListenNotification: a line an event, and signs of life between them.

    Ends when the client goes, when what the request was admitted by is revoked, and when the line to Redis breaks.
    """
    refusal = await admit_read(call)
    if refusal is not None:
        return refusal
    query = call.plan.query
    events, ping = asked_events(query), ping_seconds(query)
    if isinstance(events, Refusal):
        return events
    if isinstance(ping, Refusal):
        return ping
    prefix, suffix = query.get("prefix") or "", query.get("suffix") or ""
    problem = key_problem(prefix) if prefix else None
    if problem is not None:
        return problem
    worker = call.worker
    try:
        async with worker.listeners.listen(worker.live, call.admitted.workspace) as queue:
            call.begin(200, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")])
            # The head leaves with the first piece, and the client waits for it.
            await _say(call, PING)
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), ping)
                except TimeoutError:
                    await _say(call, PING)
                    continue
                if event is None:
                    break
                if matches(event.name, event.key, events, prefix, suffix):
                    await _say(call, _line(call, event))
    except (RedisError, TimeoutError):
        pass
    # Not an end that looks clean, once begun: the client is to listen again.
    return error(Code.SLOW_DOWN, "The gate's live state cannot be reached now. Try again in a moment.")


def _line(call: Call, event: Event) -> bytes:
    details: dict[str, str | int] = {"sequencer": event.sequencer}
    if event.size >= 0:
        details["size"] = event.size
    if event.etag:
        details["eTag"] = event.etag
    if event.version_id:
        details["versionId"] = event.version_id
    return event_line(
        event.name,
        call.plan.bucket or "",
        event.key,
        time=event.time,
        owner=owner_of(call),
        details=details,
    )


async def _say(call: Call, line: bytes) -> None:
    call.check()
    call.bytes_out += len(line)
    await call.connection.write(line, is_last=False)
