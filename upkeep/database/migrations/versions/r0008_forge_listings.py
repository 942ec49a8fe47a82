"""Inventory: what a forge listed last, and the ids behind the names that the registry uses."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.forge_listings (
    forge text PRIMARY KEY,
    host text NOT NULL,
    listed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    complete boolean NOT NULL,
    body jsonb NOT NULL
);

CREATE TABLE upkeep.forge_names (
    forge text NOT NULL,
    name text NOT NULL,
    id bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (forge, name)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
