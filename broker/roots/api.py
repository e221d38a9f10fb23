"""Routes of roots."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import StringConstraints
from sqlalchemy import select

from broker.roots.find import find_root
from broker.roots.models import Root
from broker.roots.service import (
    NewRoot,
    create_root,
    delete_root,
    grant_root,
    import_root,
    rename_root,
    root_json,
    set_default_root,
    ungrant_root,
)
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Long, Text

router = APIRouter(prefix="/roots", tags=["roots"])
RootPermission = Annotated[str, StringConstraints(pattern="^(create|manage)$")]


class RootIn(Body):
    name: Text
    node: Text
    bucket: Text
    prefix: Long | None = None
    kind: Annotated[str, StringConstraints(pattern="^(private|public|unmanaged)$")] = "private"


class RootChange(Body):
    name: Text


class GrantIn(Body):
    principal: Text
    permission: RootPermission


class DefaultIn(Body):
    everyone: bool = False


class ImportIn(Body):
    owner: Text | None = None
    dry_run: bool = False


@router.post("", status_code=201)
async def create(body: RootIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Add a root; its bucket is made if it is absent. The node's creator and admins."""
    new = NewRoot(body.name, body.node, body.bucket, body.kind, body.prefix or "")
    root = await create_root(broker, caller, new)
    async with broker.db.read() as session:
        return await root_json(session, caller, root)


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """All roots by name; their places and grants only for managers."""
    async with broker.db.read() as session:
        rows = await session.scalars(select(Root).where(Root.name > after).order_by(Root.name).limit(limit))
        return [await root_json(session, caller, row) for row in rows]


@router.get("/{name}")
async def show(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """One root."""
    async with broker.db.read() as session:
        return await root_json(session, caller, await find_root(session, name))


@router.patch("/{name}")
async def rename(name: str, body: RootChange, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Give it another name. Its managers."""
    root = await rename_root(broker, caller, name, body.name)
    async with broker.db.read() as session:
        return await root_json(session, caller, root)


@router.delete("/{name}")
async def delete(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Forget a root without workspaces; nothing on the node is deleted. Its managers."""
    return {"revoked": [await delete_root(broker, caller, name)]}


@router.put("/{name}/grants")
async def grant(name: str, body: GrantIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Let a user, group:NAME or everyone create there; or a user or group manage it. Its managers."""
    root = await grant_root(broker, caller, name, body.principal, body.permission)
    async with broker.db.read() as session:
        return await root_json(session, caller, root)


@router.delete("/{name}/grants")
async def ungrant(
    name: str, principal: str, permission: RootPermission, broker: BrokerDep, caller: CallerDep
) -> dict[str, Any]:
    """Take that away again. Its managers."""
    root = await ungrant_root(broker, caller, name, principal, permission)
    async with broker.db.read() as session:
        return await root_json(session, caller, root)


@router.post("/{name}/default")
async def default(
    name: str, broker: BrokerDep, caller: CallerDep, body: DefaultIn | None = None
) -> dict[str, Any]:
    """Make it one's own default; with `everyone`, by admins, that of all who chose none."""
    root = await set_default_root(broker, caller, name, everyone=bool(body and body.everyone))
    async with broker.db.read() as session:
        return await root_json(session, caller, root)


@router.post("/{name}/import")
async def import_(
    name: str, broker: BrokerDep, caller: CallerDep, body: ImportIn | None = None
) -> list[dict[str, Any]]:
    """Make workspaces of an unmanaged root's first-level prefixes; those left alone come with a `reason`. Managers."""
    wanted = body or ImportIn()
    return await import_root(broker, caller, name, owner=wanted.owner, dry_run=wanted.dry_run)
