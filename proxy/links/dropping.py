"""Drop boxes: files from strangers, under new names, within the link's size and the owner's quota."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import AsyncIterator
from typing import Any, Final

from proxy import bodies
from proxy.call import Call, Message, Receive
from proxy.s3.errors import Code, S3Error, error
from proxy.s3.post_form import FileBody, FormError, FormHead, boundary_of
from sigv4 import PayloadKind, Presented

_LONGEST: Final = 180
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


#: Stands where a signature's claim would: nothing is signed, and the body is as it comes. It proves nothing, as no
#: signature is empty. A real one, since compiled modules take nothing that is only like it.
UNSIGNED: Final = Presented(
    form="header",
    method=b"",
    path=b"",
    query=(),
    access_key_id="",
    session_token=None,
    amz_date="",
    date="",
    region="",
    service="s3",
    signed_headers=(),
    payload=PayloadKind.UNSIGNED,
    payload_sha256=None,
    expires_at=None,
    decoded_length=None,
    trailers=(),
    signature=b"",
    canonical_query=b"",
    canonical_headers=b"",
    payload_literal=None,
)


def unique_name(given: str) -> str:
    """Return a name like `given`, without folders or control characters, that no file has.

    64 bits of chance are in it: nothing is overwritten, and nobody learns what names there are.
    """
    # Cut first: a form may name a file in 64 KiB, and shortening that letter by letter takes seconds.
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", given)[-1][-_LONGEST:])
    name = "".join(char for char in name if char.isprintable()).strip(" .")
    while len(name.encode()) > _LONGEST:
        name = name[1:]
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or len(ending) > 16:
        stem, dot, ending = name, "", ""
    mark = "".join(secrets.choice(_ALPHABET) for _ in range(13))
    return f"{stem or 'file'}-{mark}{dot}{ending}"


async def open_drop(call: Call, headers: dict[bytes, bytes]) -> tuple[str, int] | S3Error:
    """Read a form up to its file, and make the rest of the body be the file alone; returns its name and size.

    Raises `ClientGone`, and while the file is read `FormError`.
    """
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 19:
        return error(Code.MISSING_CONTENT_LENGTH)
    pieces = bodies.received(call)
    try:
        head = FormHead(boundary_of(headers.get(b"content-type", b"").decode("latin-1")))
        first = None
        while first is None:
            try:
                first = head.feed(await anext(pieces))
            except StopAsyncIteration:
                return error(Code.MALFORMED_POST)
    except FormError as failure:
        return failure.refusal
    size = int(length) - head.size - len(head.closing)
    if size < 0:
        return error(Code.MALFORMED_POST)
    call.receive = _as_body(_file(head, size, first, pieces))
    call.is_body_raw = False
    return head.filename, size


async def _file(
    head: FormHead, size: int, first: bytes, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    body = FileBody(head, size)
    for part in body.feed(first):
        yield part
    async for piece in pieces:
        for part in body.feed(piece):
            yield part
    if last := body.end():
        yield last


def _as_body(parts: AsyncIterator[bytes]) -> Receive:
    async def receive() -> Message:
        part: Any = await anext(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    return receive
