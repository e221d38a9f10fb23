"""From the workers into the audit trail: denials and cut transfers, chained like every other row."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import structlog
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.audit.models import AuditRow
from broker.context import Broker
from broker.keys.models import Credential
from broker.marks import get_mark, set_mark
from broker.users.models import User
from broker.workspaces.models import Workspace, WorkspaceName
from quota.stopping import raise_if_cancelled

_log = structlog.get_logger(__name__)
_POSITION = "audit_stream"
_BATCH = 200
#: Shorter than the client's socket timeout, which a blocking read must not reach, in milliseconds.
_BLOCK_MS = 1000
#: Longest key that is kept whole: a trail is no place for what strangers may fill.
_LONGEST_KEY = 1024


async def follow(broker: Broker) -> None:
    """Takes in what workers tell, from where SQL last was, until cancelled, through outages."""
    while True:
        try:
            await take_some(broker, block_ms=_BLOCK_MS)
            raise_if_cancelled()
        except (RedisError, OSError, TimeoutError) as error:
            raise_if_cancelled()
            _log.warning("audit.interrupted", error=type(error).__name__)
            await asyncio.sleep(0.5)


async def take_some(broker: Broker, block_ms: int | None = None) -> int:
    """Takes up to one batch; rows and the new position commit together. Returns how many."""
    async with broker.db.read() as session:
        position = await get_mark(session, _POSITION) or "0-0"
    stream = broker.live.layout["AUDIT"]
    found = await broker.live.redis.xread({stream: position}, count=_BATCH, block=block_ms)
    entries = [entry for _name, page in cast(Any, found) or () for entry in page]
    if not entries:
        return 0
    async with broker.db.write() as session:
        # Another broker may have been faster.
        if (await get_mark(session, _POSITION) or "0-0") != position:
            return 0
        for _id, fields in entries:
            await broker.chain.append(session, await _row(session, json.loads(fields[b"row"])))
        await set_mark(session, _POSITION, entries[-1][0].decode())
    return len(entries)


async def _row(session: AsyncSession, told: dict[str, Any]) -> AuditRow:
    credential = await session.get(Credential, told["credential"])
    user_id = told["user"] or (credential.user_id if credential else None)
    user = await session.get(User, user_id) if user_id else None
    workspace = await _workspace(session, told, user)
    return AuditRow(
        at=told["at"],
        user_id=user_id,
        user=user.handle if user else "-",
        credential=told["credential"],
        action=told["action"],
        workspace_id=workspace.id if workspace else told["workspace"] or None,
        owner_id=workspace.owner_id if workspace else None,
        detail={
            "operation": told["operation"],
            "bucket": told["bucket"],
            "key": told["key"][:_LONGEST_KEY],
            **told["detail"],
        },
        request_id=told["request_id"],
    )


async def _workspace(session: AsyncSession, told: dict[str, Any], user: User | None) -> Workspace | None:
    """The workspace that was meant: as the worker found it, or by the name that was asked for."""
    if told["workspace"]:
        return await session.get(Workspace, told["workspace"])
    owner, dot, name = told["bucket"].partition(".")
    if not dot:
        if user is None:
            return None
        owner, name = user.handle, owner
    query = (
        select(WorkspaceName.workspace_id)
        .join(User, User.id == WorkspaceName.owner_id)
        .where(User.handle == owner, WorkspaceName.name == name)
    )
    found = await session.scalar(query)
    return await session.get(Workspace, found) if found else None
