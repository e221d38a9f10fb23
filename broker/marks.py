"""Small facts that the broker remembers across restarts, by name."""

from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Mark(Base):
    """One fact."""

    __tablename__ = "marks"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))


async def get_mark(session: AsyncSession, name: str) -> str | None:
    """The fact, or None."""
    row = await session.get(Mark, name)
    return row.value if row else None


async def set_mark(session: AsyncSession, name: str, value: str) -> None:
    """Remembers it; the session must hold the write lock."""
    await session.merge(Mark(name=name, value=value))
