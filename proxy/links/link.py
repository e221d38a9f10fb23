"""A link as the proxy knows it, and how one is found by the token in its URL."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.worker import Worker

PREFIX: Final = b"/-/l/"

_TOKEN: Final = re.compile(rb"(WIOL[A-Z2-7]{16})\.([A-Za-z0-9_-]{20,128})")


@dataclass(frozen=True, slots=True)
class Link:
    """What was fixed when the link was made. `key` is an object's, or a folder's (ends in / or is empty)."""

    id: str
    workspace: str
    key: str
    mode: str
    name: str
    password: str | None = field(repr=False)
    max_downloads: int | None
    max_bytes: int | None

    @property
    def is_folder(self) -> bool:
        """Whether it opens all below a prefix."""
        return not self.key or self.key.endswith("/")

    @property
    def title(self) -> str:
        """What a page about it is called: the last name of its key, never the workspace's or the owner's."""
        return self.key.rstrip("/").rpartition("/")[2] or "Files"


@dataclass(frozen=True, slots=True)
class Place:
    """The path of a request, taken apart. `token` as it came; `rest` what follows the name, decoded, None for no
    slash behind the name."""

    token: bytes = field(repr=False)
    name: bytes
    rest: str | None

    @property
    def root(self) -> bytes:
        """The path that all of the link's own URLs begin with."""
        return PREFIX + self.token


def parse_place(raw_path: bytes) -> Place | None:
    """Take a path apart; None when it cannot be a link's."""
    token, _, rest = raw_path[len(PREFIX) :].partition(b"/")
    name, slash, rest = rest.partition(b"/")
    if _TOKEN.fullmatch(token) is None:
        return None
    try:
        below = unquote_to_bytes(rest).decode("utf-8") if slash else None
    except UnicodeDecodeError:
        return None
    return Place(token, name, below)


async def find_link(worker: Worker, place: Place) -> Link | None:
    """Return the link of a token; None for one that is not, or no longer, there. Raises `GateUnavailable`.

    The secret half is compared in constant time. Whether the link still opens anything, admit decides.
    """
    found = _TOKEN.fullmatch(place.token)
    assert found is not None
    credential = await worker.credentials.find(found[1].decode())
    record = credential.record if credential is not None else None
    # The same work for an id that is not there as for one that is.
    secret = credential.secret.encode() if credential is not None else b"-" * 40
    if not hmac.compare_digest(secret, found[2]) or credential is None or record is None:
        return None
    return Link(
        credential.access_key_id,
        record["workspace"],
        record["key"],
        record["mode"],
        record.get("name") or "",
        record.get("password"),
        record.get("max_downloads"),
        record.get("max_bytes"),
    )
