"""Signing in: with a local password, or as somebody an OIDC issuer vouches for."""

from __future__ import annotations

from sqlalchemy import select

from broker import policy
from broker.auth import Unauthenticated
from broker.context import Broker
from broker.errors import denied
from broker.oidc import Identity
from broker.passwords import Throttle, verify_password
from broker.users.models import User
from broker.users.service import NewUser, add_user


async def user_for_password(
    broker: Broker, throttle: Throttle, login: str, password: str, address: str
) -> User:
    """The enabled user with that login (or handle) and password.

    Raises Unauthenticated (401), the same for a wrong password and an unknown or disabled user, and ApiError
    (429) after too many wrong ones for the login from anywhere, or from one address.
    """
    keys = (f"login:{login[:255].lower()}", f"address:{address}")
    for key in keys:
        throttle.check(key)
    for key in keys:
        throttle.failed(key)
    async with broker.db.read() as session:
        query = select(User).where(
            (User.login == login) | (User.handle == login), User.enabled, User.deleted_at.is_(None)
        )
        found = list(await session.scalars(query))
    user = min(found, key=lambda one: one.login != login) if found else None
    if not await verify_password(user.password if user else None, password) or user is None:
        raise Unauthenticated("AccessDenied", "The login or the password is wrong.", 401)
    throttle.succeeded(keys[0])
    throttle.forgive(keys[1])
    return user


async def user_for_identity(broker: Broker, identity: Identity) -> str:
    """The id of the user tied to that identity; made at the first sign-in.

    A login that a local user has is never taken over: the newcomer gets one of their own.
    """
    async with broker.db.read() as session:
        known = await session.scalar(select(User).where(User.subject == identity.subject))
    if known is not None:
        if not known.enabled or known.deleted_at is not None:
            raise denied("The user is disabled.")
        return known.id
    async with broker.change(policy.SYSTEM) as unit:
        known = await unit.session.scalar(select(User).where(User.subject == identity.subject))
        if known is not None:
            return known.id
        login, number = identity.login, 1
        while await unit.session.scalar(select(User.id).where(User.login == login)):
            number += 1
            login = f"{identity.login[:240]}#{number}"
        user = await add_user(unit, NewUser(login, identity.email, subject=identity.subject), None)
        return user.id
