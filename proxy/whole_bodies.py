"""Request bodies that are read whole: documents, and objects so small that head and body leave in one write."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import sigv4
from proxy.call import Call, ClientGone, Receive

#: Bodies up to this many bytes are read whole, so that head and body go out in one write.
SMALL: Final = 64 * 1024


class NoRoom(Exception):
    """The worker reads as many documents whole as it may."""


async def next_piece(call: Call, receive: Receive) -> tuple[bytes, bool]:
    """Wait for the next piece of the body, which may be empty; return it, and whether there is more.

    `receive` is the call's own from before the body was begun: who takes a body apart puts another in its place.
    Raises `ClientGone` when the client stops before the end, or the request may not move another byte.
    """
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    call.check()
    piece: bytes = message["body"]
    if piece:
        call.came(len(piece))
    return piece, message["more_body"]


def decoder_of(call: Call, decoded_length: int) -> sigv4.ChunkDecoder | None:
    """Return the decoder of an aws-chunked body, None for any other."""
    presented = call.presented
    if not presented.payload.chunked:
        return None
    return sigv4.ChunkDecoder(
        call.context if presented.payload.chunks_signed else None,
        kind=presented.payload,
        decoded_length=decoded_length,
        trailers=presented.trailers,
    )


async def whole(call: Call, limit: int, *, is_hashed_here: bool = True) -> bytes:
    """Return the whole body, decoded and verified against everything that its signature says; where somebody else
    compares its hash (`is_hashed_here` false), all but that.

    Raises `SigV4Error` for one that is not what was signed, or longer than `limit` bytes; `NoRoom`; `ClientGone`.
    What is larger than `SMALL` has its part of the worker's room for documents until the request ends.
    """
    presented = call.presented
    if limit > 2 * SMALL:
        told = call.plan.decoded_length
        size = limit if told is None else min(told, limit)
        if size > SMALL:
            if not await call.worker.documents.take(size):
                raise NoRoom
            call.document_bytes += size
    decoder = decoder_of(call, presented.decoded_length or 0)
    parts: list[bytes] = []
    size = 0
    receive, more = call.receive, True
    while more:
        piece, more = await next_piece(call, receive)
        decoded = [piece] if decoder is None else [bytes(view) for view in decoder.feed(piece)]
        size += sum(map(len, decoded))
        if size > limit:
            raise sigv4.SigV4Error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size.")
        parts += decoded
    if decoder is not None:
        parts += decoder.finish()
        call.trailers = decoder.trailer_values
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    signed = presented.payload_sha256
    if is_hashed_here and signed is not None and (found := hashlib.sha256(body).hexdigest()) != signed:
        raise sigv4.ContentSHA256Mismatch(signed, found)
    return body


def sha256(document: bytes) -> str:
    """Return the hex SHA-256 of a document that goes to a node."""
    return hashlib.sha256(document).hexdigest()


def md5(document: bytes) -> bytes:
    """Return the Content-MD5 of a document (RFC 1864), which S3 demands of DeleteObjects."""
    return base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest())
