"""Bearer tokens of the REST API."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.tokens (
    id text PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,
    scope text NOT NULL CONSTRAINT tokens_scope CHECK (scope IN ('read', 'write')),
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT '',
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX tokens_one_name ON upkeep.tokens (name) WHERE revoked_at IS NULL;
REVOKE ALL ON upkeep.tokens FROM analyst;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
