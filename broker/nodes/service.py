"""Adding nodes, checking and changing them. The creator and admins operate a node; its secret stays sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, revoked
from broker.errors import ApiError, conflict, denied, invalid, not_found
from broker.names import check_label
from broker.nodes.address import clean_endpoint, resolve
from broker.nodes.client import open_client, open_node
from broker.nodes.models import Node
from broker.policy import Caller
from broker.roots.models import Root
from broker.times import now_ms, rfc3339
from broker.users.models import User
from quota import new_id


@dataclass(frozen=True, slots=True)
class NewNode:
    """What a node is made from."""

    name: str
    endpoint: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    role_arn: str | None = None
    sts_url: str | None = None


async def find_node(session: AsyncSession, name: str) -> Node:
    """By name or id. Raises ApiError (404)."""
    rows = list(await session.scalars(select(Node).where(or_(Node.name == name, Node.id == name))))
    if not rows:
        raise not_found("node", name)
    return min(rows, key=lambda row: row.name != name)


async def create_node(broker: Broker, caller: Caller, new: NewNode) -> Node:
    """Adds a node for any user with a whole credential, once it answers and knows the credential given."""
    if isinstance(no := policy.may_act_on_account(caller), policy.Denied):
        raise denied(no.reason)
    if caller.user is None:
        raise denied("A node needs a user who operates it.")
    check_label("node", new.name)
    _refuse_roles(new.role_arn, new.sts_url)
    row = Node(
        id=new_id(), name=new.name, endpoint=clean_endpoint(new.endpoint), region=_region(new.region),
        access_key_id=new.access_key_id,
        created_by=caller.user, created_at=now_ms(), checks_payload=False,
    )  # fmt: skip
    _check_credential(new.access_key_id, new.secret_access_key)
    row.secret = broker.sealer.seal(new.secret_access_key.encode(), b"node:" + row.id.encode())
    await _probe(broker, row, new.secret_access_key)
    async with broker.change(caller) as unit:
        if await unit.session.scalar(select(Node.id).where(Node.name == row.name)):
            raise conflict(f"There is a node {row.name!r} already.")
        unit.session.add(row)
        unit.touch("node", row.id)
        unit.note("node.create", node=row.name, endpoint=row.endpoint)
        return row


def _refuse_roles(role_arn: str | None, sts_url: str | None) -> None:
    """Never accept and ignore: a role would be renewed by every worker, which none of them does yet."""
    if role_arn or sts_url:
        raise ApiError(
            "NotImplemented",
            "Roles at a node (role_arn, sts_url) are not supported yet: give an access key that may itself use the "
            "bucket.",
            501,
        )


def _region(text: str) -> str:
    if not text or len(text) > 64 or not all(char.isalnum() or char == "-" for char in text):
        raise invalid("That is no region.")
    return text


def _check_credential(access_key_id: str, secret: str) -> None:
    printable = all(0x21 <= ord(char) <= 0x7E for char in access_key_id + secret)
    if (
        not printable
        or not 1 <= len(access_key_id) <= 256
        or not 1 <= len(secret) <= 1024
        or "/" in access_key_id
    ):
        raise invalid("The node's credential must be printable ASCII without spaces.")


async def _probe(broker: Broker, row: Node, secret: str) -> None:
    row.addresses = await resolve(row.endpoint, broker.settings.allowed_networks)
    async with open_node(row, secret) as client:
        await client.list_buckets()
    row.checked_at = now_ms()


async def check_node(broker: Broker, caller: Caller, name: str) -> Node:
    """Resolves and asks the node again; with a root on it, also whether it refuses a wrong payload hash."""
    async with broker.db.read() as session:
        node = await find_node(session, name)
        _may_operate(caller, node)
        bucket = await session.scalar(select(Root.bucket).where(Root.node_id == node.id).limit(1))
    addresses = await resolve(node.endpoint, broker.settings.allowed_networks)
    node.addresses = addresses
    async with open_client(broker.sealer, node) as client:
        await client.list_buckets()
        checks = await client.checks_payload(bucket) if bucket else node.checks_payload
    async with broker.change(caller) as unit:
        row = await find_node(unit.session, node.id)
        row.addresses, row.checks_payload, row.checked_at = addresses, checks, unit.now
        unit.touch("node", row.id)
        unit.note("node.check", node=row.name, checks_payload=checks)
        return row


def _may_operate(caller: Caller, node: Node) -> None:
    if isinstance(policy.may_act_for(caller, node.created_by), policy.Denied):
        raise denied("Only the node's creator and admins may do that.")


async def update_node(broker: Broker, caller: Caller, name: str, changes: dict[str, str | None]) -> Node:
    """Changes name, endpoint, region or credential; asks the node before it is kept.

    A new endpoint must be the same server: the roots' buckets have to be there. Transfers on it are cut.
    """
    async with broker.db.read() as session:
        node = await find_node(session, name)
        _may_operate(caller, node)
        buckets = set(await session.scalars(select(Root.bucket).where(Root.node_id == node.id)))
    wanted = {key: value for key, value in changes.items() if value is not None}
    _refuse_roles(wanted.pop("role_arn", None), wanted.pop("sts_url", None))
    secret = wanted.pop("secret_access_key", None)
    if secret is None and "endpoint" in wanted and clean_endpoint(wanted["endpoint"]) != node.endpoint:
        # Or a creator who was only lent a credential could have it sent elsewhere, signed, by the gate.
        raise invalid("A new endpoint needs the secret access key again.")
    for key, value in wanted.items():
        setattr(node, key, value)
    check_label("node", node.name)
    node.endpoint, node.region = clean_endpoint(node.endpoint), _region(node.region)
    if secret is None:
        secret = broker.sealer.open(node.secret, b"node:" + node.id.encode()).decode()
    _check_credential(node.access_key_id, secret)
    await _probe(broker, node, secret)
    sealed = broker.sealer.seal(secret.encode(), b"node:" + node.id.encode())
    async with open_node(node, secret) as client:
        for bucket in buckets:
            if (answer := await client.request("HEAD", f"/{bucket}".encode())).status != 200:
                raise invalid(f"The bucket {bucket!r} of a root cannot be used there ({answer.status}).")
    async with broker.change(caller) as unit:
        row = await find_node(unit.session, node.id)
        other = await unit.session.scalar(select(Node.id).where(Node.name == node.name, Node.id != row.id))
        if other is not None:
            raise conflict(f"There is a node {node.name!r} already.")
        for field in ("name", "endpoint", "region", "access_key_id", "addresses"):
            setattr(row, field, getattr(node, field))
        row.secret, row.checked_at = sealed, unit.now
        if "endpoint" in wanted:
            row.checks_payload = False
        unit.touch("node", row.id)
        unit.revoke(f"node:{row.id}")
        unit.note("node.update", node=row.name, changed=sorted(wanted))
        return row


async def delete_node(broker: Broker, caller: Caller, name: str) -> dict[str, Any]:
    """Deletes a node that has no roots. Raises ApiError (409) while it has some."""
    async with broker.change(caller) as unit:
        row = await find_node(unit.session, name)
        _may_operate(caller, row)
        if await unit.session.scalar(select(Root.id).where(Root.node_id == row.id).limit(1)):
            raise conflict("The node has roots; delete them first.", "NodeInUse")
        await unit.session.delete(row)
        unit.touch("node", row.id)
        unit.revoke(f"node:{row.id}")
        unit.note("node.delete", node=row.name)
        node_id = row.id
    return revoked(unit, [node_id])


async def node_json(session: AsyncSession, caller: Caller, node: Node) -> dict[str, Any]:
    """A node as the API shows it; address and access key id only to those who operate it."""
    maker = await session.get(User, node.created_by)
    shown: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "region": node.region,
        "creator": maker.handle if maker else node.created_by,
        "reachable": node.checked_at is not None,
        "created_at": rfc3339(node.created_at),
    }
    if isinstance(policy.may_act_for(caller, node.created_by), policy.Allowed):
        shown |= {
            "endpoint": node.endpoint,
            "access_key_id": node.access_key_id,
            "role_arn": node.role_arn,
            "sts_url": node.sts_url,
            "addresses": node.addresses,
            "checks_payload": node.checks_payload,
            "checked_at": rfc3339(node.checked_at),
        }
    return shown
