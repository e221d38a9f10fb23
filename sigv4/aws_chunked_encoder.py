"""Making aws-chunked bodies: signed ones (for clients and tests), and unsigned ones for nodes as bytes stream.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from .aws_chunked_stream import ChunkSigner
from .checksums import CHECKSUM_PREFIX, Piece, checksum_size
from .keys import VerifiedContext

#: What botocore uses (`httpchecksum.AwsChunkedWrapper`); MinIO refuses chunks above 16 MiB.
DEFAULT_CHUNK: Final = 1024 * 1024

_SIGNATURE_PART: Final = len(";chunk-signature=") + 64


def encoded_length(
    decoded_length: int,
    chunk_size: int = DEFAULT_CHUNK,
    trailers: Sequence[str] = (),
    *,
    signed: bool = False,
) -> int:
    """The Content-Length of an aws-chunked body whose chunks are `chunk_size`, the last one shorter.

    `trailers` are names `x-amz-checksum-…`; `signed` is for signed chunks (and trailer, where there is one).
    """
    extra = (_SIGNATURE_PART if signed else 0) + 4
    full, rest = divmod(decoded_length, chunk_size)
    total = full * (len(f"{chunk_size:x}") + extra + chunk_size)
    if rest:
        total += len(f"{rest:x}") + extra + rest
    total += 1 + extra
    for name in trailers:
        total += len(name) + 1 + checksum_size(name.removeprefix(CHECKSUM_PREFIX)) + 2
    if signed and trailers:
        total += len("x-amz-trailer-signature:") + 64 + 2
    return total


class ChunkEncoder:
    """Frames payload chunk by chunk, signed where a context is given.

    Each `chunk` makes one chunk; `end` makes the last one, of size 0, and the trailer.
    """

    __slots__ = ("_signer",)

    def __init__(self, context: VerifiedContext | None = None) -> None:
        self._signer = None if context is None else ChunkSigner(context)

    def chunk(self, payload: Piece) -> list[Piece]:
        """The pieces of one chunk: header, the payload itself, CRLF. ValueError where it is empty."""
        if not payload:
            raise ValueError("an empty chunk would end the body")
        return [self._header(payload), payload, b"\r\n"]

    def end(self, trailers: Mapping[str, str] | None = None) -> bytes:
        """The end of the body. `trailers` (`x-amz-checksum-…` to base64) only for kinds that have them."""
        header = self._header(b"")
        if not trailers:
            return header + b"\r\n"
        lines = [f"{name}:{value}" for name, value in sorted(trailers.items())]
        text = "".join([f"{line}\r\n" for line in lines])
        if self._signer is not None:
            canonical = "".join([f"{line}\n" for line in lines]).encode()
            text += f"x-amz-trailer-signature:{self._signer.trailer(canonical)}\r\n"
        return header + text.encode() + b"\r\n"

    def _header(self, payload: Piece) -> bytes:
        if self._signer is None:
            return b"%x\r\n" % len(payload)
        signature = self._signer.chunk(hashlib.sha256(payload).hexdigest())
        return b"%x;chunk-signature=%b\r\n" % (len(payload), signature.encode())


def encode_chunked(
    payload: bytes,
    *,
    context: VerifiedContext | None = None,
    chunk_size: int = DEFAULT_CHUNK,
    trailers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole aws-chunked body, `encoded_length(…)` bytes long.

    >>> encode_chunked(b"abc", trailers={"x-amz-checksum-crc32": "NSRBwg=="})
    b'3\\r\\nabc\\r\\n0\\r\\nx-amz-checksum-crc32:NSRBwg==\\r\\n\\r\\n'
    """
    encoder = ChunkEncoder(context)
    pieces: list[Piece] = []
    for start in range(0, len(payload), chunk_size):
        pieces += encoder.chunk(payload[start : start + chunk_size])
    pieces.append(encoder.end(trailers))
    return b"".join(pieces)


class UnsignedChunkFramer:
    """Frames a body of known length as it streams, with a trailer: no chunk is ever buffered.

    Chunk headers stand where `chunk_size` puts them, however the pieces fall; so `content_length` is known
    before the first byte. For a node: STREAMING-UNSIGNED-PAYLOAD-TRAILER.
    """

    __slots__ = ("_chunk_left", "_chunk_size", "_left", "_trailers", "content_length")

    #: Bytes of the framed body.
    content_length: int

    def __init__(self, decoded_length: int, trailers: Sequence[str], chunk_size: int = DEFAULT_CHUNK) -> None:
        self._left = decoded_length
        self._chunk_left = 0
        self._chunk_size = chunk_size
        self._trailers = tuple(trailers)
        self.content_length = encoded_length(decoded_length, chunk_size, trailers)

    def frame(self, piece: Piece) -> list[Piece]:
        """The wire bytes of the next piece of payload. ValueError beyond the length that was promised."""
        view = memoryview(piece)
        if len(view) > self._left:
            raise ValueError("more payload than was promised")
        pieces: list[Piece] = []
        while view:
            if not self._chunk_left:
                self._chunk_left = min(self._chunk_size, self._left)
                pieces.append(b"%x\r\n" % self._chunk_left)
            part = view[: self._chunk_left]
            view = view[len(part) :]
            self._chunk_left -= len(part)
            self._left -= len(part)
            pieces.append(part)
            if not self._chunk_left:
                pieces.append(b"\r\n")
        return pieces

    def end(self, trailers: Mapping[str, str]) -> bytes:
        """The end of the body. ValueError before all payload came, or for trailers other than were promised."""
        if self._left:
            raise ValueError("less payload than was promised")
        if set(trailers) != set(self._trailers):
            raise ValueError("other trailers than were promised")
        return ChunkEncoder().end(trailers)
