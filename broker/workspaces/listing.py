"""Lists of workspaces: which ones a caller reaches, and what is shown of them, in a few queries for a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.db import batches
from broker.nodes.models import Node
from broker.policy import Caller
from broker.shares.principals import principals
from broker.times import now_ms, rfc3339
from broker.workspaces.find import Found, load_many, reach
from broker.workspaces.models import Workspace, WorkspaceName


async def list_workspaces(
    session: AsyncSession,
    caller: Caller,
    *,
    everything: bool,
    limit: int,
    after: str,
    owned: bool = False,
) -> list[Found]:
    """The caller's own and (unless `owned`) those shared with them, by id; `everything` asks, as an admin, for all."""
    query = select(Workspace.id).where(Workspace.id > after).order_by(Workspace.id).limit(limit)
    if not (everything and isinstance(policy.may_administer(caller), policy.Allowed)):
        query = query.where(reach(caller, await principals(session, caller), policy.READ, now_ms()))
        if owned:
            query = query.where(Workspace.owner_id == caller.user)
    ids = list(await session.scalars(query))
    found = await load_many(session, caller, ids)
    return [found[one] for one in ids if one in found]


async def workspaces_json(
    session: AsyncSession, caller: Caller, found: Sequence[Found], usage: Sequence[Mapping[str, int]]
) -> list[dict[str, Any]]:
    """Workspaces as the API shows them (design, section 8); bucket, node and prefix in the node stay hidden."""
    nodes: dict[str, str] = {}
    for some in batches(one.root.node_id for one in found):
        named = await session.execute(select(Node.id, Node.name).where(Node.id.in_(some)))
        nodes.update((node_id, name) for node_id, name in named)
    aliases: dict[str, list[str]] = defaultdict(list)
    for some in batches(one.row.id for one in found):
        query = select(WorkspaceName.workspace_id, WorkspaceName.name).where(
            WorkspaceName.workspace_id.in_(some), WorkspaceName.primary.is_(False)
        )
        for workspace_id, name in await session.execute(query):
            aliases[workspace_id].append(name)
    return [
        {
            "id": one.row.id,
            "owner": one.owner,
            "name": one.name,
            "bucket": one.bucket,
            "aliases": sorted(aliases[one.row.id]),
            "root": one.root.name,
            "node": nodes[one.root.node_id],
            "public": one.root.kind == "public",
            "permission": policy.WORDS.get(policy.effective(caller, one.row.id, one.permission)),
            "state": one.row.state,
            "created_at": rfc3339(one.row.created_at),
            "used_bytes": used.get("b", 0),
            "used_objects": used.get("o", 0),
        }
        for one, used in zip(found, usage, strict=True)
    ]
