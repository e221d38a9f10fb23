"""The source of a copy: `x-amz-copy-source`, decoded once, and the conditions on it.

It comes raw or encoded, with or without a leading `/`, and with `?versionId=`
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html). The gate pins the source that it has
looked at (protocol, rule 9), so that it evaluates the client's own conditions itself, as RFC 9110 section 13
orders them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from proxy.s3.errors import Code, Refusal, error, invalid_argument
from proxy.s3.names import split_bucket
from proxy.s3.target import BAD_ESCAPE, encode_key, key_problem

HEADER: Final = "x-amz-copy-source"
_VERSION: Final = b"?versionId="


@dataclass(frozen=True, slots=True)
class Source:
    """What a copy reads: virtual bucket, key decoded, version (None: the latest)."""

    bucket: str
    key: str
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """The client's conditions on the source; times in seconds since the epoch, UTC."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: float | None = None
    if_unmodified_since: float | None = None

    def hold(self, etag: str, last_modified: float) -> bool:
        """Whether a source with this ETag (quotes or none) and time may be copied; else 412 PreconditionFailed.

        If-Match outweighs If-Unmodified-Since, If-None-Match outweighs If-Modified-Since, as S3 documents.
        """
        if self.if_match is not None:
            if not _matches(self.if_match, etag):
                return False
        elif self.if_unmodified_since is not None and last_modified > self.if_unmodified_since:
            return False
        if self.if_none_match is not None:
            return not _matches(self.if_none_match, etag)
        return self.if_modified_since is None or last_modified > self.if_modified_since


def _matches(condition: str, etag: str) -> bool:
    wanted = {part.strip().removeprefix("W/").strip('"') for part in condition.split(",")}
    return "*" in wanted or etag.strip('"') in wanted


def parse_source(value: str) -> Source | Refusal:
    """The source that a header value (octets as latin-1) names.

    A value whose escapes are broken is taken as unencoded, which is how some clients send it.
    """
    raw = value.encode("latin-1")
    head, found, version = raw.rpartition(_VERSION)
    if not found:
        head, version = raw, b""
    decoded = head if BAD_ESCAPE.search(head) else unquote_to_bytes(head)
    try:
        path = decoded.decode("utf-8")
        version_id = unquote_to_bytes(version).decode("utf-8")
    except UnicodeDecodeError:
        return _invalid(value)
    bucket, _, key = path.removeprefix("/").partition("/")
    if not key or split_bucket(bucket) is None:
        return _invalid(value)
    problem = key_problem(key)
    if problem:
        return problem
    if found and not _is_version(version_id):
        return invalid_argument("versionId", version_id, "Invalid version id specified")
    return Source(bucket, key, version_id if found else None)


def _is_version(version_id: str) -> bool:
    return 0 < len(version_id) <= 1024 and version_id.isascii() and version_id.isprintable()


def version_problem(version_id: str) -> Refusal | None:
    """Why a version id can be none; None when it can."""
    if _is_version(version_id):
        return None
    return invalid_argument("versionId", version_id, "Invalid version id specified")


def _invalid(value: str) -> Refusal:
    return invalid_argument(
        HEADER, value, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
    )


def parse_conditions(headers: Mapping[str, str]) -> Conditions | Refusal:
    """The `x-amz-copy-source-if-*` headers; a time that is none is refused, as S3 does."""
    times: list[float | None] = []
    for name in ("x-amz-copy-source-if-modified-since", "x-amz-copy-source-if-unmodified-since"):
        text = headers.get(name)
        if text is None:
            times.append(None)
            continue
        try:
            moment = parsedate_to_datetime(text)
            times.append((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            return error(Code.INVALID_ARGUMENT, "Invalid date.", ArgumentName=name, ArgumentValue=text[:256])
    return Conditions(
        headers.get("x-amz-copy-source-if-match"),
        headers.get("x-amz-copy-source-if-none-match"),
        times[0],
        times[1],
    )


def node_source(bucket: str, prefix: str, key: str, version_id: str | None) -> bytes:
    """The header's value for the node: physical bucket, prefix and key, encoded, and the version."""
    value = b"/" + bucket.encode("ascii") + b"/" + encode_key(prefix) + encode_key(key)
    return value + b"?versionId=" + quote(version_id, safe="-_.~").encode("ascii") if version_id else value
