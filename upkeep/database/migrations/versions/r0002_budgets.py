"""Budgets: what is spent and reserved of each limit, and every request to a model."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.spending (
    scope text NOT NULL CONSTRAINT spending_scope CHECK (scope IN ('run', 'subject_day', 'agent_month')),
    name text NOT NULL,
    period text NOT NULL DEFAULT '',
    spent_usd numeric(18, 9) NOT NULL DEFAULT 0,
    reserved_usd numeric(18, 9) NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, name, period)
);

CREATE TABLE upkeep.model_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder text NOT NULL,
    agent text NOT NULL,
    subject text NOT NULL,
    run_id text NOT NULL,
    model text NOT NULL,
    day text NOT NULL,
    month text NOT NULL,
    state text NOT NULL
        CONSTRAINT model_requests_state CHECK (state IN ('reserved', 'settled', 'presumed', 'released')),
    reserved_usd numeric(18, 9) NOT NULL,
    cost_usd numeric(18, 9) NOT NULL DEFAULT 0,
    tokens jsonb,
    reserved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz
);
CREATE INDEX model_requests_open ON upkeep.model_requests (holder) WHERE state = 'reserved';
CREATE INDEX model_requests_run ON upkeep.model_requests (run_id);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
