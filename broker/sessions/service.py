"""Issuing STS sessions: children of a credential, never wider and never longer than it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker
from broker.errors import denied, invalid
from broker.keys.models import Credential
from broker.keys.service import check_room, mint, scope_detail
from broker.policy import Caller, Scope
from broker.times import now_ms
from broker.workspaces.find import find_workspace
from quota import new_session_token

SHORTEST_SECONDS = 900
LONGEST_SECONDS = 43_200
DEFAULT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Session:
    """A session's triplet; secret and token are seen here only."""

    row: Credential
    secret: str
    token: str
    scope: Scope


async def workspace_ids(session: AsyncSession, caller: Caller, names: Iterable[str]) -> frozenset[str]:
    """The ids of the workspaces named, each of which the caller can see. Raises ApiError (404)."""
    return frozenset([(await find_workspace(session, caller, name)).row.id for name in names])


async def issue_session(
    broker: Broker, caller: Caller, wanted: Scope, seconds: int = DEFAULT_SECONDS, name: str = ""
) -> Session:
    """A session for the caller's user within the caller's scope, in force when this returns.

    `seconds` 900 to 43,200; cut to what the parent has left. Raises ApiError.
    """
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise invalid(f"A session lasts {SHORTEST_SECONDS} to {LONGEST_SECONDS} seconds.")
    if caller.user is None:
        raise denied("Sessions are for users.")
    ends = now_ms() + seconds * 1000
    scope = policy.narrow(caller.scope, Scope(wanted.workspaces, wanted.permission, ends))
    if isinstance(scope, policy.Denied):
        raise denied(scope.reason)
    token = new_session_token()
    parents = () if caller.credential is None else (caller.credential, *caller.parents)
    async with broker.change(caller) as unit:
        await check_room(unit.session, caller.user, "session", unit.now)
        for parent_id in parents:
            # Deleted since the caller was authenticated: the lock makes this look final (rule 2).
            parent = await unit.session.get(Credential, parent_id)
            if parent is None or not parent.enabled or parent.deleted_at is not None:
                raise denied("The credential that asks was revoked meanwhile.")
        made = await mint(
            unit, broker.sealer, kind="session", user_id=caller.user, scope=scope, name=name, parents=parents,
            token_sha256=hashlib.sha256(token.encode()).hexdigest(),
        )  # fmt: skip
        unit.note("token.create", key=made.row.id, scope=scope_detail(scope))
    return Session(made.row, made.secret, token, scope)
