"""The tables of the schema `upkeep`, as SQLAlchemy knows them.

What belongs here: columns and types, exactly as the migrations leave them (a test compares the two). What does not:
the DDL that makes them, its triggers, grants and views (`migrations/`), and procedures (`state.py`, `events.py`,
`locks.py`).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

SCHEMA = "upkeep"
METRICS = "metrics"
DAGSTER = "dagster"

metadata = sa.MetaData(schema=SCHEMA)

_Moment = TIMESTAMP(timezone=True)

watches = sa.Table(
    "watches",
    metadata,
    sa.Column("watch", sa.Text, primary_key=True),
    sa.Column("last_processed_commit", sa.Text),
    sa.Column("last_run_at", _Moment),
    sa.Column("last_run_status", sa.Text),
    sa.Column("last_pr_url", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("attempts", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("updated_at", _Moment, nullable=False, server_default=sa.func.now()),
)
"""What was last done for each watch. `attempts`: pairs of upstream head and `state.Attempt`, oldest first."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("system", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("summary", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Index("events_run", "run_id"),
    sa.Index("events_subject", "system", "subject", "id"),
    sa.Index("events_type", "type", "id"),
)
"""Append-only: a trigger refuses changes, also to the owner."""

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("process_start", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("snapshot", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("acquired_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("heartbeat_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
)
"""Who works on what: the face of an advisory lock. `boot`: boot id and pid namespace; `process_start`: clock ticks."""

records = sa.Table(
    "records",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("asset", sa.Text, nullable=False),
    sa.Column("partition", sa.Text, nullable=False, server_default=""),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("written_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("body", JSONB, nullable=False),
    sa.UniqueConstraint("asset", "partition", "run_id", name="records_once"),
    sa.Index("records_newest", "asset", "partition", "id"),
)
"""Values of assets: `asset` is the key with slashes, `partition` empty where the asset has none."""

pull_requests = sa.Table(
    "pull_requests",
    metadata,
    sa.Column("forge", sa.Text, primary_key=True),
    sa.Column("repo", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("head_branch", sa.Text, nullable=False),
    sa.Column("head_sha", sa.Text, nullable=False),
    sa.Column("base_branch", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("created_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("closed_at", _Moment),
    sa.Column("merged_at", _Moment),
    sa.Column("merge_commit_sha", sa.Text),
    sa.Column("notes", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("labels", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.CheckConstraint("state IN ('open', 'closed', 'merged')", name="pull_requests_state"),
    sa.Index(
        "pull_requests_one_open",
        *("forge", "repo", "head_branch", "base_branch"),
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    ),
)
"""Pull requests of `local` forges. Numbers count per repository; a pair of branches has at most one that is open."""

_Usd = sa.Numeric(18, 9)

spending = sa.Table(
    "spending",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True, server_default=""),
    sa.Column("spent_usd", _Usd, nullable=False, server_default=sa.text("0")),
    sa.Column("reserved_usd", _Usd, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("scope IN ('run', 'subject_day', 'agent_month')", name="spending_scope"),
)
"""What is taken of each budget. `period`: a day or month in UTC (2026-11-21, 2026-11), empty for a run."""

model_requests = sa.Table(
    "model_requests",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("day", sa.Text, nullable=False),
    sa.Column("month", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reserved_usd", _Usd, nullable=False),
    sa.Column("cost_usd", _Usd, nullable=False, server_default=sa.text("0")),
    sa.Column("tokens", JSONB),
    sa.Column("reserved_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("settled_at", _Moment),
    sa.CheckConstraint("state IN ('reserved', 'settled', 'presumed', 'released')", name="model_requests_state"),
    sa.Index("model_requests_open", "holder", postgresql_where=sa.text("state = 'reserved'")),
    sa.Index("model_requests_run", "run_id"),
)
"""Every request of every agent (`upkeep/agents/ledger.py`). `holder`: whose connection reserved it. A `presumed` one's
figures never came, so all that was reserved counts as spent; a `released` one cost nothing."""

patch_conflicts = sa.Table(
    "patch_conflicts",
    metadata,
    sa.Column("fork", sa.Text, primary_key=True),
    sa.Column("patch", sa.Text, primary_key=True),
    sa.Column("at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("conflict", JSONB, nullable=False),
)
"""When each patch of a fork last did not go onto upstream. `patch` is `upkeep.forks.delta.key`; `conflict` a
`ConflictingPatch` without its commands."""

resolutions = sa.Table(
    "resolutions",
    metadata,
    sa.Column("fork", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("base", sa.Text, primary_key=True),
    sa.Column("ours", sa.Text, primary_key=True),
    sa.Column("theirs", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text),
    sa.Column("content", sa.LargeBinary),
    sa.Column("ours_content", sa.LargeBinary),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("patch", sa.Text, nullable=False, server_default=""),
    sa.Column("agent", sa.Text, nullable=False, server_default=""),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("tip", sa.Text),
    sa.Column("number", sa.Integer),
    sa.Column("url", sa.Text),
    sa.Column("made_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("decided_at", _Moment),
    sa.CheckConstraint("state IN ('proposed', 'accepted', 'declined', 'failed')", name="resolutions_state"),
)
"""What became of conflicts on forks (`upkeep/forks/memory.py`): three versions of a file, and the one that settles
it."""

# Sync: what the hub knows of managed repositories (`upkeep/sync/`).

repositories = sa.Table(
    "repositories",
    metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("forge", sa.Text),
    sa.Column("forge_repo", sa.Text),
    sa.Column("remote", sa.Text),
    sa.Column("domain", sa.Text, nullable=False, server_default=""),
    sa.Column("workplans", JSONB, nullable=False, server_default=sa.text("""'["workplans/*.md"]'::jsonb""")),
    sa.Column("fix", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="managed"),
    sa.Column("note", sa.Text),
    sa.Column("registered_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("last_state_synced_at", _Moment),
    sa.Column("last_attempt_at", _Moment),
    sa.Column("last_attempt_reason", sa.Text),
    sa.Column("last_head", sa.Text),
    sa.Column("files", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("findings", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("synced_revision", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.CheckConstraint("source IN ('configuration', 'command')", name="repositories_source"),
    sa.CheckConstraint("state IN ('managed', 'ignored', 'removed')", name="repositories_state"),
)
"""The registry. `files`: what `upkeep/sync/drift.py` compares, by path; `findings`: those of the last sync. `revision`
counts changes of the hub's side (by hand, of the registry); `synced_revision` is the one that was last synced."""

forge_listings = sa.Table(
    "forge_listings",
    metadata,
    sa.Column("forge", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("listed_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("body", JSONB, nullable=False),
)
"""What a forge listed last (`upkeep/sync/stocktaking.py`). `body`: its repositories, what is missing of the list, and
what was asked for beside it."""

forge_names = sa.Table(
    "forge_names",
    metadata,
    sa.Column("forge", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("seen_at", _Moment, nullable=False, server_default=sa.func.clock_timestamp()),
)
"""The forge's id behind a name (`owner/name` in lower case) by which the registry knows a repository."""

goals = sa.Table(
    "goals",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("repository", sa.Text, sa.ForeignKey(repositories.c.slug), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("set_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("set_by", sa.Text, nullable=False, server_default=""),
    sa.CheckConstraint("source IN ('configuration', 'command')", name="goals_source"),
    sa.Index("goals_one_active", "repository", "source", unique=True, postgresql_where=sa.text("active")),
)
"""What a repository is for. A goal set by command comes before the configuration's."""


def _merged() -> list[sa.Column[Any]]:
    """Columns of what files and hub both have: the status that the hub has, and what both last agreed on."""
    return [
        sa.Column("local_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("base_status", sa.Text, nullable=False),
        sa.Column("base_updated", sa.Text, nullable=False, server_default=""),
        sa.Column("present", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("changed_at", _Moment, nullable=False, server_default=sa.func.now()),
        sa.Column("changed_by", sa.Text, nullable=False, server_default="sync"),
    ]


def _once(name: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint("repository", "local_id", name=name, deferrable=True, initially="DEFERRED")


workstreams = sa.Table(
    "workstreams",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("repository", sa.Text, sa.ForeignKey(repositories.c.slug), nullable=False),
    *_merged(),
    sa.Column("domain", sa.Text, nullable=False, server_default=""),
    sa.Column("file", sa.Text, nullable=False),
    _once("workstreams_local_id"),
)
"""Workplans. `local_id` is the file's `id`; `present`: its file had it at the last sync."""

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("repository", sa.Text, sa.ForeignKey(repositories.c.slug), nullable=False),
    sa.Column("workstream", sa.Uuid, sa.ForeignKey(workstreams.c.id), nullable=False),
    *_merged(),
    sa.Column("priority", sa.Text, nullable=False, server_default=""),
    sa.Column("needs_human", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("question", sa.Text, nullable=False, server_default=""),
    sa.Column("depends_on", JSONB, nullable=False, server_default=sa.text("'[]'::jsonb")),
    sa.Column("position", sa.Integer, nullable=False, server_default=sa.text("0")),
    _once("tasks_local_id"),
    sa.Index("tasks_workstream", "workstream"),
)
"""`depends_on`: local ids; `position`: from 0 in its file."""

interventions = sa.Table(
    "interventions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("repository", sa.Text, sa.ForeignKey(repositories.c.slug), nullable=False),
    sa.Column("subject", sa.Uuid, nullable=False),
    sa.Column("local_id", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("file_status", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
    sa.Column("answer", sa.Text),
    sa.Column("answered_by", sa.Text),
    sa.Column("asked_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("closed_at", _Moment),
    sa.CheckConstraint("kind IN ('question', 'conflict')", name="interventions_kind"),
    sa.CheckConstraint("state IN ('open', 'answered', 'withdrawn')", name="interventions_state"),
    sa.Index("interventions_open", "repository", postgresql_where=sa.text("state = 'open'")),
)
"""What only a person can decide. `subject`: the id of a task or workstream; `file_status`: the file's side of a
conflict."""

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("created_at", _Moment, nullable=False, server_default=sa.func.now()),
    sa.Column("created_by", sa.Text, nullable=False, server_default=""),
    sa.Column("expires_at", _Moment),
    sa.Column("last_used_at", _Moment),
    sa.Column("revoked_at", _Moment),
    sa.CheckConstraint("scope IN ('read', 'write')", name="tokens_scope"),
    sa.Index("tokens_one_name", "name", unique=True, postgresql_where=sa.text("revoked_at IS NULL")),
)
"""Bearer tokens of the REST API (`upkeep/tokens.py`). `id` stands in the token itself; `digest` is the SHA-256 of all
of it. The analyst may not read them. `last_used_at` is kept to the minute."""
