"""Sync: whether the hub's side of a repository changed since it was last synced, without asking a clock."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE upkeep.repositories
    ADD COLUMN revision bigint NOT NULL DEFAULT 0,
    ADD COLUMN synced_revision bigint NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    op.execute(COLUMNS)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
