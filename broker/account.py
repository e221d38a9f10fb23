"""Routes about the caller: login, logout, whoami, info."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from fastapi import APIRouter, Request
from sqlalchemy import select

from broker.auth import Unauthenticated, caller_of_user, read_basic
from broker.groups.models import Group
from broker.keys.api import credential_json, scope_json
from broker.keys.service import create_key, end_key
from broker.passwords import Throttle
from broker.policy import Scope
from broker.times import rfc3339
from broker.users.sign_in import user_for_password
from broker.web import Body, BrokerDep, CallerDep, Text

router = APIRouter(tags=["account"])


class LoginIn(Body):
    username: Text | None = None
    password: Text | None = None
    name: Text | None = None


@router.post("/login", status_code=201)
async def login(request: Request, broker: BrokerDep, body: LoginIn | None = None) -> dict[str, Any]:
    """A new key for a username and password (in the body, or by HTTP Basic); the secret is shown only now."""
    username, password = (body.username, body.password) if body else (None, None)
    basic = request.headers.get("authorization", "")
    if username is None and basic[:6].lower() == "basic ":
        username, password = read_basic(basic.encode("latin-1"))
    if not username or password is None:
        raise Unauthenticated("AccessDenied", "Give a username and a password.", 401)
    throttle = cast(Throttle, request.app.state.throttle)
    address = request.client.host if request.client else "-"
    user = await user_for_password(broker, throttle, username, password, address)
    async with broker.db.read() as session:
        caller = await caller_of_user(session, user.id)
    name = (body.name if body else None) or "login"
    made = await create_key(broker, caller, user_id=user.id, name=name, wanted=Scope())
    async with broker.db.read() as session:
        shown = await credential_json(session, made.row)
    return {**shown, "secret_access_key": made.secret}


@router.post("/logout")
async def logout(broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Delete the credential that signs this request."""
    return await end_key(
        broker, caller, caller.credential or "", "session" if caller.kind == "session" else "key"
    )


@router.get("/whoami")
async def whoami(broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Who signs this request, and what the credential is narrowed to."""
    async with broker.db.read() as session:
        names = await session.scalars(select(Group.name).where(Group.id.in_(caller.groups)))
        return {
            "user": caller.handle,
            "id": caller.user,
            "admin": caller.admin,
            "groups": sorted(names),
            "kind": caller.kind,
            "access_key_id": caller.credential,
            "scope": await scope_json(session, caller.scope),
            "expires_at": rfc3339(caller.scope.expires),
        }


@router.get("/info")
async def info(broker: BrokerDep, _caller: CallerDep) -> dict[str, Any]:
    """Where things are: the S3 endpoint and region, and this version."""
    try:
        installed = version("wio-gate")
    except PackageNotFoundError:
        installed = "unknown"
    settings = broker.settings
    return {
        "version": installed,
        "endpoint_url": settings.public_url,
        "console_url": settings.console_url,
        "region": settings.region,
        "oidc_issuer": settings.oidc_issuer,
    }
