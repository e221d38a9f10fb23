"""Making groups, and who is in them. Leaving one takes away what only it gave."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, revoked
from broker.errors import conflict, denied
from broker.groups.find import find_group
from broker.groups.models import Group, Member
from broker.names import check_label
from broker.policy import Caller
from broker.roots.models import RootGrant
from broker.shares.models import Share
from broker.shares.tree import drop_shares, sweep
from broker.times import rfc3339
from broker.users.find import find_user
from broker.users.models import User
from quota import new_id


def _admins_only(caller: Caller) -> None:
    if isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)


async def create_group(broker: Broker, caller: Caller, name: str) -> Group:
    """Makes an empty group; admins only."""
    _admins_only(caller)
    check_label("group", name)
    async with broker.change(caller) as unit:
        if await unit.session.scalar(select(Group.id).where(Group.name == name)):
            raise conflict(f"There is a group {name!r} already.")
        group = Group(id=new_id(), name=name, created_at=unit.now)
        unit.session.add(group)
        unit.note("group.create", group=name)
        return group


async def delete_group(broker: Broker, caller: Caller, name: str) -> dict[str, Any]:
    """Deletes a group and every share to it; admins only."""
    _admins_only(caller)
    async with broker.change(caller) as unit:
        group = await find_group(unit.session, name)
        shares = await unit.session.scalars(select(Share.id).where(Share.principal == f"g:{group.id}"))
        members = list(await unit.session.scalars(select(Member).where(Member.group_id == group.id)))
        for member in members:
            unit.touch("user", member.user_id)
            unit.revoke(f"g:{group.id}:{member.user_id}")
            await unit.session.delete(member)
        dropped = await drop_shares(unit, list(shares))
        await unit.session.execute(delete(RootGrant).where(RootGrant.principal == f"g:{group.id}"))
        await unit.session.delete(group)
        unit.note("group.delete", group=group.name, dropped=dropped.shares)
    return revoked(
        unit, [group.id, *dropped.shares], sessions=len(dropped.sessions), links=len(dropped.links)
    )


async def add_member(broker: Broker, caller: Caller, group: str, user: str) -> None:
    """Puts a user into a group; again is no error. Admins only."""
    _admins_only(caller)
    async with broker.change(caller) as unit:
        found, member = await find_group(unit.session, group), await find_user(unit.session, user)
        if await unit.session.get(Member, (found.id, member.id)) is None:
            unit.session.add(Member(group_id=found.id, user_id=member.id))
            unit.touch("user", member.id)
            unit.note("group.add", group=found.name, user=member.handle)


async def remove_member(broker: Broker, caller: Caller, group: str, user: str) -> dict[str, Any]:
    """Takes a user out: their transfers by the group's shares are cut, their reshares of these end.

    Admins, and the member themselves.
    """
    async with broker.change(caller) as unit:
        found, member = await find_group(unit.session, group), await find_user(unit.session, user)
        if isinstance(no := policy.may_act_for(caller, member.id), policy.Denied):
            raise denied(no.reason)
        row = await unit.session.get(Member, (found.id, member.id))
        if row is None:
            return revoked(unit, [])
        await unit.session.delete(row)
        await unit.session.flush()
        unit.touch("user", member.id)
        unit.revoke(f"g:{found.id}:{member.id}")
        shared = list(await unit.session.scalars(select(Share).where(Share.principal == f"g:{found.id}")))
        orphans = await unit.session.scalars(
            select(Share.id).where(
                Share.created_by == member.id, Share.parent_id.in_([share.id for share in shared])
            )
        )
        dropped = await drop_shares(unit, list(orphans))
        sessions, links = set(dropped.sessions), set(dropped.links)
        for workspace_id in {share.workspace_id for share in shared}:
            swept = await sweep(unit, workspace_id)
            sessions |= set(swept.sessions)
            links |= set(swept.links)
        unit.note("group.remove", group=found.name, user=member.handle, dropped=dropped.shares)
    return revoked(unit, dropped.shares, sessions=len(sessions), links=len(links))


async def list_groups(session: AsyncSession, caller: Caller, limit: int, after: str) -> list[dict[str, Any]]:
    """All groups with how many are in them; members by name only for members and admins."""
    rows = await session.scalars(select(Group).where(Group.name > after).order_by(Group.name).limit(limit))
    return [await group_json(session, caller, row) for row in rows]


async def group_json(session: AsyncSession, caller: Caller, group: Group) -> dict[str, Any]:
    """A group as the API shows it."""
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "created_at": rfc3339(group.created_at)}
    if group.id in caller.groups or isinstance(policy.may_administer(caller), policy.Allowed):
        handles = (
            select(User.handle).join(Member, Member.user_id == User.id).where(Member.group_id == group.id)
        )
        shown["members"] = sorted(await session.scalars(handles))
    count = await session.scalar(select(func.count()).select_from(Member).where(Member.group_id == group.id))
    shown["member_count"] = count or 0
    return shown
