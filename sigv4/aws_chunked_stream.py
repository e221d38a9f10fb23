"""Bodies in aws-chunked framing: a decoder fed with bytes as they come.

    SIZE-IN-HEX[;chunk-signature=64-HEX]CRLF  payload  CRLF   … any number, the last of size 0
    [x-amz-checksum-…:BASE64 CRLF …  [x-amz-trailer-signature:64-HEX CRLF]]  CRLF

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html.

The decoder buffers no payload. It hands on pieces as they come, *but the body's last byte only when all that
follows has held* (the final chunk, its signature, the trailer, its signature and checksum, the end of the
body): a receiver that was promised `decoded_length` bytes therefore never has a complete body that was not
verified (protocol, rule 15; awslabs aws-proxy#130).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final, assert_never

from .amz_content_sha256 import EMPTY_SHA256, PayloadKind
from .checksums import CHECKSUM_ALGORITHMS, CHECKSUM_PREFIX, Checksum, Piece
from .errors import IncompleteBody, InvalidChunkSize, MalformedTrailer, SignatureDoesNotMatch, SigV4Error
from .keys import VerifiedContext, hmac_hex

#: The longest chunk header: 16 hex digits, `;chunk-signature=`, 64 hex digits, CRLF, and some room.
MAX_CHUNK_HEADER: Final = 256
MAX_TRAILER_BYTES: Final = 8 * 1024
#: The smallest signed chunk that S3 takes before the last one.
MIN_SIGNED_CHUNK: Final = 8192
#: Blank lines that a trailer section may hold (minio-go ends each trailer with a bare LF and puts CRLF after).
_MAX_BLANK_LINES: Final = 3

_CHUNK_SIGNATURE: Final = b"chunk-signature="
_TRAILER_SIGNATURE: Final = b"x-amz-trailer-signature"
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
#: What stands between two chunks in every body of a usual client. All else is read with more care.
_BETWEEN_SIGNED: Final = re.compile(rb"\r\n([0-9a-fA-F]{1,16});chunk-signature=(.{64})\r\n")
_BETWEEN_UNSIGNED: Final = re.compile(rb"\r\n([0-9a-fA-F]{1,16})()\r\n")


def parse_trailer_names(value: bytes, kind: PayloadKind) -> tuple[str, ...]:
    """The checksums that `x-amz-trailer` announces, lower-case, in order. InvalidRequest for anything else.

    >>> parse_trailer_names(b"x-amz-checksum-crc32", PayloadKind.STREAMING_UNSIGNED_TRAILER)
    ('x-amz-checksum-crc32',)
    """
    names = [name.strip().lower().decode("latin-1") for name in value.split(b",") if name.strip()]
    for name in names:
        if not name.startswith(CHECKSUM_PREFIX) or name[len(CHECKSUM_PREFIX) :] not in CHECKSUM_ALGORITHMS:
            raise SigV4Error(
                "InvalidRequest", "The value specified in the x-amz-trailer header is not supported"
            )
    if len(set(names)) != len(names) or (names and not kind.has_trailer):
        raise SigV4Error("InvalidRequest", "The x-amz-trailer header does not fit x-amz-content-sha256.")
    return tuple(names)


def strip_aws_chunked(content_encoding: bytes) -> bytes | None:
    """The Content-Encoding to store: without `aws-chunked`, which is of the transfer; None where nothing is left.

    Framing kept in it is what reads back as a broken object (trinodb/aws-proxy#124, versity/versitygw#2398).

    >>> strip_aws_chunked(b"aws-chunked,gzip")
    b'gzip'
    """
    codings = [coding.strip() for coding in content_encoding.split(b",")]
    return b",".join([c for c in codings if c and c.lower() != b"aws-chunked"]) or None


class ChunkSigner:
    """The chain of signatures over chunks and trailer: each covers the one before, the first the request's.

    Used by the decoder to check and by the encoder to make. The chain hides in no `repr`.
    """

    __slots__ = ("_key", "_prefix", "_previous", "_trailer_prefix")

    def __init__(self, context: VerifiedContext) -> None:
        head = f"{context.amz_date}\n{context.scope}\n"
        self._key = context.signing_key
        self._prefix = f"AWS4-HMAC-SHA256-PAYLOAD\n{head}"
        self._trailer_prefix = f"AWS4-HMAC-SHA256-TRAILER\n{head}"
        self._previous = context.seed_signature

    def chunk(self, sha256: str) -> str:
        """The signature of the next chunk, whose payload has this SHA-256 (hex); moves the chain on."""
        text = f"{self._prefix}{self._previous}\n{EMPTY_SHA256}\n{sha256}"
        self._previous = hmac_hex(self._key, text.encode())
        return self._previous

    def trailer(self, canonical: bytes) -> str:
        """The signature of the trailer: `name:value` lines, each ended by LF."""
        digest = hashlib.sha256(canonical).hexdigest()
        return hmac_hex(self._key, f"{self._trailer_prefix}{self._previous}\n{digest}".encode())


class ChunkDecoder:
    """Takes an aws-chunked body apart and checks it.

    `context` is the verified request's (None for a kind without chunk signatures, ValueError otherwise);
    `decoded_length` is what `x-amz-decoded-content-length` promised; `trailers` are the names that
    `x-amz-trailer` announced, all of which must then come. After any error the decoder is dead and raises
    it again.

    Guarantees: pieces are handed out in order, sum to at most `decoded_length`, and reach it only through
    `finish()`, which returns only if everything has held. Memory: one chunk header or trailer section.
    """

    __slots__ = (
        "_between",
        "_checksums",
        "_chunk_hash",
        "_chunk_number",
        "_chunk_signature",
        "_error",
        "_expect",
        "_held",
        "_left",
        "_line",
        "_minimum",
        "_received",
        "_short",
        "_signer",
        "_step",
        "complete",
        "decoded_length",
        "kind",
        "released",
        "trailer_values",
    )

    #: Payload bytes handed out so far.
    released: int
    #: True once `finish()` has returned: all has been received and has held.
    complete: bool
    #: The trailer's checksums by name, in base64; filled by `finish()`.
    trailer_values: dict[str, str]

    def __init__(
        self,
        context: VerifiedContext | None,
        *,
        kind: PayloadKind,
        decoded_length: int,
        trailers: Sequence[str] = (),
        minimum_chunk: int = MIN_SIGNED_CHUNK,
    ) -> None:
        if not kind.chunked:
            raise ValueError(f"{kind.value} is not aws-chunked")
        if kind.chunks_signed and context is None:
            raise ValueError("signed chunks need the verified request's context")
        if decoded_length < 0:
            raise ValueError("decoded_length is a number of bytes")
        if trailers and not kind.has_trailer:
            raise ValueError(f"{kind.value} has no trailer")
        self.kind = kind
        self.decoded_length = decoded_length
        self.released = 0
        self.complete = False
        self.trailer_values = {}
        self._signer = ChunkSigner(context) if kind.chunks_signed and context is not None else None
        self._between = _BETWEEN_UNSIGNED if self._signer is None else _BETWEEN_SIGNED
        self._checksums = {name: Checksum(name.removeprefix(CHECKSUM_PREFIX)) for name in trailers}
        self._minimum = minimum_chunk if kind.chunks_signed else 0
        self._error: SigV4Error | None = None
        self._step = _HEADER
        self._line = bytearray()
        self._left = 0
        self._received = 0
        self._held = b""
        self._expect = b""
        self._chunk_signature = b""
        self._chunk_hash = hashlib.sha256()
        self._chunk_number = 0
        self._short: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return (
            f"<ChunkDecoder {self.kind.name} released={self.released}/{self.decoded_length}"
            f"{' complete' if self.complete else ''}{' failed' if self._error else ''}>"
        )

    def feed(self, data: Piece) -> list[memoryview]:
        """Take the next bytes of the body; return payload that may be passed on (views into `data`).

        Raises SignatureDoesNotMatch, IncompleteBody, InvalidChunkSize or MalformedTrailer.
        """
        if self._error is not None:
            raise self._error
        if self.complete:
            raise ValueError("the body has been finished")
        try:
            return self._feed(memoryview(data))
        except SigV4Error as error:
            self._error = error
            raise

    def finish(self) -> list[bytes]:
        """The body has ended: check what is left to check, and hand out the last byte (nothing, if empty).

        Raises as `feed` does, and BadDigest.
        """
        if self._error is not None:
            raise self._error
        if self.complete:
            return []
        try:
            self._finish()
        except SigV4Error as error:
            self._error = error
            raise
        self.complete = True
        self.released += len(self._held)
        return [self._held] if self._held else []

    def _feed(self, view: memoryview) -> list[memoryview]:
        pieces: list[memoryview] = []
        position, end = 0, len(view)
        while position < end:
            step = self._step
            if step == _DATA:
                piece = view[position : position + self._left]
                position += len(piece)
                self._take(piece, pieces)
                if not self._left:
                    self._check_chunk()
                    position = self._read_between(view, position)
            elif step == _HEADER:
                position = self._read_header(view, position)
            elif step == _AFTER_DATA:
                position = self._read_crlf(view, position)
            else:
                if len(self._line) + end - position > MAX_TRAILER_BYTES:
                    raise MalformedTrailer
                self._line += view[position:]
                position = end
        return pieces

    def _take(self, piece: memoryview, pieces: list[memoryview]) -> None:
        if self._signer is not None:
            self._chunk_hash.update(piece)
        for checksum in self._checksums.values():
            checksum.update(piece)
        size = len(piece)
        self._left -= size
        self._received += size
        if self._received == self.decoded_length:
            self._held = bytes(piece[-1:])
            piece = piece[:-1]
            size -= 1
        if size:
            self.released += size
            pieces.append(piece)

    def _read_between(self, view: memoryview, position: int) -> int:
        match = self._between.match(view, position)
        if match is None:
            self._step, self._expect = _AFTER_DATA, b"\r\n"
            return position
        digits, self._chunk_signature = match.groups()
        self._start_chunk(int(digits, 16))
        return match.end()

    def _read_crlf(self, view: memoryview, position: int) -> int:
        piece = bytes(view[position : position + len(self._expect)])
        if not self._expect.startswith(piece):
            raise IncompleteBody("A chunk of the body is longer than its header says.")
        self._expect = self._expect[len(piece) :]
        if not self._expect:
            self._step = _HEADER
        return position + len(piece)

    def _read_header(self, view: memoryview, position: int) -> int:
        line = self._line
        before = len(line)
        line += view[position : position + MAX_CHUNK_HEADER - before]
        newline = line.find(b"\n", before)
        if newline < 0:
            if len(line) >= MAX_CHUNK_HEADER:
                raise IncompleteBody("A chunk's header is too long.")
            return len(view)
        header = bytes(line[: newline + 1])
        line.clear()
        self._start_chunk(self._parse_header(header))
        return position + newline + 1 - before

    def _parse_header(self, header: bytes) -> int:
        if not header.endswith(b"\r\n"):
            raise IncompleteBody("A chunk's header is malformed.")
        digits, semicolon, extension = header[:-2].partition(b";")
        if not digits or len(digits) > 16 or digits.translate(None, _HEX_DIGITS):
            raise IncompleteBody("A chunk's size is malformed.")
        if self._signer is not None:
            if not extension.startswith(_CHUNK_SIGNATURE):
                raise SignatureDoesNotMatch("A chunk of the body carries no signature.")
            self._chunk_signature = extension[len(_CHUNK_SIGNATURE) :]
        elif semicolon:
            raise IncompleteBody("A chunk's header is malformed.")
        return int(digits, 16)

    def _start_chunk(self, size: int) -> None:
        if self._signer is not None:
            self._chunk_hash = hashlib.sha256()
        if size:
            self._start_data(size)
        elif self._received != self.decoded_length:
            raise IncompleteBody
        else:
            self._check_chunk()
            self._step = _TRAILER

    def _start_data(self, size: int) -> None:
        if size > self.decoded_length - self._received:
            raise IncompleteBody
        if self._short is not None:
            raise InvalidChunkSize(*self._short)
        self._chunk_number += 1
        if size < self._minimum:
            self._short = (self._chunk_number, size)
        self._left = size
        self._step = _DATA

    def _check_chunk(self) -> None:
        if self._signer is None:
            return
        expected = self._signer.chunk(self._chunk_hash.hexdigest())
        if not hmac.compare_digest(expected.encode(), self._chunk_signature):
            raise SignatureDoesNotMatch("The signature of a chunk of the body does not match its content.")

    def _finish(self) -> None:
        if self._step != _TRAILER:
            raise IncompleteBody
        section = bytes(self._line)
        match self.kind:
            case PayloadKind.STREAMING_SIGNED:
                if section != b"\r\n":
                    raise IncompleteBody
            case PayloadKind.STREAMING_SIGNED_TRAILER | PayloadKind.STREAMING_UNSIGNED_TRAILER:
                self._check_trailer(section)
            case PayloadKind.SIGNED | PayloadKind.UNSIGNED | PayloadKind.BODY:
                raise AssertionError("not aws-chunked")
            case _:
                assert_never(self.kind)

    def _check_trailer(self, section: bytes) -> None:
        lines, signature = _read_trailer(section)
        if signature is None and self._signer is not None:
            raise SignatureDoesNotMatch("The trailer of the body carries no signature.")
        if signature is not None:
            if self._signer is None:
                raise MalformedTrailer
            # AWS signs them sorted, minio-go in the order written: for one checksum, the same.
            orders = (b"".join(lines), b"".join(sorted(lines)))
            if not any(hmac.compare_digest(self._signer.trailer(o).encode(), signature) for o in orders):
                raise SignatureDoesNotMatch("The signature of the body's trailer does not match its content.")
        for line in lines:
            name, _, value = line[:-1].decode("ascii").partition(":")
            if name in self.trailer_values or name not in self._checksums:
                raise MalformedTrailer
            self.trailer_values[name] = value
        if len(self.trailer_values) != len(self._checksums):
            raise MalformedTrailer
        for name, checksum in self._checksums.items():
            checksum.verify(self.trailer_values[name])


_HEADER, _DATA, _AFTER_DATA, _TRAILER = range(4)


def _read_trailer(section: bytes) -> tuple[list[bytes], bytes | None]:
    """Canonical lines (`name:value` LF) in order, and the trailer's signature. MalformedTrailer for others."""
    if not section.endswith(b"\r\n"):
        raise IncompleteBody
    lines: list[bytes] = []
    signature = None
    blank = 0
    for line in section[:-1].split(b"\n"):
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line:
            blank += 1
            continue
        name, colon, value = line.partition(b":")
        name, value = name.strip(b" ").lower(), value.strip(b" ")
        if not colon or not name or not value or signature is not None:
            raise MalformedTrailer
        if not (line.isascii() and line.decode("ascii").isprintable()):
            raise MalformedTrailer
        if name == _TRAILER_SIGNATURE:
            signature = value
        else:
            lines.append(b"%b:%b\n" % (name, value))
    # The section must be closed by an empty line: without one its end may have been cut off.
    if not 1 <= blank <= _MAX_BLANK_LINES or not (section == b"\r\n" or section.endswith(b"\n\r\n")):
        raise IncompleteBody
    return lines, signature
