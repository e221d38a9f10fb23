"""Request bodies on their way to a node: counted, checked as they pass, the last piece held back until it may go.

None of it buffers more than one piece (protocol, rule 15); what is read whole is in `proxy/whole_bodies.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NoReturn

import sigv4
from proxy.call import Call, ClientGone
from proxy.mutation import Mutation
from proxy.passing import Pass, Piece, SeenRest
from proxy.splicing import LEAST_BYTES, Rest
from proxy.whole_bodies import next_piece

Release = Callable[[], Awaitable[None]]


async def received(call: Call) -> AsyncIterator[bytes]:
    """Yield the body as the client sends it. Raises `ClientGone` when it stops before the end."""
    receive, more = call.receive, True
    while more:
        piece, more = await next_piece(call, receive)
        if piece:
            yield piece


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
        self._call.connection.took(size)
        self._call.came(size)

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
