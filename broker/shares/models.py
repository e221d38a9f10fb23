"""Tables of shares."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Share(Base):
    """workspace → principal. `parent_id` is the share that a reshare came from; it never outlives it."""

    __tablename__ = "shares"
    __table_args__ = (UniqueConstraint("workspace_id", "principal"),)

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    principal: Mapped[str] = mapped_column(String(18), index=True)
    permission: Mapped[int]
    expires_at: Mapped[int | None]
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("shares.id", ondelete="CASCADE"), index=True)
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[int]
