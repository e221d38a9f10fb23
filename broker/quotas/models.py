"""The table of limit definitions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String
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
