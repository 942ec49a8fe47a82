"""The last conflict of each patch of a fork."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.patch_conflicts (
    fork text NOT NULL,
    patch text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    run_id text NOT NULL,
    conflict jsonb NOT NULL,
    PRIMARY KEY (fork, patch)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
