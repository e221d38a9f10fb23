"""The canonical request: paths, queries and header values, from the bytes received.

S3 takes a path as it came: encoded once, never normalised (`//`, `.` and `..` are parts of keys). Other
services encode the encoded path again and normalise it. A query is decoded and encoded again, `+` being a
space, as S3 reads it. Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

The tables hold every escape in both cases, so that no regular expression and no loop over bytes runs for
what clients send by day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from .errors import SigV4Error

#: Bounds on what is looked at; a real client stays far below them.
MAX_PATH_BYTES: Final = 16 * 1024
MAX_QUERY_BYTES: Final = 32 * 1024
MAX_QUERY_PARAMS: Final = 128

UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_PATH_SAFE: Final = UNRESERVED + b"/"
#: What a query may hold that needs a look at its escapes only.
_QUERY_SAFE: Final = UNRESERVED + b"&=%"
#: Names and values up to this size are remembered with their spelling: credentials come again and again.
_REMEMBERED_BYTES: Final = 128

# Bytes are looked for as numbers: `b"%" in value` first takes its left side for a number, and costs an exception.
_TAB: Final = 0x09
_SPACE: Final = 0x20
_PERCENT: Final = 0x25
_PLUS: Final = 0x2B
_EQUALS: Final = 0x3D

_ENCODED: Final = tuple(bytes((byte,)) if byte in UNRESERVED else b"%%%02X" % byte for byte in range(256))
_ENCODED_PATH: Final = tuple(b"/" if byte == 0x2F else _ENCODED[byte] for byte in range(256))
#: "2f" and "2F" to b"%2F", "41" to b"A": the canonical spelling of each escape.
_ESCAPES: Final = {
    spelling.encode(): _ENCODED[byte]
    for byte in range(256)
    for high in {f"{byte:02x}"[0], f"{byte:02X}"[0]}
    for spelling in {f"{high}{byte & 15:x}", f"{high}{byte & 15:X}"}
}


def _canonical_text(text: bytes, safe: bytes, encoded: Sequence[bytes], what: str) -> bytes:
    """`text` with every escape in its canonical spelling and every other byte encoded once."""
    if not text.translate(None, safe):
        return text
    first, *escaped = text.split(b"%")
    parts = [first if not first.translate(None, safe) else b"".join([encoded[byte] for byte in first])]
    for piece in escaped:
        escape = _ESCAPES.get(piece[:2])
        if escape is None:
            raise SigV4Error(
                "InvalidURI", f"Couldn't parse the specified URI: the {what} holds a bad escape."
            )
        rest = piece[2:]
        parts.append(escape)
        if rest:
            parts.append(
                rest if not rest.translate(None, safe) else b"".join([encoded[byte] for byte in rest])
            )
    return b"".join(parts)


def canonical_path(raw_path: bytes) -> bytes:
    """The path with each byte spelt as SigV4 spells it; the same key in the same segments.

    `%2F` stays an escape and `//`, `.` and `..` stay as they are. InvalidURI where an escape is malformed.

    >>> canonical_path(b"/b/a(1)+%7e%2fx")
    b'/b/a%281%29%2B~%2Fx'
    """
    return _canonical_text(raw_path, _PATH_SAFE, _ENCODED_PATH, "path")


def service_path(raw_path: bytes) -> bytes:
    """The canonical path of every service but S3: dots and empty segments resolved, then encoded (again).

    >>> service_path(b"/a/./b//../c%20d")
    b'/a/c%2520d'
    """
    segments: list[bytes] = []
    for segment in raw_path.split(b"/"):
        if segment == b"..":
            if segments:
                segments.pop()
        elif segment not in (b"", b"."):
            segments.append(segment)
    if not segments:
        return b"/"
    tail = b"/" if raw_path.endswith(b"/") else b""
    return b"".join([_ENCODED_PATH[byte] for byte in b"/" + b"/".join(segments) + tail])


def query_pairs(query_string: bytes) -> list[tuple[bytes, bytes]]:
    """The parameters in order, names and values encoded canonically; empty ones between `&`s are dropped.

    InvalidURI where an escape is malformed or the bounds are passed. Whoever authorises by the query must
    read it from these pairs (`decode_component`), so that what was signed is what is obeyed.

    >>> query_pairs(b"prefix=a+b&list-type=2&acl")
    [(b'prefix', b'a%20b'), (b'list-type', b'2'), (b'acl', b'')]
    """
    if not query_string:
        return []
    if len(query_string) > MAX_QUERY_BYTES:
        raise SigV4Error("InvalidURI", "Couldn't parse the specified URI: the query is too long.")
    if _PLUS in query_string:
        query_string = query_string.replace(b"+", b"%20")
    items = query_string.split(b"&")
    if len(items) > MAX_QUERY_PARAMS:
        raise SigV4Error("InvalidURI", "Couldn't parse the specified URI: too many query parameters.")
    pairs = []
    is_odd = bool(query_string.translate(None, _QUERY_SAFE))
    for item in items:
        if not item:
            continue
        name, _, value = item.partition(b"=")
        if is_odd or _PERCENT in item or _EQUALS in value:
            name, value = _canonical_component(name), _canonical_component(value)
        pairs.append((name, value))
    return pairs


def _canonical_component(text: bytes) -> bytes:
    if len(text) <= _REMEMBERED_BYTES:
        return _remembered_component(text)
    return _canonical_text(text, UNRESERVED, _ENCODED, "query")


@lru_cache(maxsize=1024)
def _remembered_component(text: bytes) -> bytes:
    return _canonical_text(text, UNRESERVED, _ENCODED, "query")


def join_query(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The canonical query: sorted by name, then value, both as encoded."""
    return b"&".join([name + b"=" + value for name, value in sorted(pairs)])


def encode_component(data: bytes) -> bytes:
    """The canonical spelling of a name or value, given the bytes it stands for.

    >>> encode_component(b"a /b")
    b'a%20%2Fb'
    """
    return b"".join([_ENCODED[byte] for byte in data])


def encode_path(data: bytes) -> bytes:
    """The canonical spelling of a path, given the bytes it stands for: each `/` stays.

    >>> encode_path(b"/bucket/a b")
    b'/bucket/a%20b'
    """
    return b"".join([_ENCODED_PATH[byte] for byte in data])


def decode_component(canonical: bytes) -> bytes:
    """The bytes that a canonical name, value or path stands for.

    >>> decode_component(b"a%20%2Fb")
    b'a /b'
    """
    if _PERCENT not in canonical:
        return canonical
    # A slash is what a credential is full of; in canonical text "%2F" is never part of another escape.
    canonical = canonical.replace(b"%2F", b"/")
    if _PERCENT not in canonical:
        return canonical
    first, *escaped = canonical.split(b"%")
    return first + b"".join([_decode_piece(piece) for piece in escaped])


def _decode_piece(piece: bytes) -> bytes:
    try:
        return bytes.fromhex(piece[:2].decode("ascii")) + piece[2:]
    except ValueError:
        raise SigV4Error("InvalidURI", "Couldn't parse the specified URI: a bad escape.") from None


def fold(value: bytes) -> bytes:
    """A header value trimmed, with inner runs of whitespace as one space.

    >>> fold(b"  a   b ")
    b'a b'
    """
    if _SPACE not in value and _TAB not in value:
        return value
    if _TAB in value or value.find(b"  ") >= 0:
        return b" ".join(value.split())
    return value.strip()
