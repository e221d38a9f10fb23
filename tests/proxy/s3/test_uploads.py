from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from proxy.s3.target import Query, parse_query
from proxy.s3.uploads import Upload, UploadListing, list_uploads, parse_upload_listing

NS = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
UPLOADS = [
    Upload("b/2", "u5", 5.0),
    Upload("a", "u1", 1.0),
    Upload("a", "u2", 2.0),
    Upload("b/1", "u3", 3.0),
    Upload("c & d", "u6", 6.0),
    Upload("b/1", "u4", 4.0),
]


def listing(raw: str = "") -> UploadListing:
    query = parse_query(f"uploads&{raw}".encode())
    assert isinstance(query, Query)
    found = parse_upload_listing("photos", query)
    assert isinstance(found, UploadListing), found
    return found


def texts(body: bytes, path: str) -> list[str]:
    found: Any = etree.fromstring(body).xpath(path, namespaces=NS)
    return [node.text or "" for node in found]


def ids(raw: str = "") -> list[str]:
    return texts(list_uploads(listing(raw), UPLOADS, owner="o"), "//s3:UploadId")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("", ["u1", "u2", "u3", "u4", "u5", "u6"]),
        ("prefix=b%2F", ["u3", "u4", "u5"]),
        ("prefix=zz", []),
        ("max-uploads=2", ["u1", "u2"]),
        ("max-uploads=0", []),
        ("key-marker=a", ["u3", "u4", "u5", "u6"]),
        ("key-marker=a&upload-id-marker=u1", ["u2", "u3", "u4", "u5", "u6"]),
        ("upload-id-marker=u1", ["u1", "u2", "u3", "u4", "u5", "u6"]),
        ("key-marker=b%2F1", ["u5", "u6"]),
        ("delimiter=%2F", ["u1", "u2", "u6"]),
        ("delimiter=%2F&key-marker=b%2F", ["u6"]),
        ("delimiter=%2F&prefix=b%2F", ["u3", "u4", "u5"]),
    ],
)
def test_what_is_listed(raw: str, expected: list[str]) -> None:
    assert ids(raw) == expected


def test_folders() -> None:
    body = list_uploads(listing("delimiter=%2F&max-uploads=3"), UPLOADS, owner="o")
    assert texts(body, "//s3:CommonPrefixes/s3:Prefix") == ["b/"]
    assert texts(body, "//s3:IsTruncated") == ["true"]
    assert texts(body, "//s3:NextKeyMarker") == ["b/"]
    assert texts(body, "//s3:NextUploadIdMarker") == [""]


def test_names_are_encoded_when_asked() -> None:
    body = list_uploads(listing("encoding-type=url&prefix=c"), UPLOADS, owner="o")
    assert texts(body, "//s3:Upload/s3:Key") == ["c+%26+d"]
    assert texts(body, "//s3:EncodingType") == ["url"]
    assert texts(body, "//s3:Owner/s3:ID") == ["o"]
    assert texts(body, "//s3:Initiated") == ["1970-01-01T00:00:06.000Z"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a/b", "a/c", "b", "b/x/y", "c"]), st.integers(0, 3)), max_size=12
    ),
    st.integers(1, 4),
    st.sampled_from(["", "/"]),
    st.sampled_from(["", "a", "b/"]),
)
def test_pages_give_each_upload_once(
    made: list[tuple[str, int]], size: int, delimiter: str, prefix: str
) -> None:
    uploads = [Upload(key, f"u{number}", float(when)) for number, (key, when) in enumerate(made)]
    whole = list_uploads(UploadListing("b", prefix, delimiter), uploads, owner="o")
    seen: list[str] = []
    key_marker = id_marker = ""
    for _ in range(20):
        page = UploadListing("b", prefix, delimiter, key_marker, id_marker, size)
        body = list_uploads(page, uploads, owner="o")
        seen += texts(body, "//s3:UploadId") + texts(body, "//s3:CommonPrefixes/s3:Prefix")
        if texts(body, "//s3:IsTruncated") == ["false"]:
            break
        key_marker = texts(body, "//s3:NextKeyMarker")[0]
        id_marker = texts(body, "//s3:NextUploadIdMarker")[0]
    else:
        raise AssertionError("the pages do not end")
    assert sorted(seen) == sorted(
        texts(whole, "//s3:UploadId") + texts(whole, "//s3:CommonPrefixes/s3:Prefix")
    )
