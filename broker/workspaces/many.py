"""Many workspaces at once: which ones a caller reaches, and what is shown of them, in a few queries for a page.

`reach` and `load_many` say in SQL and in bulk what `find.by_id` says of one; the decisions stay `policy`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from broker import policy
from broker.nodes.models import Node
from broker.policy import Caller, ShareView
from broker.roots.models import Root
from broker.shares.models import Share
from broker.shares.tree import groups_of
from broker.times import now_ms, rfc3339
from broker.users.models import User
from broker.workspaces.find import Found
from broker.workspaces.models import Workspace, WorkspaceName

#: Ids in one query: well below what SQLite and Postgres take as parameters.
BATCH = 1000


def batches(ids: Iterable[str]) -> Iterator[list[str]]:
    """The distinct ids in order, as many as one query may name."""
    every = sorted(set(ids))
    for start in range(0, len(every), BATCH):
        yield every[start : start + BATCH]


async def principals(session: AsyncSession, caller: Caller) -> frozenset[str]:
    """Every principal that a share to the caller's user may name, as the tables have it now."""
    groups = await groups_of(session, caller.user) if caller.user else frozenset[str]()
    return policy.principals_of(caller.user, groups)


def reach(caller: Caller, names: Iterable[str], need: int, now: int) -> ColumnElement[bool]:
    """Whether `policy.effective` is at least `need` on the row of `Workspace` that is asked about.

    `names` are the user's principals. An admin's power is not in it.
    """
    scope = caller.scope
    if scope.permission is not None and scope.permission < need:
        return false()
    # Under a name of its own: lists of shares ask this of the workspace beside the share that they list.
    given = aliased(Share)
    shared = (
        select(given.id)
        .where(
            given.workspace_id == Workspace.id,
            given.principal.in_(sorted(names)),
            given.permission >= need,
            or_(given.expires_at.is_(None), given.expires_at > now),
        )
        .exists()
    )
    grounds: list[ColumnElement[bool]] = [shared]
    if caller.user is not None:
        grounds.append(Workspace.owner_id == caller.user)
    if need <= policy.READ:
        grounds.append(Workspace.root_id.in_(select(Root.id).where(Root.kind == "public")))
    if scope.workspaces is None:
        return or_(*grounds)
    return and_(Workspace.id.in_(sorted(scope.workspaces)), or_(*grounds))


async def load_many(session: AsyncSession, caller: Caller, ids: Iterable[str]) -> dict[str, Found]:
    """What `by_id` finds for each, by id; those that the caller may not know of are left out."""
    names, now = await principals(session, caller), now_ms()
    found: dict[str, Found] = {}
    for some in batches(ids):
        rows = await session.execute(
            select(Workspace, Root, User.handle, WorkspaceName.name)
            .join(Root, Root.id == Workspace.root_id)
            .join(User, User.id == Workspace.owner_id)
            .outerjoin(WorkspaceName, and_(WorkspaceName.workspace_id == Workspace.id, WorkspaceName.primary))
            .where(Workspace.id.in_(some))
        )
        shares: dict[str, list[ShareView]] = defaultdict(list)
        # Only what names the caller counts, and what hangs above it does not (`policy.permission_on`).
        for share in await session.scalars(
            select(Share).where(Share.workspace_id.in_(some), Share.principal.in_(sorted(names)))
        ):
            view = ShareView(share.id, share.principal, share.permission, share.expires_at)
            shares[share.workspace_id].append(view)
        groups = [name[2:] for name in names if name.startswith("g:")]
        for row, root, owner, name in rows:
            permission = policy.permission_on(
                row.owner_id, caller.user, groups, shares[row.id], now, public=root.kind == "public"
            )
            if isinstance(policy.may_see_workspace(caller, row.id, permission), policy.Allowed):
                manages = isinstance(policy.may_manage_workspace(caller, row.id, permission), policy.Allowed)
                found[row.id] = Found(row, root, owner, name or row.id, permission, manages)
    return found


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
