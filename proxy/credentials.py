"""Secrets of access keys, remembered by the worker: a key's secret never changes; whether it lives, admit asks."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from quota import Sealer, SealError
from quota.gate import Gate

_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Credential:
    """What verifying a signature needs. `token_sha256` is the hex hash of the session token, None for keys.

    `record` is the whole definition, of a link only: what is fixed when a link is made never changes either.
    """

    access_key_id: str
    kind: str
    secret: str = field(repr=False)
    token_sha256: str | None = field(repr=False)
    record: dict[str, Any] | None = field(repr=False, default=None)

    def has_token(self, token: str | None) -> bool:
        """Whether `token` is this credential's session token (None where it has none); in constant time."""
        if self.token_sha256 is None:
            return token is None
        if token is None:
            return False
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        return hmac.compare_digest(digest, self.token_sha256)


class Credentials:
    """The secrets in use, at most 20,000. An unknown key is never remembered as unknown (rule 2)."""

    def __init__(self, gate: Gate, sealer: Sealer) -> None:
        self._gate = gate
        self._sealer = sealer
        self._known: OrderedDict[str, Credential] = OrderedDict()
        self._forgotten = 0

    def known(self, access_key_id: str) -> Credential | None:
        """Return what is remembered, without asking."""
        return self._known.get(access_key_id)

    async def find(self, access_key_id: str) -> Credential | None:
        """Return the credential, or None when there is none. Raises `GateUnavailable`."""
        known = self._known.get(access_key_id)
        if known is not None:
            return known
        forgotten = self._forgotten
        record = await self._gate.record("CREDENTIALS", access_key_id)
        if record is None:
            return None
        try:
            secret = self._sealer.open(record["secret"], b"credential:" + access_key_id.encode()).decode()
        except SealError:
            # Sealed by another deployment secret: it cannot be verified here, so it does not exist here.
            return None
        credential = Credential(
            access_key_id,
            record["kind"],
            secret,
            record.get("token"),
            record if record["kind"] == "link" else None,
        )
        if forgotten != self._forgotten:
            # Read before a revocation that was applied meanwhile: good for asking admit, not for keeping.
            return credential
        self._known[access_key_id] = credential
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return credential

    def forget(self, access_key_id: str) -> None:
        """Drop a secret that was revoked."""
        self._forgotten += 1
        self._known.pop(access_key_id, None)

    def forget_all(self) -> None:
        """Drop all of them."""
        self._forgotten += 1
        self._known.clear()
