"""Presigned URLs: the `X-Amz-*` parameters of a query, and when they hold.

Names are compared exactly: `x-amz-signature` is an ordinary parameter. Precedent: s3s `presigned_url_v4`.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from .authorization_v4 import ALGORITHM, ALGORITHM_V4A, unsupported_mechanism
from .canonical import decode_component
from .errors import SigV4Error

MAX_EXPIRES: Final = 604800

#: Each of these must be given exactly once.
REQUIRED: Final = frozenset(
    {
        b"X-Amz-Algorithm",
        b"X-Amz-Credential",
        b"X-Amz-Date",
        b"X-Amz-Expires",
        b"X-Amz-Signature",
        b"X-Amz-SignedHeaders",
    }
)
_OPTIONAL: Final = frozenset({b"X-Amz-Security-Token", b"X-Amz-Content-Sha256"})
_KNOWN: Final = REQUIRED | _OPTIONAL
_SIGV2: Final = frozenset({b"AWSAccessKeyId", b"Signature"})


class PresignedQuery:
    """The parameters, decoded; `expires` in seconds, 1 to 604800. `rest` is every pair but the signature."""

    __slots__ = (
        "amz_date",
        "content_sha256",
        "credential",
        "expires",
        "rest",
        "security_token",
        "signature",
        "signed_headers",
    )

    def __init__(
        self,
        credential: bytes,
        amz_date: bytes,
        expires: int,
        signed_headers: bytes,
        signature: bytes,
        security_token: bytes | None,
        content_sha256: bytes | None,
        rest: list[tuple[bytes, bytes]],
    ) -> None:
        self.credential: Final = credential
        self.amz_date: Final = amz_date
        self.expires: Final = expires
        self.signed_headers: Final = signed_headers
        self.signature: Final = signature
        self.security_token: Final = security_token
        self.content_sha256: Final = content_sha256
        self.rest: Final = rest


def claims(names: Mapping[bytes, bytes]) -> tuple[bool, bool]:
    """Whether the query claims SigV4, and SigV2: any one parameter is enough, so half a claim is an error."""
    return not REQUIRED.isdisjoint(names), not _SIGV2.isdisjoint(names)


def _refuse(message: str) -> NoReturn:
    raise SigV4Error("AuthorizationQueryParametersError", message)


def parse_presigned(pairs: Sequence[tuple[bytes, bytes]], found: Mapping[bytes, bytes]) -> PresignedQuery:
    """The parameters of a query that claims SigV4; `found` is `pairs` by name. Raises
    AuthorizationQueryParametersError.
    """
    if len(found) != len(pairs):
        _refuse_repeated(pairs)
    try:
        algorithm = decode_component(found[b"X-Amz-Algorithm"])
        credential = decode_component(found[b"X-Amz-Credential"])
        amz_date = decode_component(found[b"X-Amz-Date"])
        expires = decode_component(found[b"X-Amz-Expires"])
        signed_headers = decode_component(found[b"X-Amz-SignedHeaders"])
        signature = decode_component(found[b"X-Amz-Signature"])
    except KeyError:
        _refuse(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if algorithm != ALGORITHM:
        if algorithm == ALGORITHM_V4A:
            raise unsupported_mechanism()
        _refuse('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    token, content_sha256 = found.get(b"X-Amz-Security-Token"), found.get(b"X-Amz-Content-Sha256")
    return PresignedQuery(
        credential,
        amz_date,
        _expires(expires),
        signed_headers,
        signature,
        None if token is None else decode_component(token),
        None if content_sha256 is None else decode_component(content_sha256),
        [pair for pair in pairs if pair[0] != b"X-Amz-Signature"],
    )


def _refuse_repeated(pairs: Sequence[tuple[bytes, bytes]]) -> None:
    found = set()
    for name, _ in pairs:
        if name in _KNOWN:
            if name in found:
                _refuse(f"{name.decode()} is given more than once.")
            found.add(name)


def _expires(text: bytes) -> int:
    if text.isdigit() and len(text) <= 6 and 0 < (seconds := int(text)) <= MAX_EXPIRES:
        return seconds
    if text[:1] == b"-" and text[1:].isdigit():
        _refuse("X-Amz-Expires must be non-negative")
    if not text.isdigit():
        _refuse("X-Amz-Expires must be a number")
    if len(text) > 10 or not int(text) <= MAX_EXPIRES:
        _refuse(
            "X-Amz-Expires must be less than a week (in seconds); "
            "that is, the given X-Amz-Expires must be less than 604800 seconds"
        )
    if int(text) == 0:
        _refuse("X-Amz-Expires must be at least one second")
    return int(text)
