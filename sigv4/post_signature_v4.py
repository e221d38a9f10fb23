"""Uploads by HTML forms: the signature over the policy, and the policy itself.

A form is authorised by its policy alone, so the signature without the conditions would be a hole
(supabase/storage#1211): `verify` gives the only object that has `check`, and a form must pass both. Precedent:
s3s `post_signature_v4`. Source:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from .amz_date import format_iso, parse_amz_date
from .authorization_v4 import FORM, Credential, parse_credential, unsupported_mechanism
from .errors import SignatureDoesNotMatch, SigV4Error
from .keys import signing_key
from .post_policy import PostPolicy, parse_policy

#: Fields other than the file, and their bytes together (S3: "the form data and boundaries" at most 20 KB).
MAX_FIELDS: Final = 128
MAX_FIELD_BYTES: Final = 20 * 1024
#: A signing key holds for seven days at most, as AWS says of presigned URLs and forms alike.
MAX_AGE: Final = 604800
_MAX_SKEW: Final = 900

_REQUIRED: Final = ("policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
#: SigV2's fields; with SigV4's they would be two mechanisms at once.
_SIGV2: Final = ("awsaccesskeyid", "signature")


@dataclass(frozen=True, slots=True)
class PresentedForm:
    """A well-formed, timely form; nothing about it is proven before `verify`. Names are lower-case."""

    access_key_id: str
    session_token: str | None = field(repr=False)
    amz_date: str
    credential: Credential
    fields: dict[str, str] = field(repr=False)
    _signature: str = field(repr=False)
    _now: float

    def verify(self, secret: str) -> PostPolicy:
        """The policy, once its signature has held (constant time). Raises SignatureDoesNotMatch, and
        InvalidPolicyDocument or AccessDenied (expired) for what the policy says.
        """
        policy = self.fields["policy"]
        date, region, service = self.credential.date, self.credential.region, self.credential.service
        key = signing_key(secret, date, region, service)
        expected = hmac.digest(key, policy.encode("utf-8", "surrogatepass"), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), self._signature.encode("utf-8", "surrogatepass")):
            raise SignatureDoesNotMatch(
                details={"AWSAccessKeyId": self.access_key_id, "StringToSign": policy}
            )
        return parse_policy(policy, now=self._now)


def parse_form(fields: Sequence[tuple[str, str]], *, now: float, region: str) -> PresentedForm:
    """Read the fields that come before the file, in order. Raises SigV4Error.

    Refused are: fields missing, given twice, too many or too long; SigV2; another region or service; a date
    in the future, or more than seven days ago. Names are compared without case, as S3 does.
    """
    if len(fields) > MAX_FIELDS:
        raise SigV4Error("MalformedPOSTRequest", "The form has too many fields.")
    if sum(len(name) + len(value) for name, value in fields) > MAX_FIELD_BYTES:
        raise SigV4Error(
            "MalformedPOSTRequest", "Your POST request fields preceding the upload file were too large."
        )
    table: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        if name in table:
            raise SigV4Error("MalformedPOSTRequest", f"The form's field {name} is given more than once.")
        table[name] = value
    if any(name in table for name in _SIGV2):
        raise unsupported_mechanism()
    if "policy" not in table and not any(name in table for name in _REQUIRED):
        raise SigV4Error("AccessDenied", "Access Denied")
    for name in _REQUIRED:
        if not table.get(name):
            raise SigV4Error("InvalidArgument", f"Bucket POST must contain a field named '{name}'.")
    if table["x-amz-algorithm"] != "AWS4-HMAC-SHA256":
        raise unsupported_mechanism()
    credential = parse_credential(_octets(table["x-amz-credential"]), FORM, region, "s3")
    amz_date = table["x-amz-date"]
    seconds = parse_amz_date(_octets(amz_date))
    if seconds is None or not amz_date.startswith(credential.date):
        raise SigV4Error(
            "InvalidArgument", "X-Amz-Date must be in the ISO8601 Long Format, on the credential's day."
        )
    if not -_MAX_SKEW <= now - seconds <= MAX_AGE:
        raise SigV4Error(
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
            {"X-Amz-Date": amz_date, "ServerTime": format_iso(now)},
        )
    return PresentedForm(
        access_key_id=credential.access_key_id,
        session_token=table.get("x-amz-security-token"),
        amz_date=amz_date,
        credential=credential,
        fields=table,
        _signature=table["x-amz-signature"],
        _now=now,
    )


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
