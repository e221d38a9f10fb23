"""How a request says that it carries its payload, and on which operations each way is allowed.

The forms are those of `x-amz-content-sha256`
(https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html). The streaming forms are for
PutObject and UploadPart alone: an unsigned trailer elsewhere has let requests through unchecked
(versity/versitygw#1679, CVE-2025-31489).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from proxy.s3.errors import Code, Refusal, S3Error, error
from sigv4.amz_content_sha256 import PayloadKind, payload_kind
from sigv4.checksums import Checksum
from sigv4.errors import SigV4Error

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


def allowed_payload(content_sha256: str | None, operation: str) -> PayloadKind | Refusal:
    """The kind that `x-amz-content-sha256` declares, if `operation` may have it; BODY when it says nothing.

    Any other value is refused, SigV4A's (`…ECDSA…`) among them.
    """
    if content_sha256 is None:
        return PayloadKind.BODY
    try:
        kind = payload_kind(content_sha256.strip().encode("latin-1", "replace"))
    except SigV4Error as problem:
        return error(Code.INVALID_ARGUMENT, problem.message, **problem.details)
    if kind.chunked and operation not in CHUNKED_OPERATIONS:
        return error(Code.INVALID_REQUEST, f"{operation} does not take a payload of the form {kind.value}.")
    return kind


def trailer_checksum(kind: PayloadKind, announced: str | None) -> str | Refusal | None:
    """The checksum header that the trailer will carry, lower case; None when no trailer is due.

    Exactly one checksum may be announced, and only where the kind has a trailer; both ways round, as AWS.
    """
    names = [name.strip().lower() for name in (announced or "").split(",") if name.strip()]
    if not kind.has_trailer:
        if names:
            return error(Code.INVALID_REQUEST, "x-amz-trailer is for payloads that have a trailer.")
        return None
    if len(names) != 1 or names[0] not in CHECKSUM_HEADERS:
        return error(Code.MALFORMED_TRAILER, "x-amz-trailer must name exactly one x-amz-checksum header.")
    return names[0]


def document_problem(body: bytes, headers: Mapping[str, str], *, required: bool) -> Refusal | None:
    """Why a document is not what its Content-MD5 and checksum headers say; None when all that are given hold.

    `required` asks for at least one of them, as DeleteObjects does: SDKs send a checksum and no Content-MD5
    (aws/aws-sdk-java-v2#5805). The payload's signed hash is the caller's to check.
    """
    given = [name for name in CHECKSUM_HEADERS if name in headers]
    claimed = headers.get("content-md5")
    if claimed is not None:
        try:
            expected = base64.b64decode(claimed, validate=True)
        except ValueError:
            expected = b""
        if len(expected) != 16:
            return error(Code.INVALID_DIGEST, "The Content-MD5 you specified is not valid.")
        if not hmac.compare_digest(hashlib.md5(body, usedforsecurity=False).digest(), expected):
            return error(Code.BAD_DIGEST, "The Content-MD5 you specified did not match what we received.")
    for name in given:
        checksum = Checksum(name.removeprefix("x-amz-checksum-"))
        checksum.update(body)
        try:
            checksum.verify(headers[name])
        except SigV4Error as problem:
            return S3Error(problem.code, problem.status, problem.message, tuple(problem.details.items()))
    if required and claimed is None and not given:
        return error(
            Code.INVALID_REQUEST, "Missing required header for this request: Content-MD5 or a checksum"
        )
    return None


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
