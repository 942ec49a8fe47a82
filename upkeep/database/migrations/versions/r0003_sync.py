"""Sync: managed repositories, their goals, workstreams, tasks, and what only a person can decide."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.repositories (
    slug text PRIMARY KEY,
    path text NOT NULL,
    forge text,
    forge_repo text,
    remote text,
    domain text NOT NULL DEFAULT '',
    workplans jsonb NOT NULL DEFAULT '["workplans/*.md"]'::jsonb,
    fix boolean NOT NULL DEFAULT false,
    source text NOT NULL CONSTRAINT repositories_source CHECK (source IN ('configuration', 'command')),
    state text NOT NULL DEFAULT 'managed'
        CONSTRAINT repositories_state CHECK (state IN ('managed', 'ignored', 'removed')),
    note text,
    registered_at timestamptz NOT NULL DEFAULT now(),
    last_state_synced_at timestamptz,
    last_attempt_at timestamptz,
    last_attempt_reason text,
    last_head text,
    files jsonb NOT NULL DEFAULT '{}'::jsonb,
    findings jsonb NOT NULL DEFAULT '[]'::jsonb
);

CREATE TABLE upkeep.goals (
    id uuid PRIMARY KEY,
    repository text NOT NULL REFERENCES upkeep.repositories,
    source text NOT NULL CONSTRAINT goals_source CHECK (source IN ('configuration', 'command')),
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    active boolean NOT NULL DEFAULT true,
    set_at timestamptz NOT NULL DEFAULT now(),
    set_by text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX goals_one_active ON upkeep.goals (repository, source) WHERE active;

CREATE TABLE upkeep.workstreams (
    id uuid PRIMARY KEY,
    repository text NOT NULL REFERENCES upkeep.repositories,
    local_id text NOT NULL,
    title text NOT NULL,
    domain text NOT NULL DEFAULT '',
    status text NOT NULL,
    file text NOT NULL,
    base_status text NOT NULL,
    base_updated text NOT NULL DEFAULT '',
    present boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL DEFAULT 'sync',
    CONSTRAINT workstreams_local_id UNIQUE (repository, local_id) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE upkeep.tasks (
    id uuid PRIMARY KEY,
    repository text NOT NULL REFERENCES upkeep.repositories,
    workstream uuid NOT NULL REFERENCES upkeep.workstreams,
    local_id text NOT NULL,
    title text NOT NULL,
    status text NOT NULL,
    base_status text NOT NULL,
    base_updated text NOT NULL DEFAULT '',
    priority text NOT NULL DEFAULT '',
    needs_human boolean NOT NULL DEFAULT false,
    question text NOT NULL DEFAULT '',
    depends_on jsonb NOT NULL DEFAULT '[]'::jsonb,
    position integer NOT NULL DEFAULT 0,
    present boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL DEFAULT 'sync',
    CONSTRAINT tasks_local_id UNIQUE (repository, local_id) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX tasks_workstream ON upkeep.tasks (workstream);

CREATE TABLE upkeep.interventions (
    id uuid PRIMARY KEY,
    repository text NOT NULL REFERENCES upkeep.repositories,
    subject uuid NOT NULL,
    local_id text NOT NULL,
    kind text NOT NULL CONSTRAINT interventions_kind CHECK (kind IN ('question', 'conflict')),
    question text NOT NULL,
    file_status text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'open'
        CONSTRAINT interventions_state CHECK (state IN ('open', 'answered', 'withdrawn')),
    answer text,
    answered_by text,
    asked_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE INDEX interventions_open ON upkeep.interventions (repository) WHERE state = 'open';
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
