"""Resolutions of conflicts on forks."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.resolutions (
    fork text NOT NULL,
    path text NOT NULL,
    base text NOT NULL,
    ours text NOT NULL,
    theirs text NOT NULL,
    mode text,
    content bytea,
    ours_content bytea,
    state text NOT NULL
        CONSTRAINT resolutions_state CHECK (state IN ('proposed', 'accepted', 'declined', 'failed')),
    patch text NOT NULL DEFAULT '',
    agent text NOT NULL DEFAULT '',
    attempts integer NOT NULL DEFAULT 0,
    tip text,
    number integer,
    url text,
    made_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz,
    PRIMARY KEY (fork, path, base, ours, theirs)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
