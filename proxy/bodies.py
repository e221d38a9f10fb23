"""Request bodies on their way to a node: counted, checked as they pass, the last piece held back until it may go.

None of it buffers more than one piece (protocol, rule 15), but for documents and small objects, which are bounded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NoReturn

import sigv4
from proxy.call import Call, ClientGone
from proxy.mutation import Mutation
from proxy.splicing import LEAST_BYTES, Rest

#: Bodies up to this many bytes are read whole, so that head and body go out in one write.
SMALL: Final = 64 * 1024

Release = Callable[[], Awaitable[None]]


class NoRoom(Exception):
    """The worker reads as many documents whole as it may."""


async def received(call: Call) -> AsyncIterator[bytes]:
    """Yield the body as the client sends it. Raises `ClientGone` when it stops before the end."""
    receive = call.receive
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        call.check()
        piece: bytes = message["body"]
        if piece:
            call.bytes_in += len(piece)
            if call.transfer is not None:
                call.transfer.bytes = call.bytes_in
            yield piece
        if not message["more_body"]:
            return


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
    async for piece in received(call):
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


async def plain(
    call: Call, length: int, release: Release, hasher: sigv4.PayloadHasher | None
) -> AsyncIterator[bytes | Rest]:
    """Yield a body of `length` bytes; its last piece only after `release`, and after `hasher` has agreed.

    What nobody here has to see is yielded as a `Rest` between two pieces, all but the last byte.
    """
    left = length
    can_splice = hasher is None and call.is_body_raw
    async for piece in received(call):
        left -= len(piece)
        if hasher is not None:
            hasher.update(piece)
        if left <= 0:
            if left < 0:
                raise sigv4.IncompleteBody
            if hasher is not None:
                hasher.verify()
            await release()
            call.check()
        yield piece
        if can_splice and left > LEAST_BYTES and (lent := call.connection.lend_body(LEAST_BYTES)) is not None:
            rest = Rest(_Unread(call), lent[0], min(left, lent[1]) - 1, call.check)
            try:
                yield rest
            finally:
                call.connection.take_back()
            left -= rest.moved
            can_splice = rest.moved > 0
    if left:
        raise sigv4.IncompleteBody


class _Unread:
    """What is left of a body in its client's socket."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.wait_readable = call.connection.wait_readable

    def took(self, size: int) -> None:
        call = self._call
        call.connection.took(size)
        call.bytes_in += size
        if call.transfer is not None:
            call.transfer.bytes = call.bytes_in

    def ended_early(self, _cause: OSError | None) -> NoReturn:
        self._call.connection.abort()
        raise ClientGone


async def decoded(
    call: Call,
    decoder: sigv4.ChunkDecoder,
    release: Release,
    framer: sigv4.UnsignedChunkFramer | None,
) -> AsyncIterator[bytes]:
    """Yield the payload of an aws-chunked body; its last byte only after all of it has held, and after `release`.

    With a `framer` the payload is framed again, without signatures, so that the node too has the trailer.
    """
    async for piece in received(call):
        views: list[bytes | bytearray | memoryview] = list(decoder.feed(piece))
        if framer is not None:
            views = [framed for view in views for framed in framer.frame(view)]
        if views:
            yield views[0] if len(views) == 1 and isinstance(views[0], bytes) else b"".join(views)
    last: list[bytes | bytearray | memoryview] = list(decoder.finish())
    await release()
    call.check()
    if framer is not None:
        last = [framed for view in last for framed in framer.frame(view)]
        last.append(framer.end(decoder.trailer_values))
    if last:
        yield b"".join(last)


async def telling_base(mutation: Mutation, body: AsyncIterator[bytes | Rest]) -> AsyncIterator[bytes | Rest]:
    """Yield `body`, and tell the key's base once the first piece is on its way: a long upload does not keep others
    on its key waiting for it.
    """
    told = False
    async for piece in body:
        yield piece
        if not told:
            told = True
            await mutation.tell_base()


def sha256(document: bytes) -> str:
    """Return the hex SHA-256 of a document that goes to a node."""
    return hashlib.sha256(document).hexdigest()


def md5(document: bytes) -> bytes:
    """Return the Content-MD5 of a document (RFC 1864), which S3 demands of DeleteObjects."""
    return base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest())
