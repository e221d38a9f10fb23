"""The same keys below a prefix and in a bucket of their own: a client must not be able to tell."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from lxml import etree

from broker.stack.child import wait_until
from proxy.s3.listing import Kind, Listing, parse_listing, rewrite_listing
from proxy.s3.rewrite import (
    Names,
    node_error,
    plain_error,
    read_completed,
    read_copied,
    read_deleted,
    read_initiated,
)
from proxy.s3.rewrite import read_parts as read_listed_parts
from proxy.s3.target import Query, node_path, parse_query
from proxy.s3.unconfigured import Answer, unconfigured
from proxy.s3.url_names import url_decode
from proxy.s3.xml_read import Doomed, Part, write_complete, write_delete
from tests.proxy.s3.node import ask
from tests.proxy.s3.recorded import KEYS
from tests.proxy.s3.test_listing import seal, unseal
from tests.servers import START_SECONDS, Minio, http_status

PREFIX = "base/jane/photos.abcdefghij234567/"
NAMES = Names("shared-bucket", PREFIX, "photos")


@pytest.fixture(scope="module")
def node(minio: Minio) -> Minio:
    """`photos` holds the keys as they are, `shared-bucket` holds them below the prefix, between neighbours."""
    # /minio/health/live says yes before MinIO takes requests; the cluster's health does not.
    assert wait_until(
        lambda: http_status(minio.endpoint, "/minio/health/cluster") == 200, time.monotonic() + START_SECONDS
    )
    for bucket in ("photos", "shared-bucket"):
        assert ask(minio, "PUT", f"/{bucket}")[0] == 200
    for key in KEYS:
        assert ask(minio, "PUT", node_path("photos", "", key).decode(), b"hello")[0] == 200
        assert ask(minio, "PUT", node_path("shared-bucket", PREFIX, key).decode(), b"hello")[0] == 200
    for neighbour in (
        "base/jane/photos.abcdefghij234566/before",
        "base/jane/photos.abcdefghij234567x",
        "zzz",
    ):
        assert ask(minio, "PUT", f"/shared-bucket/{neighbour}", b"x")[0] == 200
    return minio


def virtual(node: Minio, operation: str, params: dict[str, str]) -> bytes:
    query = parse_query(urlencode(params).encode())
    assert isinstance(query, Query)
    listing = parse_listing(operation, "photos", query)
    assert isinstance(listing, Listing)
    sent = listing.node_query(PREFIX, unseal)
    assert isinstance(sent, bytes)
    status, _, body = ask(node, "GET", f"/shared-bucket?{sent.decode()}")
    assert status == 200, body
    return rewrite_listing(listing, PREFIX, body, owner="o", seal_token=seal)


def native(node: Minio, params: dict[str, str]) -> bytes:
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(params.items())
    )
    status, _, body = ask(node, "GET", f"/photos?{query}")
    assert status == 200, body
    return body


def comparable(body: bytes) -> list[tuple[str, str]]:
    """Every element with its text, in order, but for what differs by right: owners, times, tokens, cache ids."""
    text = re.sub(rb"<Owner>.*?</Owner>|<LastModified>.*?</LastModified>|<Internal>.*?</Internal>", b"", body)
    text = re.sub(
        rb"<(Next)?ContinuationToken>.*?</(Next)?ContinuationToken>|<NextVersionIdMarker></Next[^>]*>",
        b"",
        text,
    )
    text = re.sub(rb"(\[|%5B)minio_cache.*?(\]|%5D)", b"", text)
    found = re.findall(r"<(/?[A-Za-z-]+)[^>]*>([^<]*)", text.decode())
    # MinIO orders the fields of a page as its structs happen to be; readers go by name.
    frame = [(tag, html.unescape(value)) for tag, value in found]
    return sorted(pair for pair in frame if pair[0][0] != "/" and pair != ("VersionIdMarker", ""))


OPERATIONS = {
    "ListObjects": {},
    "ListObjectsV2": {"list-type": "2"},
    "ListObjectVersions": {"versions": ""},
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"encoding-type": "url"},
        {"encoding-type": "url", "delimiter": "/"},
        {"delimiter": "/"},
        {"prefix": "a b/"},
        {"prefix": "a b/", "delimiter": "/", "encoding-type": "url"},
        {"prefix": "p"},
        {"prefix": "nothing"},
        {"max-keys": "0"},
        {"delimiter": "-"},
        {"prefix": "deep/d", "delimiter": "/"},
    ],
)
def test_a_listing_is_that_of_a_bucket_of_its_own(
    node: Minio, operation: str, params: dict[str, str]
) -> None:
    params = params | OPERATIONS[operation]
    assert comparable(virtual(node, operation, params)) == comparable(native(node, params))


@pytest.mark.parametrize("params", [{"fetch-owner": "true"}, {"start-after": "deep/d"}, {"metadata": "true"}])
def test_what_only_v2_has(node: Minio, params: dict[str, str]) -> None:
    params = params | {"list-type": "2", "encoding-type": "url"}
    assert comparable(virtual(node, "ListObjectsV2", params)) == comparable(native(node, params))


def pages(node: Minio, operation: str, params: dict[str, str]) -> Iterator[etree._Element]:
    params = params | OPERATIONS[operation] | {"encoding-type": "url"}
    for _ in range(20):
        root = etree.fromstring(virtual(node, operation, params))
        fields = {etree.QName(child).localname: child.text or "" for child in root}
        yield root
        if fields["IsTruncated"] != "true":
            return
        match Kind(operation):
            case Kind.V1:
                params["marker"] = url_decode(fields["NextMarker"])
            case Kind.V2:
                params["continuation-token"] = fields["NextContinuationToken"]
            case Kind.VERSIONS:
                params["key-marker"] = url_decode(fields["NextKeyMarker"])
                params["version-id-marker"] = fields["NextVersionIdMarker"]
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("delimiter", ["", "/"])
@pytest.mark.parametrize("size", ["1", "2", "5"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_pages_go_on_to_the_last_key(node: Minio, operation: str, size: str, delimiter: str) -> None:
    params = {"max-keys": size} | ({"delimiter": delimiter} if delimiter else {})
    found: list[str] = []
    for root in pages(node, operation, params):
        names: Any = root.xpath(
            "./*[local-name()!='Name' and local-name()!='Prefix']/*[local-name()='Key' or local-name()='Prefix']"
        )
        assert len(names) <= int(size)
        found += [url_decode(name.text) for name in names]
    expected = {key.partition("/")[0] + "/" if delimiter and "/" in key else key for key in KEYS}
    assert sorted(found) == sorted(expected)


SUBRESOURCES = {
    "versioning": "GetBucketVersioning",
    "policy": "GetBucketPolicy",
    "policyStatus": "GetBucketPolicyStatus",
    "lifecycle": "GetBucketLifecycleConfiguration",
    "cors": "GetBucketCors",
    "encryption": "GetBucketEncryption",
    "tagging": "GetBucketTagging",
    "notification": "GetBucketNotificationConfiguration",
    "replication": "GetBucketReplication",
    "object-lock": "GetObjectLockConfiguration",
    "website": "GetBucketWebsite",
    "logging": "GetBucketLogging",
    "accelerate": "GetBucketAccelerateConfiguration",
    "requestPayment": "GetBucketRequestPayment",
}


@pytest.mark.parametrize(("sub", "operation"), SUBRESOURCES.items())
def test_settings_are_those_of_a_fresh_bucket(node: Minio, sub: str, operation: str) -> None:
    status, _, body = ask(node, "GET", f"/photos?{sub}=")
    theirs = etree.fromstring(body)
    ours = unconfigured(operation, owner="o")
    assert ours.status == status
    if isinstance(ours, Answer):
        mine = etree.fromstring(ours.body)
        assert mine.tag == theirs.tag
        children = [(child.tag, child.text) for child in theirs.iterchildren("*")]
        assert [(child.tag, child.text) for child in mine] == children
    else:
        assert (ours.code, ours.message) == (theirs.findtext("Code"), theirs.findtext("Message"))


def test_settings_of_an_object(node: Minio) -> None:
    status, _, body = ask(node, "GET", "/photos/plain.txt?acl=")
    ours = unconfigured("GetObjectAcl", owner="o")
    assert isinstance(ours, Answer)
    assert ours.status == status
    assert b"FULL_CONTROL" in ours.body
    assert body.count(b"<Grant>") == ours.body.count(b"<Grant>") == 1


def test_an_upload_from_first_to_last(node: Minio) -> None:
    path = node_path("shared-bucket", PREFIX, "big <file>.bin").decode()
    upload = read_initiated(*results(ask(node, "POST", path + "?uploads=")), NAMES)
    assert isinstance(upload, str)
    where = f"{path}?uploadId={quote(upload, safe='')}"
    parts = []
    for number, body in ((1, b"x" * 5 * 1024 * 1024), (2, b"tail")):
        status, headers, _ = ask(
            node, "PUT", f"{path}?partNumber={number}&uploadId={quote(upload, safe='')}", body
        )
        assert status == 200
        parts.append(Part(number, dict(headers)[b"etag"].decode()))
    listed = read_listed_parts(*results(ask(node, "GET", where)), NAMES)
    assert not isinstance(listed, tuple)
    assert [(part.number, part.size) for part in listed.parts] == [(1, 5 * 1024 * 1024), (2, 4)]  # type: ignore[union-attr]
    wrong = read_completed(*results(ask(node, "POST", where, write_complete((Part(1, '"0"'),)))), NAMES)
    assert getattr(wrong, "code", None) == "InvalidPart"
    done = read_completed(*results(ask(node, "POST", where, write_complete(tuple(parts)))), NAMES)
    assert getattr(done, "etag", "").endswith('-2"')
    gone = read_completed(*results(ask(node, "POST", where, write_complete(tuple(parts)))), NAMES)
    assert getattr(gone, "code", None) == "NoSuchUpload"


def test_copies_and_deletions(node: Minio) -> None:
    path = node_path("shared-bucket", PREFIX, "copy of it").decode()
    source = {"x-amz-copy-source": "/shared-bucket/" + quote(PREFIX + "plain.txt")}
    copied = read_copied(*results(ask(node, "PUT", path, headers=source)), NAMES)
    assert getattr(copied, "etag", None) == '"5d41402abc4b2a76b9719d911017c592"'
    objects = (Doomed("copy of it"), Doomed("never there <&>"))
    body = write_delete(objects, PREFIX)
    digest = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    outcome = read_deleted(*results(ask(node, "POST", "/shared-bucket?delete=", body, digest)), NAMES)
    assert isinstance(outcome, tuple)
    assert sorted(one.key for one in outcome[0]) == ["copy of it", "never there <&>"]
    assert outcome[1] == ()
    assert ask(node, "HEAD", path)[0] == 404


def test_errors_say_what_and_not_where(node: Minio) -> None:
    path = node_path("shared-bucket", PREFIX, "missing").decode()
    status, headers, body = ask(node, "GET", path)
    failure = node_error(
        status,
        body,
        bucket="photos",
        key="missing",
        node_bucket="shared-bucket",
        prefix=PREFIX,
        headers=headers,
    )
    assert (failure.code, failure.status) == ("NoSuchKey", 404)
    assert "shared" not in repr(failure)
    status, headers, body = ask(node, "HEAD", path)
    assert body == b""
    assert plain_error(status, headers).code == "NoSuchKey"
    status, _, body = ask(node, "GET", "/no-such-bucket-here/x")
    failure = node_error(status, body, bucket="photos", key="x", node_bucket="no-such-bucket-here", prefix="")
    assert (failure.code, failure.status) == ("InternalError", 500)


def results(answer: tuple[int, list[tuple[bytes, bytes]], bytes]) -> tuple[int, bytes]:
    return answer[0], answer[2]
