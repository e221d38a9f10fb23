"""Finding workspaces: the one that somebody named, those that they reach, as far as they may know of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from broker import policy
from broker.db import batches
from broker.errors import denied, not_found
from broker.names import parse_workspace
from broker.policy import Caller, ShareView
from broker.roots.models import Root
from broker.shares.models import Share
from broker.shares.principals import principals
from broker.times import now_ms
from broker.users.find import user_named
from broker.users.models import User
from broker.workspaces.models import Workspace, WorkspaceName


@dataclass(frozen=True, slots=True)
class Found:
    """A workspace with what is known of it. `permission` is the caller's user's own, not an admin's power."""

    row: Workspace
    root: Root
    owner: str
    name: str
    permission: int
    manages: bool

    @property
    def bucket(self) -> str:
        """`OWNER.name`, which means the same for everybody."""
        return f"{self.owner}.{self.name}"


async def find_workspace(session: AsyncSession, caller: Caller, text: str, *, manage: bool = False) -> Found:
    """By own name, `OWNER.name`, `OWNER/name` or id; OWNER as `user_named` finds users.

    Raises ApiError: 404 unseen, 403 with `manage` only seen.
    """
    wanted = parse_workspace(text)
    owner_id = caller.user
    if wanted.owner is not None:
        owner = await user_named(session, wanted.owner)
        owner_id = None if owner is None else owner.id
    workspace_id = await session.scalar(
        select(WorkspaceName.workspace_id).where(
            WorkspaceName.owner_id == owner_id, WorkspaceName.name == wanted.name
        )
    )
    found = await by_id(session, caller, workspace_id or wanted.maybe_id or "")
    if found is None:
        raise not_found("workspace", text)
    if manage and not found.manages:
        raise denied(f"That needs the permission own on {found.bucket}.")
    return found


async def by_id(session: AsyncSession, caller: Caller, workspace_id: str) -> Found | None:
    """The workspace, or None when there is none or the caller may not know of it."""
    return (await load_many(session, caller, [workspace_id])).get(workspace_id)


async def load_many(session: AsyncSession, caller: Caller, ids: Iterable[str]) -> dict[str, Found]:
    """The workspaces by id, in a few queries for all; those that the caller may not know of are left out."""
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


def reach(caller: Caller, names: Iterable[str], need: int, now: int) -> ColumnElement[bool]:
    """Whether `policy.effective` is at least `need` on the row of `Workspace` that is asked about.

    In SQL, because a page can be cut to its size only after it. `names` are the user's principals. An admin's power
    is not in it.
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
