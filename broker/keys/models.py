"""The table of all credentials: keys, sessions and links."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Boolean, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Credential(Base):
    """An access key and its sealed secret, valid at the proxy and the broker only.

    `parents` names every ancestor; revoking one revokes this. A deleted key's row stays, without its
    secret, so that the id is never used again. `link` holds what only links have.
    """

    __tablename__ = "credentials"
    __table_args__ = (Index("ix_credentials_user_kind", "user_id", "kind"),)

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(255), default="")
    secret: Mapped[str] = mapped_column(String(1024))
    token: Mapped[str | None] = mapped_column(String(64))
    parents: Mapped[list[str]] = mapped_column(JSON, default=list)
    workspaces: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    permission: Mapped[int | None]
    expires_at: Mapped[int | None]
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    link: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    link_workspace: Mapped[str | None] = mapped_column(String(16), index=True)
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]
