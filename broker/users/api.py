"""Routes of users."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from broker import policy
from broker.errors import denied
from broker.users.find import find_user
from broker.users.models import User
from broker.users.service import (
    NewUser,
    create_user,
    delete_user,
    set_enabled,
    set_password,
    update_user,
    user_json,
)
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Text

router = APIRouter(prefix="/users", tags=["users"])


class UserIn(Body):
    name: Text
    email: Text | None = None
    admin: bool = False
    password: Text | None = None


class UserChange(Body):
    email: Text | None = None
    admin: bool | None = None


class PasswordIn(Body):
    password: Text


@router.post("", status_code=201)
async def create(body: UserIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Make a user from a login; the handle is made from it. Admins."""
    user = await create_user(broker, caller, NewUser(body.name, body.email, body.admin, body.password))
    async with broker.db.read() as session:
        return await user_json(session, user, full=True)


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """All users by handle; e-mail and groups only of oneself, and for admins."""
    if isinstance(no := policy.may_act_on_account(caller), policy.Denied):
        raise denied(no.reason)
    async with broker.db.read() as session:
        query = select(User).where(User.deleted_at.is_(None), User.handle > after).order_by(User.handle)
        rows = await session.scalars(query.limit(limit))
        return [await user_json(session, row, full=caller.admin or row.id == caller.user) for row in rows]


@router.get("/{name}")
async def show(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """One user."""
    if isinstance(no := policy.may_act_on_account(caller), policy.Denied):
        raise denied(no.reason)
    async with broker.db.read() as session:
        user = await find_user(session, name)
        return await user_json(session, user, full=caller.admin or user.id == caller.user)


@router.patch("/{name}")
async def update(name: str, body: UserChange, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Change the e-mail (oneself, admins) or the admin flag (admins)."""
    user = await update_user(broker, caller, name, email=body.email, admin=body.admin)
    async with broker.db.read() as session:
        return await user_json(session, user, full=True)


@router.post("/{name}/password", status_code=204)
async def password(name: str, body: PasswordIn, broker: BrokerDep, caller: CallerDep) -> None:
    """Set the local password (oneself, admins)."""
    await set_password(broker, caller, name, body.password)


@router.post("/{name}/disable")
async def disable(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Disable a user and cut their transfers. Admins."""
    return await set_enabled(broker, caller, name, enabled=False)


@router.post("/{name}/enable")
async def enable(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Enable a user again. Admins."""
    await set_enabled(broker, caller, name, enabled=True)
    return await show(name, broker, caller)


@router.delete("/{name}")
async def delete(
    name: str, broker: BrokerDep, caller: CallerDep, transfer_to: str | None = None, purge: bool = False
) -> dict[str, Any]:
    """Delete a user; workspaces go to `transfer_to`, or are deleted with their data (`purge`). Admins."""
    return await delete_user(broker, caller, name, transfer_to=transfer_to, purge=purge)
