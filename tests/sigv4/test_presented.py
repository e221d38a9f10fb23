"""What is refused, and with which of AWS's errors; and what a client may spell differently."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sigv4
from sigv4 import PayloadKind

NOW = 1369353600.0
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AKID = "AKIAIOSFODNN7EXAMPLE"
HOST = (b"host", b"gate:9000")
Headers = list[tuple[bytes, bytes]]


def signed(
    path: bytes = b"/b/k",
    query: bytes = b"",
    *more: tuple[bytes, bytes],
    payload: str = sigv4.EMPTY_SHA256,
    **kw: str,
) -> Headers:
    headers = [HOST, *more]
    options = {"amz_date": "20130524T000000Z", "region": "us-east-1", **kw}
    added = sigv4.sign(
        "GET", path, query, headers, access_key_id=AKID, secret=SECRET, payload_sha256=payload, **options
    )
    return headers + added


def presigned(expires: int = 60, *more: tuple[bytes, bytes], query: bytes = b"") -> bytes:
    return sigv4.presign(
        "GET",
        b"/b/k",
        query,
        [HOST, *more],
        access_key_id=AKID,
        secret=SECRET,
        amz_date="20130524T000000Z",
        expires=expires,
        region="us-east-1",
    )


def parse(
    headers: Headers, *, path: bytes = b"/b/k", query: bytes = b"", now: float = NOW
) -> sigv4.Presented:
    return sigv4.parse("GET", path, query, headers, now=now, region="us-east-1")


def changed(headers: Headers, name: bytes, change: Callable[[bytes], bytes]) -> Headers:
    return [(key, change(value) if key == name else value) for key, value in headers]


def refusal(
    headers: Headers, *, path: bytes = b"/b/k", query: bytes = b"", now: float = NOW, secret: str = SECRET
) -> sigv4.SigV4Error:
    with pytest.raises(sigv4.SigV4Error) as caught:
        parse(headers, path=path, query=query, now=now).verify(secret)
    return caught.value


def authorization(change: Callable[[bytes], bytes]) -> Headers:
    return changed(signed(), b"authorization", change)


@pytest.mark.parametrize(
    ("headers", "query", "code", "message"),
    [
        ([HOST], b"", "AccessDenied", "Access Denied"),
        ([HOST], b"x-amz-signature=1&x-amz-algorithm=AWS4-HMAC-SHA256", "AccessDenied", "Access Denied"),
        (signed(), presigned(), "InvalidArgument", "Only one auth mechanism allowed"),
        (signed(), b"Signature=a&AWSAccessKeyId=b", "InvalidArgument", "Only one auth mechanism allowed"),
        ([HOST, (b"authorization", b"AWS AK:sig")], b"", "InvalidRequest", "Please use AWS4-HMAC-SHA256"),
        ([HOST], b"Signature=a&AWSAccessKeyId=b&Expires=1", "InvalidRequest", "Please use AWS4-HMAC-SHA256"),
        (
            [HOST, (b"authorization", b"AWS4-ECDSA-P256-SHA256 Credential=a")],
            b"",
            "InvalidRequest",
            "Please use AWS4-HMAC-SHA256",
        ),
        (
            [HOST, (b"authorization", b"Bearer t0ken")],
            b"",
            "InvalidArgument",
            "Unsupported Authorization Type",
        ),
        ([*signed(), signed()[-1]], b"", "InvalidRequest", "more than once"),
        ([*signed(), HOST], b"", "InvalidRequest", "more than once"),
    ],
)
def test_forms_of_authentication(headers: Headers, query: bytes, code: str, message: str) -> None:
    error = refusal(headers, query=query)
    assert (error.code, message in error.message) == (code, True)
    assert "t0ken" not in f"{error!r}{error.details}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: b"AWS4-HMAC-SHA256", "Name=Value"),
        (lambda v: v.replace(b"Signature=", b"Sig="), "unknown"),
        (lambda v: v + b",Signature=00", "twice"),
        (lambda v: v.split(b", Signature")[0], "missing Signature"),
        (lambda v: v.replace(b"/aws4_request", b"/aws4"), "incorrect terminal"),
        (lambda v: v.replace(b"/s3/", b"/sts/"), "incorrect service"),
        (lambda v: v.replace(b"/us-east-1/s3/aws4_request", b""), "the Credential is mal-formed"),
        (lambda v: v.replace(b"20130524/", b"20130525/"), "Invalid credential date"),
        (lambda v: v.replace(b"20130524/", b"2013-524/"), "incorrect date format"),
        (lambda v: v.replace(b"host;", b"host;host;"), "twice"),
        (lambda v: v.replace(b"host;", b"Host;"), "lower-case"),
        (lambda v: v.replace(b"host;", b"host;;"), "lower-case"),
        (lambda v: v.replace(b"AKIA", b"\xff"), "ASCII"),
        (lambda v: v + b"0" * 9000, "too long"),
    ],
)
def test_malformed_authorization_headers(change: Callable[[bytes], bytes], message: str) -> None:
    error = refusal(authorization(change))
    assert (error.code, error.status) == ("AuthorizationHeaderMalformed", 400)
    assert message in error.message


def test_the_expected_region_is_told() -> None:
    error = refusal(signed(region="eu-west-1"))
    assert (error.code, error.details) == ("AuthorizationHeaderMalformed", {"Region": "us-east-1"})
    assert error.message.endswith("the region 'eu-west-1' is wrong; expecting 'us-east-1'")
    error = refusal([HOST], query=presigned().replace(b"us-east-1", b"eu-west-1"))
    assert (error.code, error.details) == ("AuthorizationQueryParametersError", {"Region": "us-east-1"})


@pytest.mark.parametrize("offset", [-900, 0, 900])
def test_a_clock_may_be_a_quarter_of_an_hour_off(offset: int) -> None:
    parse(signed(), now=NOW + offset).verify(SECRET)


@pytest.mark.parametrize("offset", [-901, 901, 10**9, -(10**9)])
def test_and_no_more(offset: int) -> None:
    error = refusal(signed(), now=NOW + offset)
    assert (error.code, error.status) == ("RequestTimeTooSkewed", 403)
    assert error.details["RequestTime"] == "20130524T000000Z"


def test_presigned_urls_hold_until_they_expire() -> None:
    query = presigned(60)
    presented = parse([HOST], query=query, now=NOW + 60)
    assert (presented.form, presented.expires_at, presented.payload) == (
        "presigned",
        NOW + 60,
        PayloadKind.UNSIGNED,
    )
    presented.verify(SECRET)
    parse([HOST], query=query, now=NOW - 900).verify(SECRET)
    error = refusal([HOST], query=query, now=NOW + 60.5)
    assert (error.code, error.message) == ("AccessDenied", "Request has expired")
    assert (error.details["Expires"], error.details["ServerTime"]) == (
        "2013-05-24T00:01:00Z",
        "2013-05-24T00:01:00Z",
    )
    assert refusal([HOST], query=query, now=NOW - 901).message == "Request is not yet valid"
    parse([HOST], query=presigned(604800), now=NOW + 604800).verify(SECRET)


@pytest.mark.parametrize(
    "value", [b"0", b"604801", b"-1", b"x", b"", b"1.5", b"9" * 5000, b"%31%30%30%30%30%30%30"]
)
def test_presigned_urls_hold_a_week_at_most(value: bytes) -> None:
    error = refusal([HOST], query=presigned().replace(b"Expires=60", b"Expires=" + value))
    assert error.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    "name", [b"Algorithm", b"Credential", b"Date", b"Expires", b"Signature", b"SignedHeaders"]
)
def test_each_parameter_is_needed_exactly_once(name: bytes) -> None:
    items = presigned().split(b"&")
    own = [item for item in items if item.startswith(b"X-Amz-%b=" % name)]
    assert len(own) == 1
    without = b"&".join(item for item in items if item not in own)
    assert refusal([HOST], query=without).code == "AuthorizationQueryParametersError"
    assert refusal([HOST], query=b"&".join(items + own)).code == "AuthorizationQueryParametersError"


def test_a_parameter_spelt_with_escapes_is_the_same_parameter() -> None:
    query = presigned().replace(b"X-Amz-Signature", b"X%2DAmz%2dSignature")
    parse([HOST], query=query).verify(SECRET)
    assert refusal(signed(), query=query).code == "InvalidArgument"


def test_every_amz_header_must_be_signed() -> None:
    for headers, query in ((signed(), b""), ([HOST], presigned())):
        error = refusal([*headers, (b"x-amz-acl", b"public-read"), (b"X-Amz-Tagging", b"a=b")], query=query)
        assert error.code == "AccessDenied"
        assert error.message == "There were headers present in the request which were not signed"
        assert error.details == {"HeadersNotSigned": "x-amz-acl, x-amz-tagging"}


def test_the_host_must_be_signed() -> None:
    error = refusal(authorization(lambda v: v.replace(b"SignedHeaders=host;", b"SignedHeaders=")))
    assert error.details == {"HeadersNotSigned": "host"}


def test_a_signed_header_that_is_absent_is_named() -> None:
    headers = [pair for pair in signed(b"/b/k", b"", (b"range", b"bytes=0-9")) if pair[0] != b"range"]
    error = refusal(headers)
    assert isinstance(error, sigv4.SignatureDoesNotMatch)
    assert "the signed header range is absent" in error.message


def test_s3_needs_the_content_hash_and_other_services_the_body() -> None:
    headers = [pair for pair in signed() if pair[0] != b"x-amz-content-sha256"]
    error = refusal(headers)
    assert (error.code, error.message) == (
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
    )
    error = refusal(
        changed(signed(), b"x-amz-content-sha256", lambda _: b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
    )
    assert (error.code, error.details["ArgumentName"]) == ("InvalidArgument", "x-amz-content-sha256")


@pytest.mark.parametrize(
    "name",
    [
        b"accept-encoding",
        b"range",
        b"expect",
        b"content-length",
        b"user-agent",
        b"te",
        b"connection",
        b"content-type",
    ],
)
def test_whatever_header_a_client_signs_is_verified(name: bytes) -> None:
    # `sign` leaves some of these out, so the signature is made by a presigned URL, which signs all it is given.
    header = (name, b"  some   value ")
    query = presigned(60, header)
    parse([HOST, header], query=query).verify(SECRET)
    parse([HOST, (name, b"some value")], query=query).verify(SECRET)
    assert refusal([HOST, (name, b"another")], query=query).code == "SignatureDoesNotMatch"


def test_repeated_headers_are_joined_in_order() -> None:
    pairs = [(b"x-amz-meta-a", b" 1 "), (b"x-amz-meta-b", b"3"), (b"x-amz-meta-a", b"2")]
    headers = signed(b"/b/k", b"", *pairs)
    presented = parse(headers)
    assert b"x-amz-meta-a:1,2\n" in presented.canonical_request()
    presented.verify(SECRET)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"/b/a(1)!'*", b"/b/a%281%29%21%27%2A"),
        (b"/b/a+b", b"/b/a%2Bb"),
        (b"/b/%7Etilde%2fx", b"/b/~tilde%2Fx"),
        (b"/b/\xe1\x88\xb4", b"/b/%E1%88%B4"),
    ],
)
def test_a_path_sent_less_escaped_than_signed_is_the_same_path(sent: bytes, meant: bytes) -> None:
    parse(signed(meant), path=sent).verify(SECRET)
    assert sigv4.decode_component(sent) == sigv4.decode_component(meant)


@pytest.mark.parametrize(
    ("sent", "signed_for"),
    [
        (b"/b/a%2Fb", b"/b/a/b"),
        (b"/b//k", b"/b/k"),
        (b"/b/x/../k", b"/b/k"),
        (b"/b/./k", b"/b/k"),
        (b"/b/a+b", b"/b/a%20b"),
    ],
)
def test_paths_are_never_normalised(sent: bytes, signed_for: bytes) -> None:
    assert refusal(signed(signed_for), path=sent).code == "SignatureDoesNotMatch"


def test_a_path_that_is_signed_as_sent_holds_however_it_is_spelt() -> None:
    for path in (b"/b/a+b", b"/b/a%2fb", b"/b/%zz", b"/b//.", b"/b/\xff"):
        headers = [HOST, *signed()[1:]]
        presented = parse(headers, path=path)
        string = presented.string_to_sign(presented.canonical_request())
        made = hmac.digest(sigv4.signing_key(SECRET, "20130524", "us-east-1", "s3"), string, "sha256").hex()
        own = changed(headers, b"authorization", lambda v, s=made: v.rpartition(b"=")[0] + b"=" + s.encode())  # type: ignore[misc]
        parse(own, path=path).verify(SECRET)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"prefix=a+b", b"prefix=a%20b"),
        (b"prefix=a%2fb", b"prefix=a%2Fb"),
        (b"prefix=a/b", b"prefix=a%2Fb"),
        (b"acl", b"acl="),
        (b"&acl&", b"acl="),
        (b"b=2&a=1", b"a=1&b=2"),
        (b"p=2&p=1", b"p=1&p=2"),
        (b"p=x=y", b"p=x%3Dy"),
    ],
)
def test_queries_are_compared_by_what_they_mean(sent: bytes, meant: bytes) -> None:
    parse(signed(b"/b/k", meant), query=sent).verify(SECRET)


@pytest.mark.parametrize("query", [b"a=%", b"a=%2", b"a=%zz", b"%=1", b"a=1&" * 200, b"a" * 40000])
def test_malformed_queries_are_refused(query: bytes) -> None:
    assert refusal(signed(), query=query).code == "InvalidURI"


def test_values_of_one_parameter_may_be_signed_in_the_order_written() -> None:
    query = b"events=s3:b&prefix=&events=s3:a"
    headers = signed(query=query)
    presented = parse(headers, query=query)
    written = presented._canonical(b"/b/k", None, b"events=s3%3Ab&events=s3%3Aa&prefix=")
    key = sigv4.signing_key(SECRET, "20130524", "us-east-1", "s3")
    by_minio = hmac.new(key, presented.string_to_sign(written), "sha256").hexdigest().encode()
    headers = changed(headers, b"authorization", lambda value: value.replace(presented.signature, by_minio))
    assert parse(headers, query=query).verify(SECRET)
    with pytest.raises(sigv4.SignatureDoesNotMatch):
        parse(headers, query=b"events=s3:a&prefix=&events=s3:b").verify(SECRET)


def test_the_signature_itself_is_compared_whole() -> None:
    for change in (
        lambda v: v[:-1],
        lambda v: v + b"0",
        lambda v: v[:-1] + (b"0" if v[-1:] != b"0" else b"1"),
        lambda v: v[:-64] + v[-64:].upper(),
        lambda v: v[:-64] + b"\xff" * 64,
    ):
        assert refusal(authorization(change)).code == "SignatureDoesNotMatch"


def test_session_tokens_are_read_and_signed() -> None:
    headers = signed(b"/b/k", b"", session_token="T0KEN==")
    presented = parse(headers)
    assert presented.session_token == "T0KEN=="
    assert "T0KEN" not in repr(presented)
    assert (
        refusal(changed(headers, b"x-amz-security-token", lambda _: b"other")).code == "SignatureDoesNotMatch"
    )
    query = presigned()
    assert parse([HOST], query=query).session_token is None
    assert refusal([HOST], query=query + b"&X-Amz-Security-Token=x").code == "SignatureDoesNotMatch"
    both = presigned(60, (b"x-amz-security-token", b"x"), query=b"X-Amz-Security-Token=x")
    assert (
        refusal([HOST, (b"x-amz-security-token", b"x")], query=both).code
        == "AuthorizationQueryParametersError"
    )


def test_a_date_header_may_stand_in_for_x_amz_date() -> None:
    error = refusal([pair for pair in signed() if pair[0] != b"x-amz-date"])
    assert error.message == "AWS authentication requires a valid Date or x-amz-date header"
    headers = [HOST, (b"date", b"Fri, 24 May 2013 00:00:00 GMT"), *signed()[1:]]
    headers = [pair for pair in headers if pair[0] != b"x-amz-date"]
    headers = changed(headers, b"authorization", lambda v: v.replace(b";x-amz-date", b""))
    assert parse(headers).amz_date == "20130524T000000Z"


@pytest.mark.parametrize(
    "text", [b"", b"20130524", b"20131324T000000Z", b"20130230T000000Z", b"20130524T250000Z", b"x" * 16]
)
def test_dates_that_are_none(text: bytes) -> None:
    assert refusal(changed(signed(), b"x-amz-date", lambda _: text)).code == "AccessDenied"
    query = presigned().replace(b"20130524T000000Z", text)
    assert refusal([HOST], query=query).code == "AuthorizationQueryParametersError"


def test_bounds_on_headers() -> None:
    assert refusal(signed() + [(b"a", b"b")] * 300).code == "RequestHeaderSectionTooLarge"
    assert refusal([*signed(), (b"a", b"b" * 70000)]).code == "RequestHeaderSectionTooLarge"
    assert refusal(signed(), path=b"/" * 20000).code == "InvalidURI"


def test_a_line_break_cannot_make_two_requests_look_alike() -> None:
    assert refusal(changed(signed(), b"host", lambda v: v + b"\nx:y")).code == "InvalidRequest"
    assert refusal(signed(), path=b"/b\n/k").code == "InvalidRequest"


def test_other_services_verify_the_body() -> None:
    sha256 = hashlib.sha256(b"Action=GetCallerIdentity").hexdigest()

    def made(payload: str) -> sigv4.Presented:
        headers = signed(b"/", b"", payload=payload, service="sts")
        return sigv4.parse("GET", b"/", b"", headers, now=NOW, region="us-east-1", service="sts")

    made(sha256).verify(SECRET, body_sha256=sha256)
    with pytest.raises(sigv4.ContentSHA256Mismatch):
        made(sha256).verify(SECRET, body_sha256=sigv4.EMPTY_SHA256)
    with pytest.raises(ValueError, match="SHA-256 is needed"):
        made(sha256).verify(SECRET)
    with pytest.raises(sigv4.SigV4Error, match="must be signed"):
        made("UNSIGNED-PAYLOAD")


def test_only_aws_chunked_is_taken_off() -> None:
    assert sigv4.strip_aws_chunked(b"aws-chunked") is None
    assert sigv4.strip_aws_chunked(b"AWS-Chunked , gzip, zstd") == b"gzip,zstd"
    assert sigv4.strip_aws_chunked(b"gzip") == b"gzip"


def test_streaming_kinds_need_their_length_and_known_trailers() -> None:
    kind = PayloadKind.STREAMING_UNSIGNED_TRAILER.value
    length = (b"x-amz-decoded-content-length", b"5")
    trailer = (b"x-amz-trailer", b"x-amz-checksum-crc32, x-amz-checksum-SHA256")
    presented = parse(signed(b"/b/k", b"", length, trailer, payload=kind))
    assert (presented.decoded_length, presented.trailers) == (
        5,
        ("x-amz-checksum-crc32", "x-amz-checksum-sha256"),
    )
    assert presented.payload.chunked
    assert refusal(signed(b"/b/k", b"", trailer, payload=kind)).code == "MissingContentLength"
    for pairs in (
        [(length[0], b"-5"), trailer],
        [(length[0], b"9" * 30), trailer],
        [length, (trailer[0], b"x-amz-meta-a")],
        [length, (trailer[0], b"x-amz-checksum-crc32,x-amz-checksum-crc32")],
    ):
        assert refusal(signed(b"/b/k", b"", *pairs, payload=kind)).code in (
            "InvalidArgument",
            "InvalidRequest",
        )


def test_a_signed_body_is_hashed_as_it_passes() -> None:
    hasher = sigv4.PayloadHasher(hashlib.sha256(b"hello").hexdigest())
    hasher.update(b"hel")
    hasher.update(memoryview(b"lo"))
    hasher.verify()
    hasher.update(b"!")
    with pytest.raises(sigv4.ContentSHA256Mismatch) as caught:
        hasher.verify()
    assert (caught.value.code, caught.value.status) == ("XAmzContentSHA256Mismatch", 400)


NAMES = st.sampled_from(
    [b"host", b"authorization", b"x-amz-date", b"date", b"x-amz-content-sha256", b"x-amz-a", b"\xff"]
)
VALUES = st.one_of(st.binary(max_size=40), st.sampled_from([value for _, value in signed()]))
QUERIES = st.one_of(st.binary(max_size=60), st.sampled_from([presigned(), presigned() + b"&a=%"]))


@given(
    st.one_of(st.text(max_size=6), st.binary(max_size=6)),
    st.binary(max_size=40),
    QUERIES,
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=500, deadline=None)
def test_any_request_gives_a_result_or_the_typed_error(
    method: str | bytes, path: bytes, query: bytes, headers: Headers, now: float
) -> None:
    statuses = set()
    for service in ("s3", "sts"):
        for base in ([], signed()):
            try:
                presented = sigv4.parse(
                    method, path, query, base + headers, now=now, region="us-east-1", service=service
                )
                presented.verify(SECRET, body_sha256=sigv4.EMPTY_SHA256)
            except sigv4.SigV4Error as error:
                statuses.add(error.status)
    assert statuses <= {400, 403, 411}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_one_changed_byte_is_refused(data: st.DataObject) -> None:
    headers = signed(
        b"/bucket/key", b"prefix=a&list-type=2", (b"x-amz-meta-a", b"value"), (b"range", b"bytes=0-9")
    )
    index = data.draw(st.integers(0, len(headers) - 1))
    name, value = headers[index]
    at = data.draw(st.integers(0, len(value) - 1))
    byte = data.draw(st.integers(33, 126).filter(lambda b: b != value[at]))
    tampered = list(headers)
    tampered[index] = (name, value[:at] + bytes([byte]) + value[at + 1 :])
    try:
        presented = parse(tampered, path=b"/bucket/key", query=b"prefix=a&list-type=2")
        presented.verify(SECRET)
    except sigv4.SigV4Error:
        return
    # The access key id is in no signed text: another one means another secret, which is then asked for.
    assert presented.access_key_id != AKID
