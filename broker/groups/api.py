"""Routes of groups."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from broker import policy
from broker.errors import denied
from broker.groups.find import find_group
from broker.groups.service import (
    add_member,
    create_group,
    delete_group,
    group_json,
    list_groups,
    remove_member,
)
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Text

router = APIRouter(prefix="/groups", tags=["groups"])


class GroupIn(Body):
    name: Text


@router.post("", status_code=201)
async def create(body: GroupIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Make an empty group. Admins."""
    group = await create_group(broker, caller, body.name)
    async with broker.db.read() as session:
        return await group_json(session, caller, group)


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """All groups by name; members only for members and admins."""
    if isinstance(no := policy.may_act_on_account(caller), policy.Denied):
        raise denied(no.reason)
    async with broker.db.read() as session:
        return await list_groups(session, caller, limit, after)


@router.delete("/{name}")
async def delete(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a group and the shares to it. Admins."""
    return await delete_group(broker, caller, name)


@router.put("/{name}/members/{user}")
async def add(name: str, user: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Put a user into a group. Admins."""
    await add_member(broker, caller, name, user)
    async with broker.db.read() as session:
        return await group_json(session, caller, await find_group(session, name))


@router.delete("/{name}/members/{user}")
async def remove(name: str, user: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Take a user out, with all that only the group gave. Admins, and the member themselves."""
    return await remove_member(broker, caller, name, user)
