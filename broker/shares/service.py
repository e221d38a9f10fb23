"""Making, changing and revoking shares; the rules are `policy`'s, the tree is `tree`'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, Unit, revoked
from broker.errors import denied, invalid, not_found
from broker.policy import Caller, ShareView
from broker.shares.models import Share
from broker.shares.principals import principal_id, principal_text, principal_texts, principals
from broker.shares.tree import (
    Dropped,
    descendants,
    drop_shares,
    shares_of,
    sweep,
    views,
)
from broker.times import moment_ms, now_ms, rfc3339
from broker.workspaces.find import Found, by_id, find_workspace, load_many, reach
from broker.workspaces.models import Workspace
from quota import new_id


class _DryRun(Exception):
    """Ends a change that was only tried, so that nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a revoke would end."""

    dropped: Dropped
    kept_own: bool = False


async def create_share(
    broker: Broker, caller: Caller, *, workspace: str, principal: str, permission: int, expires: str | None
) -> dict[str, Any]:
    """Shares, or updates the share of that pair. Answers the share, with what an update took away."""
    async with broker.change(caller) as unit:
        found = await find_workspace(unit.session, caller, workspace)
        who = await principal_id(unit.session, principal)
        if who == f"u:{found.row.owner_id}":
            raise invalid("The owner has every permission already.")
        until = moment_ms(expires, unit.now)
        whole = views(await shares_of(unit.session, found.row.id))
        old = next((view for view in whole.values() if view.principal == who), None)
        under = _may_share(caller, found, whole, old, permission, until, unit.now)
        if old is None:
            row = Share(
                id=new_id(), workspace_id=found.row.id, principal=who, permission=permission,
                expires_at=until, parent_id=under, created_by=caller.user or found.row.owner_id,
                created_at=unit.now,
            )  # fmt: skip
            unit.session.add(row)
            dropped = Dropped()
            unit.touch("grant", f"{row.workspace_id}|{who}")
        else:
            row = await unit.session.get_one(Share, old.id)
            row.parent_id = under
            dropped = await _change(unit, row, whole, permission, until)
        unit.note(
            "share.create" if old is None else "share.update", workspace=found.row.id,
            owner=found.row.owner_id, share=row.id, principal=principal,
            permission=policy.WORDS[permission], expires_at=rfc3339(until), dropped=dropped.shares,
        )  # fmt: skip
        await unit.session.flush()
        shown = await share_json(unit.session, row, found.bucket)
    answer = revoked(unit, dropped.shares, sessions=len(dropped.sessions), links=len(dropped.links))
    return {**shown, "changes": answer} if old is not None else shown


def _may_share(
    caller: Caller,
    found: Found,
    whole: dict[str, ShareView],
    old: ShareView | None,
    permission: int,
    until: int | None,
    now: int,
) -> str | None:
    grounds = list(whole.values())
    if old is not None:
        touch = policy.may_touch_share(caller, found.row.id, found.row.owner_id, whole.values(), old, now)
        if isinstance(touch, policy.Denied):
            raise denied(touch.reason)
        # A share cannot come to hang below itself.
        below = descendants(whole.values(), {old.id}) | {old.id}
        grounds = [view for view in grounds if view.id not in below]
    under = policy.may_share(caller, found.row.id, found.row.owner_id, grounds, permission, until, now)
    if isinstance(under, policy.Denied):
        raise denied(under.reason)
    return under.parent


async def _change(
    unit: Unit, row: Share, whole: dict[str, ShareView], permission: int, until: int | None
) -> Dropped:
    """Sets permission and expiry; what is taken away is revoked, and reshares keep within what is left."""
    lowered = permission < row.permission
    row.permission, row.expires_at = permission, until
    unit.touch("grant", f"{row.workspace_id}|{row.principal}")
    below = descendants(whole.values(), {row.id})
    for share_id in below:
        child = await unit.session.get_one(Share, share_id)
        if until is not None and (child.expires_at is None or child.expires_at > until):
            child.expires_at = until
        # The chain of ancestors may have changed above them.
        unit.touch("grant", f"{child.workspace_id}|{child.principal}")
    if lowered:
        unit.revoke(f"s:{row.id}")
    if permission < policy.OWN and below:
        children = [view.id for view in whole.values() if row.id in view.chain[:1]]
        return await drop_shares(unit, children)
    return await sweep(unit, row.workspace_id) if lowered else Dropped()


async def update_share(
    broker: Broker, caller: Caller, share_id: str, *, permission: int | None, expires: str | None
) -> dict[str, Any]:
    """Changes permission and, when given, expiry (`never` takes it off), within the parent's."""
    async with broker.change(caller) as unit:
        row, found = await _find(unit.session, caller, share_id)
        whole = views(await shares_of(unit.session, row.workspace_id))
        touch = policy.may_touch_share(
            caller, found.row.id, found.row.owner_id, whole.values(), whole[row.id], unit.now
        )
        if isinstance(touch, policy.Denied):
            raise denied(touch.reason)
        wanted = row.permission if permission is None else permission
        until = row.expires_at
        if expires is not None:
            until = None if expires == "never" else moment_ms(expires, unit.now)
        parent = whole.get(row.parent_id or "")
        if parent is not None and not policy.within(wanted, until, parent.permission, parent.expires):
            raise invalid("A reshare stays within the permission and the expiry of the share it comes from.")
        dropped = await _change(unit, row, whole, wanted, until)
        unit.note(
            "share.update", workspace=row.workspace_id, owner=found.row.owner_id, share=row.id,
            permission=policy.WORDS[wanted], expires_at=rfc3339(until), dropped=dropped.shares,
        )  # fmt: skip
        await unit.session.flush()
        shown = await share_json(unit.session, row, found.bucket)
    answer = revoked(unit, dropped.shares, sessions=len(dropped.sessions), links=len(dropped.links))
    return {**shown, "changes": answer}


async def revoke_share(broker: Broker, caller: Caller, share_id: str, *, dry_run: bool) -> dict[str, Any]:
    """Revokes a share with everything below it. `dry_run` tells what would end, and ends nothing."""
    dropped = Dropped()
    ids: tuple[str, ...] = (share_id,)
    try:
        async with broker.change(caller) as unit:
            row, found = await _find(unit.session, caller, share_id)
            whole = views(await shares_of(unit.session, row.workspace_id))
            view = whole[row.id]
            touch = policy.may_touch_share(
                caller, found.row.id, found.row.owner_id, whole.values(), view, unit.now
            )
            mine = policy.may_give_up(caller, found.row.id, view)
            if isinstance(touch, policy.Denied) and isinstance(mine, policy.Denied):
                raise denied(touch.reason)
            dropped = await drop_shares(unit, [row.id])
            ids = (row.id, *(one for one in dropped.shares if one != row.id))
            unit.note(
                "share.revoke", workspace=found.row.id, owner=found.row.owner_id, share=row.id,
                principal=await principal_text(unit.session, row.principal), dropped=ids,
            )  # fmt: skip
            if dry_run:
                raise _DryRun  # noqa: TRY301 - it rolls the transaction back
    except _DryRun:
        return await _would_end(broker, ids, dropped)
    return revoked(unit, ids, sessions=len(dropped.sessions), links=len(dropped.links))


async def _would_end(broker: Broker, ids: tuple[str, ...], dropped: Dropped) -> dict[str, Any]:
    names = {f"s:{share}" for share in ids} | {f"c:{one}" for one in dropped.sessions}
    names |= {f"l:{one}" for one in dropped.links} | {f"c:{one}" for one in dropped.links}
    running = [
        transfer for transfer in await broker.live.transfers()
        if names & set(transfer.get("chain") or ())
    ]  # fmt: skip
    return {
        "dry_run": True,
        "revoked": list(ids),
        "sessions": len(dropped.sessions),
        "links": len(dropped.links),
        "session_ids": list(dropped.sessions),
        "link_ids": list(dropped.links),
        "transfers": running,
        "transfers_cut": len(running),
        "workers_unreachable": 0,
        "seconds": 0.0,
    }


async def share_of_pair(broker: Broker, caller: Caller, workspace: str, principal: str) -> str:
    """The id of the share of that pair. Raises ApiError (404)."""
    async with broker.db.read() as session:
        found = await find_workspace(session, caller, workspace)
        who = await principal_id(session, principal)
        query = select(Share.id).where(Share.workspace_id == found.row.id, Share.principal == who)
        share_id = await session.scalar(query)
    if share_id is None:
        raise not_found("share", f"{workspace} {principal}")
    return share_id


async def _find(session: AsyncSession, caller: Caller, share_id: str) -> tuple[Share, Found]:
    row = await session.get(Share, share_id)
    workspace = await session.get(Workspace, row.workspace_id) if row else None
    if row is None or workspace is None:
        raise not_found("share", share_id)
    found = await by_id(session, caller, workspace.id)
    if found is None:
        raise not_found("share", share_id)
    return row, found


async def list_shares(
    broker: Broker, caller: Caller, workspace: str | None, limit: int, after: str
) -> list[dict[str, Any]]:
    """The shares the caller may see: of one workspace, or of all they own or received."""
    async with broker.db.read() as session:
        query = select(Share).where(Share.id > after).order_by(Share.id).limit(limit)
        if workspace is not None:
            found = await find_workspace(session, caller, workspace)
            query = query.where(Share.workspace_id == found.row.id)
        if isinstance(policy.may_administer(caller), policy.Denied):
            names, now = await principals(session, caller), now_ms()
            theirs = [reach(caller, names, policy.OWN, now), Share.principal.in_(sorted(caller.principals))]
            if caller.user is not None:
                theirs.append(Share.created_by == caller.user)
            query = query.join(Workspace, Workspace.id == Share.workspace_id).where(
                reach(caller, names, policy.READ, now), or_(*theirs)
            )
        rows = list(await session.scalars(query))
        places = await load_many(session, caller, {row.workspace_id for row in rows})
        seen = [(row, places[row.workspace_id].bucket) for row in rows if row.workspace_id in places]
        return await shares_json(session, seen)


async def share_json(session: AsyncSession, row: Share, bucket: str) -> dict[str, Any]:
    """A share as the API shows it (design, section 8)."""
    return (await shares_json(session, [(row, bucket)]))[0]


async def shares_json(session: AsyncSession, rows: Sequence[tuple[Share, str]]) -> list[dict[str, Any]]:
    """The same for many, each with its workspace's bucket."""
    told = await principal_texts(
        session, [name for row, _ in rows for name in (row.principal, f"u:{row.created_by}")]
    )
    now = now_ms()
    return [
        {
            "id": row.id,
            "workspace": bucket,
            "principal": told.get(row.principal, row.principal),
            "permission": policy.WORDS[row.permission],
            "expires_at": rfc3339(row.expires_at),
            "parent_id": row.parent_id,
            "created_at": rfc3339(row.created_at),
            "created_by": told.get(f"u:{row.created_by}", row.created_by),
            "state": "expired" if row.expires_at is not None and row.expires_at <= now else "active",
        }
        for row, bucket in rows
    ]
