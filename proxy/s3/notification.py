"""MinIO's ListenNotification: one JSON document a line, translated line by line.

`mc watch` and `mc mirror --watch` read it. An event tells who did it and from where, which is none of another
user's business: only what happened to which object passes
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus

from proxy.s3.errors import BadNodeAnswer, Refusal, invalid_argument
from proxy.s3.rewrite import Names, virtual_key
from proxy.s3.target import Query, encode_query, key_problem

#: A line longer than this is no event.
MAX_LINE_BYTES: Final = 64 * 1024
_EVENTS: Final = ("s3:ObjectCreated:", "s3:ObjectRemoved:", "s3:ObjectAccessed:", "s3:ObjectRestore:")
_OBJECT_FIELDS: Final = ("size", "eTag", "contentType", "versionId", "sequencer")


def listen_query(query: Query, prefix: str) -> bytes | Refusal:
    """The query for the node: the client's prefix behind the workspace's; only events of objects."""
    virtual = query.get("prefix") or ""
    problem = key_problem(virtual) if virtual else None
    if problem:
        return problem
    pairs = [("prefix", prefix + virtual), ("suffix", query.get("suffix") or "")]
    if query.get("ping"):
        pairs.append(("ping", "1"))
    for event in query.all("events"):
        if not event.startswith(_EVENTS):
            return invalid_argument("events", event, "A specified event is not supported for notifications.")
        pairs.append(("events", event))
    return encode_query(pairs)


def rewrite_event(line: bytes, names: Names, owner: str) -> bytes | None:
    """One line of the stream with virtual names; None for one without events (a keep-alive stays as it is).

    Raises `BadNodeAnswer` for a line that is no event, or tells of an object outside the workspace.
    """
    if not line.strip():
        return line
    if len(line) > MAX_LINE_BYTES:
        raise BadNodeAnswer("an event that is too long")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise BadNodeAnswer("an event that is not JSON") from problem
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list):
        # MinIO's ping is an empty record list or an empty object; there is nothing in it to tell.
        return b'{"Records":null}\n' if isinstance(document, dict) else None
    written = [_record(record, names, owner) for record in records if isinstance(record, dict)]
    if not written:
        return b'{"Records":null}\n'
    key = written[0]["s3"]["object"]["key"]
    answer: dict[str, Any] = {"Records": written}
    if "EventName" in document:
        answer = {
            "EventName": str(document["EventName"]),
            "Key": f"{names.virtual_bucket}/{key}",
            "Records": written,
        }
    return json.dumps(answer, separators=(",", ":")).encode("utf-8") + b"\n"


def _record(record: Mapping[str, Any], names: Names, owner: str) -> dict[str, Any]:
    s3 = record.get("s3")
    held = s3.get("object") if isinstance(s3, dict) else None
    if not isinstance(held, dict) or not isinstance(held.get("key"), str):
        raise BadNodeAnswer("an event without an object")
    # Keys in events are form-encoded, as AWS documents.
    key = quote_plus(virtual_key(held["key"], names.prefix))
    return {
        "eventVersion": str(record.get("eventVersion", "2.0")),
        "eventSource": "wio:s3",
        "awsRegion": "",
        "eventTime": str(record.get("eventTime", "")),
        "eventName": str(record.get("eventName", "")),
        "userIdentity": {"principalId": owner},
        "requestParameters": {},
        "responseElements": {},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {
                "name": names.virtual_bucket,
                "ownerIdentity": {"principalId": owner},
                "arn": f"arn:aws:s3:::{names.virtual_bucket}",
            },
            "object": {
                "key": key,
                **{name: held[name] for name in _OBJECT_FIELDS if isinstance(held.get(name), str | int)},
            },
        },
        "source": {"host": "", "port": "", "userAgent": ""},
    }
