"""The `Authorization` header of SigV4: its parts, and the errors that AWS gives for malformed ones.

Precedent: s3s `authorization_v4`. Source:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-auth-using-authorization-header.html
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from .errors import SigV4Error

ALGORITHM: Final = b"AWS4-HMAC-SHA256"
#: SigV4A (asymmetric, for many regions): nobody signs so for one endpoint, and no secret here could verify it.
ALGORITHM_V4A: Final = b"AWS4-ECDSA-P256-SHA256"

MAX_AUTHORIZATION_BYTES: Final = 8 * 1024
MAX_SIGNED_HEADERS: Final = 128
#: Credentials and lists of names up to this size are remembered: clients send the same ones all day.
_REMEMBERED_BYTES: Final = 256


class Credential(NamedTuple):
    """`AKID/YYYYMMDD/REGION/SERVICE/aws4_request`."""

    access_key_id: str
    date: str
    region: str
    service: str

    @property
    def scope(self) -> str:
        """`YYYYMMDD/REGION/SERVICE/aws4_request`."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


class Authorization(NamedTuple):
    """The three parts of the header, not yet compared with anything."""

    credential: bytes
    signed_headers: bytes
    signature: bytes


class Dialect(NamedTuple):
    """Which error a malformed credential makes: header and query forms have their own."""

    code: str
    prefix: str

    def refuse(self, message: str, **details: str) -> NoReturn:
        """Raise the dialect's error."""
        raise SigV4Error(self.code, self.prefix + message, details)


HEADER: Final = Dialect("AuthorizationHeaderMalformed", "The authorization header is malformed; ")
QUERY: Final = Dialect("AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter; ")
FORM: Final = Dialect("InvalidRequest", "The form's credential is malformed; ")


def unsupported_mechanism() -> SigV4Error:
    """What AWS says to SigV2 and, at an ordinary endpoint, to SigV4A; and what helps: botocore signs URLs
    with SigV2 unless told otherwise, for custom endpoints in us-east-1."""
    return SigV4Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256 "
        "(aws and boto3: signature_version = s3v4).",
    )


def parse_authorization(value: bytes) -> Authorization:
    """The parts of a header's value. Raises for SigV2, SigV4A, other schemes and malformed parts."""
    if len(value) > MAX_AUTHORIZATION_BYTES:
        HEADER.refuse("it is too long.")
    scheme, _, rest = value.strip().partition(b" ")
    if scheme != ALGORITHM:
        if scheme in (b"AWS", ALGORITHM_V4A):
            raise unsupported_mechanism()
        # The value may be somebody's bearer token: it is not told back, other than AWS does.
        raise SigV4Error(
            "InvalidArgument", "Unsupported Authorization Type", {"ArgumentName": "Authorization"}
        )
    credential = signed_headers = signature = b""
    for part in rest.split(b","):
        name, equals, text = part.strip().partition(b"=")
        if not equals or not text:
            HEADER.refuse("a part is not of the form Name=Value.")
        if name == b"Credential" and not credential:
            credential = text
        elif name == b"SignedHeaders" and not signed_headers:
            signed_headers = text
        elif name == b"Signature" and not signature:
            signature = text
        else:
            HEADER.refuse("a part is unknown or given twice.")
    if not credential:
        HEADER.refuse("missing Credential.")
    if not signed_headers:
        HEADER.refuse("missing SignedHeaders.")
    if not signature:
        HEADER.refuse("missing Signature.")
    return Authorization(credential, signed_headers, signature)


def parse_credential(text: bytes, dialect: Dialect, region: str, service: str) -> Credential:
    """The credential, whose region and service must be ours; the error tells the expected region (`Region`).

    Access key ids may hold `/`, so the scope is taken from the end.
    """
    if len(text) <= _REMEMBERED_BYTES:
        return _remembered_credential(text, dialect, region, service)
    return _parse_credential(text, dialect, region, service)


def _parse_credential(text: bytes, dialect: Dialect, region: str, service: str) -> Credential:
    parts = text.rsplit(b"/", 4)
    if len(parts) != 5 or not parts[0]:
        dialect.refuse(
            'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    try:
        access_key_id, date, given_region, given_service, terminal = text.decode("ascii").rsplit("/", 4)
    except UnicodeDecodeError:
        dialect.refuse("the Credential is mal-formed; it must be ASCII.")
    if terminal != "aws4_request":
        dialect.refuse(f'incorrect terminal "{terminal}". This endpoint uses "aws4_request".')
    if given_service != service:
        dialect.refuse(f'incorrect service "{given_service}". This endpoint belongs to "{service}".')
    if given_region != region:
        dialect.refuse(f"the region '{given_region}' is wrong; expecting '{region}'", Region=region)
    if len(date) != 8 or not date.isdigit():
        dialect.refuse(
            f'incorrect date format "{date}". This date in the credential must be in the format "yyyyMMdd".'
        )
    return Credential(access_key_id, date, given_region, given_service)


_remembered_credential: Final = lru_cache(maxsize=4096)(_parse_credential)


def parse_signed_headers(text: bytes, dialect: Dialect) -> tuple[bytes, ...]:
    """The names, sorted as they are signed. Malformed where one is empty, in upper case or given twice."""
    if len(text) <= _REMEMBERED_BYTES:
        return _remembered_signed_headers(text, dialect)
    return _parse_signed_headers(text, dialect)


def _parse_signed_headers(text: bytes, dialect: Dialect) -> tuple[bytes, ...]:
    names = text.split(b";")
    if len(names) > MAX_SIGNED_HEADERS or b"" in names or text != text.lower():
        dialect.refuse("SignedHeaders must be a list of lower-case names, separated by semicolons.")
    if len(set(names)) != len(names):
        dialect.refuse("SignedHeaders names a header twice.")
    names.sort()
    return tuple(names)


_remembered_signed_headers: Final = lru_cache(maxsize=1024)(_parse_signed_headers)
