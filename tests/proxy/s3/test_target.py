from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import S3Error
from proxy.s3.target import (
    MAX_KEY_BYTES,
    SIGNATURE_PARAMETERS,
    Query,
    Target,
    decode_key,
    encode_key,
    encode_query,
    node_path,
    parse_query,
    parse_target,
    physical_problem,
)


def target(path: bytes, query: bytes = b"", host: str = "gate:9000", domains: tuple[str, ...] = ()) -> Target:
    found = parse_target(path, query, host, domains=domains)
    assert isinstance(found, Target), found
    return found


def refused(path: bytes, query: bytes = b"", host: str = "gate:9000", domains: tuple[str, ...] = ()) -> str:
    found = parse_target(path, query, host, domains=domains)
    assert isinstance(found, S3Error), found
    return found.code


@pytest.mark.parametrize(
    ("path", "bucket", "raw_key", "key"),
    [
        (b"/", None, b"", ""),
        (b"/photos", "photos", b"", ""),
        (b"/photos/", "photos", b"", ""),
        (b"/jane.photos/a.txt", "jane.photos", b"a.txt", "a.txt"),
        (b"/photos/a%20b", "photos", b"a%20b", "a b"),
        (b"/photos/a+b", "photos", b"a+b", "a+b"),
        (b"/photos/a%2Bb", "photos", b"a%2Bb", "a+b"),
        (b"/photos/a%252F", "photos", b"a%252F", "a%2F"),
        (b"/photos/a%2Fb", "photos", b"a%2Fb", "a/b"),
        (b"/photos//a//b", "photos", b"/a//b", "/a//b"),
        (b"/photos/a/", "photos", b"a/", "a/"),
        (b"/photos/%C3%A9", "photos", b"%C3%A9", "é"),
        (b"/photos/\xc3\xa9", "photos", b"\xc3\xa9", "é"),
        (b"/photos/...", "photos", b"...", "..."),
        (b"/photos/.hidden/a..b", "photos", b".hidden/a..b", ".hidden/a..b"),
        (b"/ph%6Ftos/x", "photos", b"x", "x"),
        (b"/photos/x?y", "photos", b"x?y", "x?y"),
    ],
)
def test_paths_that_name_something(path: bytes, bucket: str | None, raw_key: bytes, key: str) -> None:
    found = target(path)
    assert (found.bucket, found.raw_key, found.key) == (bucket, raw_key, key)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"", "InvalidURI"),
        (b"photos/x", "InvalidURI"),
        (b"//x", "InvalidBucketName"),
        (b"/Photos/x", "InvalidBucketName"),
        (b"/a.b.c/x", "InvalidBucketName"),
        (b"/%00/x", "InvalidBucketName"),
        (b"/%ff%fe/x", "InvalidBucketName"),
        (b"/minio/admin/v3/info", "AccessDenied"),
        (b"/mini%6F/admin", "AccessDenied"),
        (b"/photos/.", "InvalidURI"),
        (b"/photos/..", "InvalidURI"),
        (b"/photos/a/../b", "InvalidURI"),
        (b"/photos/a/./b", "InvalidURI"),
        (b"/photos/%2e%2e/b", "InvalidURI"),
        (b"/photos/a%2F..%2Fb", "InvalidURI"),
        (b"/photos/../other/x", "InvalidURI"),
        (b"/photos/a%00b", "InvalidURI"),
        (b"/photos/a%zz", "InvalidURI"),
        (b"/photos/a%2", "InvalidURI"),
        (b"/photos/%ff", "InvalidURI"),
        (b"/photos/" + b"k" * 1025, "KeyTooLongError"),
        (b"/photos/" + b"%C3%A9" * 513, "KeyTooLongError"),
        (b"/photos/" + b"k" * 9000, "KeyTooLongError"),
    ],
)
def test_paths_that_are_refused(path: bytes, code: str) -> None:
    assert refused(path) == code


def test_a_key_of_1024_bytes_is_the_longest() -> None:
    assert len(target(b"/photos/" + b"%C3%A9" * 512).key.encode()) == MAX_KEY_BYTES


@pytest.mark.parametrize(
    ("host", "path", "bucket", "key"),
    [
        ("photos.s3.example.org", b"/a/b", "photos", "a/b"),
        ("jane.photos.s3.example.org:9000", b"/a", "jane.photos", "a"),
        ("PHOTOS.S3.Example.Org.", b"/a", "photos", "a"),
        ("photos.s3.example.org", b"/", "photos", ""),
        ("s3.example.org", b"/photos/a", "photos", "a"),
        ("photos.elsewhere.org", b"/photos/a", "photos", "a"),
        ("[::1]:9000", b"/photos/a", "photos", "a"),
        ("xs3.example.org", b"/photos/a", "photos", "a"),
    ],
)
def test_virtual_hosts(host: str, path: bytes, bucket: str, key: str) -> None:
    found = target(path, host=host, domains=("s3.example.org",))
    assert (found.bucket, found.key) == (bucket, key)


def test_virtual_hosts_that_are_refused() -> None:
    assert refused(b"/", host="a.b.c.s3.example.org", domains=("s3.example.org",)) == "InvalidBucketName"
    assert refused(b"/x", host="minio.s3.example.org", domains=("s3.example.org",)) == "AccessDenied"


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", ()),
        (b"location", (("location", ""),)),
        (b"location=", (("location", ""),)),
        (b"prefix=a%2Fb&delimiter=%2F", (("prefix", "a/b"), ("delimiter", "/"))),
        (b"prefix=a+b%2B", (("prefix", "a b+"),)),
        (b"a=b=c", (("a", "b=c"),)),
        (b"&&a=1&", (("a", "1"),)),
        (b"events=x&events=y", (("events", "x"), ("events", "y"))),
        (b"%70refix=x", (("prefix", "x"),)),
    ],
)
def test_queries(raw: bytes, pairs: tuple[tuple[str, str], ...]) -> None:
    found = parse_query(raw)
    assert isinstance(found, Query)
    assert found.meant == pairs


@pytest.mark.parametrize(
    "raw",
    [
        b"prefix=a&prefix=b",
        b"prefix=a&%70refix=b",
        b"a=%zz",
        b"a=%ff",
        b"a=%00",
        b"%=",
        b"a=" + b"x" * 20_000,
        b"&".join(b"a%d=" % number for number in range(100)),
    ],
)
def test_queries_that_are_refused(raw: bytes) -> None:
    assert isinstance(parse_query(raw), S3Error)


def test_the_key_limit_is_less_the_prefix() -> None:
    prefix = "roots/jane/photos.id/"
    room = MAX_KEY_BYTES - len(prefix)
    assert physical_problem(prefix, "k" * room) is None
    problem = physical_problem(prefix, "k" * (room + 1))
    assert problem is not None
    assert problem.code == "KeyTooLongError"
    assert str(room) in problem.message
    assert prefix not in problem.message


@pytest.mark.parametrize("raw", [b"a/b-c_d.e~f", b"a+b", b"a%20b", b"a%2fb", b"(x)"])
def test_the_node_gets_the_key_that_was_decoded(raw: bytes) -> None:
    key = decode_key(raw)
    assert isinstance(key, str)
    path = node_path("bkt", "pre fix/", key, raw)
    assert path == b"/bkt/pre%20fix/" + encode_key(key)
    assert decode_key(path[len(b"/bkt/") :]) == "pre fix/" + key


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_make_a_target_or_a_refusal(path: bytes, query: bytes, host: bytes) -> None:
    found = parse_target(b"/" + path, query, host, domains=("s3.example.org",))
    assert isinstance(found, Target | S3Error)
    if isinstance(found, Target):
        segments = found.key.split("/")
        assert "." not in segments
        assert ".." not in segments
        assert decode_key(encode_key(found.key)) == found.key


@given(st.text(max_size=60).filter(lambda key: "\0" not in key))
def test_a_key_survives_every_way_to_write_it(key: str) -> None:
    try:
        key.encode()
    except UnicodeEncodeError:
        return
    read = decode_key(quote(key, safe="/").encode())
    assert read == key or isinstance(read, S3Error)
    if isinstance(read, str):
        assert decode_key(encode_key(key)) == key


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=20)), max_size=6))
def test_a_query_is_read_as_it_was_written(pairs: list[tuple[str, str]]) -> None:
    try:
        written = encode_query(pairs)
    except UnicodeEncodeError:
        return
    found = parse_query(written)
    if isinstance(found, Query):
        meant = [pair for pair in pairs if pair != ("", "") and pair[0] not in SIGNATURE_PARAMETERS]
        assert sorted(found.meant) == sorted(meant) or any(not name for name, _ in pairs)
