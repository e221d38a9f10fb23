"""Tables of roots and of who may use them."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Root(Base):
    """A bucket and base path on a node. Bucket and prefix never change: workspaces were placed by them."""

    __tablename__ = "roots"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), index=True)
    bucket: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(String(900), default="")
    kind: Mapped[str] = mapped_column(String(10))
    versioned: Mapped[bool] = mapped_column(Boolean, default=False)
    everyones_default: Mapped[bool] = mapped_column(Boolean, default=False)
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[int]


class RootGrant(Base):
    """`create` or `manage` on a root, for `u:USERID`, `g:GROUPID` or `*`."""

    __tablename__ = "root_grants"

    root_id: Mapped[str] = mapped_column(ForeignKey("roots.id", ondelete="CASCADE"), primary_key=True)
    principal: Mapped[str] = mapped_column(String(18), primary_key=True)
    permission: Mapped[str] = mapped_column(String(6), primary_key=True)
