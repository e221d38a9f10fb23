"""Identifiers: random, so that none is ever used again (design, section 2)."""

from __future__ import annotations

import secrets
from typing import Final, Literal

_LOWER: Final = "abcdefghijklmnopqrstuvwxyz234567"
_UPPER: Final = _LOWER.upper()

CredentialKind = Literal["key", "session", "link"]

#: What an access key id of each kind starts with; 16 more characters follow.
ACCESS_KEY_PREFIX: Final[dict[CredentialKind, str]] = {"key": "WIOA", "session": "WIOS", "link": "WIOL"}


def new_id() -> str:
    """Return 16 characters of base 32: 80 random bits."""
    return "".join(secrets.choice(_LOWER) for _ in range(16))


def new_access_key_id(kind: CredentialKind) -> str:
    """Return an access key id of 20 characters, whose first four tell the kind."""
    return ACCESS_KEY_PREFIX[kind] + "".join(secrets.choice(_UPPER) for _ in range(16))


def new_secret() -> str:
    """Return a secret access key: 40 URL-safe characters, 240 random bits."""
    return secrets.token_urlsafe(30)


def new_session_token() -> str:
    """Return a session token: 128 URL-safe characters. Only its SHA-256 is kept."""
    return secrets.token_urlsafe(96)
