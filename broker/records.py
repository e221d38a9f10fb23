"""From SQL rows to the live state's records: the one place that knows their shape (`quota`'s layout).

A change names what it touched; the value is read here from the same transaction, so that what is applied
is always what is committed, and a rebuild loads exactly the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.groups.models import Member
from broker.keys.models import Credential
from broker.nodes.models import Node
from broker.outbox import Entry, Kind
from broker.quotas.models import Limit
from broker.roots.models import Root
from broker.shares.models import Share
from broker.times import now_ms
from broker.users.models import User
from broker.workspaces.models import Workspace, WorkspaceName

Record = dict[str, Any]
#: Rows are read, and records yielded, this many at a time: a rebuild's memory is bounded.
BATCH = 500
KINDS: tuple[Kind, ...] = ("user", "node", "workspace", "grant", "credential", "limit")


async def load(session: AsyncSession, kind: Kind, record_id: str) -> Record | None:
    """The record as the transaction sees it; None when it is deleted."""
    found = [value async for batch in _batches(session, kind, record_id) for _, value in batch]
    return found[0] if found else None


async def load_all(session: AsyncSession) -> AsyncIterator[list[Entry]]:
    """Every record, in batches: users and nodes before workspaces, those before grants and credentials."""
    for kind in KINDS:
        async for batch in _batches(session, kind, None):
            yield [Entry(kind, record_id, value) for record_id, value in batch]


async def _batches(
    session: AsyncSession, kind: Kind, only: str | None
) -> AsyncIterator[list[tuple[str, Record | None]]]:
    model, convert = _SOURCES[kind]
    if kind == "grant" and only is not None:
        workspace_id, _, principal = only.partition("|")
        share = select(Share).where(Share.workspace_id == workspace_id, Share.principal == principal)
        yield await convert(session, list(await session.scalars(share)))
        return
    last = ""
    while True:
        query = select(model).where(model.id == only if only is not None else model.id > last)
        rows = list(await session.scalars(query.order_by(model.id).limit(BATCH)))
        if rows:
            last = rows[-1].id
            yield await convert(session, rows)
        if only is not None or len(rows) < BATCH:
            return


async def _users(session: AsyncSession, rows: Sequence[User]) -> list[tuple[str, Record | None]]:
    groups: dict[str, list[str]] = defaultdict(list)
    found = select(Member).where(Member.user_id.in_([row.id for row in rows])).order_by(Member.group_id)
    for member in await session.scalars(found):
        groups[member.user_id].append(member.group_id)
    return [
        (
            row.id,
            None
            if row.deleted_at is not None
            else {
                "handle": row.handle,
                "enabled": row.enabled,
                "admin": row.admin,
                "groups": groups[row.id],
            },
        )
        for row in rows
    ]


async def _nodes(_session: AsyncSession, rows: Sequence[Node]) -> list[tuple[str, Record | None]]:
    return [
        (
            row.id,
            {
                "endpoint": row.endpoint,
                "region": row.region,
                "access_key_id": row.access_key_id,
                "secret": row.secret,
                "addresses": row.addresses,
                "checks_payload": row.checks_payload,
            },
        )
        for row in rows
    ]


async def _workspaces(session: AsyncSession, rows: Sequence[Workspace]) -> list[tuple[str, Record | None]]:
    roots = {
        root.id: root
        for root in await session.scalars(select(Root).where(Root.id.in_({row.root_id for row in rows})))
    }
    names: dict[str, list[str]] = defaultdict(list)
    found = await session.execute(
        select(WorkspaceName.workspace_id, User.handle, WorkspaceName.name)
        .join(User, User.id == WorkspaceName.owner_id)
        .where(WorkspaceName.workspace_id.in_([row.id for row in rows]))
        .order_by(WorkspaceName.primary.desc(), WorkspaceName.name)
    )
    for workspace_id, handle, name in found:
        names[workspace_id].append(f"{handle}.{name}")
    return [
        (
            row.id,
            {
                "owner": row.owner_id,
                "names": names[row.id],
                "root": row.root_id,
                "node": roots[row.root_id].node_id,
                "bucket": roots[row.root_id].bucket,
                "prefix": row.prefix,
                "public": roots[row.root_id].kind == "public",
                "versioned": roots[row.root_id].versioned,
                "state": row.state,
                "created": row.created_at,
            },
        )
        for row in rows
    ]


async def _grants(session: AsyncSession, rows: Sequence[Share]) -> list[tuple[str, Record | None]]:
    parents: dict[str, str | None] = {}
    missing = {row.parent_id for row in rows if row.parent_id}
    while missing:
        found = await session.execute(select(Share.id, Share.parent_id).where(Share.id.in_(missing)))
        fresh: dict[str, str | None] = {row.id: row.parent_id for row in found}
        parents.update(fresh)
        missing = {parent for parent in fresh.values() if parent and parent not in parents}
    records: list[tuple[str, Record | None]] = []
    for row in rows:
        chain: list[str] = []
        step = row.parent_id
        while step is not None:
            chain.append(step)
            step = parents[step]
        value = {"share": row.id, "permission": row.permission, "expires": row.expires_at, "chain": chain}
        records.append((f"{row.workspace_id}|{row.principal}", value))
    return records


async def _credentials(_session: AsyncSession, rows: Sequence[Credential]) -> list[tuple[str, Record | None]]:
    now = now_ms()
    return [(row.id, credential_record(row, now)) for row in rows]


def credential_record(row: Credential, now: int) -> Record | None:
    """One credential's record; None when it is deleted, or is a session that ended before `now` (ms)."""
    over = row.kind == "session" and row.expires_at is not None and row.expires_at < now
    if row.deleted_at is not None or over:
        return None
    return {
        "user": row.user_id,
        "kind": row.kind,
        "secret": row.secret,
        "token": row.token,
        "parents": row.parents,
        "workspaces": row.workspaces,
        "permission": row.permission,
        "expires": row.expires_at,
        "enabled": row.enabled,
        **({"name": row.name, **row.link} if row.link else {}),
    }


async def _limits(_session: AsyncSession, rows: Sequence[Limit]) -> list[tuple[str, Record | None]]:
    return [
        (
            row.id,
            {
                "bytes": row.bytes,
                "objects": row.objects,
                "soft_bytes": row.soft_bytes,
                "soft_objects": row.soft_objects,
                "grace_ms": row.grace_ms,
                "raised": row.raised,
            },
        )
        for row in rows
    ]


_SOURCES: dict[Kind, tuple[Any, Any]] = {
    "user": (User, _users),
    "node": (Node, _nodes),
    "workspace": (Workspace, _workspaces),
    "grant": (Share, _grants),
    "credential": (Credential, _credentials),
    "limit": (Limit, _limits),
}
