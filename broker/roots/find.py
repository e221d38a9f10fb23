"""Finding roots, and seeing them as decisions do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.errors import ApiError, not_found
from broker.policy import Caller, RootView
from broker.roots.models import Root, RootGrant
from broker.users.models import User


async def find_root(session: AsyncSession, name: str) -> Root:
    """By name or id. Raises ApiError (404)."""
    rows = list(await session.scalars(select(Root).where(or_(Root.name == name, Root.id == name))))
    for row in sorted(rows, key=lambda row: row.name != name):
        return row
    raise not_found("root", name)


async def root_view(session: AsyncSession, root: Root) -> RootView:
    """The root with its grants."""
    return _view(root, list(await session.scalars(select(RootGrant).where(RootGrant.root_id == root.id))))


async def root_views(session: AsyncSession) -> Callable[[Root], RootView]:
    """What gives the view of any root, all grants having been read at once."""
    grants: dict[str, list[RootGrant]] = defaultdict(list)
    for grant in await session.scalars(select(RootGrant)):
        grants[grant.root_id].append(grant)
    return lambda root: _view(root, grants[root.id])


def _view(root: Root, grants: Sequence[RootGrant]) -> RootView:
    return RootView(
        root.kind,
        root.created_by,
        frozenset(grant.principal for grant in grants if grant.permission == "create"),
        frozenset(grant.principal for grant in grants if grant.permission == "manage"),
    )


async def default_root(session: AsyncSession, caller: Caller, owner: User) -> Root:
    """Where a new workspace goes when nobody says: the owner's choice, everybody's, or the only one possible.

    Raises ApiError (400) when there is none.
    """
    if owner.default_root is not None:
        chosen = await session.get(Root, owner.default_root)
        if chosen is not None:
            return chosen
    everyones = await session.scalar(select(Root).where(Root.everyones_default))
    if everyones is not None:
        return everyones
    private = select(Root).where(Root.kind == "private").order_by(Root.created_at, Root.id)
    for root in await session.scalars(private):
        if isinstance(policy.may_create_in_root(caller, await root_view(session, root)), policy.Allowed):
            return root
    raise ApiError("NoDefaultRoot", "There is no default root; name one, or ask an admin to set one.", 400)
