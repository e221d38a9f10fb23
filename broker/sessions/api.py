"""Routes of STS sessions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from broker.keys.api import credential_json, list_credentials
from broker.keys.service import end_key
from broker.policy import Scope
from broker.sessions.service import DEFAULT_SECONDS, issue_session, workspace_ids
from broker.times import duration_ms
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Names, Permission, Text, permission_number

router = APIRouter(prefix="/tokens", tags=["tokens"])


class TokenIn(Body):
    workspaces: Names | None = None
    permission: Permission | None = None
    duration: Text | int | None = None
    name: Text | None = None


@router.post("", status_code=201)
async def create(body: TokenIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Issue a session for some workspaces or all; secret and token are shown only now."""
    workspaces = None
    if body.workspaces is not None:
        async with broker.db.read() as session:
            workspaces = await workspace_ids(session, caller, body.workspaces)
    seconds = DEFAULT_SECONDS if body.duration is None else duration_ms(str(body.duration)) // 1000
    made = await issue_session(
        broker, caller, Scope(workspaces, permission_number(body.permission)), seconds, body.name or ""
    )
    async with broker.db.read() as session:
        shown = await credential_json(session, made.row)
    return {**shown, "secret_access_key": made.secret, "session_token": made.token}


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = "", user: str | None = None
) -> list[dict[str, Any]]:
    """The caller's running sessions; admins may name a user."""
    return await list_credentials(broker, caller, "session", user, limit, after)


@router.delete("/{access_key_id}")
async def revoke(access_key_id: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """End a session, with those issued by it."""
    return await end_key(broker, caller, access_key_id, "session")
