"""How a request says that it carries its payload, and on which operations each way is allowed.

The forms are those of `x-amz-content-sha256`
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html). The streaming forms are for
PutObject and UploadPart alone: an unsigned trailer elsewhere has let requests through unchecked
(versity/versitygw#1679, CVE-2025-31489).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from proxy.s3.errors import Code, Refusal, error, invalid_argument


class PayloadForm(Enum):
    """A payload's form; the value is the header's."""

    ABSENT = ""
    SIGNED = "sha256"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def is_chunked(self) -> bool:
        """Whether the body is framed as aws-chunked."""
        return self in _CHUNKED

    @property
    def has_trailer(self) -> bool:
        """Whether a trailer follows the last chunk."""
        return self in _TRAILED


_CHUNKED: Final = frozenset(
    {PayloadForm.STREAMING, PayloadForm.STREAMING_TRAILER, PayloadForm.STREAMING_UNSIGNED_TRAILER}
)
_TRAILED: Final = frozenset({PayloadForm.STREAMING_TRAILER, PayloadForm.STREAMING_UNSIGNED_TRAILER})
_NAMED: Final = {
    form.value: form for form in PayloadForm if form not in (PayloadForm.ABSENT, PayloadForm.SIGNED)
}

#: The operations that may stream their payload in chunks.
CHUNKED_OPERATIONS: Final = frozenset({"PutObject", "UploadPart"})

#: Checksum algorithms of S3, by the suffix of their header.
CHECKSUMS: Final = (
    "crc32",
    "crc32c",
    "crc64nvme",
    "sha1",
    "sha256",
    "sha512",
    "md5",
    "xxhash64",
    "xxhash3",
    "xxhash128",
)
CHECKSUM_HEADERS: Final = tuple(f"x-amz-checksum-{name}" for name in CHECKSUMS)

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def payload_form(content_sha256: str | None, operation: str) -> PayloadForm | Refusal:
    """The form that `x-amz-content-sha256` declares, if `operation` may have it.

    Any other value is refused, and so is SigV4A's (`…ECDSA…`).
    """
    if content_sha256 is None:
        return PayloadForm.ABSENT
    value = content_sha256.strip()
    if _SHA256.fullmatch(value):
        return PayloadForm.SIGNED
    form = _NAMED.get(value)
    if form is None:
        return invalid_argument(
            "x-amz-content-sha256",
            value,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING form of SigV4, or a valid sha256 value.",
        )
    if form.is_chunked and operation not in CHUNKED_OPERATIONS:
        return error(Code.INVALID_REQUEST, f"{operation} does not take a payload of the form {value}.")
    return form


def trailer_checksum(form: PayloadForm, announced: str | None) -> str | Refusal | None:
    """The checksum header that the trailer will carry, lower case; None when no trailer is due.

    Exactly one checksum may be announced, and only where the form has a trailer; both ways round, as AWS.
    """
    names = [name.strip().lower() for name in (announced or "").split(",") if name.strip()]
    if not form.has_trailer:
        if names:
            return error(Code.INVALID_REQUEST, "x-amz-trailer is for payloads that have a trailer.")
        return None
    if len(names) != 1 or names[0] not in CHECKSUM_HEADERS:
        return error(Code.MALFORMED_TRAILER, "x-amz-trailer must name exactly one x-amz-checksum header.")
    return names[0]


def content_encoding(value: str | None) -> str | None:
    """`Content-Encoding` to store: without `aws-chunked`, which frames the transfer; all else kept in order.

    None when nothing is left: an empty header must not be stored either (versity/versitygw#2398,
    trinodb/aws-proxy#124).
    """
    if value is None or "aws-chunked" not in value.lower():
        return value or None
    kept = [
        coding.strip() for coding in value.split(",") if coding.strip().lower() not in ("aws-chunked", "")
    ]
    return ",".join(kept) or None
