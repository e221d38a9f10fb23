"""Signing keys: derived once per secret, day, region and service, then cached (bounded).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html ("Calculate the signature").
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

#: Signing keys remembered; one is about 200 bytes. A credential needs one a day and service.
MAX_CACHED_KEYS: Final = 8192


@lru_cache(maxsize=MAX_CACHED_KEYS)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The 32-byte key that signs for `date` (YYYYMMDD), `region` and `service`. Any text is accepted."""
    key = hmac.digest(b"AWS4" + _octets(secret), _octets(date), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, _octets(part), "sha256")
    return key


def _octets(text: str) -> bytes:
    # A lone surrogate (from a mis-decoded byte) must not raise another exception than ours.
    return text.encode("utf-8", "surrogatepass")


def hmac_hex(key: bytes, string_to_sign: bytes) -> str:
    """HMAC-SHA256 in lower-case hex: a signature, or a link in a chain of chunk signatures."""
    return hmac.digest(key, string_to_sign, "sha256").hex()


@dataclass(frozen=True, slots=True)
class VerifiedContext:
    """What a verified request leaves behind for its body: where its chain of chunk signatures begins.

    Only `Presented.verify` (or a signer, for its own requests) makes one, so holding one means that the
    signature held. The key and the seed are hidden from `repr`.
    """

    access_key_id: str
    amz_date: str
    scope: str
    signing_key: bytes = field(repr=False)
    seed_signature: str = field(repr=False)
