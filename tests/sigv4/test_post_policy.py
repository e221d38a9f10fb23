"""Forms: AWS's published one, botocore's, and every condition that may fail."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

import sigv4

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AKID = "AKIAIOSFODNN7EXAMPLE"
NOW = 1451347200.0
DATE = "20151229T000000Z"
CREDENTIAL = f"{AKID}/20151229/us-east-1/s3/aws4_request"

#: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html
PUBLISHED = """{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}""".replace("\n", "\r\n")


def policy_text(conditions: list[Any], expiration: str = "2015-12-30T12:00:00.000Z") -> str:
    return base64.b64encode(
        json.dumps({"expiration": expiration, "conditions": conditions}).encode()
    ).decode()


def form(policy: str, **fields: str) -> list[tuple[str, str]]:
    key = sigv4.signing_key(SECRET, "20151229", "us-east-1", "s3")
    base = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": CREDENTIAL,
        "x-amz-date": DATE,
        "policy": policy,
        "x-amz-signature": hmac.digest(key, policy.encode(), "sha256").hex(),
    }
    return [*base.items(), *((name.replace("_", "-"), value) for name, value in fields.items())]


BASE: list[Any] = [
    {"bucket": "b"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-credential": CREDENTIAL},
    {"x-amz-date": DATE},
]


def check(conditions: list[Any], *, bucket: str = "b", **fields: str) -> sigv4.PostPolicy:
    presented = sigv4.parse_form(form(policy_text(BASE + conditions), **fields), now=NOW, region="us-east-1")
    policy = presented.verify(SECRET)
    policy.check(presented.fields, bucket=bucket)
    return policy


def test_the_published_form_holds() -> None:
    text = base64.b64encode(PUBLISHED.encode()).decode()
    fields = form(
        text,
        key="user/user1/photo.jpg",
        acl="public-read",
        success_action_redirect="",
        Content_Type="image/jpeg",
        x_amz_meta_uuid="14365123651274",
        x_amz_server_side_encryption="AES256",
        x_amz_meta_tag="",
    )
    fields = [
        (
            name,
            "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"
            if "redirect" in name
            else value,
        )
        for name, value in fields
    ]
    fields = [
        (name.replace("success-action-redirect", "success_action_redirect"), value) for name, value in fields
    ]
    assert (
        dict(fields)["x-amz-signature"] == "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
    )
    presented = sigv4.parse_form(fields, now=NOW, region="us-east-1")
    presented.verify(SECRET).check(presented.fields, bucket="sigv4examplebucket")
    assert presented.access_key_id == AKID


def test_botocore_forms_hold() -> None:
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://gate.example",
        aws_access_key_id=AKID,
        aws_secret_access_key=SECRET,
        aws_session_token="T0KEN",
        config=Config(signature_version="s3v4"),
    )
    post = client.generate_presigned_post(
        "b",
        "in/${filename}",
        Fields={"acl": "private"},
        Conditions=[{"acl": "private"}, ["content-length-range", 1, 100]],
        ExpiresIn=60,
    )
    fields = post["fields"]
    now = sigv4.parse_amz_date(fields["x-amz-date"].encode())
    assert now is not None
    presented = sigv4.parse_form(list(fields.items()), now=now, region="us-east-1")
    assert presented.session_token == "T0KEN"
    policy = presented.verify(SECRET)
    assert policy.length_range == (1, 100)
    policy.check({**presented.fields, "key": "in/photo.jpg"}, bucket="b")
    with pytest.raises(sigv4.SigV4Error, match="Policy Condition failed"):
        policy.check({**presented.fields, "key": "out/photo.jpg"}, bucket="b")
    with pytest.raises(sigv4.SigV4Error, match="expired"):
        sigv4.parse_form(list(fields.items()), now=now + 61, region="us-east-1").verify(SECRET)


def test_lengths_are_bounded_on_both_sides() -> None:
    policy = check([["content-length-range", 2, "10"], ["content-length-range", 0, 8]])
    assert policy.length_range == (2, 8)
    policy.check_length(2)
    policy.check_length(8)
    for size, code in ((1, "EntityTooSmall"), (9, "EntityTooLarge")):
        with pytest.raises(sigv4.SigV4Error) as caught:
            policy.check_length(size)
        assert caught.value.code == code
    check([]).check_length(1 << 40)


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([["eq", "$key", "a"]], {"key": "a"}),
        ([["EQ", "$Key", "a"]], {"KEY": "a"}),
        ([["starts-with", "$key", ""]], {"key": "anything"}),
        ([["starts-with", "$Content-Type", "image/"]], {"Content_Type": "image/png, image/gif"}),
        ([], {"x_ignore_me": "1"}),
        ([], {"file": "x"}),
        ([], {"bucket": "b"}),
    ],
)
def test_forms_that_fit(conditions: list[Any], fields: dict[str, str]) -> None:
    check(conditions, **fields)


@pytest.mark.parametrize(
    ("conditions", "fields", "message"),
    [
        ([], {"key": "a"}, "Extra input fields: key"),
        ([], {"x_amz_meta_a": "1"}, "Extra input fields: x-amz-meta-a"),
        ([["eq", "$key", "a"]], {"key": "A"}, "Policy Condition failed"),
        ([["eq", "$key", "a"]], {}, "Policy Condition failed"),
        ([["starts-with", "$key", "u/"]], {"key": "v/u/"}, "Policy Condition failed"),
        ([{"acl": "private"}], {"acl": "public-read"}, 'failed: ["eq", "$acl", "private"]'),
        ([["starts-with", "$Content-Type", "image/"]], {"Content_Type": "image/png,text/html"}, "failed"),
        ([], {"bucket": "c"}, "bucket"),
        ([{"x-amz-date": "20151228T000000Z"}], {}, "failed"),
    ],
)
def test_forms_that_do_not_fit(conditions: list[Any], fields: dict[str, str], message: str) -> None:
    with pytest.raises(sigv4.SigV4Error) as caught:
        check(conditions, **fields)
    assert (caught.value.code, caught.value.status) == ("AccessDenied", 403)
    assert message in caught.value.message


def test_a_policy_for_another_bucket_or_none_does_not_fit() -> None:
    with pytest.raises(sigv4.SigV4Error, match="Policy Condition failed"):
        check([], bucket="c")
    text = policy_text(BASE[1:])
    presented = sigv4.parse_form(form(text), now=NOW, region="us-east-1")
    with pytest.raises(sigv4.SigV4Error, match="Extra input fields: bucket"):
        presented.verify(SECRET).check(presented.fields, bucket="b")


@pytest.mark.parametrize(
    "document",
    [
        "[]",
        "{}",
        "nonsense",
        "[" * 100000,
        '{"expiration": "2015-12-30T12:00:00Z"}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": []}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": {"a": "b"}}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [{"a": "b", "c": "d"}]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [{"a": "b", "a": "c"}]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["eq", "key", "a"]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["ends-with", "$key", "a"]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["eq", "$key", 1]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["content-length-range", 2, 1]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["content-length-range", -1, 1]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["content-length-range", true, 1]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [["content-length-range", 1.5, 2]]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [1]}',
        '{"expiration": "2015-12-30T12:00:00Z", "conditions": [{"a": "b"}], "more": 1}',
        '{"expiration": "2015-12-30", "conditions": [{"a": "b"}]}',
        '{"expiration": "tomorrow", "conditions": [{"a": "b"}]}',
        '{"expiration": "0001-01-01T00:00:00+23:00", "conditions": [{"a": "b"}]}',
        '{"expiration": 1, "conditions": [{"a": "b"}]}',
    ],
)
def test_policies_that_are_none(document: str) -> None:
    text = base64.b64encode(document.encode()).decode()
    try:
        presented = sigv4.parse_form(form(text), now=NOW, region="us-east-1")
        presented.verify(SECRET)
    except sigv4.SigV4Error as error:
        code = error.code
    assert code in ("InvalidPolicyDocument", "MalformedPOSTRequest")


def test_the_signature_is_checked_before_the_policy_is_read() -> None:
    fields = [(n, "0" * 64 if n == "x-amz-signature" else v) for n, v in form("not base64 !")]
    with pytest.raises(sigv4.SignatureDoesNotMatch):
        sigv4.parse_form(fields, now=NOW, region="us-east-1").verify(SECRET)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ([], "AccessDenied"),
        ([("key", "a")], "AccessDenied"),
        ([("policy", "x"), ("AWSAccessKeyId", "a"), ("signature", "b")], "InvalidRequest"),
        ([("policy", "x")], "InvalidArgument"),
        ([*form("x"), ("Policy", "y")], "MalformedPOSTRequest"),
        ([("a" * 30000, "")], "MalformedPOSTRequest"),
        ([(f"a{i}", "") for i in range(200)], "MalformedPOSTRequest"),
        (
            [(n, "AWS4-ECDSA-P256-SHA256" if n.endswith("algorithm") else v) for n, v in form("x")],
            "InvalidRequest",
        ),
        (
            [(n, v.replace("us-east-1", "eu") if n.endswith("credential") else v) for n, v in form("x")],
            "InvalidRequest",
        ),
        ([(n, "20151228T000000Z" if n.endswith("date") else v) for n, v in form("x")], "InvalidArgument"),
        ([(n, "\udcff" if n.endswith("date") else v) for n, v in form("x")], "InvalidArgument"),
    ],
)
def test_malformed_forms(fields: list[tuple[str, str]], code: str) -> None:
    with pytest.raises(sigv4.SigV4Error) as caught:
        sigv4.parse_form(fields, now=NOW, region="us-east-1")
    assert caught.value.code == code


@pytest.mark.parametrize("offset", [-901, 604801])
def test_a_form_holds_for_a_week_from_its_date(offset: int) -> None:
    with pytest.raises(sigv4.SigV4Error, match="expired"):
        sigv4.parse_form(form("x"), now=NOW + offset, region="us-east-1")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["eq", "$key", "starts-with"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_policy_and_any_fields_give_a_result_or_the_typed_error(
    conditions: Any, fields: list[tuple[str, str]]
) -> None:
    for text in (policy_text(conditions), policy_text([conditions]), json.dumps(conditions)):
        try:
            presented = sigv4.parse_form([*form(text), *fields], now=NOW, region="us-east-1")
            presented.verify(SECRET).check(presented.fields, bucket="b")
        except sigv4.SigV4Error:
            pass
