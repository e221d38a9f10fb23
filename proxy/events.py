"""What changed in a workspace, told to whoever listens to it, in any worker: by Redis's publish and subscribe.

The gate tells of the changes that it makes itself. So listening works on every kind of node, costs a node nothing,
and cannot show a neighbour's events; and it is prompt, where MinIO of 2026 lets its own stream go only in pieces of
4 KiB. Nothing rests on an event: one that is lost (a slow listener, Redis away) is lost, as it is with MinIO.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _escape
from typing import Final

from proxy.call import Call, Headers, header
from quota.wire import Wire


class Event:
    """One change: `name` as S3's (`s3:ObjectCreated:Put`), `time` in RFC 3339; `size` in bytes, -1 when unknown."""

    __slots__ = (
        "etag",
        "key",
        "name",
        "sequencer",
        "size",
        "time",
        "version_id",
    )

    def __init__(
        self,
        name: str,
        key: str,
        time: str,
        size: int,
        etag: str,
        version_id: str,
        sequencer: str,
    ) -> None:
        self.name: Final = name
        self.key: Final = key
        self.time: Final = time
        self.size: Final = size
        self.etag: Final = etag
        self.version_id: Final = version_id
        self.sequencer: Final = sequencer

    def encode(self) -> str:
        """Return the event as a JSON array, which is how it goes through Redis."""
        # What a client or a node chose is escaped; the rest is ours.
        return (
            f'["{self.name}",{_escape(self.key)},"{self.time}",{self.size},'
            f'{_escape(self.etag)},{_escape(self.version_id)},"{self.sequencer}"]'
        )


def channel(realm: str, workspace: str) -> str:
    """Return the name of the channel on which a workspace's events are told."""
    return f"{{{realm}}}:events:{workspace}"


class Events:
    """Tells of what this worker changes. `publish` never waits and never fails."""

    def __init__(self, wire: Wire, realm: str) -> None:
        self._wire = wire
        self._realm = realm

    def publish(self, workspace: str, events: Sequence[Event]) -> None:
        """Tell of changes that a node has made."""
        for event in events:
            self._wire.tell("PUBLISH", channel(self._realm, workspace), event.encode())


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
    moment = f"{_second(now // 1_000_000_000)}.{format(now // 1_000_000 % 1000, '03d')}Z"
    return Event(f"s3:{name}", key, moment, size, etag.strip('"'), version_id, format(now, "016X"))
