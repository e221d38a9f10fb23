from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import BadNodeAnswer, S3Error, render
from proxy.s3.rewrite import (
    Names,
    Parts,
    Stored,
    node_error,
    plain_error,
    read_completed,
    read_copied,
    read_deleted,
    read_initiated,
    read_parts,
)
from tests.proxy.s3.recorded import BUCKET, NODE_WORDS, PREFIX, STATUS, answer

NAMES = Names(BUCKET, PREFIX, "photos")


def failure(name: str, status: int | None = None) -> S3Error:
    return failure_of(answer(name), STATUS[name] if status is None else status)


def failure_of(body: bytes, status: int) -> S3Error:
    return node_error(status, body, bucket="photos", key="k", node_bucket=BUCKET, prefix=PREFIX)


def document(code: str, message: str, more: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("error-no-key", "NoSuchKey", 404),
        ("error-precondition", "PreconditionFailed", 412),
        ("error-range", "InvalidRange", 416),
        ("error-bad-name", "XMinioInvalidObjectName", 400),
        ("error-no-bucket", "InternalError", 500),
        ("copy-no-key", "NoSuchKey", 404),
        ("complete-no-upload", "NoSuchUpload", 404),
    ],
)
def test_errors_keep_their_code_and_lose_the_node(name: str, code: str, status: int) -> None:
    found = failure(name)
    assert (found.code, found.status) == (code, status)
    body = render(found, bucket="photos", key="k", resource="/photos/k", request_id="R").decode()
    assert not [word for word in (*NODE_WORDS, "nobucket") if word in body]


def test_a_range_error_tells_the_size() -> None:
    assert dict(failure("error-range").details)["ActualObjectSize"] == "5"


@pytest.mark.parametrize(
    "code", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "NoSuchBucket", "ExpiredToken"]
)
def test_the_gates_own_trouble_at_the_node_is_a_malfunction(code: str) -> None:
    found = failure_of(document(code, "no", "<CanonicalRequest>GET</CanonicalRequest>"), 403)
    assert (found.code, found.status) == ("InternalError", 500)
    assert found.details == ()


def test_a_node_that_forbids_is_final() -> None:
    found = failure_of(document("AccessDenied", "Access Denied."), 403)
    assert (found.code, found.status) == ("AccessDenied", 403)


@pytest.mark.parametrize("status", [503, 500])
def test_a_busy_node_asks_for_patience(status: int) -> None:
    found = failure_of(document("SlowDown", "busy"), status)
    assert found.status == status
    assert (b"retry-after", b"2") in found.headers or status == 500


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        (f"cannot read {BUCKET}/{PREFIX}a.txt", "cannot read photos/a.txt"),
        (f"no {PREFIX}a.txt here", "no a.txt here"),
        (f"bucket {BUCKET} is sad, {BUCKET}-2 is not", "bucket photos is sad, bkt-2 is not"),
        ("see http://10.0.0.1:9000/bkt/x for more", "see  for more"),
        ("plain", "plain"),
    ],
)
def test_messages_are_cleaned(message: str, cleaned: str) -> None:
    assert failure_of(document("InvalidRequest", message), 400).message == cleaned


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"", "NoSuchKey"),
        (412, b"", "PreconditionFailed"),
        (416, b"<html>", "InvalidRange"),
        (500, b"<Error/>", "InternalError"),
        (502, b"\xff", "InternalError"),
        (503, b"", "SlowDown"),
        (403, b"<ListBucketResult/>", "AccessDenied"),
        (301, document("PermanentRedirect", "go", "<Endpoint>e</Endpoint>"), "InternalError"),
        (400, document("<Code/>", "x"), "InvalidRequest"),
        (400, document("Two Words", "x"), "InvalidRequest"),
    ],
)
def test_what_cannot_be_read_leaves_the_status(status: int, body: bytes, code: str) -> None:
    assert failure_of(body, status).code == code


def test_heads_errors_are_named_by_a_header() -> None:
    assert plain_error(404, [(b"x-minio-error-code", b"NoSuchVersion")]).code == "NoSuchVersion"
    assert plain_error(404, [(b"x-minio-error-code", b"NoSuchBucket")]).code == "InternalError"
    assert plain_error(404, [(b"x-minio-error-code", b"Rubbish")]).code == "NoSuchKey"
    found = plain_error(405, [(b"x-amz-delete-marker", b"true"), (b"server", b"x")])
    assert (found.code, found.headers) == ("MethodNotAllowed", ((b"x-amz-delete-marker", b"true"),))


def test_an_upload_begins() -> None:
    found = read_initiated(200, answer("initiate"), NAMES)
    assert isinstance(found, str)
    assert len(found) > 20


def test_an_upload_ends() -> None:
    found = read_completed(200, answer("complete"), NAMES)
    assert isinstance(found, Stored)
    assert found.etag.endswith('-2"')


@pytest.mark.parametrize("space", [b"", b"   ", b"\n \n", b'<?xml version="1.0"?>\n \n'])
@pytest.mark.parametrize("status", [200, 500])
def test_an_error_in_the_body_outweighs_the_status(status: int, space: bytes) -> None:
    for read in (read_completed, read_copied):
        found = read(status, space + document("InternalError", "We failed."), NAMES)
        assert isinstance(found, S3Error)
        assert found.code == "InternalError"
        assert found.status == 500


def test_whitespace_before_a_result_is_no_harm() -> None:
    assert isinstance(read_completed(200, b"  \n " + answer("complete"), NAMES), Stored)


@pytest.mark.parametrize("body", [b"", b"   ", b"<CompleteMultipartUploadRes", b"<Other/>", answer("copy")])
def test_a_200_that_says_nothing_is_in_doubt(body: bytes) -> None:
    with pytest.raises(BadNodeAnswer):
        read_completed(200, body, NAMES)


def test_invalid_parts_are_told() -> None:
    found = read_completed(STATUS["complete-invalid-part"], answer("complete-invalid-part"), NAMES)
    assert isinstance(found, S3Error)
    assert (found.code, found.status) == ("InvalidPart", 400)


def test_copies() -> None:
    found = read_copied(200, answer("copy"), NAMES)
    assert isinstance(found, Stored)
    assert found.etag == '"5d41402abc4b2a76b9719d911017c592"'
    assert found.last_modified.startswith("2026-")
    assert isinstance(read_copied(200, answer("copy-part"), NAMES, part=True), Stored)
    with pytest.raises(BadNodeAnswer):
        read_copied(200, answer("copy-part"), NAMES)


def test_deletions_by_virtual_key() -> None:
    found = read_deleted(200, answer("delete"), NAMES)
    assert isinstance(found, tuple)
    deleted, failed = found
    assert [one.key for one in deleted] == ["none"]
    assert [(doomed.key, doomed.version_id, why.code) for doomed, why in failed] == [
        ("x//y", None, "XMinioInvalidObjectName"),
        ("v", "bad", "NoSuchVersion"),
    ]


def test_a_deletion_elsewhere_is_a_malfunction() -> None:
    with pytest.raises(BadNodeAnswer):
        read_deleted(200, answer("delete"), Names(BUCKET, "roots/other/", "photos"))


def test_parts_are_listed() -> None:
    found = read_parts(200, answer("list-parts"), NAMES)
    assert isinstance(found, Parts)
    assert [(part.number, part.size) for part in found.parts] == [(1, 5242880), (2, 10)]
    assert not found.truncated
    assert found.checksum == ()


def test_no_field_of_a_result_names_the_node() -> None:
    for name, read in (("complete", read_completed), ("copy", read_copied), ("list-parts", read_parts)):
        found = read(200, answer(name), NAMES)
        assert found is not None
        text = repr([getattr(found, field.name) for field in fields(found)])
        assert not [word for word in NODE_WORDS if word in text]


@given(
    st.sampled_from([read_initiated, read_completed, read_copied, read_deleted, read_parts]),
    st.sampled_from([200, 400, 404, 500, 503]),
    st.binary(max_size=100),
)
def test_any_bytes_are_a_result_a_refusal_or_a_malfunction(read: object, status: int, body: bytes) -> None:
    try:
        found = read(status, body, NAMES)  # type: ignore[operator]
    except BadNodeAnswer:
        assert status == 200
        return
    assert isinstance(found, S3Error)
    assert failure_of(body, status).status >= 400
