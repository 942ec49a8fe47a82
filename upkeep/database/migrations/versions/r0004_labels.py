"""Labels of pull requests on local forges."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE upkeep.pull_requests ADD COLUMN labels jsonb NOT NULL DEFAULT '[]'::jsonb")


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
