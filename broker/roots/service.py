"""Adding roots, and deciding who may use them; importing what lies in an unmanaged one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, Unit
from broker.errors import ApiError, conflict, denied, invalid
from broker.names import WORKSPACE, check_label
from broker.nodes.client import open_client
from broker.nodes.models import Node
from broker.nodes.service import find_node
from broker.policy import Caller
from broker.roots.find import find_root, root_view
from broker.roots.models import Root, RootGrant
from broker.shares.principals import principal_id, principal_texts
from broker.times import rfc3339
from broker.users.find import find_user
from broker.users.models import User
from broker.workspaces.models import Workspace
from broker.workspaces.places import overlap, same_bucket_roots
from broker.workspaces.service import add_workspace, clean_prefix
from quota import new_id

KINDS = ("private", "public", "unmanaged")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: Prefixes that one import looks at.
MAX_IMPORT = 10_000


@dataclass(frozen=True, slots=True)
class NewRoot:
    """What a root is made from."""

    name: str
    node: str
    bucket: str
    kind: str
    prefix: str = ""


async def create_root(broker: Broker, caller: Caller, new: NewRoot) -> Root:
    """Adds a root, and makes its bucket if it is absent; the node's creator and admins.

    A private or public root is used only for workspaces: its ground may overlap no other root's, and in
    it everyone may create until that is taken away (`ungrant everyone create`).
    """
    check_label("root", new.name)
    if new.kind not in KINDS:
        raise invalid("A root is private, public or unmanaged.")
    if not _BUCKET.fullmatch(new.bucket):
        raise invalid("That is no bucket name.")
    prefix = clean_prefix(new.prefix.removeprefix("/"))
    async with broker.db.read() as session:
        node = await find_node(session, new.node)
        if isinstance(no := policy.may_act_for(caller, node.created_by), policy.Denied):
            raise denied("Only the node's creator and admins may add roots to it: " + no.reason)
    async with open_client(broker.sealer, node) as client:
        await client.ensure_bucket(new.bucket)
        versioned = await client.is_versioned(new.bucket)
        checks = await client.checks_payload(new.bucket)
    async with broker.change(caller) as unit:
        return await _add_root(unit, caller, new, prefix, node.id, versioned=versioned, checks=checks)


async def _add_root(
    unit: Unit, caller: Caller, new: NewRoot, prefix: str, node_id: str, *, versioned: bool, checks: bool
) -> Root:
    session = unit.session
    if await session.scalar(select(Root.id).where(Root.name == new.name)):
        raise conflict(f"There is a root {new.name!r} already.")
    node = await find_node(session, node_id)
    for other in await same_bucket_roots(session, node, new.bucket):
        only_data = new.kind == other.kind == "unmanaged"
        if not only_data and overlap(prefix, other.prefix):
            raise conflict(f"That place overlaps the root {other.name!r}.", "PrefixOverlap")
    root = Root(
        id=new_id(), name=new.name, node_id=node.id, bucket=new.bucket, prefix=prefix, kind=new.kind,
        versioned=versioned, created_by=caller.user or node.created_by, created_at=unit.now,
    )  # fmt: skip
    session.add(root)
    await session.flush()
    if new.kind != "unmanaged":
        session.add(RootGrant(root_id=root.id, principal=policy.EVERYONE, permission="create"))
    if checks != node.checks_payload:
        node.checks_payload = checks
        unit.touch("node", node.id)
    unit.note("root.create", root=root.name, node=node.name, kind=root.kind)
    return root


async def _manage(session: AsyncSession, caller: Caller, name: str) -> Root:
    root = await find_root(session, name)
    if isinstance(no := policy.may_manage_root(caller, await root_view(session, root)), policy.Denied):
        raise denied(no.reason)
    return root


async def grant_root(broker: Broker, caller: Caller, name: str, principal: str, permission: str) -> Root:
    """Lets a principal create in, or manage, the root; its managers."""
    async with broker.change(caller) as unit:
        root = await _manage(unit.session, caller, name)
        who = await principal_id(unit.session, principal)
        if permission == "manage" and who == policy.EVERYONE:
            raise invalid("A root is managed by named users and groups, not by everyone.")
        if await unit.session.get(RootGrant, (root.id, who, permission)) is None:
            unit.session.add(RootGrant(root_id=root.id, principal=who, permission=permission))
            unit.note("root.grant", root=root.name, principal=principal, permission=permission)
        return root


async def ungrant_root(broker: Broker, caller: Caller, name: str, principal: str, permission: str) -> Root:
    """Takes that away again; what was made stays."""
    async with broker.change(caller) as unit:
        root = await _manage(unit.session, caller, name)
        who = await principal_id(unit.session, principal)
        await unit.session.execute(
            delete(RootGrant).where(
                RootGrant.root_id == root.id, RootGrant.principal == who, RootGrant.permission == permission
            )
        )
        unit.note("root.ungrant", root=root.name, principal=principal, permission=permission)
        return root


async def rename_root(broker: Broker, caller: Caller, name: str, new_name: str) -> Root:
    """Gives a root another name; where it lies never changes."""
    check_label("root", new_name)
    async with broker.change(caller) as unit:
        root = await _manage(unit.session, caller, name)
        if await unit.session.scalar(select(Root.id).where(Root.name == new_name, Root.id != root.id)):
            raise conflict(f"There is a root {new_name!r} already.")
        unit.note("root.update", root=root.name, name=new_name)
        root.name = new_name
        return root


async def delete_root(broker: Broker, caller: Caller, name: str) -> str:
    """Forgets a root without workspaces; the bucket and what is in it stay. Returns its id."""
    async with broker.change(caller) as unit:
        root = await _manage(unit.session, caller, name)
        if await unit.session.scalar(select(Workspace.id).where(Workspace.root_id == root.id).limit(1)):
            raise conflict("The root has workspaces; delete or move them first.", "RootInUse")
        await unit.session.execute(update(User).where(User.default_root == root.id).values(default_root=None))
        await unit.session.delete(root)
        unit.note("root.delete", root=root.name)
        return root.id


async def set_default_root(broker: Broker, caller: Caller, name: str, *, everyone: bool) -> Root:
    """Makes it the caller's default, or (`everyone`, admins) that of all who chose none."""
    async with broker.change(caller) as unit:
        session = unit.session
        root = await find_root(session, name)
        view = await root_view(session, root)
        if everyone:
            if isinstance(no := policy.may_administer(caller), policy.Denied):
                raise denied(no.reason)
        elif isinstance(no := policy.may_create_in_root(caller, view), policy.Denied):
            raise denied(no.reason)
        if root.kind == "unmanaged":
            raise invalid("An unmanaged root cannot be a default: its workspaces need a prefix.")
        if everyone:
            await session.execute(update(Root).values(everyones_default=False))
            root.everyones_default = True
        elif caller.user is not None:
            (await session.get_one(User, caller.user)).default_root = root.id
        unit.note("root.set-default", root=root.name, everyone=everyone)
        return root


async def import_root(
    broker: Broker, caller: Caller, name: str, *, owner: str | None, dry_run: bool
) -> list[dict[str, Any]]:
    """Makes a workspace of each first-level prefix of an unmanaged root that overlaps none yet.

    They belong to `owner` (the caller by default; another one needs an admin). Prefixes whose names are no
    workspace names, or are taken, are told and left alone.
    """
    async with broker.db.read() as session:
        root = await _manage(session, caller, name)
        if root.kind != "unmanaged":
            raise invalid("Only unmanaged roots hold data to import.")
        node = await session.get_one(Node, root.node_id)
        holder = await find_user(session, owner or caller.user or "")
        if holder.id != caller.user and isinstance(no := policy.may_administer(caller), policy.Denied):
            raise denied(no.reason)
    found: list[str] = []
    async with open_client(broker.sealer, node) as client:
        async for prefix in client.first_level(root.bucket, root.prefix):
            found.append(prefix)
            if len(found) >= MAX_IMPORT:
                break
    rows: list[dict[str, Any]] = []
    for prefix in found:
        part = prefix.removeprefix(root.prefix).rstrip("/")
        workspace = re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")
        bucket = f"{holder.handle}.{workspace}"
        row = {
            "id": None,
            "owner": holder.handle,
            "name": workspace,
            "bucket": bucket,
            "prefix": part,
            "reason": None,
        }
        if not WORKSPACE.fullmatch(workspace):
            row |= {"name": None, "bucket": None, "reason": "Its name cannot be made a workspace name."}
        elif not dry_run:
            try:
                async with broker.change(caller) as unit:
                    place = await _manage(unit.session, caller, name)
                    made = await add_workspace(unit, place, holder, workspace, part)
                row["id"] = made.id
                broker.uncounted.add(made.id)
            except ApiError as error:
                if error.status not in (400, 409):
                    raise
                row["reason"] = error.message
        rows.append(row)
    return rows


async def root_json(session: AsyncSession, caller: Caller, root: Root) -> dict[str, Any]:
    """A root as the API shows it; its place and grants only to managers."""
    view = await root_view(session, root)
    node = await session.get_one(Node, root.node_id)
    shown: dict[str, Any] = {
        "id": root.id,
        "name": root.name,
        "kind": root.kind,
        "node": node.name,
        "default": root.everyones_default,
        "may_create": isinstance(policy.may_create_in_root(caller, view), policy.Allowed),
        "created_at": rfc3339(root.created_at),
    }
    if isinstance(policy.may_manage_root(caller, view), policy.Allowed):
        shown |= {"bucket": root.bucket, "prefix": root.prefix, "versioned": root.versioned}
        told = await principal_texts(session, view.creators | view.managers)
        shown["grants"] = [
            {"principal": told.get(principal, principal), "permission": permission}
            for permission, principals in (("create", view.creators), ("manage", view.managers))
            for principal in sorted(principals)
        ]
    return shown
