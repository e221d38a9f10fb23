"""Identifiers: random, so that none is ever used again (design, section 2)."""

from __future__ import annotations

import secrets
import string
from base64 import b32encode
from random import getrandbits
from typing import Final, Literal

_LOWER: Final = "abcdefghijklmnopqrstuvwxyz234567"
_UPPER: Final = _LOWER.upper()
_ALPHANUMERIC: Final = string.ascii_letters + string.digits

CredentialKind = Literal["key", "session", "link"]

#: What an access key id of each kind starts with; 16 more characters follow.
ACCESS_KEY_PREFIX: Final[dict[CredentialKind, str]] = {"key": "WIOA", "session": "WIOS", "link": "WIOL"}


def new_id() -> str:
    """Return 16 characters of base 32: 80 random bits."""
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def new_hold() -> str:
    """Return the id of a hold: 80 random bits in hex. No secret: it only has to be another one for each change, in
    every process (a fork seeds its own).
    """
    return format(getrandbits(80), "020x")


def new_access_key_id(kind: CredentialKind) -> str:
    """Return an access key id of 20 characters, whose first four tell the kind."""
    return ACCESS_KEY_PREFIX[kind] + "".join(secrets.choice(_UPPER) for _ in range(16))


def new_secret() -> str:
    """Return a secret access key: 40 letters and digits, 238 random bits. Nothing in it needs quoting, and none
    begins with a dash, which `mc alias set` and `aws configure set` would take for an option."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(40))


def new_session_token() -> str:
    """Return a session token: 128 letters and digits. Only its SHA-256 is kept."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(128))
