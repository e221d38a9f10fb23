"""Usage as it was counted last"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage_snapshots",
        sa.Column("workspace_id", sa.String(length=16), nullable=False),
        sa.Column("b", sa.BigInteger(), nullable=False),
        sa.Column("o", sa.BigInteger(), nullable=False),
        sa.Column("mb", sa.BigInteger(), nullable=False),
        sa.Column("vb", sa.BigInteger(), nullable=False),
        sa.Column("vo", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_usage_snapshots_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", name=op.f("pk_usage_snapshots")),
    )


def downgrade() -> None:
    op.drop_table("usage_snapshots")
