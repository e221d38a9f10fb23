"""Routes of keys, and how credentials are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import StringConstraints
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker
from broker.db import batches
from broker.errors import invalid
from broker.keys.models import Credential
from broker.keys.service import Kind, create_key, end_key
from broker.policy import Caller, Scope
from broker.sessions.service import workspace_ids
from broker.times import moment_ms, now_ms, rfc3339
from broker.users.find import find_user
from broker.users.models import User
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Names, Permission, Text, permission_number
from broker.workspaces.models import WorkspaceName

router = APIRouter(prefix="/keys", tags=["keys"])


class KeyIn(Body):
    user: Text | None = None
    name: Text | None = None
    workspaces: Names | None = None
    permission: Permission | None = None
    expires: Text | None = None
    access_key_id: Annotated[str, StringConstraints(max_length=128)] | None = None
    secret_access_key: Annotated[str, StringConstraints(max_length=256)] | None = None


@router.post("", status_code=201)
async def create(body: KeyIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Make a long-lived key: scoped or whole, generated or imported. The secret is shown only now."""
    given: tuple[str, str] | None = None
    if body.access_key_id is not None or body.secret_access_key is not None:
        if body.access_key_id is None or body.secret_access_key is None:
            raise invalid("Give both access_key_id and secret_access_key, or neither.")
        given = (body.access_key_id, body.secret_access_key)
    async with broker.db.read() as session:
        user_id = (await find_user(session, body.user)).id if body.user else caller.user or ""
        workspaces = (
            None if body.workspaces is None else await workspace_ids(session, caller, body.workspaces)
        )
    wanted = Scope(workspaces, permission_number(body.permission), moment_ms(body.expires, now_ms()))
    made = await create_key(broker, caller, user_id=user_id, name=body.name or "", wanted=wanted, given=given)
    async with broker.db.read() as session:
        shown = await credential_json(session, made.row)
    return {**shown, "secret_access_key": made.secret}


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = "", user: str | None = None
) -> list[dict[str, Any]]:
    """The caller's keys; admins may name a user, or see all."""
    return await list_credentials(broker, caller, "key", user, limit, after)


@router.post("/{access_key_id}/disable")
async def disable(access_key_id: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Disable a key; sessions and links made with it end, its transfers are cut."""
    return await end_key(broker, caller, access_key_id, "key", delete=False)


@router.delete("/{access_key_id}")
async def delete(access_key_id: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a key with everything made with it; the id is never used again."""
    return await end_key(broker, caller, access_key_id, "key")


async def list_credentials(
    broker: Broker, caller: Caller, kind: Kind, user: str | None, limit: int, after: str
) -> list[dict[str, Any]]:
    """Keys or running sessions that the caller may see, by id."""
    async with broker.db.read() as session:
        query = select(Credential).where(
            Credential.kind == kind, Credential.deleted_at.is_(None), Credential.id > after
        )
        if kind == "session":
            query = query.where(Credential.expires_at > now_ms())
        admin = isinstance(policy.may_administer(caller), policy.Allowed)
        if user is not None and admin:
            query = query.where(Credential.user_id == (await find_user(session, user)).id)
        elif not admin or kind == "session":
            query = query.where(Credential.user_id == caller.user)
        query = query.order_by(Credential.id)
        if caller.scope.is_whole:
            rows = list(await session.scalars(query.limit(limit)))
        else:
            # One user's, of whom none has more than `MAX_LIVE`.
            every = await session.scalars(query)
            rows = [row for row in every if caller.credential in (row.id, *row.parents)][:limit]
        used = await last_uses(broker, [row.id for row in rows])
        return await credentials_json(session, rows, used)


async def last_uses(broker: Broker, access_key_ids: list[str]) -> dict[str, int]:
    """When (ms) each was last used, at any proxy or broker; those never used are left out."""
    told = await broker.live.last_uses(access_key_ids)
    latest = {key: max(told.get(key, 0), broker.uses.seen(key)) for key in access_key_ids}
    return {key: at for key, at in latest.items() if at}


async def bucket_names(session: AsyncSession, ids: Iterable[str]) -> list[str]:
    """`OWNER.name` of each workspace that still exists, in order."""
    return sorted((await _buckets(session, ids)).values())


async def _buckets(session: AsyncSession, ids: Iterable[str]) -> dict[str, str]:
    buckets: dict[str, str] = {}
    for some in batches(ids):
        found = await session.execute(
            select(WorkspaceName.workspace_id, User.handle, WorkspaceName.name)
            .join(User, User.id == WorkspaceName.owner_id)
            .where(WorkspaceName.workspace_id.in_(some), WorkspaceName.primary)
        )
        buckets |= {workspace: f"{handle}.{name}" for workspace, handle, name in found}
    return buckets


async def scope_json(session: AsyncSession, scope: Scope) -> dict[str, Any] | None:
    """A scope for people; None when it is whole."""
    return _scope_shown(scope, await _buckets(session, scope.workspaces or ()))


def _scope_shown(scope: Scope, buckets: Mapping[str, str]) -> dict[str, Any] | None:
    if scope.workspaces is None and scope.permission is None:
        return None
    within = scope.workspaces
    return {
        "workspaces": None if within is None else sorted(buckets[one] for one in within if one in buckets),
        "permission": None if scope.permission is None else policy.WORDS[scope.permission],
    }


async def credential_json(
    session: AsyncSession, row: Credential, last_used: int | None = None
) -> dict[str, Any]:
    """A key or session as the API shows it (design, section 8); never its secret."""
    used = {} if last_used is None else {row.id: last_used}
    return (await credentials_json(session, [row], used))[0]


async def credentials_json(
    session: AsyncSession, rows: Sequence[Credential], used: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The same for many; `used` says when (ms) each was last used."""
    handles: dict[str, str] = {}
    for some in batches(row.user_id for row in rows):
        users = await session.execute(select(User.id, User.handle).where(User.id.in_(some)))
        handles.update((ident, handle) for ident, handle in users)
    buckets = await _buckets(session, (one for row in rows for one in row.workspaces or ()))
    return [
        {
            "access_key_id": row.id,
            "kind": row.kind,
            "user": handles[row.user_id],
            "name": row.name,
            "scope": _scope_shown(
                Scope(None if row.workspaces is None else frozenset(row.workspaces), row.permission), buckets
            ),
            "created_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at),
            "last_used_at": rfc3339(used.get(row.id)),
            "enabled": row.enabled,
        }
        for row in rows
    ]
