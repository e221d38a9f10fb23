"""OpenID Connect: whose identity token is this? Keys are fetched from the issuer and refreshed.

WorkspacesIO fetched them once and never again; here they age out, and an unknown key id makes them be
fetched anew (not more often than every few seconds, whatever strangers send).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from broker.errors import ApiError

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
MAX_TOKEN_BYTES = 20_000
MAX_DOCUMENT_BYTES = 1 << 20
#: Strangers' tokens with unknown key ids make us fetch at most this often, in seconds.
SHORTEST_REFRESH = 5.0
LEEWAY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the issuer says it is. `subject` is unique together with the issuer, and never used again."""

    subject: str
    login: str
    email: str | None
    audience: str


def refused(message: str) -> ApiError:
    """The token does not prove an identity."""
    return ApiError("InvalidIdentityToken", message, 400)


@dataclass(slots=True)
class OidcVerifier:
    """Verifies identity tokens of one issuer for one audience."""

    issuer: str
    audience: str
    refresh_seconds: float
    transport: httpx.AsyncBaseTransport | None = None
    _keys: KeySet | None = None
    _fetched: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def verify(self, token: str) -> Identity:
        """The identity that the token proves now. Raises ApiError: a bad token, or (503) no keys to be had."""
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise refused("There is no identity token, or it is too long.")
        keys = await self._current(self.refresh_seconds)
        try:
            claims = self._claims(token, keys)
        except (JoseError, ValueError, TypeError, KeyError):
            # The issuer may have rotated its keys since: look once more, if that was not just now.
            fresh = await self._current(SHORTEST_REFRESH)
            if fresh is keys:
                raise refused("The identity token is not valid.") from None
            try:
                claims = self._claims(token, fresh)
            except (JoseError, ValueError, TypeError, KeyError):
                raise refused("The identity token is not valid.") from None
        return self._identity(claims)

    def _claims(self, token: str, keys: KeySet) -> dict[str, Any]:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        registry.validate(decoded.claims)
        return decoded.claims

    def _identity(self, claims: dict[str, Any]) -> Identity:
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise refused("The identity token names no subject.")
        email = claims.get("email") if claims.get("email_verified") is not False else None
        login = claims.get("preferred_username") or email or subject
        return Identity(
            subject=f"{self.issuer}|{subject}",
            login=str(login)[:255],
            email=str(email)[:320] if email else None,
            audience=self.audience,
        )

    async def _current(self, max_age: float) -> KeySet:
        async with self._lock:
            if self._keys is None or time.monotonic() - self._fetched > max_age:
                try:
                    self._keys = await self._fetch()
                except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
                    if self._keys is None:
                        raise ApiError(
                            "IDPCommunicationError", "The identity provider cannot be asked now.", 503
                        ) from error
                self._fetched = time.monotonic()
            return self._keys

    async def _fetch(self) -> KeySet:
        async with httpx.AsyncClient(timeout=5.0, transport=self.transport, trust_env=False) as http:
            metadata = await _document(http, self.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if metadata.get("issuer") != self.issuer:
                raise ValueError("the issuer's own document names another issuer")
            return KeySet.import_key_set(await _document(http, metadata["jwks_uri"]))  # type: ignore[arg-type]


async def _document(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    response = await http.get(url)
    response.raise_for_status()
    if len(response.content) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too long")
    document: dict[str, Any] = response.json()
    return document
