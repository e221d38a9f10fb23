"""The table of limit definitions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Limit(Base):
    """One level's limit. The id is the live state's: `w:WSID`, `u:UID`, `ur:UID:RID`, `r:RID`, `*` = default.

    `granted` is what an admin gave a workspace last; holders of own set limits within it.
    """

    __tablename__ = "limits"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int | None]
    objects: Mapped[int | None]
    soft_bytes: Mapped[int | None]
    soft_objects: Mapped[int | None]
    grace_ms: Mapped[int | None]
    raised: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    granted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    set_by: Mapped[str] = mapped_column(String(16))
    set_at: Mapped[int]


class UsageSnapshot(Base):
    """What a workspace used when it was looked at last; the measures are those of `quota/lua/lib/room.lua`.

    `counted_at` is when it was recounted last (ms, 0 = never).
    """

    __tablename__ = "usage_snapshots"

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    b: Mapped[int]
    o: Mapped[int]
    mb: Mapped[int]
    vb: Mapped[int]
    vo: Mapped[int]
    counted_at: Mapped[int]
    at: Mapped[int]
