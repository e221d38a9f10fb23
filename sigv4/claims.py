"""A request's claim of a signature, read from its headers or its query: every form comes through here.

`parse` looks at bytes and times and touches no secret. What it returns has not been authenticated.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .amz_content_sha256 import PayloadKind, payload_kind
from .amz_date import format_amz_date, format_iso, parse_amz_date, parse_http_date
from .authorization_v4 import (
    HEADER,
    QUERY,
    Credential,
    parse_authorization,
    parse_credential,
    parse_signed_headers,
    unsupported_mechanism,
)
from .aws_chunked_stream import parse_trailer_names
from .canonical import MAX_PATH_BYTES, fold, join_query, query_pairs
from .errors import SignatureDoesNotMatch, SigV4Error
from .presented import Form, Presented
from .presigned_url_v4 import claims, parse_presigned

#: The clock skew that AWS allows, in seconds.
MAX_SKEW: Final = 900
MAX_HEADERS: Final = 256
MAX_HEADER_BYTES: Final = 64 * 1024

# Reading a member from its class costs more than a call; these are read for every request.
_BODY: Final = PayloadKind.BODY
_SIGNED: Final = PayloadKind.SIGNED
_LF: Final = 0x0A
_CR: Final = 0x0D


def parse(
    method: bytes | str,
    raw_path: bytes,
    query_string: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    now: float,
    region: str,
    service: str = "s3",
) -> Presented:
    """Read a request's claim of a signature. Raises SigV4Error, with the code and message that AWS gives.

    `raw_path` and `query_string` are the bytes of the request line, `headers` as ASGI gives them, `now` in
    seconds since the epoch. Refused are: no form of authentication, two at once, SigV2 and SigV4A; malformed,
    repeated or missing parts; another region or service; a clock more than 15 minutes off; presigned URLs
    that are to hold for more than 7 days, or no longer hold; `host` or any `x-amz-*` header unsigned; a signed
    header absent; S3 header authentication without `x-amz-content-sha256`.
    """
    if isinstance(method, str):
        method = method.encode("utf-8", "surrogatepass")
    if len(raw_path) > MAX_PATH_BYTES:
        raise SigV4Error("InvalidURI", "Couldn't parse the specified URI: the path is too long.")
    table, amz_names = _read_headers(headers)
    pairs = query_pairs(query_string)
    found = dict(pairs)
    claims_v4, claims_v2 = claims(found)
    authorization = table.get(b"authorization")
    if authorization is not None:
        if claims_v4 or claims_v2:
            raise SigV4Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query "
                "string parameter or the Authorization header should be specified",
                {"ArgumentName": "Authorization"},
            )
        claim = _header_claim(authorization, pairs, table, now, region, service)
    elif claims_v2:
        raise unsupported_mechanism()
    elif claims_v4:
        claim = _presigned_claim(pairs, found, table, now, region, service)
    else:
        raise SigV4Error("AccessDenied", "Access Denied")
    return _present(claim, method, raw_path, pairs, table, amz_names)


class _Claim:
    """What both forms say, brought to one shape."""

    __slots__ = (
        "amz_date",
        "credential",
        "expires_at",
        "form",
        "payload",
        "signature",
        "signed_headers",
        "signed_pairs",
        "token",
    )

    def __init__(
        self,
        form: Form,
        credential: Credential,
        amz_date: str,
        signed_headers: tuple[bytes, ...],
        signature: bytes,
        token: bytes | None,
        payload: bytes | None,
        expires_at: float | None,
        signed_pairs: list[tuple[bytes, bytes]],
    ) -> None:
        self.form: Final = form
        self.credential: Final = credential
        self.amz_date: Final = amz_date
        self.signed_headers: Final = signed_headers
        self.signature: Final = signature
        self.token: Final = token
        self.payload: Final = payload
        self.expires_at: Final = expires_at
        self.signed_pairs: Final = signed_pairs


def _read_headers(headers: Sequence[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Values by lower-case name, repeated ones joined by commas in order; and the names in `x-amz-`."""
    if len(headers) > MAX_HEADERS:
        raise SigV4Error("RequestHeaderSectionTooLarge", "Your request has too many headers.")
    table: dict[bytes, bytes] = {}
    amz_names = []
    size = 0
    for name, value in headers:
        name = name.lower()
        size += len(name) + len(value)
        if name in table:
            if name == b"authorization" or name == b"host":
                raise SigV4Error("InvalidRequest", f"The header {name.decode()} is given more than once.")
            table[name] = fold(table[name]) + b"," + fold(value)
        else:
            table[name] = value
            if name.startswith(b"x-amz-"):
                amz_names.append(name)
    if size > MAX_HEADER_BYTES:
        raise SigV4Error("RequestHeaderSectionTooLarge", "Your request header section exceeds the maximum.")
    return table, amz_names


def _header_claim(
    authorization: bytes,
    pairs: list[tuple[bytes, bytes]],
    table: dict[bytes, bytes],
    now: float,
    region: str,
    service: str,
) -> _Claim:
    parts = parse_authorization(authorization)
    credential = parse_credential(parts.credential, HEADER, region, service)
    signed_headers = parse_signed_headers(parts.signed_headers, HEADER)
    given = table.get(b"x-amz-date")
    seconds = parse_http_date(table.get(b"date", b"")) if given is None else parse_amz_date(fold(given))
    if seconds is None:
        raise SigV4Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
    amz_date = format_amz_date(seconds)
    if not amz_date.startswith(credential.date):
        HEADER.refuse(
            f'Invalid credential date "{credential.date}". '
            f'This date is not the same as X-Amz-Date: "{amz_date[:8]}".'
        )
    if not -MAX_SKEW <= now - seconds <= MAX_SKEW:
        raise SigV4Error(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            {
                "RequestTime": amz_date,
                "ServerTime": format_iso(now),
                "MaxAllowedSkewMilliseconds": str(MAX_SKEW * 1000),
            },
        )
    payload = table.get(b"x-amz-content-sha256")
    if payload is None and service == "s3":
        raise SigV4Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    return _Claim(
        "header",
        credential,
        amz_date,
        signed_headers,
        parts.signature,
        table.get(b"x-amz-security-token"),
        payload,
        None,
        pairs,
    )


def _presigned_claim(
    pairs: list[tuple[bytes, bytes]],
    found: dict[bytes, bytes],
    table: dict[bytes, bytes],
    now: float,
    region: str,
    service: str,
) -> _Claim:
    query = parse_presigned(pairs, found)
    credential = parse_credential(query.credential, QUERY, region, service)
    signed_headers = parse_signed_headers(query.signed_headers, QUERY)
    seconds = parse_amz_date(query.amz_date)
    if seconds is None:
        raise SigV4Error(
            "AuthorizationQueryParametersError",
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"",
        )
    amz_date = query.amz_date.decode("ascii")
    if not amz_date.startswith(credential.date):
        QUERY.refuse(
            f'Invalid credential date "{credential.date}". '
            f'This date is not the same as X-Amz-Date: "{amz_date[:8]}".'
        )
    if now - seconds < -MAX_SKEW:
        raise SigV4Error(
            "AccessDenied",
            "Request is not yet valid",
            {"X-Amz-Date": amz_date, "ServerTime": format_iso(now)},
        )
    expires_at = float(seconds + query.expires)
    if now > expires_at:
        raise SigV4Error(
            "AccessDenied",
            "Request has expired",
            {
                "X-Amz-Expires": str(query.expires),
                "Expires": format_iso(expires_at),
                "ServerTime": format_iso(now),
            },
        )
    token = table.get(b"x-amz-security-token")
    if query.security_token is not None:
        if token is not None:
            raise SigV4Error("AuthorizationQueryParametersError", "X-Amz-Security-Token is given twice.")
        token = query.security_token
    payload = table.get(b"x-amz-content-sha256")
    if query.content_sha256 is not None:
        if payload is not None and payload != query.content_sha256:
            raise SigV4Error("AuthorizationQueryParametersError", "X-Amz-Content-Sha256 is given twice.")
        payload = query.content_sha256
    if payload is None and service == "s3":
        payload = b"UNSIGNED-PAYLOAD"
    return _Claim(
        "presigned",
        credential,
        amz_date,
        signed_headers,
        query.signature,
        token,
        payload,
        expires_at,
        query.rest,
    )


def _present(
    claim: _Claim,
    method: bytes,
    raw_path: bytes,
    pairs: list[tuple[bytes, bytes]],
    table: dict[bytes, bytes],
    amz_names: list[bytes],
) -> Presented:
    signed = claim.signed_headers
    unsigned = [name for name in amz_names if name not in signed]
    if unsigned or b"host" not in signed:
        if b"host" not in signed:
            unsigned.append(b"host")
        # What the client did not sign, re-signing for the node would launder (ds_proxy#164).
        raise SigV4Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            {"HeadersNotSigned": ", ".join(sorted(name.decode("latin-1") for name in unsigned))},
        )
    lines = []
    for name in signed:
        value = table.get(name)
        if value is None:
            raise SignatureDoesNotMatch(
                "The request signature we calculated does not match the signature you provided: "
                f"the signed header {name.decode('latin-1')} is absent from the request."
            )
        lines.append(b"%b:%b\n" % (name, fold(value)))
    canonical_headers = b"".join(lines)
    canonical_query = join_query(claim.signed_pairs)
    if (
        canonical_headers.count(b"\n") != len(lines)
        or _CR in canonical_headers
        or _LF in raw_path
        or not method.isalpha()
    ):
        # HTTP lets no line break through; one here would let two requests share a canonical form.
        raise SigV4Error("InvalidRequest", "The request holds a line break where none may be.")
    kind, literal = _BODY, claim.payload
    if literal is not None:
        literal = fold(literal)
        kind = payload_kind(literal)
        if kind is not _SIGNED and claim.credential.service != "s3":
            # Only S3 has bodies that no signature covers.
            raise SigV4Error("InvalidRequest", "The body of this request must be signed.")
    decoded_length: int | None = None
    trailers: tuple[str, ...] = ()
    if kind.chunked:
        decoded_length = _decoded_length(table.get(b"x-amz-decoded-content-length"))
        trailers = parse_trailer_names(table.get(b"x-amz-trailer", b""), kind)
    credential = claim.credential
    return Presented(
        claim.form,
        method,
        raw_path,
        tuple(pairs),
        credential.access_key_id,
        None if claim.token is None else fold(claim.token).decode("latin-1"),
        claim.amz_date,
        credential.date,
        credential.region,
        credential.service,
        signed,
        kind,
        literal.decode("ascii") if literal and kind is _SIGNED else None,
        claim.expires_at,
        decoded_length,
        trailers,
        claim.signature,
        canonical_query,
        canonical_headers,
        literal,
    )


def _decoded_length(value: bytes | None) -> int:
    if value is None:
        raise SigV4Error(
            "MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header."
        )
    value = value.strip()
    if not value.isdigit() or len(value) > 19:
        raise SigV4Error("InvalidArgument", "x-amz-decoded-content-length must be a number of bytes.")
    return int(value)
