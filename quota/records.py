"""Definition records: what the broker writes for the proxies to decide by (see the layout in docs/protocol.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["user", "workspace", "grant", "credential", "node", "limit"]


@dataclass(frozen=True, slots=True)
class Change:
    """One record set (`value`) or deleted (None) by the SQL change numbered `version`; older versions lose."""

    kind: Kind
    id: str
    version: int
    value: dict[str, Any] | None


def encode(changes: list[Change]) -> str:
    """Return changes as the scripts `apply` and `load` read them."""
    return json.dumps(
        [
            {
                "k": change.kind,
                "i": change.id,
                "v": change.version,
                "d": None
                if change.value is None
                else json.dumps({**change.value, "v": change.version}, separators=(",", ":")),
            }
            for change in changes
        ],
        separators=(",", ":"),
    )


def decode(raw: bytes | str | None) -> dict[str, Any] | None:
    """Return a record as stored, or None where there is none or a tombstone."""
    if raw is None:
        return None
    value: dict[str, Any] = json.loads(raw)
    return None if value.get("x") else value
