"""The tree of shares below one workspace: what hangs under what, and what dies with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Unit
from broker.keys.models import Credential
from broker.keys.service import is_live, kill_credentials
from broker.policy import ShareView
from broker.roots.models import Root
from broker.shares.models import Share
from broker.shares.principals import groups_of
from broker.workspaces.models import Workspace


async def shares_of(session: AsyncSession, workspace_id: str) -> list[Share]:
    """All shares of a workspace, oldest first."""
    query = select(Share).where(Share.workspace_id == workspace_id).order_by(Share.created_at, Share.id)
    return list(await session.scalars(query))


def views(shares: Iterable[Share]) -> dict[str, ShareView]:
    """The shares of one workspace (all of them) as decisions see them, by id."""
    rows = {share.id: share for share in shares}
    found: dict[str, ShareView] = {}
    for row in rows.values():
        chain: list[str] = []
        step = row.parent_id
        while step is not None and step in rows:
            chain.append(step)
            step = rows[step].parent_id
        found[row.id] = ShareView(row.id, row.principal, row.permission, row.expires_at, tuple(chain))
    return found


def descendants(shares: Collection[ShareView], ids: Collection[str]) -> set[str]:
    """The ids of what hangs below any of `ids`, these themselves left out."""
    return {share.id for share in shares if set(share.chain) & set(ids)} - set(ids)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a change of shares ended: share ids, and access key ids of sessions and links."""

    shares: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


async def drop_shares(unit: Unit, ids: Iterable[str], *, keep: Collection[str] = ()) -> Dropped:
    """Deletes shares and all that hangs below them (`keep` excepted), then what lost its ground by that."""
    session = unit.session
    doomed: dict[str, Share] = {}
    for share_id in ids:
        share = await session.get(Share, share_id)
        if share is not None and share_id not in doomed:
            whole = await shares_of(session, share.workspace_id)
            below = descendants(views(whole).values(), {share_id})
            doomed.update({row.id: row for row in whole if row.id in below | {share_id}})
    doomed = {share_id: row for share_id, row in doomed.items() if share_id not in keep}
    for row in doomed.values():
        unit.touch("grant", f"{row.workspace_id}|{row.principal}")
        unit.revoke(f"s:{row.id}")
    # Children first: the database would delete them by itself, and the session must not try again.
    depth = {share_id: len(view.chain) for share_id, view in views(doomed.values()).items()}
    for share_id in sorted(doomed, key=depth.__getitem__, reverse=True):
        await session.delete(doomed[share_id])
        await session.flush()
    sessions: list[str] = []
    links: list[str] = []
    for workspace_id in {row.workspace_id for row in doomed.values()}:
        lost = await sweep(unit, workspace_id)
        sessions += lost.sessions
        links += lost.links
    return Dropped(tuple(doomed), tuple(sessions), tuple(links))


async def permission_of(session: AsyncSession, workspace: Workspace, user_id: str | None, now: int) -> int:
    """A user's permission on a workspace: 0 to 3; administration gives none."""
    root = await session.get_one(Root, workspace.root_id)
    groups = await groups_of(session, user_id) if user_id else frozenset[str]()
    shares = views(await shares_of(session, workspace.id)).values()
    return policy.permission_on(
        workspace.owner_id, user_id, groups, shares, now, public=root.kind == "public"
    )


async def sweep(unit: Unit, workspace_id: str) -> Dropped:
    """Ends links whose maker may no longer share the workspace, and sessions scoped to nothing left.

    The live state denies these anyway, request by request; ending them makes lists and counts say so.
    """
    session = unit.session
    await session.flush()
    links = await session.scalars(
        select(Credential).where(Credential.link_workspace == workspace_id, Credential.deleted_at.is_(None))
    )
    doomed = [
        link for link in links if await _lost(session, link.user_id, [workspace_id], policy.OWN, unit.now)
    ]
    scoped = await session.scalars(
        select(Credential).where(
            Credential.kind == "session", Credential.deleted_at.is_(None), Credential.expires_at > unit.now
        )
    )
    for row in scoped:
        named = row.workspaces or []
        if workspace_id not in named or not is_live(row, unit.now):
            continue
        if await _lost(session, row.user_id, named, policy.READ, unit.now):
            doomed.append(row)
    killed = await kill_credentials(unit, doomed)
    return Dropped((), killed.sessions, killed.links)


async def _lost(session: AsyncSession, user_id: str, workspaces: Iterable[str], need: int, now: int) -> bool:
    for workspace_id in workspaces:
        workspace = await session.get(Workspace, workspace_id)
        if workspace is not None and await permission_of(session, workspace, user_id, now) >= need:
            return False
    return True
