"""Tables of storage nodes."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from broker.db import Base


class Node(Base):
    """An S3 server: where it is, the sealed credential for it, and what its last check found."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    endpoint: Mapped[str] = mapped_column(String(512), index=True)
    region: Mapped[str] = mapped_column(String(64))
    access_key_id: Mapped[str] = mapped_column(String(256))
    secret: Mapped[str] = mapped_column(String(2048))
    role_arn: Mapped[str | None] = mapped_column(String(2048))
    sts_url: Mapped[str | None] = mapped_column(String(512))
    addresses: Mapped[list[str]] = mapped_column(JSON, default=list)
    checks_payload: Mapped[bool] = mapped_column(Boolean, default=False)
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[int]
    checked_at: Mapped[int | None]
