"""Tables of users."""

from __future__ import annotations

from sqlalchemy import Boolean, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class User(Base):
    """A person or a service. The row outlives its deletion, so that neither id nor handle is used again."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    login: Mapped[str | None] = mapped_column(String(255), unique=True)
    handle: Mapped[str] = mapped_column(String(30), unique=True)
    email: Mapped[str | None] = mapped_column(String(320))
    password: Mapped[str | None] = mapped_column(String(255))
    subject: Mapped[str | None] = mapped_column(String(767), unique=True)
    admin: Mapped[bool] = mapped_column(Boolean, default=False)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    default_root: Mapped[str | None] = mapped_column(String(16))
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]
