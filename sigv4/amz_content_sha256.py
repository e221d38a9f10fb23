"""What `x-amz-content-sha256` can say about a body, and hashing a body against it.

Precedent: s3s `amz_content_sha256`. Source:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from typing import Final

from .errors import ContentSHA256Mismatch, SigV4Error

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"


class PayloadKind(enum.Enum):
    """How the body of a request is bound to its signature."""

    #: The SHA-256 of the body is signed (`Presented.payload_sha256`).
    SIGNED = "sha256"
    #: Nothing about the body is signed.
    UNSIGNED = UNSIGNED_PAYLOAD
    #: aws-chunked, every chunk signed.
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    #: aws-chunked, every chunk and the trailer signed.
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    #: aws-chunked, nothing signed, a checksum in the trailer.
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    #: Not said: a service other than S3, whose signature needs the body's hash at `verify`.
    BODY = "body"

    #: True where the body is framed as aws-chunked, for a `ChunkDecoder` to take apart.
    chunked: bool
    #: True where each chunk carries a signature.
    chunks_signed: bool
    #: True where a trailer section may follow the last chunk.
    has_trailer: bool

    def __init__(self, literal: str) -> None:
        self.chunked = literal.startswith("STREAMING-")
        self.chunks_signed = literal.startswith("STREAMING-AWS4-HMAC-SHA256-")
        self.has_trailer = literal.endswith("-TRAILER")


_LITERALS: Final = {
    kind.value.encode(): kind for kind in PayloadKind if kind not in (PayloadKind.SIGNED, PayloadKind.BODY)
}
_HEX: Final = b"0123456789abcdef"


def payload_kind(value: bytes) -> PayloadKind:
    """The kind that a header's value names; SIGNED for 64 lower-case hex digits, InvalidArgument for others.

    The streaming forms of SigV4A (`STREAMING-AWS4-ECDSA-…`) are among the refused.
    """
    kind = _LITERALS.get(value)
    if kind is not None:
        return kind
    if len(value) == 64 and not value.translate(None, _HEX):
        return PayloadKind.SIGNED
    raise SigV4Error(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value.",
        {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value[:128].decode("latin-1")},
    )


class PayloadHasher:
    """Hashes a body as it passes, and compares with the hash that was signed.

    `update` takes pieces in order; `verify` raises ContentSHA256Mismatch unless the whole is the signed one.
    Nothing that completes the body may be released before `verify` has returned.
    """

    __slots__ = ("_expected", "_hash")

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._hash = hashlib.sha256()

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece of the body."""
        self._hash.update(piece)

    def verify(self) -> None:
        """Return if the pieces taken so far are the body that was signed."""
        computed = self._hash.hexdigest()
        if not hmac.compare_digest(computed.encode(), self._expected.encode("utf-8", "surrogatepass")):
            raise ContentSHA256Mismatch(self._expected, computed)
