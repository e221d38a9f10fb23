"""Finding the workspace that somebody named, as far as they may know of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.errors import denied, not_found
from broker.names import parse_workspace
from broker.policy import Caller
from broker.roots.models import Root
from broker.shares.tree import permission_of
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
    row = await session.get(Workspace, workspace_id)
    if row is None:
        return None
    permission = await permission_of(session, row, caller.user, now_ms())
    if isinstance(policy.may_see_workspace(caller, row.id, permission), policy.Denied):
        return None
    manages = isinstance(policy.may_manage_workspace(caller, row.id, permission), policy.Allowed)
    owner = await session.get_one(User, row.owner_id)
    name = await session.scalar(
        select(WorkspaceName.name).where(WorkspaceName.workspace_id == row.id, WorkspaceName.primary)
    )
    root = await session.get_one(Root, row.root_id)
    return Found(row, root, owner.handle, name or row.id, permission, manages)
