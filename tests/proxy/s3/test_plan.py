from __future__ import annotations

import string
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.s3.copy_source import Conditions, Source, node_source, parse_source
from proxy.s3.errors import S3Error
from proxy.s3.operations import Body, Permission
from proxy.s3.plan import UNKNOWN_BYTES, Plan, make_plan
from proxy.s3.target import Target, parse_target
from sigv4 import PayloadKind

Headers = Sequence[tuple[bytes, bytes]]


def answer(method: str, path: str, **headers: str) -> Plan | S3Error:
    where, _, query = path.partition("?")
    target = parse_target(where.encode(), query.encode(), "gate")
    assert isinstance(target, Target), target
    return make_plan(
        method, target, [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    )


def plan(method: str, path: str, **headers: str) -> Plan:
    found = answer(method, path, **headers)
    assert isinstance(found, Plan), found
    return found


def refused(method: str, path: str, **headers: str) -> str:
    found = answer(method, path, **headers)
    assert isinstance(found, S3Error), found
    return found.code


def test_a_get() -> None:
    found = plan(
        "GET", "/jane.photos/a%20b?versionId=v1&partNumber=3&prefix=other&x-id=GetObject", range="bytes=0-1"
    )
    assert (found.bucket, found.key, found.raw_key) == ("jane.photos", "a b", b"a%20b")
    assert found.permission is Permission.READ
    assert (found.version_id, found.part_number) == ("v1", 3)
    assert found.headers == ((b"range", b"bytes=0-1"),)
    assert found.node_query() == b"partNumber=3&versionId=v1"
    assert (found.adds_bytes, found.adds_objects) == (0, 0)


def test_a_put() -> None:
    found = plan("PUT", "/photos/a", content_length="5", content_type="text/plain", if_none_match="*")
    assert found.body is Body.STREAM
    assert found.permission is Permission.READWRITE
    assert (found.adds_bytes, found.adds_objects, found.content_length, found.decoded_length) == (5, 1, 5, 5)
    assert found.create_only
    assert found.payload is PayloadKind.BODY


def test_a_chunked_put_adds_its_decoded_length() -> None:
    found = plan(
        "PUT",
        "/photos/a",
        content_length="100",
        x_amz_decoded_content_length="66",
        x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        x_amz_trailer="x-amz-checksum-crc32",
        content_encoding="aws-chunked,gzip",
    )
    assert (found.adds_bytes, found.content_length, found.decoded_length) == (66, 100, 66)
    assert found.payload is PayloadKind.STREAMING_UNSIGNED_TRAILER
    assert found.trailer == "x-amz-checksum-crc32"
    assert found.headers == ((b"content-encoding", b"gzip"),)


def test_a_chunked_put_may_come_in_http_chunks() -> None:
    found = plan(
        "PUT",
        "/photos/a",
        transfer_encoding="chunked",
        x_amz_decoded_content_length="66",
        x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    )
    assert (found.content_length, found.decoded_length) == (None, 66)


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("PUT", "/photos/a", {}, "MissingContentLength"),
        ("PUT", "/photos/a", {"transfer_encoding": "chunked"}, "MissingContentLength"),
        ("POST", "/photos?delete", {}, "MissingContentLength"),
        ("PUT", "/photos", {"transfer_encoding": "chunked"}, "MissingContentLength"),
        ("PUT", "/photos/a", {"content_length": "-1"}, "InvalidArgument"),
        ("PUT", "/photos/a", {"content_length": "1e3"}, "InvalidArgument"),
        ("PUT", "/photos/a", {"content_length": "9" * 30}, "InvalidArgument"),
        ("PUT", "/photos/a", {"content_length": str(5 * 1024**3 + 1)}, "EntityTooLarge"),
        ("POST", "/photos?delete", {"content_length": str(5 * 1024**2)}, "MalformedXML"),
        (
            "PUT",
            "/photos/a",
            {"content_length": "9", "x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
            "MissingContentLength",
        ),
        ("GET", "/photos/a?partNumber=0", {}, "InvalidArgument"),
        ("GET", "/photos/a?partNumber=10001", {}, "InvalidArgument"),
        ("GET", "/photos/a?partNumber=", {}, "InvalidArgument"),
        ("PUT", "/photos/a?partNumber=x&uploadId=u", {"content_length": "1"}, "InvalidArgument"),
        ("GET", "/photos/a?versionId=%0a", {}, "InvalidArgument"),
        ("PUT", "/photos/a", {"x_amz_copy_source": "nokey"}, "InvalidArgument"),
        ("PUT", "/photos/a", {"x_amz_copy_source": "/photos/../x"}, "InvalidURI"),
        ("PUT", "/photos/a", {"x_amz_copy_source": "/photos/%2e%2e/x"}, "InvalidURI"),
        ("PUT", "/photos/a", {"x_amz_copy_source": "/Photos/x"}, "InvalidArgument"),
        (
            "PUT",
            "/photos/a",
            {"x_amz_copy_source": "arn:aws:s3:us-east-1:1:accesspoint/x/object/y"},
            "InvalidArgument",
        ),
        ("PUT", "/photos/a", {"x_amz_copy_source": "/photos/x?versionId="}, "InvalidArgument"),
        (
            "PUT",
            "/photos/a",
            {"x_amz_copy_source": "/photos/x", "x_amz_copy_source_if_modified_since": "soon"},
            "InvalidArgument",
        ),
        (
            "PUT",
            "/photos/a?partNumber=1&uploadId=u",
            {"x_amz_copy_source": "/photos/x", "x_amz_copy_source_range": "bytes=5-1"},
            "InvalidArgument",
        ),
        (
            "PUT",
            "/photos/a?partNumber=1&uploadId=u",
            {"x_amz_copy_source": "/photos/x", "x_amz_copy_source_range": "bytes=5-"},
            "InvalidArgument",
        ),
        ("PUT", "/photos?versioning", {"content_length": "5"}, "NotImplemented"),
        ("PUT", "/photos/a", {"content_length": "5", "x_amz_acl": "public-read"}, "NotImplemented"),
        ("GET", "/photos?lock-me", {}, "NotImplemented"),
        (
            "POST",
            "/photos/a?uploads",
            {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
            "InvalidRequest",
        ),
    ],
)
def test_refused(method: str, path: str, headers: dict[str, str], code: str) -> None:
    assert refused(method, path, **headers) == code


def test_create_bucket_needs_no_length() -> None:
    found = plan("PUT", "/photos")
    assert found.operation.name == "CreateBucket"
    assert (found.content_length, found.permission) == (0, None)


def test_a_copy_names_two_places() -> None:
    found = plan(
        "PUT",
        "/photos/b",
        x_amz_copy_source="jane.photos/a%2Bb?versionId=v",
        x_amz_copy_source_if_match='"e"',
    )
    assert found.source == Source("jane.photos", "a+b", "v")
    assert found.source_conditions == Conditions(if_match='"e"')
    assert (found.adds_bytes, found.adds_objects) == (UNKNOWN_BYTES, 1)
    assert found.headers == ()


def test_a_part_copied_by_range_adds_that_range() -> None:
    found = plan(
        "PUT",
        "/photos/b?partNumber=2&uploadId=u",
        x_amz_copy_source="/photos/a",
        x_amz_copy_source_range="bytes=10-19",
    )
    assert (found.adds_bytes, found.adds_objects) == (10, 0)
    assert (found.part_number, found.upload_id) == (2, "u")
    assert found.node_query("nodes-own") == b"partNumber=2&uploadId=nodes-own"


def test_parts_complete_and_abort_carry_the_upload_id() -> None:
    assert plan("PUT", "/photos/b?partNumber=2&uploadId=u", content_length="7").adds_bytes == 7
    assert plan("POST", "/photos/b?uploadId=u", content_length="7").upload_id == "u"
    assert plan("DELETE", "/photos/b?uploadId=u").upload_id == "u"
    assert plan("GET", "/photos/b?uploadId=u&max-parts=5").node_query("n") == b"max-parts=5&uploadId=n"


def test_headers_in_a_presigned_url_are_headers() -> None:
    found = plan(
        "PUT",
        "/photos/a?X-Amz-Signature=s&X-Amz-Expires=60&x-amz-meta-a=b%20c&x-amz-acl=private"
        "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-checksum-crc32=AAAAAA%3D%3D",
        content_length="0",
    )
    assert found.headers == ((b"x-amz-meta-a", b"b c"), (b"x-amz-checksum-crc32", b"AAAAAA=="))
    assert found.payload is PayloadKind.UNSIGNED
    copied = plan("PUT", "/photos/b?x-amz-copy-source=%2Fphotos%2Fa&X-Amz-Signature=s")
    assert copied.source == Source("photos", "a")
    same = plan("PUT", "/photos/a?x-amz-meta-a=b", content_length="0", x_amz_meta_a="b")
    assert same.headers == ((b"x-amz-meta-a", b"b"),)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("x-amz-acl=public-read", "NotImplemented"),
        ("X-Amz-Meta-Snowball-Auto-Extract=true", "NotImplemented"),
        ("x-amz-meta-a=b%0d%0ax-amz-meta-c:d", "InvalidArgument"),
        ("x-amz-meta-%20=b", "InvalidArgument"),
        ("x-amz-copy-source=nokey", "InvalidArgument"),
        ("x-amz-content-sha256=STREAMING-AWS4-HMAC-SHA256-PAYLOAD-X", "InvalidArgument"),
    ],
)
def test_headers_in_a_url_are_judged_as_headers(query: str, code: str) -> None:
    assert refused("PUT", f"/photos/a?{query}", content_length="0") == code


def test_a_header_that_the_url_contradicts_is_refused() -> None:
    headers = {"content_length": "0", "x_amz_copy_source": "/photos/y"}
    assert refused("PUT", "/photos/a?x-amz-copy-source=/photos/x", **headers) == "InvalidArgument"


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("photos/a", Source("photos", "a")),
        ("/photos/a", Source("photos", "a")),
        ("photos%2Fa", Source("photos", "a")),
        ("%2Fphotos%2Fa%20b", Source("photos", "a b")),
        ("photos/a b", Source("photos", "a b")),
        ("photos/a+b", Source("photos", "a+b")),
        ("photos/a%252Bb", Source("photos", "a%2Bb")),
        ("photos/100% sure", Source("photos", "100% sure")),
        ("photos/what?.txt", Source("photos", "what?.txt")),
        ("photos/a?versionId=null", Source("photos", "a", "null")),
        ("photos//a", Source("photos", "/a")),
        ("photos/\u00c3\u00a9", Source("photos", "é")),
        ("photos/%C3%A9?versionId=a%2Fb", Source("photos", "é", "a/b")),
    ],
)
def test_copy_sources(value: str, source: Source) -> None:
    assert parse_source(value) == source
    sent = node_source("bkt", "pre/", source.key, source.version_id).decode()
    assert sent.startswith("/bkt/pre/")
    assert parse_source(sent.replace("/bkt/pre/", "/photos/", 1)) == Source(
        "photos", source.key, source.version_id
    )


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        (Conditions(), True),
        (Conditions(if_match="e"), True),
        (Conditions(if_match='"e"'), True),
        (Conditions(if_match="*"), True),
        (Conditions(if_match='"x", "e"'), True),
        (Conditions(if_match="x"), False),
        (Conditions(if_none_match="e"), False),
        (Conditions(if_none_match="x"), True),
        (Conditions(if_modified_since=99.0), True),
        (Conditions(if_modified_since=100.0), False),
        (Conditions(if_unmodified_since=100.0), True),
        (Conditions(if_unmodified_since=99.0), False),
        (Conditions(if_match="e", if_unmodified_since=99.0), True),
        (Conditions(if_none_match="x", if_modified_since=200.0), True),
        (Conditions(if_none_match="e", if_modified_since=99.0), False),
    ],
)
def test_conditions_on_the_source(conditions: Conditions, holds: bool) -> None:
    assert conditions.hold('"e"', 100.0) is holds


NAMES = st.sampled_from(
    [
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"if-none-match",
        b"x-amz-acl",
        b"x-amz-content-sha256",
        b"x-amz-copy-source",
        b"x-amz-copy-source-if-modified-since",
        b"x-amz-copy-source-range",
        b"x-amz-decoded-content-length",
        b"x-amz-meta-a",
        b"x-amz-trailer",
        b"x-amz-zzz",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"5", b"/photos/x", b"bytes=1-2", b"private", b"*"])
)


@settings(max_examples=300)
@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"]),
    st.sampled_from([b"/", b"/photos", b"/photos/a"]),
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([b"uploadId=u&partNumber=1", b"uploads", b"versionId=v", b"delete", b"list-type=2"]),
    ),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
)
def test_any_request_has_a_plan_or_a_refusal(
    method: str, path: bytes, query: bytes, headers: Headers
) -> None:
    target = parse_target(path, query)
    if isinstance(target, S3Error):
        return
    found = make_plan(method, target, headers)
    assert isinstance(found, Plan | S3Error)
    if isinstance(found, Plan):
        assert (found.bucket, found.key) == (target.bucket, target.key)
        assert found.adds_bytes >= UNKNOWN_BYTES
        assert not any(
            name.startswith((b"x-amz-copy-source", b"authorization")) for name, _ in found.headers
        ) or (found.operation.name == "UploadPartCopy")
        assert set(found.node_query().decode()) <= set(string.ascii_letters + string.digits + "-_.~%&=")
