"""Tables of workspaces, their names, and the multipart uploads the proxy reported."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Workspace(Base):
    """A prefix in a root. `state` is open, draining (no writes) or closed."""

    __tablename__ = "workspaces"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    root_id: Mapped[str] = mapped_column(ForeignKey("roots.id"), index=True)
    prefix: Mapped[str] = mapped_column(String(1024))
    state: Mapped[str] = mapped_column(String(8), default="open")
    created_at: Mapped[int]


class WorkspaceName(Base):
    """A name of a workspace among its owner's; one is primary, the others aliases."""

    __tablename__ = "workspace_names"

    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    primary: Mapped[bool] = mapped_column(Boolean)


class Upload(Base):
    """A multipart upload as the proxy journalled it (protocol, rule 10)."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(512), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(16), index=True)
    record: Mapped[dict[str, Any]] = mapped_column(JSON)
    recorded_at: Mapped[int]
