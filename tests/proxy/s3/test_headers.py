from __future__ import annotations

import pytest

from proxy.s3.errors import S3Error
from proxy.s3.headers import forward_headers, header_map, relay_headers
from proxy.s3.operations import BY_NAME

PUT, GET, DELETE, CREATE = (
    BY_NAME[name] for name in ("PutObject", "GetObject", "DeleteObject", "CreateBucket")
)


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (PUT, "if-match"),
        (PUT, "if-none-match"),
        (PUT, "content-type"),
        (PUT, "cache-control"),
        (PUT, "content-md5"),
        (PUT, "expires"),
        (PUT, "x-amz-meta-anything"),
        (PUT, "x-amz-tagging"),
        (PUT, "x-amz-storage-class"),
        (PUT, "x-amz-checksum-crc64nvme"),
        (PUT, "x-amz-server-side-encryption-customer-key"),
        (GET, "range"),
        (GET, "if-match"),
        (GET, "if-none-match"),
        (GET, "if-modified-since"),
        (GET, "if-unmodified-since"),
        (GET, "x-amz-checksum-mode"),
        (DELETE, "if-match"),
        (BY_NAME["CompleteMultipartUpload"], "if-none-match"),
        (BY_NAME["CompleteMultipartUpload"], "x-amz-checksum-sha256"),
        (BY_NAME["CopyObject"], "x-amz-metadata-directive"),
        (BY_NAME["CopyObject"], "if-none-match"),
        (BY_NAME["UploadPartCopy"], "x-amz-copy-source-range"),
        (BY_NAME["CreateMultipartUpload"], "x-amz-checksum-algorithm"),
        (BY_NAME["CreateMultipartUpload"], "x-amz-meta-x"),
    ],
)
def test_forwarded(operation: object, name: str) -> None:
    pair = (name.encode(), b"v")
    assert forward_headers(operation, [pair]) == (pair,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "host",
        "connection",
        "user-agent",
        "accept-encoding",
        "content-length",
        "transfer-encoding",
        "expect",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-security-token",
        "x-amz-decoded-content-length",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-copy-source",
        "x-minio-source-mtime",
        "x-forwarded-for",
    ],
)
def test_neither_forwarded_nor_refused(name: str) -> None:
    assert forward_headers(PUT, [(name.encode(), b"v")]) == ()


@pytest.mark.parametrize(
    ("operation", "name", "value", "command"),
    [
        (PUT, "x-amz-acl", "public-read", "wio share create"),
        (CREATE, "x-amz-acl", "public-read", "wio share create"),
        (PUT, "x-amz-grant-read", "id=1", "wio share create"),
        (PUT, "x-amz-meta-snowball-auto-extract", "true", "wio mc cp"),
        (BY_NAME["CopyObject"], "x-amz-meta-snowball-auto-extract", "TRUE", "wio mc cp"),
        (GET, "x-minio-extract", "true", "wio mc cat"),
        (PUT, "x-minio-extract", "true", "wio mc cat"),
        (DELETE, "x-minio-force-delete", "true", "wio mc rm"),
        (PUT, "x-amz-server-side-encryption", "aws:kms", "wio node show"),
        (PUT, "x-amz-server-side-encryption-aws-kms-key-id", "k", "wio node show"),
        (CREATE, "x-amz-bucket-object-lock-enabled", "true", "wio root show"),
        (DELETE, "x-amz-mfa", "1 2", "wio token create"),
        (PUT, "x-amz-brand-new", "1", "wio mc cp"),
        (DELETE, "x-amz-if-nothing", "1", "wio mc cp"),
    ],
)
def test_refused_with_the_command(operation: object, name: str, value: str, command: str) -> None:
    if operation is CREATE and name == "x-amz-brand-new":
        return
    found = forward_headers(operation, [(name.encode(), value.encode())])  # type: ignore[arg-type]
    assert isinstance(found, S3Error)
    assert found.status == 501
    assert command in found.message


@pytest.mark.parametrize("acl", ["private", "bucket-owner-full-control"])
def test_a_private_acl_is_what_holds_anyway(acl: str) -> None:
    assert forward_headers(PUT, [(b"x-amz-acl", acl.encode())]) == ()


def test_sse_s3_is_forwarded() -> None:
    pair = (b"x-amz-server-side-encryption", b"AES256")
    assert forward_headers(PUT, [pair]) == (pair,)


def test_an_expected_owner_is_never_the_gate() -> None:
    found = forward_headers(GET, [(b"x-amz-expected-bucket-owner", b"111122223333")])
    assert isinstance(found, S3Error)
    assert found.code == "AccessDenied"


def test_unknown_amz_headers_of_a_read_are_dropped() -> None:
    assert forward_headers(GET, [(b"x-amz-brand-new", b"1")]) == ()


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("gzip,aws-chunked,br", "gzip,br"),
        ("aws-chunked, ", None),
        ("gzip, br", "gzip, br"),
        ("", None),
    ],
)
def test_only_aws_chunked_is_stripped(sent: str, stored: str | None) -> None:
    found = forward_headers(PUT, [(b"content-encoding", sent.encode())])
    assert found == (((b"content-encoding", stored.encode()),) if stored else ())


def test_headers_are_read_by_name() -> None:
    found = header_map([(b"range", b" bytes=0-1\t"), (b"x-amz-meta-a", b"1"), (b"x-amz-meta-a", b"2")])
    assert found == {"range": "bytes=0-1", "x-amz-meta-a": "1,2"}


@pytest.mark.parametrize(
    "name", [b"x-amz-copy-source", b"content-length", b"if-match", b"range", b"x-amz-date"]
)
def test_a_header_given_twice_is_refused(name: bytes) -> None:
    assert isinstance(header_map([(name, b"a"), (name, b"b")]), S3Error)


def test_answers_tell_nothing_of_the_node() -> None:
    kept = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
        (b"etag", b'"x"'),
        (b"last-modified", b"now"),
        (b"content-encoding", b"gzip"),
        (b"content-range", b"bytes 0-1/5"),
        (b"accept-ranges", b"bytes"),
        (b"x-amz-meta-name", b"v"),
        (b"x-amz-checksum-crc32", b"AAAA"),
        (b"x-amz-checksum-type", b"FULL_OBJECT"),
        (b"x-amz-version-id", b"v"),
        (b"x-amz-delete-marker", b"true"),
        (b"x-amz-mp-parts-count", b"2"),
        (b"x-amz-tagging-count", b"1"),
        (b"x-amz-storage-class", b"STANDARD"),
    ]
    dropped = [
        (b"server", b"MinIO"),
        (b"date", b"now"),
        (b"connection", b"close"),
        (b"x-amz-request-id", b"1"),
        (b"x-amz-id-2", b"1"),
        (b"x-amz-bucket-region", b"x"),
        (b"x-minio-deployment-id", b"1"),
        (b"x-ratelimit-limit", b"1"),
        (b"vary", b"Origin"),
        (b"location", b"http://node/bkt"),
        (b"set-cookie", b"a=b"),
        (b"x-amz-server-side-encryption-aws-kms-key-id", b"arn"),
        (b"x-amz-replication-status", b"PENDING"),
        (b"strict-transport-security", b"x"),
    ]
    mixed = [pair for two in zip(kept, [*dropped, dropped[0]], strict=True) for pair in two]
    assert relay_headers(mixed) == kept
