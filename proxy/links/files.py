"""Files for strangers' browsers: shown only where that is harmless, and never as a page of the gate."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from proxy.call import Dress, Headers
from proxy.links.pages import COMMON

#: What is shown instead of saved: nothing here can run, even if a browser did not know what a sandbox is.
_SHOWN: Final = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "text/plain",
        "audio/mpeg", "audio/mp4", "audio/ogg", "audio/wav", "audio/webm", "audio/flac",
        "video/mp4", "video/webm", "video/ogg", "video/quicktime",
    }
)  # fmt: skip
#: Headers of the node's answer that strangers get; none of `x-amz-*`, which speak of the owner's ways.
_KEPT: Final = frozenset(
    {
        b"accept-ranges", b"content-encoding", b"content-language", b"content-length", b"content-range", b"etag",
        b"last-modified",
    }
)  # fmt: skip
_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
#: A document of an origin of its own that may load, run and send nothing.
_SANDBOX: Final = (
    b"sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; "
    b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def file_headers(headers: Headers, name: str, *, save: bool = False) -> list[tuple[bytes, bytes]]:
    """Return a node's answer's headers as strangers get them, for a file that is called `name`."""
    told = next((value for found, value in headers if found == b"content-type"), b"").decode("latin-1")
    kind = told.partition(";")[0].strip().lower()
    if not _TYPE.fullmatch(kind):
        kind = "application/octet-stream"
    shown = kind in _SHOWN and not save
    if kind == "text/plain":
        kind = "text/plain; charset=utf-8"
    return [
        *((found, value) for found, value in headers if found in _KEPT),
        # A type that could run is told as what it is only to somebody who saves it, never to be opened here.
        (b"content-type", kind.encode("ascii") if shown else b"application/octet-stream"),
        (b"content-disposition", disposition("inline" if shown else "attachment", name)),
        (b"content-security-policy", _SANDBOX),
        (b"cross-origin-resource-policy", b"same-origin"),
        *COMMON,
    ]


def disposition(kind: str, name: str) -> bytes:
    """A Content-Disposition with the name in ASCII, and whole (RFC 6266, RFC 8187)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%;/]', "_", name) or "file"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}".encode("ascii")


def as_file(name: str, *, save: bool) -> Dress:
    """Return what makes of an object's answer one that is a file for strangers."""

    def dress(status: int, headers: Headers) -> Headers:
        return headers if status >= 400 else file_headers(headers, name, save=save)

    return dress
