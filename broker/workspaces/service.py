"""Making, naming and handing over workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, Unit, revoked
from broker.errors import conflict, denied, invalid
from broker.names import check_workspace_name
from broker.policy import Caller
from broker.roots.find import default_root, find_root, root_view
from broker.roots.models import Root
from broker.shares.models import Share
from broker.shares.tree import drop_shares, sweep
from broker.users.find import find_user
from broker.users.models import User
from broker.workspaces.find import Found, by_id, find_workspace
from broker.workspaces.models import Workspace, WorkspaceName
from broker.workspaces.places import check_place, delete_place
from quota import new_id

#: S3's limit on a key; a prefix must leave room for keys (protocol, rule 19).
LONGEST_PREFIX = 512
#: Names that one workspace may have.
MAX_NAMES = 16


def clean_prefix(text: str) -> str:
    """A prefix as it is stored: `""`, or ending in `/`. Raises ApiError for segments that S3 servers mangle."""
    if not text:
        return ""
    prefix = text if text.endswith("/") else text + "/"
    parts = prefix[:-1].split("/")
    if any(part in ("", ".", "..") for part in parts) or any(
        ord(char) < 32 or ord(char) == 127 for char in prefix
    ):
        raise invalid("A prefix has no empty, '.' or '..' segments and no control characters.")
    if len(prefix.encode()) > LONGEST_PREFIX:
        raise invalid(f"A prefix has at most {LONGEST_PREFIX} bytes.")
    return prefix


async def create_workspace(
    broker: Broker, caller: Caller, *, name: str, owner: str | None, root: str | None, prefix: str | None
) -> Found:
    """Makes a workspace in `root`, or in the owner's default root.

    `owner` (a handle) other than the caller's needs an admin, or in unmanaged roots a manager. Raises ApiError:
    403; 409 when the name is taken (BucketAlreadyOwnedByYou) or the place overlaps.
    """
    async with broker.change(caller) as unit:
        session = unit.session
        holder = await _owner(session, caller, owner)
        place = await find_root(session, root) if root else await default_root(session, caller, holder)
        view = await root_view(session, place)
        if isinstance(no := policy.may_create_in_root(caller, view), policy.Denied):
            raise denied(no.reason)
        if isinstance(no := policy.may_create_for(caller, holder.id, view), policy.Denied):
            raise denied(no.reason)
        row = await add_workspace(unit, place, holder, name, prefix)
        found = await by_id(session, caller, row.id)
    if place.kind == "unmanaged":
        broker.uncounted.add(row.id)
    if found is None:
        # Made for somebody else by a root manager, who has no permission on it.
        return Found(row, place, holder.handle, name, 0, manages=False)
    return found


async def _owner(session: AsyncSession, caller: Caller, handle: str | None) -> User:
    if handle is None:
        if caller.user is None:
            raise invalid("Say who owns the workspace.")
        return await session.get_one(User, caller.user)
    return await find_user(session, handle)


async def add_workspace(unit: Unit, root: Root, owner: User, name: str, prefix: str | None) -> Workspace:
    """The same inside a change that is authorised (import too)."""
    session = unit.session
    check_workspace_name(name, owner.handle)
    if await session.get(WorkspaceName, (owner.id, name)) is not None:
        raise conflict(f"{owner.handle} has a workspace {name!r} already.", "BucketAlreadyOwnedByYou")
    workspace_id = new_id()
    if root.kind == "unmanaged":
        if prefix is None:
            raise invalid("A workspace in an unmanaged root needs the prefix that it is to cover.")
        place = root.prefix + clean_prefix(prefix.removeprefix("/"))
    else:
        if prefix is not None:
            raise invalid("In private and public roots the prefix is chosen by the gate.")
        place = f"{root.prefix}{owner.handle}/{name}.{workspace_id}/"
    await check_place(session, root, place)
    row = Workspace(
        id=workspace_id, owner_id=owner.id, root_id=root.id, prefix=place, state="open", created_at=unit.now
    )
    session.add(row)
    await session.flush()
    session.add(WorkspaceName(owner_id=owner.id, name=name, workspace_id=row.id, primary=True))
    unit.touch("workspace", row.id)
    unit.note(
        "workspace.create", workspace=row.id, owner=owner.id, name=f"{owner.handle}.{name}", root=root.name
    )
    return row


async def rename_workspace(broker: Broker, caller: Caller, workspace: str, name: str) -> Found:
    """Gives a new primary name; the old one is free. What was an alias may become the name."""
    async with broker.change(caller) as unit:
        found = await find_workspace(unit.session, caller, workspace, manage=True)
        check_workspace_name(name, found.owner)
        if name != found.name:
            old = await unit.session.get_one(WorkspaceName, (found.row.owner_id, found.name))
            await unit.session.delete(old)
            await unit.session.flush()
            taken = await unit.session.get(WorkspaceName, (found.row.owner_id, name))
            if taken is None:
                unit.session.add(
                    WorkspaceName(
                        owner_id=found.row.owner_id, name=name, workspace_id=found.row.id, primary=True
                    )
                )
            elif taken.workspace_id == found.row.id:
                taken.primary = True
            else:
                raise conflict(f"{found.owner} has a workspace {name!r} already.", "NameTaken")
            unit.touch("workspace", found.row.id)
            unit.note(
                "workspace.rename", workspace=found.row.id, owner=found.row.owner_id, old=found.name, new=name
            )
        await unit.session.flush()
        return await _again(unit, caller, found)


async def alias_workspace(broker: Broker, caller: Caller, workspace: str, name: str) -> Found:
    """Adds a further name."""
    async with broker.change(caller) as unit:
        found = await find_workspace(unit.session, caller, workspace, manage=True)
        check_workspace_name(name, found.owner)
        if await unit.session.get(WorkspaceName, (found.row.owner_id, name)) is not None:
            raise conflict(f"{found.owner} uses the name {name!r} already.", "NameTaken")
        names = select(WorkspaceName).where(WorkspaceName.workspace_id == found.row.id)
        if len(list(await unit.session.scalars(names))) >= MAX_NAMES:
            raise conflict(f"A workspace has at most {MAX_NAMES} names.", "LimitExceeded")
        unit.session.add(
            WorkspaceName(owner_id=found.row.owner_id, name=name, workspace_id=found.row.id, primary=False)
        )
        unit.touch("workspace", found.row.id)
        unit.note("workspace.alias", workspace=found.row.id, owner=found.row.owner_id, alias=name)
        await unit.session.flush()
        return await _again(unit, caller, found)


async def _again(unit: Unit, caller: Caller, found: Found) -> Found:
    again = await by_id(unit.session, caller, found.row.id)
    return again or found


async def transfer_workspace(broker: Broker, caller: Caller, workspace: str, to: str) -> dict[str, Any]:
    """Hands a workspace, with its usage, to another owner: by its owner or an admin. Transfers in it are cut."""
    async with broker.change(caller) as unit:
        found = await find_workspace(unit.session, caller, workspace, manage=True)
        if isinstance(no := policy.may_act_for(caller, found.row.owner_id), policy.Denied):
            raise denied(no.reason)
        heir = await find_user(unit.session, to)
        links = await move_to(unit, found.row.id, heir)
    return revoked(unit, [], sessions=0, links=len(links))


async def move_to(unit: Unit, workspace_id: str, heir: User) -> Sequence[str]:
    """Changes the owner inside a change; names go along. Returns the links that ended by it.

    Raises ApiError (409) when the new owner already uses one of the names.
    """
    session = unit.session
    row = await session.get_one(Workspace, workspace_id)
    if row.owner_id == heir.id:
        raise invalid(f"{heir.handle} owns it already.")
    former = row.owner_id
    names = list(await session.scalars(select(WorkspaceName).where(WorkspaceName.workspace_id == row.id)))
    for name in names:
        check_workspace_name(name.name, heir.handle)
        if await session.get(WorkspaceName, (heir.id, name.name)) is not None:
            raise conflict(
                f"{heir.handle} has a workspace {name.name!r} already; rename one first.", "NameTaken"
            )
    for name in names:
        await session.delete(name)
    await session.flush()
    for name in names:
        session.add(
            WorkspaceName(owner_id=heir.id, name=name.name, workspace_id=row.id, primary=name.primary)
        )
    row.owner_id = heir.id
    received = await session.scalar(
        select(Share).where(Share.workspace_id == row.id, Share.principal == f"u:{heir.id}")
    )
    if received is not None:
        # An owner needs no share; what hung below it is the owner's own from now on.
        for child in await session.scalars(select(Share).where(Share.parent_id == received.id)):
            child.parent_id = None
            unit.touch("grant", f"{row.id}|{child.principal}")
        await session.flush()
        for share in await session.scalars(select(Share).where(Share.workspace_id == row.id)):
            unit.touch("grant", f"{row.id}|{share.principal}")
        await drop_shares(unit, [received.id])
    unit.touch("workspace", row.id)
    unit.revoke(f"w:{row.id}")
    swept = await sweep(unit, row.id)
    unit.note("workspace.transfer", workspace=row.id, owner=former, to=heir.handle)
    return swept.links


async def delete_workspace(broker: Broker, caller: Caller, workspace: str, *, purge: bool) -> dict[str, Any]:
    """Deletes an empty workspace, or (`purge`) one with all that is in it. Needs own, or an admin."""
    async with broker.db.read() as session:
        found = await find_workspace(session, caller, workspace, manage=True)
    return await delete_place(broker, caller, found.row.id, purge=purge)
