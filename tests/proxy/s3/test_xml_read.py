from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.errors import S3Error
from proxy.s3.xml_read import (
    DeleteRequest,
    Doomed,
    Part,
    read_complete,
    read_delete,
    read_location,
    read_tagging,
    write_complete,
    write_delete,
    write_tagging,
)

READERS = [read_complete, read_delete, read_location, read_tagging]

BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>
<Delete><Object><Key>&b;</Key></Object></Delete>"""
EXTERNAL = b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/hostname">]><Delete><Object><Key>&x;</Key></Object></Delete>'


def complete(parts: str) -> bytes:
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def part(number: object, etag: str = "e", more: str = "") -> str:
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>"


def code(found: object) -> str:
    assert isinstance(found, S3Error), found
    return found.code


def test_parts() -> None:
    body = complete(
        part(1, "&quot;a&quot;") + part(3, '"b"', "<ChecksumCRC32>AAAA</ChecksumCRC32><Other>x</Other>")
    )
    parts = (Part(1, '"a"'), Part(3, '"b"', (("ChecksumCRC32", "AAAA"),)))
    assert read_complete(body) == parts
    assert read_complete(write_complete(parts)) == parts


@pytest.mark.parametrize(
    "namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="other"']
)
def test_namespaces_do_not_matter(namespace: str) -> None:
    body = f"<CompleteMultipartUpload{namespace}>{part(1)}</CompleteMultipartUpload>".encode()
    assert read_complete(body) == (Part(1, "e"),)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("", "MalformedXML"),
        (part(2) + part(1), "InvalidPartOrder"),
        (part(1) + part(1), "InvalidPartOrder"),
        (part(0), "InvalidArgument"),
        (part(10001), "InvalidArgument"),
        (part("x"), "MalformedXML"),
        (part("-1"), "MalformedXML"),
        (part(1, ""), "MalformedXML"),
        ("<Part><ETag>e</ETag></Part>", "MalformedXML"),
    ],
)
def test_parts_that_are_refused(parts: str, expected: str) -> None:
    assert code(read_complete(complete(parts))) == expected


def test_ten_thousand_parts_are_the_most() -> None:
    found = read_complete(complete("".join(part(number) for number in range(1, 10_001))))
    assert isinstance(found, tuple)
    assert len(found) == 10_000


def delete(objects: str) -> bytes:
    return f"<Delete>{objects}</Delete>".encode()


def test_deletions() -> None:
    body = delete(
        "<Quiet>true</Quiet><Object><Key>a&lt;b</Key></Object>"
        "<Object><Key>c</Key><VersionId>v1</VersionId><ETag>&quot;e&quot;</ETag></Object>"
        "<Object><Key>a&lt;b</Key></Object>"
    )
    found = read_delete(body)
    assert found == DeleteRequest((Doomed("a<b"), Doomed("c", "v1", '"e"')), (), True)
    assert isinstance(found, DeleteRequest)
    sent = read_delete(write_delete(found.objects, "pre fix/&/"))
    assert sent == DeleteRequest((Doomed("pre fix/&/a<b"), Doomed("pre fix/&/c", "v1", '"e"')), (), False)


def test_one_bad_key_does_not_spoil_the_rest() -> None:
    found = read_delete(
        delete(
            "<Object><Key>ok</Key></Object><Object><Key>../x</Key></Object><Object><Key></Key></Object>"
            "<Object><Key>k</Key><VersionId>\n\n</VersionId></Object><Object><Key>k</Key><Size>5</Size></Object>"
        )
    )
    assert isinstance(found, DeleteRequest)
    assert found.objects == (Doomed("ok"),)
    assert [refusal.code for _, refusal in found.refused] == [
        "InvalidURI",
        "MalformedXML",
        "InvalidArgument",
        "NotImplemented",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<Delete/>",
        b"<Delete><Object/>",
        b"<Other><Object><Key>a</Key></Object></Other>",
        delete("<Object><Key>k</Key></Object>" * 1001),
        delete("<a>" * 30 + "</a>" * 30),
        BOMB,
        EXTERNAL,
        BOMB.decode().encode("utf-16"),
        delete("<Object><Key>&undefined;</Key></Object>"),
        delete("<Object><Key>\x01</Key></Object>"),
        b"\xff" + delete("<Object><Key>k</Key></Object>"),
        delete(f"<Object><Key>{'k' * 5_000_000}</Key></Object>"),
    ],
    ids=range(13),
)
def test_what_is_no_deletion(body: bytes) -> None:
    assert code(read_delete(body)) == "MalformedXML"


def test_a_thousand_keys_are_the_most() -> None:
    found = read_delete(delete("".join(f"<Object><Key>k{number}</Key></Object>" for number in range(1000))))
    assert isinstance(found, DeleteRequest)
    assert len(found.objects) == 1000


@pytest.mark.parametrize(
    ("body", "region"),
    [
        (b"", None),
        (b"  ", None),
        (b"<CreateBucketConfiguration/>", None),
        (
            b"<CreateBucketConfiguration><LocationConstraint>eu</LocationConstraint></CreateBucketConfiguration>",
            "eu",
        ),
    ],
)
def test_locations(body: bytes, region: str | None) -> None:
    assert read_location(body) == region


@pytest.mark.parametrize("inner", ["<Bucket><Type>Directory</Type></Bucket>", "<Tags/>"])
def test_other_buckets_are_not_made(inner: str) -> None:
    body = f"<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>".encode()
    assert code(read_location(body)) == "NotImplemented"


def test_tags() -> None:
    tags = (("a", "1"), ("b & c", ""))
    assert read_tagging(write_tagging(tags)) == tags
    assert read_tagging(write_tagging(())) == ()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ((("a", "1"), ("a", "2")), "InvalidTag"),
        ((("", "1"),), "InvalidTag"),
        ((("k" * 129, "1"),), "InvalidTag"),
        ((("k", "v" * 257),), "InvalidTag"),
        (tuple((f"k{number}", "") for number in range(11)), "BadRequest"),
    ],
)
def test_tags_that_are_refused(tags: tuple[tuple[str, str], ...], expected: str) -> None:
    assert code(read_tagging(write_tagging(tags))) == expected


@given(st.sampled_from(READERS), st.binary(max_size=200))
def test_any_bytes_are_a_document_or_a_refusal(reader: object, body: bytes) -> None:
    found = reader(body)  # type: ignore[operator]
    assert found is None or isinstance(found, tuple | S3Error | DeleteRequest | str)


KEYS = st.text(
    st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\ufffe\uffff"), min_size=1, max_size=30
)


@given(st.lists(KEYS, min_size=1, max_size=10, unique=True))
def test_keys_survive_the_way_to_the_node(keys: list[str]) -> None:
    found = read_delete(write_delete(tuple(Doomed(key) for key in keys), ""))
    assert isinstance(found, DeleteRequest)
    refused = {doomed.key for doomed, _ in found.refused}
    assert [doomed.key for doomed in found.objects] == [key for key in keys if key not in refused]
