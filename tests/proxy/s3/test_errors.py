from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from proxy.s3.errors import Code, S3Error, error, invalid_argument, render


def parsed(failure: S3Error, **names: str | None) -> dict[str, str]:
    body = render(failure, resource="/photos/a", request_id="R", host_id="H", **names)  # type: ignore[arg-type]
    return {str(node.tag): node.text or "" for node in etree.fromstring(body)}


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.wire)
def test_the_table(code: Code) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", code.wire)
    assert 400 <= code.status <= 503
    assert code.sentence
    assert ((b"retry-after", b"2") in error(code).headers) == (code.status == 503)


def test_codes_are_unique() -> None:
    assert len({code.wire for code in Code}) == len(Code)


def test_statuses_that_clients_depend_on() -> None:
    assert Code.QUOTA_EXCEEDED.status == 403
    assert Code.SLOW_DOWN.status == 503
    assert Code.BUCKET_ALREADY_OWNED.status == 409
    assert Code.MISSING_CONTENT_LENGTH.status == 411
    assert Code.NOT_IMPLEMENTED.status == 501


def test_a_document() -> None:
    failure = error(Code.SIGNATURE_DOES_NOT_MATCH, None, StringToSign="AWS4\nx", CanonicalRequest="GET\n/&<>")
    found = parsed(failure, bucket="jane.photos", key="a<b")
    assert list(found) == [
        "Code",
        "Message",
        "Key",
        "BucketName",
        "StringToSign",
        "CanonicalRequest",
        "Resource",
        "RequestId",
        "HostId",
    ]
    assert (found["BucketName"], found["Key"]) == ("jane.photos", "a<b")
    assert found["StringToSign"] == "AWS4\nx"
    assert found["CanonicalRequest"] == "GET\n/&<>"


def test_head_has_no_body() -> None:
    assert render(error(Code.NO_SUCH_KEY), resource="/", request_id="R", head=True) == b""


def test_an_argument_is_given_back_cut() -> None:
    found = parsed(invalid_argument("partNumber", "9" * 5000, "No."))
    assert found["ArgumentName"] == "partNumber"
    assert len(found["ArgumentValue"]) == 256


@given(st.text(), st.text(), st.text())
def test_whatever_it_holds_it_is_xml(message: str, key: str, detail: str) -> None:
    failure = S3Error("AccessDenied", 403, message, (("Detail", detail),))
    found = parsed(failure, bucket="b", key=key or None)
    if message.isprintable():
        assert found["Message"] == message


def test_lone_carriage_returns_survive() -> None:
    assert parsed(S3Error("A", 400, "a\rb\x01c"))["Message"] == "a\rb\ufffdc"
