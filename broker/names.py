"""Names of users and workspaces, and the three ways to write a workspace (design, sections 2, 3 and 8)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from broker.errors import invalid

HANDLE = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,28}[a-z0-9])")
WORKSPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_ID = re.compile(r"[a-z2-7]{16}")
#: Paths of the gate's own or of MinIO's (protocol, rule 19): a bucket of that name would collide with them.
RESERVED = frozenset({"minio", "api", "static", "healthz", "everyone", "group", "metrics"})
#: `OWNER.name` must itself be a legal bucket name.
LONGEST_BUCKET = 63


def handle_from_login(login: str) -> str:
    """The handle that a login asks for: `jane.doe` becomes `jane-doe`; always a legal handle.

    Letters are folded to ASCII; everything else becomes a hyphen; too short ones are lengthened.
    The caller numbers it when it is taken (`numbered`).
    """
    text = unicodedata.normalize("NFKD", login.split("@", 1)[0]).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:30].strip("-")
    if len(text) < 3:
        text = f"user-{text}" if text else "user"
    return text if text not in RESERVED else f"user-{text}"


def numbered(handle: str, number: int) -> str:
    """The same handle with a number: `jane-doe-2`; still at most 30 characters."""
    tail = f"-{number}"
    return handle[: 30 - len(tail)].rstrip("-") + tail


def check_workspace_name(name: str, handle: str) -> str:
    """`name`, when it is a legal name for a workspace of the owner `handle`; else raises ApiError."""
    if not WORKSPACE.fullmatch(name):
        raise invalid(
            "A workspace name has 3 to 63 characters of a-z, 0-9 and hyphens, "
            "and starts and ends with a letter or digit."
        )
    if name in RESERVED:
        raise invalid(f"The name {name!r} is reserved.")
    if len(handle) + 1 + len(name) > LONGEST_BUCKET:
        raise invalid(f"{handle}.{name} is longer than the {LONGEST_BUCKET} characters of a bucket name.")
    return name


def check_label(what: str, name: str) -> str:
    """`name`, when it can name a node, root or group; else raises ApiError."""
    if not LABEL.fullmatch(name):
        raise invalid(
            f"The name of a {what} has 1 to 63 letters, digits, dots, hyphens and underscores, "
            "and starts and ends with a letter or digit."
        )
    return name


@dataclass(frozen=True, slots=True)
class WorkspaceName:
    """A workspace as somebody wrote it: an own name (`owner` None), or `OWNER.name`; maybe an id."""

    owner: str | None
    name: str
    maybe_id: str | None


def parse_workspace(text: str) -> WorkspaceName:
    """`name`, `OWNER.name`, `OWNER/name`, or an id. Raises ApiError for what can be none of them.

    Names have no dot, so the first separator decides. An id has the form of a name too: the name wins.
    """
    owner, dot, name = text.replace("/", ".", 1).partition(".")
    if not dot:
        owner, name = "", text
    if not WORKSPACE.fullmatch(name) or (dot and not HANDLE.fullmatch(owner)):
        raise invalid(f"{text[:80]!r} is no workspace; write name, OWNER.name, or an id.")
    return WorkspaceName(owner or None, name, name if not dot and _ID.fullmatch(name) else None)
