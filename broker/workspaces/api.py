"""Routes of workspaces."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from broker.context import Broker
from broker.policy import Caller
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Long, Text
from broker.workspaces.find import Found, find_workspace
from broker.workspaces.listing import list_workspaces, workspaces_json
from broker.workspaces.service import (
    alias_workspace,
    create_workspace,
    delete_workspace,
    rename_workspace,
    transfer_workspace,
)

router = APIRouter(prefix="/workspaces", tags=["workspaces"])


class WorkspaceIn(Body):
    name: Text
    owner: Text | None = None
    root: Text | None = None
    prefix: Long | None = None


class NameIn(Body):
    name: Text


class TransferIn(Body):
    to: Text


async def _shown(broker: Broker, caller: Caller, found: list[Found]) -> list[dict[str, Any]]:
    usage = await broker.live.usage([f"w:{one.row.id}" for one in found])
    async with broker.db.read() as session:
        return await workspaces_json(session, caller, found, usage)


@router.post("", status_code=201)
async def create(body: WorkspaceIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Make a workspace in a root, or in the default one."""
    found = await create_workspace(
        broker, caller, name=body.name, owner=body.owner, root=body.root, prefix=body.prefix
    )
    return (await _shown(broker, caller, [found]))[0]


@router.get("")
async def list_(
    broker: BrokerDep,
    caller: CallerDep,
    limit: Limit = 1000,
    after: After = "",
    everything: Annotated[bool, Query(alias="all", description="All there are; for admins.")] = False,
) -> list[dict[str, Any]]:
    """One's own workspaces and those shared with one."""
    async with broker.db.read() as session:
        found = await list_workspaces(session, caller, everything=everything, limit=limit, after=after)
    return await _shown(broker, caller, found)


@router.get("/{workspace}")
async def show(workspace: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """One workspace."""
    async with broker.db.read() as session:
        found = await find_workspace(session, caller, workspace)
    return (await _shown(broker, caller, [found]))[0]


@router.delete("/{workspace}")
async def delete(workspace: str, broker: BrokerDep, caller: CallerDep, purge: bool = False) -> dict[str, Any]:
    """Delete it when it is empty, or (`purge`) with all that is in it. Needs own."""
    return await delete_workspace(broker, caller, workspace, purge=purge)


@router.post("/{workspace}/rename")
async def rename(workspace: str, body: NameIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Give it another name; nothing moves. Needs own."""
    return (await _shown(broker, caller, [await rename_workspace(broker, caller, workspace, body.name)]))[0]


@router.post("/{workspace}/alias")
async def alias(workspace: str, body: NameIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Give it one more name. Needs own."""
    return (await _shown(broker, caller, [await alias_workspace(broker, caller, workspace, body.name)]))[0]


@router.post("/{workspace}/transfer")
async def transfer(workspace: str, body: TransferIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Hand it, with its usage, to another owner. Its owner and admins."""
    return await transfer_workspace(broker, caller, workspace, body.to)
