"""The names of users, workspaces and virtual buckets.

A workspace is a bucket called `photos` by its owner and `OWNER.photos` by everyone, its owner included. Names
are `[a-z0-9-]` and start and end with a letter or digit, so that the dot is free and every name is a legal
DNS bucket (design, section 3; https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

USER_LENGTH: Final = (3, 30)
WORKSPACE_LENGTH: Final = (3, 63)
BUCKET_MAXIMUM: Final = 63

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

#: Workspace names that mean something else on the wire, each with the reason.
RESERVED_WORKSPACES: Final[dict[str, str]] = {
    "minio": "MinIO serves its own API under /minio/",
    "login": "MinIO's console redirects /login",
}
#: Beginnings and ends that S3 keeps for itself, or that clients treat specially (botocore takes a bucket that
#: ends in --x-s3 for a directory bucket, and then signs with CreateSession).
RESERVED_PREFIXES: Final[dict[str, str]] = {
    "probe-bsign": "mc probes such a name to learn which signature a server takes",
    "probe-bucket-sign": "mc probes such a name to learn which signature a server takes",
    "xn--": "S3 keeps it for internationalised names",
    "sthree-": "S3 keeps it for itself",
    "amzn-s3-demo-": "S3 keeps it for its documentation",
}
RESERVED_SUFFIXES: Final[dict[str, str]] = {
    "-s3alias": "S3 keeps it for access points",
    "--ol-s3": "S3 keeps it for Object Lambda",
    "--x-s3": "S3 keeps it for directory buckets",
    "--table-s3": "S3 keeps it for table buckets",
}
#: Handles that mean a principal of another kind.
RESERVED_USERS: Final[dict[str, str]] = {
    "everyone": "shares with everyone are written so",
    "group": "shares with a group are written group:NAME",
    "minio": "MinIO serves its own API under /minio/",
}


@dataclass(frozen=True, slots=True)
class BucketName:
    """A virtual bucket: `owner` is None where the caller's own workspace is meant."""

    owner: str | None
    workspace: str


def _problem(kind: str, name: str, bounds: tuple[int, int]) -> str | None:
    low, high = bounds
    if not low <= len(name) <= high:
        return f"A {kind} name has {low} to {high} characters."
    if not _LABEL.fullmatch(name):
        return f"A {kind} name has lower-case letters, digits and hyphens, with no hyphen at either end."
    return None


def _reserved_prefix(name: str) -> str | None:
    return next((why for head, why in RESERVED_PREFIXES.items() if name.startswith(head)), None)


def user_problem(handle: str) -> str | None:
    """Why `handle` cannot name a user, as a sentence; None when it can."""
    problem = _problem("user", handle, USER_LENGTH)
    if problem:
        return problem
    reason = RESERVED_USERS.get(handle) or _reserved_prefix(handle)
    return f"The name {handle} is reserved: {reason}." if reason else None


def workspace_problem(name: str, owner: str | None = None) -> str | None:
    """Why `name` cannot name a workspace (of `owner`, when given), as a sentence; None when it can."""
    problem = _problem("workspace", name, WORKSPACE_LENGTH)
    if problem:
        return problem
    reason = RESERVED_WORKSPACES.get(name) or _reserved_prefix(name)
    reason = reason or next((why for tail, why in RESERVED_SUFFIXES.items() if name.endswith(tail)), None)
    if reason:
        return f"The name {name} is reserved: {reason}."
    if owner is not None and len(owner) + 1 + len(name) > BUCKET_MAXIMUM:
        return (
            f"{owner}.{name} has more than {BUCKET_MAXIMUM} characters, the most that a bucket name may have."
        )
    return None


def split_bucket(bucket: str) -> BucketName | None:
    """The workspace that `bucket` may name, by shape alone; None when no workspace can be called so.

    Reserved names have the shape: a probe of mc's must be answered NoSuchBucket, not InvalidBucketName.
    """
    if len(bucket) > BUCKET_MAXIMUM:
        return None
    owner, dot, name = bucket.rpartition(".")
    if _problem("workspace", name, WORKSPACE_LENGTH) or (dot and _problem("user", owner, USER_LENGTH)):
        return None
    return BucketName(owner if dot else None, name)
