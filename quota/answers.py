"""What the scripts answer, as values: a denial is a value, a malfunction an exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final


class Permission(IntEnum):
    """What a share gives; each includes those below it."""

    READ = 1
    READWRITE = 2
    OWN = 3

    @property
    def word(self) -> str:
        """The permission as people write it."""
        return self.name.lower()


class DenialCode(StrEnum):
    """Why the live state says no; `Denial.details` depends on it, as noted."""

    NOT_READY = "NotReady"
    INVALID_ACCESS_KEY = "InvalidAccessKeyId"
    EXPIRED_TOKEN = "ExpiredToken"  # noqa: S105 - S3's name of an error
    USER_DISABLED = "UserDisabled"
    NO_SUCH_BUCKET = "NoSuchBucket"
    #: reason (unknown, scope, credential or permission), permission needed, permission had
    ACCESS_DENIED = "AccessDenied"
    DRAINING = "Draining"
    #: level, usage field, measure (bytes or objects), limit, charged, asked [, "grace"]
    QUOTA_EXCEEDED = "QuotaExceeded"
    #: level, usage field
    RECOUNTING = "Recounting"
    NO_SUCH_UPLOAD = "NoSuchUpload"
    #: A part came while its upload is being completed, or that is in doubt.
    COMPLETING = "Completing"
    #: part number
    INVALID_PART = "InvalidPart"
    GONE = "Gone"
    FENCED = "Fenced"


@dataclass(frozen=True, slots=True)
class Denial:
    """A refusal by the live state."""

    code: DenialCode
    details: tuple[str, ...] = ()


class Route:
    """Where a workspace lives: never shown to clients."""

    __slots__ = (
        "bucket",
        "node",
        "prefix",
    )

    def __init__(
        self,
        node: str,
        bucket: str,
        prefix: str,
    ) -> None:
        self.node: Final = node
        self.bucket: Final = bucket
        self.prefix: Final = prefix


class Admitted:
    """Leave to go on, and all that the rest of the request needs to know.

    `rev` is the last revocation that the decision had seen; `chain` names all that it depends on (rule 12).
    `share_ends_ms` is how long the share (or link) that it rests on lasts, 0 for without end. `duty` says what a
    mutation owes before its final byte: none, known, read (the base), wait, size or wait-size (rule 6). `warning`
    names the levels over a soft limit.
    """

    __slots__ = (
        "chain",
        "duty",
        "rev",
        "route",
        "share_ends_ms",
        "source",
        "user",
        "versioned",
        "warning",
        "workspace",
    )

    def __init__(
        self,
        rev: int,
        user: str,
        workspace: str,
        route: Route,
        chain: tuple[str, ...],
        share_ends_ms: int,
        versioned: bool,
        duty: str,
        warning: str,
        source: Route | None,
    ) -> None:
        self.rev: Final = rev
        self.user: Final = user
        self.workspace: Final = workspace
        self.route: Final = route
        self.chain: Final = chain
        self.share_ends_ms: Final = share_ends_ms
        self.versioned: Final = versioned
        self.duty: Final = duty
        self.warning: Final = warning
        self.source: Final = source


class Outcome(StrEnum):
    """How a mutation ended at the node (rule 7)."""

    DONE = "done"
    NONE = "none"
    DOUBT = "doubt"
    LOOK = "look"


class Settlement:
    """The end of one hold.

    `base_bytes` is -1 when the member did not read the base; `bytes` and `objects` are what the node holds by it.
    """

    __slots__ = (
        "base_bytes",
        "base_objects",
        "bytes",
        "hold",
        "objects",
        "outcome",
    )

    def __init__(
        self,
        hold: str,
        outcome: Outcome,
        base_bytes: int = -1,
        base_objects: int = 0,
        bytes: int = 0,
        objects: int = 0,
    ) -> None:
        self.hold: Final = hold
        self.outcome: Final = outcome
        self.base_bytes: Final = base_bytes
        self.base_objects: Final = base_objects
        self.bytes: Final = bytes
        self.objects: Final = objects


def text(value: Any) -> str:
    """Return a script's string reply as text."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


_OK: Final = (b"ok", "ok")


def denial(reply: Sequence[Any]) -> Denial | None:
    """Return the denial that a reply is, or None when it says ok."""
    if reply[0] in _OK:
        return None
    return Denial(DenialCode(text(reply[1])), tuple(text(part) for part in reply[2:]))


def admitted(reply: Sequence[Any]) -> Admitted | Denial:
    """Read the reply of the verb `admit`."""
    if reply[0] not in _OK:
        return Denial(DenialCode(text(reply[1])), tuple(text(part) for part in reply[2:]))
    # One join, one decode, one split cost less than a decode for each of a dozen short strings.
    fields = b"\n".join(reply).decode("utf-8", "surrogateescape").split("\n")
    if len(fields) != len(reply):
        raise ValueError("a reply whose fields hold line breaks")
    return Admitted(
        int(fields[1]),
        fields[2],
        fields[3],
        Route(fields[4], fields[5], fields[6]),
        tuple(fields[7].split(" ")),
        int(fields[8]),
        fields[9] == "1",
        fields[10],
        fields[11],
        Route(fields[12], fields[13], fields[14]) if len(fields) > 12 else None,
    )
