"""The keys of the live state: a fixed set of hashes under one hash tag (protocol, Layout)."""

from __future__ import annotations

from typing import Final

#: What the scripts call a key -> its name behind the realm.
NAMES: Final[dict[str, str]] = {
    "STATE": "state",
    "CREDENTIALS": "credentials",
    "USERS": "users",
    "WORKSPACES": "workspaces",
    "GRANTS": "grants",
    "NAMES": "names",
    "INDEX": "index",
    "NODES": "nodes",
    "LIMITS": "limits",
    "USAGE": "usage",
    "HOLDS": "holds",
    "KEYS_HASH": "keys",
    "UPLOADS": "uploads",
    "DIRTY": "dirty",
    "WORKERS": "workers",
    "REVOCATIONS": "revocations",
    "REVISIONS": "revisions",
    "LINKS": "links",
    "JOURNAL": "journal",
    "CALLS": "calls",
    "AUDIT": "audit",
    "USED": "used",
}

#: What a rebuild makes anew from SQL.
DEFINITIONS: Final = ("CREDENTIALS", "USERS", "WORKSPACES", "GRANTS", "NAMES", "INDEX", "NODES", "LIMITS")

#: What is counted; a rebuild keeps it only where it is proven current.
COUNTS: Final = ("USAGE", "HOLDS", "KEYS_HASH", "UPLOADS", "DIRTY")


class Layout:
    """The key names of one realm, `{realm}:name`: one hash slot, so that a script may touch them all."""

    __slots__ = ("_keys", "realm")

    def __init__(self, realm: str) -> None:
        self.realm = realm
        self._keys = {name: f"{{{realm}}}:{key}" for name, key in NAMES.items()}

    def __getitem__(self, name: str) -> str:
        return self._keys[name]

    def keys(self, names: tuple[str, ...]) -> list[str]:
        """Return the keys called `names`, in that order."""
        return [self._keys[name] for name in names]

    def reply(self, call: str) -> str:
        """Return the key of the list on which the answer to one call arrives."""
        return f"{{{self.realm}}}:reply:{call}"
