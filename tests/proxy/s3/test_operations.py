from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.s3.headers import FORWARDED
from proxy.s3.operations import (
    BY_NAME,
    OPERATIONS,
    SUBRESOURCES,
    Body,
    Disposition,
    Operation,
    Permission,
    Scope,
    identify,
    not_implemented,
)
from proxy.s3.reference import PAGE, page
from proxy.s3.target import Query, parse_query
from proxy.s3.unconfigured import unconfigured

ROOT = Path(__file__).parents[3]

#: Names that S3 gives to one request twice; the second is the deprecated one.
SAME_REQUEST = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    # On its own endpoint it is GET /, as ListBuckets is.
    "ListDirectoryBuckets": "ListBuckets",
}


def service() -> Any:
    return botocore.session.get_session().get_service_model("s3")


def query(raw: str) -> Query:
    found = parse_query(raw.encode())
    assert isinstance(found, Query)
    return found


def name(method: str, path: str, headers: dict[str, str] | None = None) -> str:
    where, _, raw = path.partition("?")
    bucket, _, key = where.strip("/").partition("/")
    return identify(method, bool(bucket), bool(key), query(raw), headers or {}).name


@pytest.mark.parametrize("model", sorted(service().operation_names))
def test_every_operation_that_the_sdk_knows_is_recognised(model: str) -> None:
    operation = service().operation_model(model)
    path, _, raw = operation.http["requestUri"].partition("?")
    pieces, headers = [raw] if raw else [], {}
    for member, shape in operation.input_shape.members.items() if operation.input_shape else ():
        where = shape.serialization.get("location")
        if member in operation.input_shape.required_members and where == "querystring":
            pieces.append(shape.serialization["name"] + "=1")
        if member in operation.input_shape.required_members and where == "header":
            headers[shape.serialization["name"].lower()] = "1"
    found = identify(
        operation.http["method"], "{Bucket}" in path, "{Key" in path, query("&".join(pieces)), headers
    )
    assert found.name == SAME_REQUEST.get(model, model)


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("GET", "/?x-id=ListBuckets", {}, "ListBuckets"),
        ("GET", "/b", {}, "ListObjects"),
        ("GET", "/b?list-type=2&prefix=x", {}, "ListObjectsV2"),
        ("GET", "/b?list-type=3", {}, "Unknown"),
        ("GET", "/b?location", {}, "GetBucketLocation"),
        ("GET", "/b/k?prefix=other", {}, "GetObject"),
        ("GET", "/b/k?partNumber=1", {}, "GetObject"),
        ("HEAD", "/b/k?partNumber=1&versionId=v", {}, "HeadObject"),
        ("GET", "/b/k?response-content-type=a", {}, "GetObject"),
        ("GET", "/b/k?uploadId=u", {}, "ListParts"),
        ("PUT", "/b/k", {}, "PutObject"),
        ("PUT", "/b/k?x-id=PutObject", {}, "PutObject"),
        ("PUT", "/b/k", {"x-amz-copy-source": "b/k"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "b/k"}, "UploadPartCopy"),
        ("PUT", "/b/k?partNumber=1", {}, "Unknown"),
        ("PUT", "/b/k?uploadId=u", {}, "Unknown"),
        ("PUT", "/b/k", {"x-amz-write-offset-bytes": "5"}, "AppendObject"),
        ("PUT", "/b/k?acl&tagging", {}, "Unknown"),
        ("GET", "/b/k?versions", {}, "Unknown"),
        ("GET", "/b?Location", {}, "Unknown"),
        ("GET", "/b/k?lambdaArn=x", {}, "Unknown"),
        ("GET", "/b?replication-reset", {}, "Unknown"),
        ("GET", "/b?foo", {}, "Unknown"),
        ("POST", "/b", {}, "Unknown"),
        ("POST", "/b", {"content-type": "multipart/form-data; boundary=x"}, "PostObject"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
        ("POST", "/b?force-delete", {}, "Unknown"),
        ("PATCH", "/b/k", {}, "Unknown"),
        ("TRACE", "/b", {}, "Unknown"),
        ("get", "/b", {}, "Unknown"),
        ("DELETE", "/", {}, "Unknown"),
        ("GET", "/b?events=s3:ObjectCreated:*&events=s3:ObjectRemoved:*&prefix=a", {}, "ListenNotification"),
        ("GET", "/?events=s3:ObjectCreated:*", {}, "Unknown"),
        ("GET", "/b?X-Amz-Signature=1&X-Amz-Date=2", {}, "ListObjects"),
        ("GET", "/b?metrics&id=1", {}, "GetBucketMetricsConfiguration"),
        ("GET", "/b?metrics", {}, "ListBucketMetricsConfigurations"),
        ("PUT", "/b?metrics&id=1", {}, "PutBucketMetricsConfiguration"),
        ("OPTIONS", "/b/k", {}, "PreflightObjectRequest"),
    ],
)
def test_requests(method: str, path: str, headers: dict[str, str], expected: str) -> None:
    assert name(method, path, headers) == expected


def test_the_table_has_each_name_once_and_each_request_once() -> None:
    assert len(BY_NAME) == len(OPERATIONS)
    seen = {(row.method, row.scope, frozenset(row.markers), row.header) for row in OPERATIONS}
    twins = {"PostObject"}
    assert len(seen) >= len(OPERATIONS) - len(twins)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: row.name)
def test_each_row_is_whole(operation: Operation) -> None:
    match operation.disposition:
        case Disposition.REFUSED:
            failure = not_implemented(operation, query(""))
            assert (failure.code, failure.status) == ("NotImplemented", 501)
            assert re.search(r"wio [a-z]+", failure.message)
        case Disposition.UNCONFIGURED:
            is_preflight = operation.method == "OPTIONS"
            assert is_preflight or (operation.method, operation.permission) == ("GET", Permission.READ)
            assert unconfigured(operation.name, owner="o") is not None
        case Disposition.HANDLED:
            writes = operation.method in ("PUT", "DELETE", "POST") and operation.name not in (
                "CreateBucket",
                "SelectObjectContent",
            )
            assert operation.is_write == writes
            if operation.body in (Body.STREAM, Body.FORM):
                assert operation.is_write
            sub = {marker for marker, _ in operation.markers} & operation.query
            # What chose the operation here must choose it at the node too, where the node is asked at all.
            assert operation.name == "GetBucketLocation" or sub == {marker for marker, _ in operation.markers}


def test_no_write_is_mistaken_for_another_scope() -> None:
    assert all(row.permission is Permission.OWN for row in OPERATIONS if row.name == "DeleteBucket")
    assert {row.scope for row in OPERATIONS} == set(Scope)


def test_headers_are_listed_for_known_operations_only() -> None:
    assert set(FORWARDED) <= set(BY_NAME)


def test_unknown_parameters_are_told() -> None:
    asked = query("cors-mode=1")
    failure = not_implemented(identify("GET", True, False, asked, {}), asked)
    assert "cors-mode" in failure.message


@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "X"]),
    st.booleans(),
    st.lists(
        st.sampled_from([*sorted(SUBRESOURCES), "prefix", "id", "zzz", "versionId"]), unique=True, max_size=3
    ),
)
def test_two_subresources_never_make_a_handled_request(method: str, has_key: bool, names: list[str]) -> None:
    found = identify(method, True, has_key, query("&".join(names)), {})
    chosen = set(names) & SUBRESOURCES
    if found.disposition is not Disposition.REFUSED:
        assert "zzz" not in names
        markers = {marker for marker, _ in found.markers} - {"id"}
        assert chosen - {"partNumber"} == markers - {"partNumber"}


def test_the_page_is_the_table() -> None:
    written = (ROOT / PAGE).read_text(encoding="utf-8")
    assert written == page(), "run: python -m proxy.s3.reference"
    for operation in OPERATIONS:
        assert f"| {operation.name} |" in written
