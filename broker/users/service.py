"""Making, changing, disabling and deleting users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker import policy
from broker.context import Broker, Unit, revoked
from broker.errors import conflict, denied, invalid
from broker.groups.models import Group, Member
from broker.keys.service import kill_credentials, live_credentials
from broker.names import handle_from_login, numbered
from broker.passwords import hash_password
from broker.policy import Caller
from broker.roots.models import RootGrant
from broker.shares.models import Share
from broker.shares.tree import drop_shares
from broker.times import rfc3339
from broker.users.find import find_user
from broker.users.models import User
from broker.workspaces.models import Workspace
from broker.workspaces.places import purge_workspace
from broker.workspaces.service import move_to
from quota import new_id

_MAX_LOGIN = 255


async def free_handle(session: AsyncSession, login: str) -> str:
    """The handle for a new login: made from it, numbered while somebody has or had it."""
    wanted = handle_from_login(login)
    handle, number = wanted, 1
    while await session.scalar(select(User.id).where(User.handle == handle)):
        number += 1
        handle = numbered(wanted, number)
    return handle


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user is made from. `subject` ties it to an OIDC identity."""

    login: str
    email: str | None = None
    admin: bool = False
    password: str | None = None
    subject: str | None = None


async def create_user(broker: Broker, caller: Caller, new: NewUser) -> User:
    """Makes a user; admins only. Raises ApiError (409) when the login is taken."""
    if isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)
    hashed = None if new.password is None else await hash_password(new.password)
    async with broker.change(caller) as unit:
        return await add_user(unit, new, hashed)


async def add_user(unit: Unit, new: NewUser, hashed: str | None) -> User:
    """The same inside a change that is already authorised (bootstrap, a first OIDC sign-in)."""
    login = new.login.strip()
    if not 1 <= len(login) <= _MAX_LOGIN or any(char.isspace() or ord(char) < 32 for char in login):
        raise invalid("A login has 1 to 255 characters and no spaces.")
    if await unit.session.scalar(select(User.id).where(User.login == login)):
        raise conflict(f"The login {login!r} is taken.", "UserAlreadyExists")
    user = User(
        id=new_id(), login=login, handle=await free_handle(unit.session, login), email=new.email,
        password=hashed, subject=new.subject, admin=new.admin, enabled=True, created_at=unit.now,
    )  # fmt: skip
    unit.session.add(user)
    unit.touch("user", user.id)
    unit.note("user.create", user=user.handle, admin=user.admin)
    return user


async def update_user(
    broker: Broker, caller: Caller, name: str, *, email: str | None, admin: bool | None
) -> User:
    """Changes an e-mail (the user or an admin) or the admin flag (admins)."""
    async with broker.change(caller) as unit:
        user = await find_user(unit.session, name)
        allowed = policy.may_act_for(caller, user.id) if admin is None else policy.may_administer(caller)
        if isinstance(allowed, policy.Denied):
            raise denied(allowed.reason)
        if email is not None:
            user.email = email
        if admin is not None and admin != user.admin:
            if not admin:
                await _keep_an_admin(unit.session, user)
            user.admin = admin
            unit.touch("user", user.id)
        unit.note("user.update", user=user.handle, email=email is not None, admin=admin)
        return user


async def set_password(broker: Broker, caller: Caller, name: str, password: str) -> User:
    """Sets a local password (the user or an admin). Keys and sessions stay as they are.

    Not by what ends by itself for its own user: a password would outlive it.
    """
    hashed = await hash_password(password)
    async with broker.change(caller) as unit:
        user = await find_user(unit.session, name)
        if isinstance(no := policy.may_act_for(caller, user.id), policy.Denied):
            raise denied(no.reason)
        if user.id == caller.user and caller.scope.expires is not None:
            raise denied("A session cannot set a password, which would outlive it: use a key without expiry.")
        user.password = hashed
        unit.note("user.set-password", user=user.handle)
        return user


async def set_enabled(broker: Broker, caller: Caller, name: str, *, enabled: bool) -> dict[str, Any]:
    """Enables, or disables and cuts every transfer of, a user; admins only."""
    if isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)
    async with broker.change(caller) as unit:
        user = await find_user(unit.session, name)
        if not enabled:
            await _keep_an_admin(unit.session, user)
        user.enabled = enabled
        unit.touch("user", user.id)
        sessions = links = 0
        if not enabled:
            unit.revoke(f"u:{user.id}")
            for credential in await live_credentials(unit.session, user.id):
                sessions += credential.kind == "session"
                links += credential.kind == "link"
        unit.note("user.enable" if enabled else "user.disable", user=user.handle)
    return revoked(unit, [] if enabled else [user.id], sessions=sessions, links=links)


async def _keep_an_admin(session: AsyncSession, user: User) -> None:
    query = select(User.id).where(User.admin, User.enabled, User.deleted_at.is_(None), User.id != user.id)
    if user.admin and await session.scalar(query.limit(1)) is None:
        raise conflict("That is the last admin; make another one first.")


async def delete_user(
    broker: Broker, caller: Caller, name: str, *, transfer_to: str | None, purge: bool
) -> dict[str, Any]:
    """Deletes a user with all credentials and received shares; admins only.

    Workspaces go to `transfer_to`, or are deleted with their data (`purge`); with neither, a user who
    owns some is kept and ApiError (409) says so. The handle stays taken for ever.
    """
    if isinstance(no := policy.may_administer(caller), policy.Denied):
        raise denied(no.reason)
    if transfer_to is not None and purge:
        raise invalid("Give either transfer_to or purge.")
    owned = await _check_deletable(broker, caller, name, transfer_to, purge=purge)
    if purge:
        await set_enabled(broker, caller, name, enabled=False)
        for workspace_id in owned:
            await purge_workspace(broker, caller, workspace_id)
    async with broker.change(caller) as unit:
        user = await find_user(unit.session, name)
        await _keep_an_admin(unit.session, user)
        owned = list(await unit.session.scalars(select(Workspace.id).where(Workspace.owner_id == user.id)))
        if owned and transfer_to is None:
            raise conflict(f"{user.handle} still owns {len(owned)} workspaces.")
        if transfer_to is not None:
            heir = await find_user(unit.session, transfer_to)
            for workspace_id in owned:
                await move_to(unit, workspace_id, heir)
        shares = await unit.session.scalars(select(Share.id).where(Share.principal == f"u:{user.id}"))
        dropped = await drop_shares(unit, list(shares))
        killed = await kill_credentials(unit, await live_credentials(unit.session, user.id))
        await unit.session.execute(delete(Member).where(Member.user_id == user.id))
        await unit.session.execute(delete(RootGrant).where(RootGrant.principal == f"u:{user.id}"))
        user.deleted_at, user.enabled, user.admin = unit.now, False, False
        user.login = user.password = user.subject = user.email = None
        unit.touch("user", user.id)
        unit.revoke(f"u:{user.id}")
        unit.note("user.delete", user=user.handle, transferred_to=transfer_to, purged=purge)
    return revoked(
        unit, [user.id, *dropped.shares, *killed.keys],
        sessions=len(killed.sessions) + len(dropped.sessions), links=len(killed.links) + len(dropped.links),
    )  # fmt: skip


async def _check_deletable(
    broker: Broker, caller: Caller, name: str, transfer_to: str | None, *, purge: bool
) -> list[str]:
    async with broker.db.read() as session:
        user = await find_user(session, name)
        if purge and user.id == caller.user:
            # The first step disables the user, who could then not take the next ones.
            raise conflict("You cannot purge yourself; another admin can.")
        await _keep_an_admin(session, user)
        owned = list(await session.scalars(select(Workspace.id).where(Workspace.owner_id == user.id)))
        if owned and transfer_to is None and not purge:
            raise conflict(
                f"{user.handle} owns {len(owned)} workspaces; hand them over with transfer_to, "
                "or delete them and their data with purge."
            )
        if transfer_to is not None and (await find_user(session, transfer_to)).id == user.id:
            raise invalid("A user cannot inherit from themselves.")
        return owned


async def user_json(session: AsyncSession, user: User, *, full: bool) -> dict[str, Any]:
    """A user as the API shows it; login, e-mail and groups only to the user and to admins (`full`)."""
    shown: dict[str, Any] = {
        "id": user.id,
        "name": user.handle,
        "enabled": user.enabled,
        "admin": user.admin,
        "created_at": rfc3339(user.created_at),
    }
    if full:
        groups = select(Group.name).join(Member, Member.group_id == Group.id).where(Member.user_id == user.id)
        shown |= {
            "login": user.login,
            "email": user.email,
            "groups": sorted(await session.scalars(groups)),
            "has_password": user.password is not None,
        }
    return shown
