from __future__ import annotations

import base64
import hashlib

import pytest

from proxy.s3.errors import S3Error
from proxy.s3.operations import OPERATIONS
from proxy.s3.payload import allowed_payload, document_problem, trailer_checksum
from sigv4 import PayloadKind

STREAMING = [kind for kind in PayloadKind if kind.chunked]
BODY = b"<Delete/>"
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


@pytest.mark.parametrize("operation", sorted(row.name for row in OPERATIONS))
@pytest.mark.parametrize("kind", STREAMING)
def test_chunks_are_for_put_and_part_alone(operation: str, kind: PayloadKind) -> None:
    found = allowed_payload(kind.value, operation)
    assert (found is kind) == (operation in ("PutObject", "UploadPart"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, PayloadKind.BODY),
        ("UNSIGNED-PAYLOAD", PayloadKind.UNSIGNED),
        (hashlib.sha256(b"").hexdigest(), PayloadKind.SIGNED),
    ],
)
def test_other_payloads_are_for_all(value: str | None, kind: PayloadKind) -> None:
    assert allowed_payload(value, "DeleteObjects") is kind


@pytest.mark.parametrize(
    "value", ["", "sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "E" * 64, "0" * 63, "é"]
)
def test_other_values_are_refused(value: str) -> None:
    found = allowed_payload(value, "PutObject")
    assert isinstance(found, S3Error)
    assert found.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("kind", "announced", "expected"),
    [
        (PayloadKind.STREAMING_UNSIGNED_TRAILER, "x-amz-checksum-crc32", "x-amz-checksum-crc32"),
        (PayloadKind.STREAMING_SIGNED_TRAILER, " X-Amz-Checksum-SHA256 ", "x-amz-checksum-sha256"),
        (PayloadKind.SIGNED, None, None),
        (PayloadKind.STREAMING_SIGNED, None, None),
    ],
)
def test_a_trailer_is_announced(kind: PayloadKind, announced: str | None, expected: str | None) -> None:
    assert trailer_checksum(kind, announced) == expected


@pytest.mark.parametrize(
    ("kind", "announced"),
    [
        (PayloadKind.STREAMING_UNSIGNED_TRAILER, None),
        (PayloadKind.STREAMING_UNSIGNED_TRAILER, "x-amz-meta-a"),
        (PayloadKind.STREAMING_UNSIGNED_TRAILER, "x-amz-checksum-crc32,x-amz-checksum-sha1"),
        (PayloadKind.SIGNED, "x-amz-checksum-crc32"),
    ],
)
def test_a_trailer_that_is_not(kind: PayloadKind, announced: str | None) -> None:
    assert isinstance(trailer_checksum(kind, announced), S3Error)


@pytest.mark.parametrize(
    ("headers", "required", "code"),
    [
        ({"content-md5": MD5}, True, None),
        ({"x-amz-checksum-sha256": SHA256}, True, None),
        ({"content-md5": MD5, "x-amz-checksum-sha256": SHA256}, True, None),
        ({}, False, None),
        ({}, True, "InvalidRequest"),
        ({"content-md5": "AAAA"}, True, "InvalidDigest"),
        ({"content-md5": "!"}, True, "InvalidDigest"),
        ({"content-md5": base64.b64encode(b"x" * 16).decode()}, True, "BadDigest"),
        (
            {"content-md5": MD5, "x-amz-checksum-sha256": base64.b64encode(b"x" * 32).decode()},
            True,
            "BadDigest",
        ),
    ],
)
def test_documents_are_held_to_their_digests(
    headers: dict[str, str], required: bool, code: str | None
) -> None:
    problem = document_problem(BODY, headers, required=required)
    assert (problem.code if problem else None) == code


def test_a_malformed_checksum_is_a_refusal() -> None:
    problem = document_problem(BODY, {"x-amz-checksum-crc32": "not base64"}, required=True)
    assert problem is not None
    assert problem.status == 400
