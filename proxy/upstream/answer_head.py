"""The head of an answer as nodes send it by day, read in one pass.

A parser calls back for every header, which costs more than all else that is done with an answer. What comes whole,
in one read and with a plain length, is read here; everything else is left to the parser, which also says what is
wrong with it. This reader must therefore never accept what llhttp refuses or would read otherwise: where it is not
sure it gives up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

#: RFC 9110, section 5.6.2.
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#: What a head may hold: tabs, line breaks, and all but control characters.
_TEXT: Final = b"\t\r\n" + bytes(byte for byte in range(32, 256) if byte != 127)
_MAX_NAME_BYTES: Final = 64
#: Headers that say something else about framing than a length.
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"upgrade", b"proxy-connection"})


class AnswerHead(NamedTuple):
    """`length` of the body in bytes, 0 where the answer has none by its method or status · `end` of the head."""

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int
    keeps_alive: bool
    end: int


@lru_cache(maxsize=1024)
def _lower(name: bytes) -> bytes | None:
    lowered = name.lower()
    return None if name.translate(None, _TOKEN) or not name or lowered in _UNUSUAL else lowered


def read_head(data: bytes, method: bytes, *, max_bytes: int, max_headers: int) -> AnswerHead | None:
    """Read what the first bytes of an answer to `method` begin with; None where that is for the parser to say."""
    end = data.find(b"\r\n\r\n", 0, max_bytes)
    if end < 0:
        return None
    status_line, *lines = data[:end].split(b"\r\n")
    breaks = len(lines)
    if (
        breaks > max_headers
        or data.count(b"\n", 0, end) != breaks
        or data.count(b"\r", 0, end) != breaks
        or data[:end].translate(None, _TEXT)
        or status_line[:9] != b"HTTP/1.1 "
        or status_line[12:13] != b" "
        or not status_line[9:12].isdigit()
    ):
        return None
    status = int(status_line[9:12])
    if not 200 <= status <= 599:
        return None
    headers: list[tuple[bytes, bytes]] = []
    length = -1
    keeps_alive = True
    for line in lines:
        raw_name, colon, value = line.partition(b":")
        name = _lower(raw_name) if len(raw_name) <= _MAX_NAME_BYTES else None
        if name is None or not colon:
            return None
        value = value.strip(b" \t")
        if name == b"content-length":
            if length >= 0 or not value.isdigit() or len(value) > 18:
                return None
            length = int(value)
        elif name == b"connection":
            keeps_alive = value.lower() == b"keep-alive"
            if not keeps_alive and value.lower() != b"close":
                return None
        headers.append((name, value))
    if method == b"HEAD" or status == 204 or status == 304:
        length = 0
    elif length < 0:
        return None
    return AnswerHead(status, headers, length, keeps_alive, end + 4)
