"""What scripts read from `--json` (design, section 8), as tables of fields and what their values look like."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
Shape = Mapping[str, Check]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ID = re.compile(r"[a-z2-7]{16}")


def text(value: object) -> bool:
    """Text that says something."""
    return isinstance(value, str) and value != ""


def any_text(value: object) -> bool:
    """Text, empty where nothing was given."""
    return isinstance(value, str)


def moment(value: object) -> bool:
    """RFC 3339, in UTC."""
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def identity(value: object) -> bool:
    """An id of ours."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def number(value: object) -> bool:
    """A count or a size in bytes: a whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def seconds(value: object) -> bool:
    """A length of time."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def flag(value: object) -> bool:
    """Yes or no."""
    return isinstance(value, bool)


def texts(value: object) -> bool:
    """A list of texts."""
    return isinstance(value, list) and all(map(text, value))


def permission(value: object) -> bool:
    """One of the three words."""
    return value in ("read", "readwrite", "own")


def optional(check: Check) -> Check:
    """The same, or null."""
    return lambda value: value is None or check(value)


def scope(value: object) -> bool:
    """What a credential is limited to: names of workspaces, a permission, or null for either."""
    return (
        isinstance(value, dict)
        and value.keys() == {"workspaces", "permission"}
        and optional(texts)(value["workspaces"])
        and optional(permission)(value["permission"])
    )


WORKSPACE: Shape = {
    "id": identity,
    "owner": text,
    "name": text,
    "bucket": text,
    "root": text,
    "node": text,
    "public": flag,
    "permission": permission,
    "created_at": moment,
    "used_bytes": number,
}
SHARE: Shape = {
    "id": identity,
    "workspace": text,
    "principal": text,
    "permission": permission,
    "expires_at": optional(moment),
    "parent_id": optional(identity),
    "created_at": moment,
    "created_by": text,
    "state": text,
}
ENDED: Shape = {
    "revoked": texts,
    "sessions": number,
    "links": number,
    "transfers_cut": number,
    "workers_unreachable": lambda value: value == 0,  # all of them live in these tests
    "seconds": seconds,
}
CREDENTIAL: Shape = {
    "access_key_id": lambda value: re.fullmatch(r"WIO[AS][A-Z2-7]{16}", value) is not None,
    "kind": lambda value: value in ("key", "session"),
    "user": text,
    "name": optional(any_text),
    "scope": optional(scope),
    "created_at": moment,
    "expires_at": optional(moment),
    "last_used_at": optional(moment),
}
QUOTA: Shape = {
    "level": lambda value: value in ("workspace", "user", "user-root", "root"),
    "subject": text,
    "used_bytes": number,
    "held_bytes": number,
    "doubt_bytes": number,
    "multipart_bytes": number,
    "version_bytes": number,
    "limit_bytes": optional(number),
    "soft_limit_bytes": optional(number),
    "used_objects": number,
    "held_objects": number,
    "doubt_objects": number,
    "version_objects": number,
    "limit_objects": optional(number),
    "soft_limit_objects": optional(number),
    "grace_ends_at": optional(moment),
    "recounted_at": optional(moment),
    "recount_pending": flag,
}
LINK: Shape = {
    "id": text,
    "url": lambda value: isinstance(value, str) and value.startswith("http") and "/-/l/" in value,
    "name": optional(any_text),
    "workspace": text,
    "key": any_text,
    "mode": lambda value: value in ("read", "upload"),
    "created_at": moment,
    "expires_at": optional(moment),
    "downloads": number,
    "max_downloads": optional(number),
}
WHY: Shape = {
    "allowed": flag,
    "reason": text,
    "permission_needed": permission,
    "share": optional(identity),
    "credential": optional(text),
    "limit": optional(lambda value: isinstance(value, dict)),
    "expires_at": optional(moment),
}
WHOAMI: Shape = {
    "user": text,
    "admin": flag,
    "groups": texts,
    "kind": lambda value: value in ("key", "session", "password"),
    "scope": optional(scope),
    "expires_at": optional(moment),
}
ERROR: Shape = {"code": text, "message": text, "request_id": optional(text)}


def wrong(value: object, shape: Shape) -> dict[str, object]:
    """The fields that are absent or look otherwise; empty when an object keeps the contract. More may be there."""
    if not isinstance(value, dict):
        return {"": value}
    return {
        name: value.get(name, "absent")
        for name, check in shape.items()
        if name not in value or not check(value[name])
    }


def secretless(value: object) -> bool:
    """Whether an object holds no secret."""
    return isinstance(value, dict) and not value.keys() & {"secret_access_key", "session_token", "password"}
