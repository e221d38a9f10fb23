"""Finding users."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.errors import not_found
from broker.users.models import User


async def user_named(session: AsyncSession, name: str) -> User | None:
    """By handle, login or id, in this order; deleted users are not found."""
    query = select(User).where(
        or_(User.handle == name, User.login == name, User.id == name), User.deleted_at.is_(None)
    )
    found = list(await session.scalars(query))
    return min(found, key=lambda user: (user.handle != name, user.login != name), default=None)


async def find_user(session: AsyncSession, name: str) -> User:
    """The same. Raises ApiError (404)."""
    found = await user_named(session, name)
    if found is None:
        raise not_found("user", name)
    return found
