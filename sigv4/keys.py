"""Signing keys: derived once per secret, day, region and service, then cached (bounded).

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html ("Calculate the signature").
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashlib import _Hash

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


_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


@lru_cache(maxsize=MAX_CACHED_KEYS)
def _begun(key: bytes) -> tuple[_Hash, _Hash]:
    """The two hashes of HMAC (RFC 2104) with a signing key's blocks in them, to be copied and never updated."""
    block = key.ljust(64, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))


def hmac_hex(key: bytes, string_to_sign: bytes) -> str:
    """HMAC-SHA256, with a key of at most 64 bytes, in lower-case hex: a signature, or a link in a chain of them.

    Copying hashes that have the key in them already costs less than half of `hmac.digest`.
    """
    inner, outer = _begun(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(string_to_sign)
    outer.update(inner.digest())
    return outer.hexdigest()


class VerifiedContext:
    """What a verified request leaves behind for its body: where its chain of chunk signatures begins.

    Only `Presented.verify` (or a signer, for its own requests) makes one, so holding one means that the
    signature held. The key and the seed are hidden from `repr`.
    """

    __slots__ = (
        "access_key_id",
        "amz_date",
        "scope",
        "seed_signature",
        "signing_key",
    )

    def __init__(
        self,
        access_key_id: str,
        amz_date: str,
        scope: str,
        signing_key: bytes,
        seed_signature: str,
    ) -> None:
        self.access_key_id: Final = access_key_id
        self.amz_date: Final = amz_date
        self.scope: Final = scope
        self.signing_key: Final = signing_key
        self.seed_signature: Final = seed_signature

    def __repr__(self) -> str:
        return f"VerifiedContext(access_key_id={self.access_key_id!r}, scope={self.scope!r})"
