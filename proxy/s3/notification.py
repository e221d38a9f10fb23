"""MinIO's ListenNotification: one JSON document a line, translated line by line, or made by the gate.

`mc watch` and `mc mirror --watch` read it. An event tells who did it and from where, which is none of another
user's business: only what happened to which object passes
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).

Of one MinIO (February 2026) the stream comes only in pieces of 4 KiB: its wrapper of responses has lost `Flush`,
so that even its own `mc watch` waits for the next dozen events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from proxy.s3.errors import BadNodeAnswer, Refusal, invalid_argument
from proxy.s3.rewrite import Names
from proxy.s3.target import Query, encode_query, key_problem
from proxy.s3.url_names import url_decode

#: A line longer than this is no event.
MAX_LINE_BYTES: Final = 64 * 1024
#: What MinIO sends to show that it is alive, every `ping` seconds.
PING: Final = b'{"Records":null}\n'
DEFAULT_PING: Final = 10
_EVENTS: Final = (
    "s3:ObjectCreated:",
    "s3:ObjectRemoved:",
    "s3:ObjectAccessed:",
    "s3:ObjectRestore:",
    # `mc mirror --watch` asks for them of every bucket; in one that is there they never happen.
    "s3:BucketCreated:",
    "s3:BucketRemoved:",
)


def asked_events(query: Query) -> tuple[str, ...] | Refusal:
    """The names or patterns (`s3:ObjectCreated:*`) of the events asked for."""
    events = query.all("events")
    for event in events:
        if not event.startswith(_EVENTS):
            return invalid_argument("events", event, "A specified event is not supported for notifications.")
    return events


def ping_seconds(query: Query) -> int | Refusal:
    """Every how many seconds the client wants a sign of life."""
    text = query.get("ping") or str(DEFAULT_PING)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 3600:
        return invalid_argument("ping", text, "ping is a number of seconds, 1 to 3600.")
    return int(text)


def matches(event: str, key: str, events: Sequence[str], prefix: str, suffix: str) -> bool:
    """Whether what happened to `key` is asked for."""
    named = any(event == asked or (asked.endswith("*") and event.startswith(asked[:-1])) for asked in events)
    return named and key.startswith(prefix) and key.endswith(suffix)


def listen_query(query: Query, prefix: str) -> bytes | Refusal:
    """The query for the node: the client's prefix behind the workspace's."""
    virtual = query.get("prefix") or ""
    problem = key_problem(virtual) if virtual else None
    if problem:
        return problem
    events = asked_events(query)
    if isinstance(events, Refusal):
        return events
    ping = ping_seconds(query)
    if isinstance(ping, Refusal):
        return ping
    pairs = [("events", event) for event in events]
    pairs += [("prefix", prefix + virtual), ("suffix", query.get("suffix") or ""), ("ping", str(ping))]
    return encode_query(pairs)


def event_line(
    name: str,
    bucket: str,
    key: str,
    *,
    time: str,
    owner: str,
    details: Mapping[str, str | int | Mapping[str, str]],
) -> bytes:
    """One event as a line: `name` as S3's (`s3:ObjectCreated:Put`), `time` in RFC 3339.

    `details` are further fields of the object: size, eTag, contentType, versionId, sequencer, userMetadata.
    """
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": time,
        "eventName": name,
        "userIdentity": {"principalId": owner},
        "requestParameters": {},
        "responseElements": {},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": owner},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {"key": key, **details},
        },
        "source": {"host": "", "port": "", "userAgent": ""},
    }
    return (
        json.dumps({"Records": [record]}, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
    )


def rewrite_event(line: bytes, names: Names, owner: str) -> bytes:
    """One line of a node's stream with virtual names; b"" where nothing in it is of the workspace.

    A node's filter is a pattern in which `*` and `?` are wild, so that it may tell of neighbours. Raises
    `BadNodeAnswer` for a line that is no event.
    """
    if not line.strip():
        return b""
    if len(line) > MAX_LINE_BYTES:
        raise BadNodeAnswer("an event that is too long")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise BadNodeAnswer("an event that is not JSON") from problem
    if not isinstance(document, dict):
        raise BadNodeAnswer("an event that is no object")
    records = document.get("Records")
    if not records:
        return PING
    if not isinstance(records, list):
        raise BadNodeAnswer("an event without records")
    return b"".join(_rewritten(record, names, owner) for record in records)


def _rewritten(record: Any, names: Names, owner: str) -> bytes:
    s3 = record.get("s3") if isinstance(record, dict) else None
    held = s3.get("object") if isinstance(s3, dict) else None
    bucket = s3.get("bucket") if isinstance(s3, dict) else None
    if not isinstance(held, dict) or not isinstance(held.get("key"), str) or not isinstance(bucket, dict):
        raise BadNodeAnswer("an event without an object")
    key = _virtual(held["key"], names.prefix)
    if not key or bucket.get("name") != names.bucket:
        return b""
    return event_line(
        str(record.get("eventName", ""))[:128],
        names.virtual_bucket,
        key,
        time=str(record.get("eventTime", ""))[:64],
        owner=owner,
        details=_details(held),
    )


def _details(held: Mapping[str, Any]) -> dict[str, str | int | Mapping[str, str]]:
    kept: dict[str, str | int | Mapping[str, str]] = {}
    for name in ("size", "eTag", "contentType", "versionId", "sequencer"):
        value = held.get(name)
        if isinstance(value, str | int):
            kept[name] = value
    metadata = held.get("userMetadata")
    if isinstance(metadata, dict):
        kept["userMetadata"] = {str(name): str(value) for name, value in metadata.items()}
    return kept


def _virtual(written: str, prefix: str) -> str:
    # A listener gets keys as they are, a webhook form-encoded; versions of MinIO have differed.
    if written.startswith(prefix):
        return written[len(prefix) :]
    try:
        name = url_decode(written)
    except UnicodeDecodeError:
        return ""
    return name[len(prefix) :] if name.startswith(prefix) else ""
