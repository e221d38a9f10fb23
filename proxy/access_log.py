"""The access log: one JSON line a request, formatted and written off the path of requests."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _escape
from typing import Any, Final

_PAUSE: Final = 0.25
#: Lines that may wait to be written; beyond that lines are counted, not kept.
_WAITING: Final = 50_000


#: Time, request id, client, access key id, user, method, path, operation, status, code, bytes in and out, seconds.
_Request = tuple[float, bytes, str, str, str, str, bytes, str, int, str, int, int, float]


class AccessLog:
    """Takes records from requests and writes them, in order, a few times a second.

    A record holds no header, query or body: a path has no secret in it, a query may have (presigned URLs, tokens).
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._waiting: list[_Request | dict[str, Any]] = []
        self._dropped = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        if self._enabled and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="access-log")

    async def aclose(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._write()

    def request(
        self,
        request_id: bytes,
        client: str,
        access_key_id: str,
        user: str,
        method: str,
        path: bytes,
        operation: str,
        status: int,
        code: str,
        bytes_in: int,
        bytes_out: int,
        seconds: float,
    ) -> None:
        """Record one finished request; costs an append."""
        if not self._enabled:
            return
        if len(self._waiting) >= _WAITING:
            self._dropped += 1
            return
        self._waiting.append(
            (
                time.time(),
                request_id,
                client,
                access_key_id,
                user,
                method,
                path,
                operation,
                status,
                code,
                bytes_in,
                bytes_out,
                seconds,
            )
        )

    def event(self, event: str, **fields: Any) -> None:
        """Record something that is no request of its own."""
        if self._enabled and len(self._waiting) < _WAITING:
            self._waiting.append({"event": event, "at": time.time(), **fields})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_PAUSE)
            self._write()

    def _write(self) -> None:
        records, self._waiting = self._waiting, []
        if dropped := self._dropped:
            self._dropped = 0
            records.append({"event": "access_log_dropped", "at": time.time(), "count": dropped})
        if records:
            sys.stdout.write("".join(map(_line, records)))
            sys.stdout.flush()


def _line(record: _Request | dict[str, Any]) -> str:
    if isinstance(record, dict):
        return json.dumps({**record, "at": _stamp(record["at"])}) + "\n"
    at, request_id, client, key, user, method, path, operation, status, code, read, sent, seconds = record
    told = f', "code": {_escape(code)}' if code else ""
    # Apart: one format specification in a text makes a compiled build assemble all of it by `str.format`.
    took = format(seconds, ".6f")
    # What a client chose is escaped; the rest is ours, and has nothing to escape. `json.dumps` takes twice as long.
    return (
        f'{{"event": "request", "at": "{_stamp(at)}", "request_id": "{request_id.decode()}", "client": "{client}", '
        f'"access_key_id": {_escape(key)}, "user": {_escape(user)}, "method": {_escape(method)}, '
        f'"path": {_escape(path.decode("utf-8", "replace"))}, "operation": "{operation}", "status": {status}, '
        f'"bytes_in": {read}, "bytes_out": {sent}, "seconds": {took}'
        f"{told}}}\n"
    )


def _stamp(at: float) -> str:
    whole = int(at)
    milliseconds = format(int((at - whole) * 1000), "03d")
    return f"{_second(whole)}.{milliseconds}Z"


@lru_cache(maxsize=8)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
