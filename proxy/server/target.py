"""The request's target, taken apart no further than ASGI asks for (RFC 9112, section 3.2)."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.server import answers
from proxy.server.answers import Refused

_PERCENT: Final = 0x25


def split_target(target: bytes, method: str) -> tuple[bytes, bytes]:
    """Return path and query as they came, split once at the first `?`; the query is empty where there is
    none.

    An absolute form loses its scheme and authority. `*` passes for OPTIONS; what else is no path raises
    `Refused`.
    """
    path, _, query = target.partition(b"?")
    return (path if path[:1] == b"/" else _find_path(path, method)), query


def decode_path(raw_path: bytes) -> str:
    """Return the path as ASGI's `path` has it: decoded, and nothing to authorise by."""
    if _PERCENT not in raw_path:
        return raw_path.decode("latin-1")
    return unquote_to_bytes(raw_path).decode("utf-8", "replace")


def _find_path(target: bytes, method: str) -> bytes:
    """Return the path of a target in absolute form (RFC 9112, section 3.2.2), or `*` for OPTIONS."""
    scheme, separator, rest = target.partition(b"://")
    if separator and scheme.lower() in (b"http", b"https"):
        _, slash, path = rest.partition(b"/")
        return slash + path or b"/"
    if target == b"*" and method == "OPTIONS":
        return target
    raise Refused(answers.BAD_TARGET)
