"""Routes of storage nodes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import StringConstraints
from sqlalchemy import select

from broker.nodes.models import Node
from broker.nodes.service import (
    NewNode,
    check_node,
    create_node,
    delete_node,
    find_node,
    node_json,
    update_node,
)
from broker.web import After, Body, BrokerDep, CallerDep, Limit, Long, Text

router = APIRouter(prefix="/nodes", tags=["nodes"])
Secret = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class NodeIn(Body):
    name: Text
    endpoint: Long
    region: Text = "us-east-1"
    access_key_id: Text
    secret_access_key: Secret
    role_arn: Long | None = None
    sts_url: Long | None = None


class NodeChange(Body):
    name: Text | None = None
    endpoint: Long | None = None
    region: Text | None = None
    access_key_id: Text | None = None
    secret_access_key: Secret | None = None
    role_arn: Long | None = None
    sts_url: Long | None = None


@router.post("", status_code=201)
async def create(body: NodeIn, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Add a node once it answers. Any user, who then operates it."""
    node = await create_node(broker, caller, NewNode(**body.model_dump()))
    async with broker.db.read() as session:
        return await node_json(session, caller, node)


@router.get("")
async def list_(
    broker: BrokerDep, caller: CallerDep, limit: Limit = 1000, after: After = ""
) -> list[dict[str, Any]]:
    """All nodes by name; endpoints only for those who operate them."""
    async with broker.db.read() as session:
        rows = await session.scalars(select(Node).where(Node.name > after).order_by(Node.name).limit(limit))
        return [await node_json(session, caller, row) for row in rows]


@router.get("/{name}")
async def show(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """One node."""
    async with broker.db.read() as session:
        return await node_json(session, caller, await find_node(session, name))


@router.patch("/{name}")
async def update(name: str, body: NodeChange, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Change a node, once it answers with the change. Its creator and admins."""
    node = await update_node(broker, caller, name, body.model_dump())
    async with broker.db.read() as session:
        return await node_json(session, caller, node)


@router.post("/{name}/check")
async def check(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Resolve, reach and try the node again. Its creator and admins."""
    node = await check_node(broker, caller, name)
    async with broker.db.read() as session:
        return await node_json(session, caller, node)


@router.delete("/{name}")
async def delete(name: str, broker: BrokerDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a node without roots. Its creator and admins."""
    return await delete_node(broker, caller, name)
