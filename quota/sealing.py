"""Sealing: what must be kept, or handed to clients, without being readable (AES-256-GCM)."""

from __future__ import annotations

import base64
import binascii
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12


class SealError(Exception):
    """The text was not sealed by this deployment for this use, or was altered."""


class Sealer:
    """Seals and opens texts under keys derived from the deployment's secret.

    `aad` binds a sealed text to its use (`b"credential:" + access key id`, say): opened for another use, it fails.
    Safe to share between tasks. The key never shows in `repr`.
    """

    __slots__ = ("_aead", "_secret")

    def __init__(self, secret: str) -> None:
        if len(secret) < 32:
            raise ValueError("the deployment's secret needs at least 32 characters: set WIO_SECRET")
        self._secret = secret.encode()
        self._aead = AESGCM(self.derive(b"seal"))

    def derive(self, purpose: bytes) -> bytes:
        """Return 32 bytes of key for `purpose`, independent of every other purpose (RFC 5869)."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"wio-gate:" + purpose).derive(
            self._secret
        )

    def seal(self, plain: bytes, aad: bytes) -> str:
        """Return `plain` encrypted and authenticated, as URL-safe text without padding."""
        nonce = os.urandom(_NONCE_BYTES)
        return base64.urlsafe_b64encode(nonce + self._aead.encrypt(nonce, plain, aad)).rstrip(b"=").decode()

    def open(self, sealed: str, aad: bytes) -> bytes:
        """Return what was sealed. Raises `SealError` when it was not sealed here for `aad`."""
        try:
            raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], aad)
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise SealError("not sealed by this deployment for this use") from error
