"""Request bodies on their way to a node: counted, checked as they pass, the last piece held back until it may go.

None of it buffers more than one piece (protocol, rule 15), but for documents and small objects, which are bounded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final, NoReturn

import sigv4
from proxy.call import Call, ClientGone
from proxy.mutation import Mutation
from proxy.passing import Pass, Piece, SeenRest
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

    Most of a large one is yielded as a `Rest` between two pieces, all but the last byte.
    """
    left = length
    can_lend = call.is_body_raw
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
        if can_lend and left > LEAST_BYTES and (lent := call.connection.lend_body(LEAST_BYTES)) is not None:
            size = min(left, lent[1]) - 1
            if hasher is None:
                rest = Rest(_Unread(call), lent[0], size, call.check)
            else:
                rest = SeenRest(_Unread(call), lent[0], size, call.check, partial(_hashed, hasher))
            try:
                yield rest
            finally:
                call.connection.take_back()
            left -= rest.moved
            can_lend = rest.moved > 0
    if left:
        raise sigv4.IncompleteBody


def _hashed(hasher: sigv4.PayloadHasher, data: memoryview) -> list[Piece]:
    hasher.update(data)
    return [data]


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
) -> AsyncIterator[bytes | Rest]:
    """Yield the payload of an aws-chunked body; its last byte only after all of it has held, and after `release`.

    With a `framer` the payload is framed again, without signatures, so that the node too has the trailer. Most of a
    large body is yielded as a `Rest` between two pieces, which takes it past the decoder.
    """
    let_pass: Pass = decoder.feed if framer is None else partial(_framed, decoder, framer)
    can_lend = call.is_body_raw
    async for piece in received(call):
        payload = let_pass(memoryview(piece))
        if not payload:
            continue
        yield b"".join(payload)
        if can_lend and (lent := call.connection.lend_body(LEAST_BYTES)) is not None:
            rest = SeenRest(_Unread(call), lent[0], lent[1] - 1, call.check, let_pass)
            try:
                yield rest
            finally:
                call.connection.take_back()
            can_lend = rest.moved > 0
    last: list[Piece] = list(decoder.finish())
    await release()
    call.check()
    if framer is not None:
        last = [framed for view in last for framed in framer.frame(view)]
        last.append(framer.end(decoder.trailer_values))
    if last:
        yield b"".join(last)


def _framed(decoder: sigv4.ChunkDecoder, framer: sigv4.UnsignedChunkFramer, data: memoryview) -> list[Piece]:
    return [framed for piece in decoder.feed(data) for framed in framer.frame(piece)]


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
