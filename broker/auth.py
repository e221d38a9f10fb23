"""Who is asking: SigV4 (service "wio" or "sts"), HTTP Basic with an access key, and session tokens.

Every form ends in `caller_for`, one gate: the credential is live, its parents are, its user is enabled.
The broker asks SQL, the truth, so that it works while the live state is being rebuilt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.db import Database
from broker.errors import ApiError
from broker.groups.models import Member
from broker.keys.models import Credential
from broker.keys.service import is_live, open_secret
from broker.policy import Caller, Scope
from broker.times import now_ms
from broker.users.models import User
from quota import Sealer
from quota.uses import Uses
from sigv4 import PayloadKind, SigV4Error, parse

Headers = Sequence[tuple[bytes, bytes]]


class Backing(Protocol):
    """What authentication needs of the broker."""

    @property
    def db(self) -> Database: ...
    @property
    def sealer(self) -> Sealer: ...
    @property
    def uses(self) -> Uses: ...


class Unauthenticated(ApiError):
    """Nobody, or not who they say. `details` go to the client in XML answers."""

    def __init__(
        self, code: str, message: str, status: int = 403, details: dict[str, str] | None = None
    ) -> None:
        super().__init__(code, message, status)
        self.details = details or {}


def _unknown() -> Unauthenticated:
    return Unauthenticated("InvalidAccessKeyId", "The access key id you provided does not exist here.")


async def authenticate(
    backing: Backing,
    method: str,
    raw_path: bytes,
    query_string: bytes,
    headers: Headers,
    body: bytes,
    *,
    region: str,
    service: str = "wio",
) -> Caller:
    """The caller of a request. Raises Unauthenticated when no form holds."""
    given = [value for name, value in headers if name == b"authorization"]
    if given and given[0][:6].lower() == b"basic ":
        if len(given) > 1 or service != "wio":
            raise Unauthenticated("AccessDenied", "Use one form of authentication.")
        return await _basic(backing, given[0], headers)
    try:
        presented = parse(
            method, raw_path, query_string, headers, now=time.time(), region=region, service=service
        )
        if presented.form != "header":
            raise Unauthenticated("AccessDenied", "Presigned requests are for S3 only.")
        row = await _credential(backing.db, presented.access_key_id)
        digest = hashlib.sha256(body).hexdigest()
        presented.verify(open_secret(backing.sealer, row), body_sha256=digest)
    except SigV4Error as error:
        if error.code == "AccessDenied" and not given:
            raise Unauthenticated(
                "AccessDenied", "Sign the request, or use HTTP Basic with an access key.", 401
            ) from None
        raise Unauthenticated(error.code, error.message, error.status, error.details) from None
    signed_ok = presented.payload is PayloadKind.BODY or (
        presented.payload is PayloadKind.SIGNED
        and hmac.compare_digest(presented.payload_sha256 or "", digest)
    )
    if not signed_ok:
        raise Unauthenticated("XAmzContentSHA256Mismatch", "The body is not the one that was signed.", 400)
    _check_token(row, presented.session_token)
    return await caller_who_uses(backing, row.id)


async def _basic(backing: Backing, header: bytes, headers: Headers) -> Caller:
    name, password = read_basic(header)
    row = await _credential(backing.db, name)
    if not hmac.compare_digest(open_secret(backing.sealer, row).encode(), password.encode()):
        raise Unauthenticated("SignatureDoesNotMatch", "The secret access key is wrong.")
    tokens = [value.decode("latin-1") for key, value in headers if key == b"x-amz-security-token"]
    _check_token(row, tokens[0] if tokens else None)
    return await caller_who_uses(backing, row.id)


def read_basic(header: bytes) -> tuple[str, str]:
    """Name and password of an `Authorization: Basic` value. Raises Unauthenticated when it is malformed."""
    try:
        text = base64.b64decode(header[6:].strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthenticated("InvalidRequest", "The Authorization header is malformed.", 400) from None
    name, colon, password = text.partition(":")
    if not colon or not name:
        raise Unauthenticated("InvalidRequest", "The Authorization header is malformed.", 400)
    return name, password


async def _credential(db: Database, access_key_id: str) -> Credential:
    async with db.read() as session:
        row = await session.get(Credential, access_key_id)
    # A link is no way into the control plane, and a deleted key has no secret to compare with.
    if row is None or row.deleted_at is not None or row.kind == "link":
        raise _unknown()
    return row


def _check_token(row: Credential, token: str | None) -> None:
    digest = hashlib.sha256((token or "").encode()).hexdigest()
    if row.token is None:
        if token is not None:
            raise Unauthenticated("InvalidToken", "This access key is used without a session token.", 400)
    elif token is None or not hmac.compare_digest(row.token, digest):
        raise Unauthenticated("InvalidToken", "The session token does not belong to this access key.", 400)


async def caller_for(db: Database, access_key_id: str) -> Caller:
    """The caller behind a credential whose possession is proven. Raises Unauthenticated when it is not live."""
    async with db.read() as session:
        row = await session.get(Credential, access_key_id)
        if row is None or row.deleted_at is not None:
            raise _unknown()
        now = now_ms()
        if not is_live(row, now):
            if row.enabled and row.kind == "session":
                raise Unauthenticated("ExpiredToken", "The session has ended.", 400)
            raise _unknown()
        for parent_id in row.parents:
            parent = await session.get(Credential, parent_id)
            if parent is None or not is_live(parent, now):
                raise _unknown()
        scope = Scope(
            None if row.workspaces is None else frozenset(row.workspaces), row.permission, row.expires_at
        )
        return await caller_of_user(session, row.user_id, row, scope)


async def caller_who_uses(backing: Backing, access_key_id: str) -> Caller:
    """The same, and the use of the credential is noted for `last_used_at`."""
    caller = await caller_for(backing.db, access_key_id)
    backing.uses.note(access_key_id)
    return caller


async def caller_of_user(
    session: AsyncSession, user_id: str, credential: Credential | None = None, scope: Scope | None = None
) -> Caller:
    """The caller that a user is, without or through a credential. Raises Unauthenticated when disabled."""
    user = await session.get(User, user_id)
    if user is None or user.deleted_at is not None or not user.enabled:
        raise Unauthenticated("AccessDenied", "The user is disabled.")
    groups = await session.scalars(select(Member.group_id).where(Member.user_id == user_id))
    return Caller(
        user=user.id,
        handle=user.handle,
        admin=user.admin,
        groups=frozenset(groups),
        credential=credential.id if credential else None,
        kind=credential.kind if credential else "password",
        scope=scope or Scope(),
        parents=tuple(credential.parents) if credential else (),
    )
