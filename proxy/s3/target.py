"""Which bucket and key a request is about, read exactly once from the bytes received.

The key that is authorised is the key that is forwarded: everything downstream takes it from `Target`, and
nothing parses the path or the query again. S3 decodes a path once, a `+` in it is a plus sign
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html), and `//` is legal; `.` and `..`
segments are refused, because a node may resolve them and so leave the workspace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from proxy.s3.errors import Code, Refusal, error
from proxy.s3.names import BUCKET_MAXIMUM, split_bucket

MAX_KEY_BYTES: Final = 1024
MAX_PATH_BYTES: Final = 3 * MAX_KEY_BYTES + 256
MAX_QUERY_BYTES: Final = 16 * 1024
MAX_QUERY_PAIRS: Final = 64
#: Query parameters that may come several times (MinIO's ListenNotification).
REPEATABLE: Final = frozenset({"events"})
#: What makes a URL presigned, as it is spelt.
SIGNATURE_PARAMETERS: Final = frozenset(
    f"X-Amz-{name}"
    for name in ("Algorithm", "Credential", "Date", "Expires", "Security-Token", "Signature", "SignedHeaders")
)

_NUL: Final = 0x00
_PERCENT: Final = 0x25
_PLAIN: Final = re.compile(rb"[A-Za-z0-9._~/-]*")
BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_DOTS: Final = re.compile(r"(?:^|/)\.\.?(?:/|$)")
_PORT: Final = re.compile(r":\d*$")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Query:
    """The query string, decoded once: by name, the first value; `meant` the pairs in order. A presigned URL's
    signature is none of `meant`, and known by its names alone: `sigv4` reads the values.
    """

    __slots__ = (
        "by_name",
        "meant",
    )

    def __init__(
        self,
        by_name: Mapping[str, str] = _NOTHING,
        meant: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.by_name: Final = by_name
        self.meant: Final = meant

    def get(self, name: str) -> str | None:
        """The value of `name`, None when absent ('' when it has none)."""
        return self.by_name.get(name)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of `name`, in order."""
        return tuple(value for known, value in self.meant if known == name)

    def __contains__(self, name: object) -> bool:
        return name in self.by_name


class Target:
    """What a request names.

    `bucket` virtual bucket, None at the service · `raw_key` the key's bytes as received, percent-encoded ·
    `key` the key decoded, '' when the request names none · `query` the parameters, `X-Amz-*` included ·
    `virtual_host` whether the bucket came from the Host header.
    """

    __slots__ = (
        "bucket",
        "key",
        "query",
        "raw_key",
        "virtual_host",
    )

    def __init__(
        self,
        bucket: str | None,
        raw_key: bytes,
        key: str,
        query: Query,
        virtual_host: bool = False,
    ) -> None:
        self.bucket: Final = bucket
        self.raw_key: Final = raw_key
        self.key: Final = key
        self.query: Final = query
        self.virtual_host: Final = virtual_host


def parse_query(query_string: bytes) -> Query | Refusal:
    """The parameters of a query string; a `+` is a space, as S3 and every form decoder read it.

    Refused: more than `MAX_QUERY_BYTES` or `MAX_QUERY_PAIRS`, broken escapes, anything but UTF-8, NUL, and a
    name that comes twice (two readers might choose differently), save `REPEATABLE`.
    """
    if not query_string:
        return _NO_QUERY
    if len(query_string) > MAX_QUERY_BYTES:
        return error(Code.INVALID_URI, "The query string is too long.")
    by_name: dict[str, str] = {}
    meant: list[tuple[str, str]] = []
    twice: str | None = None
    count = 0
    try:
        for piece in query_string.decode("utf-8").split("&"):
            if not piece:
                continue
            count += 1
            name, _, value = piece.partition("=")
            is_signature = name in SIGNATURE_PARAMETERS
            if not is_signature and ("%" in piece or "+" in piece):
                if BAD_ESCAPE.search(piece.encode("utf-8")):
                    return error(Code.INVALID_URI, "The query string has a malformed percent escape.")
                name, value = _decode_form(name), _decode_form(value)
                is_signature = name in SIGNATURE_PARAMETERS
            if name not in by_name:
                by_name[name] = "" if is_signature else value
            elif twice is None and name not in REPEATABLE:
                twice = name
            if not is_signature:
                meant.append((name, value))
    except UnicodeDecodeError:
        return error(Code.INVALID_URI, "The query string is not UTF-8.")
    if count > MAX_QUERY_PAIRS:
        return error(Code.INVALID_URI, "The query string has too many parameters.")
    if twice is not None:
        return error(Code.INVALID_ARGUMENT, "A query parameter is given twice.", ArgumentName=twice[:256])
    if _NUL in query_string or query_string.find(b"%00") >= 0:
        return error(Code.INVALID_URI, "The query string has a NUL character.")
    return Query(by_name, tuple(meant))


_NO_QUERY: Final = Query()


def _decode_form(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    text = text.replace("+", " ")
    # A slash is what a presigned credential is full of.
    if "%" in (text := text.replace("%2F", "/")):
        return unquote_to_bytes(text).decode("utf-8")
    return text


def decode_key(raw_key: bytes) -> str | Refusal:
    """The key that percent-encoded bytes stand for, decoded once, or why it is no key for the gate."""
    if _PLAIN.fullmatch(raw_key):
        key = raw_key.decode("ascii")
    else:
        if BAD_ESCAPE.search(raw_key):
            return error(Code.INVALID_URI, "The key has a malformed percent escape.")
        try:
            key = unquote_to_bytes(raw_key).decode("utf-8")
        except UnicodeDecodeError:
            return error(Code.INVALID_URI, "The key is not UTF-8.")
    return key_problem(key) or key


def key_problem(key: str) -> Refusal | None:
    """Why a decoded key is refused: too long, a NUL, not UTF-8, or a `.` or `..` segment; None when it is fine."""
    try:
        size = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        return error(Code.INVALID_URI, "The key is not UTF-8.")
    if size > MAX_KEY_BYTES:
        return error(Code.KEY_TOO_LONG, None, Size=str(size), MaxSizeAllowed=str(MAX_KEY_BYTES))
    if "\0" in key:
        return error(Code.INVALID_URI, "The key has a NUL character.")
    if "." in key and _DOTS.search(key):
        return error(
            Code.INVALID_URI, "A key with a segment '.' or '..' is refused: a storage node may resolve it."
        )
    return None


def physical_problem(prefix: str, key: str) -> Refusal | None:
    """Why `key` does not fit behind `prefix`: 1,024 bytes less the prefix (protocol, rule 19); None when it does.

    The message tells the room that is left, which is all that a client can act on.
    """
    room = MAX_KEY_BYTES - len(prefix.encode("utf-8"))
    size = len(key.encode("utf-8"))
    if size > room:
        return error(
            Code.KEY_TOO_LONG,
            f"Your key is too long: a key in this workspace has at most {room} bytes.",
            Size=str(size),
            MaxSizeAllowed=str(room),
        )
    return None


def bucket_of_host(host: str, domains: Sequence[str]) -> str | None:
    """The bucket of a virtual-host style Host header; None for the domain itself and for every other host."""
    name = _PORT.sub("", host).rstrip(".").lower()
    for domain in domains:
        if name.endswith("." + domain):
            return name[: -len(domain) - 1]
    return None


@lru_cache(maxsize=4096)
def _is_bucket_name(bucket: str) -> bool:
    return split_bucket(bucket) is not None


def _may_be_bucket(bucket: str) -> bool:
    # The length is looked at before the cache, which must not be filled with what strangers send.
    return len(bucket) <= BUCKET_MAXIMUM and _is_bucket_name(bucket)


def parse_target(
    raw_path: bytes, query_string: bytes, host: str | bytes | None = None, *, domains: Sequence[str] = ()
) -> Target | Refusal:
    """Reads path, query and host of one request.

    Path style is always understood; virtual-host style (`BUCKET.domain`, where a bucket may have a dot) for
    each of `domains` (lower case, no port). Refuses what is no URI, a bucket name that no workspace can have,
    and keys as `key_problem` says. A path that does not begin with `/` is refused.
    """
    if not raw_path.startswith(b"/"):
        return error(Code.INVALID_URI)
    if len(raw_path) > MAX_PATH_BYTES:
        return error(Code.KEY_TOO_LONG)
    query = parse_query(query_string)
    if isinstance(query, Refusal):
        return query
    bucket: str | None = None
    if domains and host:
        bucket = bucket_of_host(host.decode("latin-1") if isinstance(host, bytes) else host, domains)
    virtual_host = bucket is not None
    if bucket is None:
        raw_bucket, _, raw_key = raw_path[1:].partition(b"/")
        if not raw_bucket and not raw_key and raw_path == b"/":
            return Target(None, b"", "", query)
        bucket = (unquote_to_bytes(raw_bucket) if _PERCENT in raw_bucket else raw_bucket).decode(
            "utf-8", "replace"
        )
    else:
        raw_key = raw_path[1:]
    if bucket == "minio":
        # MinIO's own API: the few calls that the gate answers are taken before this.
        return error(Code.ACCESS_DENIED, "All access to this resource has been disabled.")
    if not _may_be_bucket(bucket):
        return error(Code.INVALID_BUCKET_NAME, None, BucketName=bucket[:256])
    key = decode_key(raw_key)
    if isinstance(key, Refusal):
        return key
    return Target(bucket, raw_key, key, query, virtual_host)


def encode_key(key: str) -> bytes:
    """The canonical percent-encoding of a key: RFC 3986 unreserved bytes and `/` as they are, the rest `%XX`.

    Every S3 server computes this same form when it checks a signature, whatever form the client chose.
    """
    return quote(key, safe="/-_.~").encode("ascii")


def encode_query(pairs: Sequence[tuple[str, str]]) -> bytes:
    """A query string for the node, in canonical encoding and in SigV4's order of names."""
    encoded = [(_encode_value(name), _encode_value(value)) for name, value in pairs]
    encoded.sort()
    return "&".join(f"{name}={value}" for name, value in encoded).encode("ascii")


def _encode_value(text: str) -> str:
    return quote_from_bytes(text.encode("utf-8"), safe="-_.~")


def node_path(bucket: str, prefix: str, target_key: str, raw_key: bytes | None = None) -> bytes:
    """The path of a node request: physical bucket, prefix and key.

    When `raw_key`, the key as received, holds nothing but unreserved bytes and `/` it is used as it is, which
    is the same bytes for less work.
    """
    key = raw_key if raw_key is not None and _PLAIN.fullmatch(raw_key) else encode_key(target_key)
    return _base_path(bucket, prefix) + key


@lru_cache(maxsize=4096)
def _base_path(bucket: str, prefix: str) -> bytes:
    return b"/" + bucket.encode("ascii") + b"/" + encode_key(prefix)
