"""The request's head as bytes, and how its body is delimited (RFC 9112, sections 3 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.upstream.errors import LocalProtocolError
from proxy.upstream.origin import Origin

#: In place of a length: the body is sent in chunks.
CHUNKED: Final = -1
#: The only header names that this module looks at, by their lengths, so that most names are never lowered.
_LENGTHS: Final = frozenset({len("host"), len("content-length"), len("transfer-encoding")})
_NUL: Final = 0x00
_SPACE: Final = 0x20
_EXPECT_A_BODY: Final = frozenset({b"PUT", b"POST", b"PATCH"})


def encode_head(
    origin: Origin, method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: object
) -> tuple[bytes, int]:
    """Return the head, ready to send, and the body's length (`CHUNKED` where only its end will tell).

    The target and the headers go out as they are given. Added are what is absent and needed: `host`, and
    `content-length` or `transfer-encoding`. Raises `LocalProtocolError` when the framing contradicts itself
    or the body, and when anything holds a line break or NUL, which would be another request inside this
    one.
    """
    length: int | None = None
    has_host = is_chunked = False
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    for name, value in headers:
        lines.append(name + b": " + value)
        if len(name) in _LENGTHS:
            lowered = name.lower()
            if lowered == b"host":
                has_host = True
            elif lowered == b"content-length":
                if length is not None or not value.isdigit():
                    raise LocalProtocolError("content-length must be one number, given once")
                length = int(value)
            elif lowered == b"transfer-encoding":
                if is_chunked or value != b"chunked":
                    raise LocalProtocolError("the only transfer-encoding is chunked, once")
                is_chunked = True
    if is_chunked and length is not None:
        raise LocalProtocolError("a body has a content-length or is chunked, never both")
    if not has_host:
        lines.append(b"host: " + _host(origin))
    if body is None or isinstance(body, bytes):
        size = len(body) if body is not None else 0
        if is_chunked or (length is not None and length != size):
            raise LocalProtocolError("the body is not as long as its content-length")
        if length is None and (size or method in _EXPECT_A_BODY):
            lines.append(b"content-length: %d" % size)
        length = size
    elif length is None:
        length = CHUNKED
        if not is_chunked:
            lines.append(b"transfer-encoding: chunked")
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    breaks = len(lines)
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or _NUL in head or _SPACE in target:
        raise LocalProtocolError("a line break, a NUL, or a space in the target cannot be sent")
    return head, length


def _host(origin: Origin) -> bytes:
    default = 443 if origin.scheme == "https" else 80
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return (host if origin.port == default else f"{host}:{origin.port}").encode("ascii")
