"""Finding groups."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from broker.errors import not_found
from broker.groups.models import Group


async def find_group(session: AsyncSession, name: str) -> Group:
    """By name or id. Raises ApiError (404)."""
    found = list(await session.scalars(select(Group).where(or_(Group.name == name, Group.id == name))))
    if not found:
        raise not_found("group", name)
    return min(found, key=lambda group: group.name != name)
