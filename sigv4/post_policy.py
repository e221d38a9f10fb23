"""POST policies: parsing the JSON, and deciding on a form.

Every field must be named by a condition, except those that S3 exempts, and the bucket too: what the signer
did not say is not allowed. Source:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

from __future__ import annotations

import base64
import binascii
import calendar
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NoReturn

from .amz_date import format_iso
from .errors import SigV4Error

MAX_CONDITIONS: Final = 256
#: The largest object of one POST that S3 takes is 5 GiB; a policy may name more, which only then never binds.
_MAX_LENGTH: Final = 1 << 63

#: "Each form field that you specify in a form (except x-amz-signature, file, policy, and field names that have
#: an x-ignore- prefix) must appear in the list of conditions."
_EXEMPT: Final = frozenset({"x-amz-signature", "file", "policy"})
_EXEMPT_PREFIX: Final = "x-ignore-"

Operator = Literal["eq", "starts-with"]


@dataclass(frozen=True, slots=True)
class Condition:
    """`field` (lower-case, without `$`) must equal, or start with, `value`."""

    operator: Operator
    field: str
    value: str

    def holds(self, actual: str) -> bool:
        """True where `actual` meets the condition. For Content-Type, commas make a list of prefixed values."""
        if self.operator == "eq":
            return actual == self.value
        if self.field == "content-type" and "," in actual:
            return all(part.strip().startswith(self.value) for part in actual.split(","))
        return actual.startswith(self.value)

    def __str__(self) -> str:
        return json.dumps([self.operator, f"${self.field}", self.value])


@dataclass(frozen=True, slots=True)
class PostPolicy:
    """A policy whose signature has held and that has not expired.

    `length_range` is the least and the greatest size of the file in bytes, both inclusive, or None: it bounds
    the hold (protocol, rule 17).
    """

    expires_at: float
    conditions: tuple[Condition, ...]
    length_range: tuple[int, int] | None

    def check(self, fields: Mapping[str, str], *, bucket: str) -> None:
        """Return if the form is allowed; raises AccessDenied, naming the condition that failed or the extra field.

        `fields` are `PresentedForm.fields` with `${filename}` in `key` already replaced; `bucket` is the one
        that the request addresses. The file's size is for `check_length`.
        """
        if fields.get("bucket", bucket) != bucket:
            _deny("the form's bucket is not the one addressed")
        actual = dict(fields, bucket=bucket)
        for condition in self.conditions:
            if not condition.holds(actual.get(condition.field, "")):
                _deny(f"Policy Condition failed: {condition}")
        covered = {condition.field for condition in self.conditions} | _EXEMPT
        extra = [name for name in actual if name not in covered and not name.startswith(_EXEMPT_PREFIX)]
        if extra:
            _deny(f"Extra input fields: {', '.join(sorted(extra))}")

    def check_length(self, size: int) -> None:
        """Return if a file of `size` bytes is allowed; raises EntityTooSmall or EntityTooLarge."""
        if self.length_range is None:
            return
        least, greatest = self.length_range
        if size > greatest:
            raise SigV4Error(
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
                {"ProposedSize": str(size), "MaxSizeAllowed": str(greatest)},
            )
        if size < least:
            raise SigV4Error(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                {"ProposedSize": str(size), "MinSizeAllowed": str(least)},
            )


def _deny(message: str) -> NoReturn:
    raise SigV4Error("AccessDenied", f"Invalid according to Policy: {message}")


def _refuse(message: str) -> NoReturn:
    raise SigV4Error("InvalidPolicyDocument", f"Invalid Policy: {message}")


def parse_policy(text: str, *, now: float) -> PostPolicy:
    """The policy of its base64 text. InvalidPolicyDocument for what is not one; AccessDenied once expired.

    Whoever holds the result must have verified the signature over `text`: `PresentedForm.verify` does both.
    """
    try:
        document = json.loads(base64.b64decode(text, validate=True), object_pairs_hook=_unique)
    except (binascii.Error, ValueError, RecursionError):
        _refuse("it is not JSON in base64.")
    if not isinstance(document, dict) or set(document) != {"expiration", "conditions"}:
        _refuse("it must hold expiration and conditions, and nothing else.")
    expires_at = _expiration(document["expiration"])
    if now >= expires_at:
        raise SigV4Error(
            "AccessDenied",
            "Invalid according to Policy: Policy expired.",
            {"Expires": format_iso(expires_at), "ServerTime": format_iso(now)},
        )
    return _conditions(document["conditions"], expires_at)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _expiration(value: object) -> float:
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        when = None
    if when is None or when.utcoffset() is None:
        _refuse("expiration must be a time like 2015-12-30T12:00:00.000Z.")
    try:
        when = when.astimezone(UTC)
    except OverflowError:
        _refuse("expiration is out of range.")
    return calendar.timegm(when.utctimetuple()) + when.microsecond / 1e6


def _conditions(value: object, expires_at: float) -> PostPolicy:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CONDITIONS:
        _refuse("conditions must be a list of some conditions.")
    conditions: list[Condition] = []
    least, greatest = 0, _MAX_LENGTH
    for item in value:
        match item:
            case {**pairs} if len(pairs) == 1:
                name, wanted = pairs.popitem()
                conditions.append(_condition("eq", f"${name}", wanted))
            case [str(operator), low, high] if operator.lower() == "content-length-range":
                low, high = _length(low), _length(high)
                if low > high:
                    _refuse("content-length-range must go from the least to the greatest.")
                least, greatest = max(least, low), min(greatest, high)
            case [str(operator), name, wanted]:
                conditions.append(_condition(operator.lower(), name, wanted))
            case _:
                _refuse("a condition is neither one name and value, nor a list of three.")
    bounded = (least, greatest) != (0, _MAX_LENGTH)
    return PostPolicy(expires_at, tuple(conditions), (least, greatest) if bounded else None)


def _condition(operator: str, name: object, value: object) -> Condition:
    if not isinstance(name, str) or not name.startswith("$") or len(name) < 2:
        _refuse("a condition must name a field as $NAME.")
    if not isinstance(value, str):
        _refuse("a condition's value must be a string.")
    if operator == "eq":
        return Condition("eq", name[1:].lower(), value)
    if operator == "starts-with":
        return Condition("starts-with", name[1:].lower(), value)
    _refuse("an operator is neither eq, starts-with nor content-length-range.")


def _length(value: object) -> int:
    # S3 takes numbers and strings of digits alike; a bool is an int to Python only.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_LENGTH:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return min(int(value), _MAX_LENGTH)
    _refuse("content-length-range needs two numbers of bytes.")
