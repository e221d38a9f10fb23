"""Whom shares and grants name: principals as the live state writes them, as people do, and a caller's own."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.db import batches
from broker.groups.find import find_group
from broker.groups.models import Group, Member
from broker.policy import Caller
from broker.users.find import find_user
from broker.users.models import User


async def groups_of(session: AsyncSession, user_id: str) -> frozenset[str]:
    """The ids of the groups that a user is in."""
    return frozenset(await session.scalars(select(Member.group_id).where(Member.user_id == user_id)))


async def principals(session: AsyncSession, caller: Caller) -> frozenset[str]:
    """Every principal that a share to the caller's user may name, as the tables have it now."""
    groups = await groups_of(session, caller.user) if caller.user else frozenset[str]()
    return policy.principals_of(caller.user, groups)


async def principal_id(session: AsyncSession, text: str) -> str:
    """`USER`, `group:NAME` or `everyone` as the live state writes it. Raises ApiError (404)."""
    if text == "everyone":
        return policy.EVERYONE
    if text.startswith("group:"):
        return f"g:{(await find_group(session, text.removeprefix('group:'))).id}"
    return f"u:{(await find_user(session, text.removeprefix('user:'))).id}"


async def principal_text(session: AsyncSession, principal: str) -> str:
    """The same back, for people; one that is gone as it is."""
    return (await principal_texts(session, [principal])).get(principal, principal)


async def principal_texts(session: AsyncSession, wanted: Iterable[str]) -> dict[str, str]:
    """The same for many at once; those that are gone are left out."""
    every = set(wanted)
    told = {policy.EVERYONE: "everyone"}
    for some in batches(one[2:] for one in every if one.startswith("g:")):
        groups = await session.execute(select(Group.id, Group.name).where(Group.id.in_(some)))
        told |= {f"g:{ident}": f"group:{name}" for ident, name in groups}
    for some in batches(one[2:] for one in every if one.startswith("u:")):
        users = await session.execute(select(User.id, User.handle).where(User.id.in_(some)))
        told |= {f"u:{ident}": handle for ident, handle in users}
    return told
