"""The one typed error of this package, with S3's own codes, messages and statuses.

Every function here either gives a result or raises `SigV4Error`: no input, however malformed, makes
another exception. `code` is the S3 error code and `details` holds the extra elements that S3 puts into
its error document (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html). No error ever
carries a secret, or a signature that the server computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATUS: Final[Mapping[str, int]] = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "IncompleteBody": 400,
    "InvalidArgument": 400,
    "InvalidChunkSizeError": 403,
    "InvalidDigest": 400,
    "InvalidPolicyDocument": 400,
    "InvalidRequest": 400,
    "InvalidURI": 400,
    "MalformedPOSTRequest": 400,
    "MalformedTrailerError": 400,
    "MissingContentLength": 411,
    "RequestHeaderSectionTooLarge": 400,
    "RequestTimeTooSkewed": 403,
    "SignatureDoesNotMatch": 403,
    "XAmzContentSHA256Mismatch": 400,
}


class SigV4Error(Exception):
    """A refusal, ready to be written as an S3 error document.

    `code` S3 error code · `message` a sentence for people · `status` HTTP status · `details` further
    elements of the error document, by name.
    """

    code: str
    message: str
    status: int
    details: dict[str, str]

    def __init__(self, code: str, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUS[code]
        self.details = dict(details) if details else {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"


class SignatureDoesNotMatch(SigV4Error):
    """The signature is not the one that the secret gives for these bytes.

    `details` tells what the server signed (CanonicalRequest, StringToSign and their bytes in hex), as AWS
    does; so a client's author can compare. It never tells the signature.
    """

    def __init__(self, message: str | None = None, details: Mapping[str, str] | None = None) -> None:
        super().__init__(
            "SignatureDoesNotMatch",
            message
            or "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            details,
        )


class IncompleteBody(SigV4Error):
    """The body ends early, goes on too long, or is not framed as aws-chunked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(
            "IncompleteBody",
            message or "You did not provide the number of bytes specified by the Content-Length HTTP header.",
        )


class MalformedTrailer(SigV4Error):
    """The trailer section is malformed, or holds something else than `x-amz-trailer` announced."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(
            "MalformedTrailerError",
            message
            or "The request contained trailing data that was not well-formed or did not conform to our "
            "published schema.",
        )


class InvalidChunkSize(SigV4Error):
    """A signed chunk other than the last is smaller than S3 allows."""

    def __init__(self, number: int, size: int) -> None:
        super().__init__(
            "InvalidChunkSizeError",
            "Only the last chunk is allowed to have a size less than 8192 bytes",
            {"Chunk": str(number), "BadChunkSize": str(size)},
        )


class BadDigest(SigV4Error):
    """A checksum that the client gave is not the checksum of the bytes received."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(
            "BadDigest", f"The {algorithm.upper()} you specified did not match the calculated checksum."
        )


class ContentSHA256Mismatch(SigV4Error):
    """The body is not the one whose SHA-256 was signed."""

    def __init__(self, signed: str, computed: str) -> None:
        super().__init__(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            {"ClientComputedContentSHA256": signed, "S3ComputedContentSHA256": computed},
        )
