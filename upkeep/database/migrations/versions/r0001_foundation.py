"""Foundation: state of watches, events, locks, records, pull requests of local forges, run metrics."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE upkeep.watches (
    watch text PRIMARY KEY,
    last_processed_commit text,
    last_run_at timestamptz,
    last_run_status text,
    last_pr_url text,
    reason text,
    attempts jsonb NOT NULL DEFAULT '[]'::jsonb,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE upkeep.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    system text NOT NULL,
    subject text NOT NULL,
    type text NOT NULL,
    run_id text,
    summary jsonb NOT NULL DEFAULT '{}'::jsonb
);
CREATE INDEX events_run ON upkeep.events (run_id);
CREATE INDEX events_subject ON upkeep.events (system, subject, id);
CREATE INDEX events_type ON upkeep.events (type, id);

CREATE FUNCTION upkeep.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON upkeep.events
    FOR EACH STATEMENT EXECUTE FUNCTION upkeep.refuse_change();

CREATE SEQUENCE upkeep.lock_epochs;
CREATE TABLE upkeep.locks (
    subject text PRIMARY KEY,
    epoch bigint NOT NULL,
    host text NOT NULL,
    boot text NOT NULL,
    pid integer NOT NULL,
    process_start bigint NOT NULL,
    run_id text,
    snapshot jsonb NOT NULL DEFAULT '{}'::jsonb,
    acquired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE upkeep.records (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset text NOT NULL,
    partition text NOT NULL DEFAULT '',
    run_id text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    body jsonb NOT NULL,
    CONSTRAINT records_once UNIQUE (asset, partition, run_id)
);
CREATE INDEX records_newest ON upkeep.records (asset, partition, id);

CREATE TABLE upkeep.pull_requests (
    forge text NOT NULL,
    repo text NOT NULL,
    number integer NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    head_branch text NOT NULL,
    head_sha text NOT NULL,
    base_branch text NOT NULL,
    state text NOT NULL CONSTRAINT pull_requests_state CHECK (state IN ('open', 'closed', 'merged')),
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    merged_at timestamptz,
    merge_commit_sha text,
    notes jsonb NOT NULL DEFAULT '[]'::jsonb,
    PRIMARY KEY (forge, repo, number)
);
CREATE UNIQUE INDEX pull_requests_one_open ON upkeep.pull_requests (forge, repo, head_branch, base_branch)
    WHERE state = 'open';
"""

RUNS = """
CREATE VIEW metrics.runs AS
WITH begun AS (
    SELECT run_id, min(at) AS first_at,
           (array_agg(system ORDER BY id))[1] AS system, (array_agg(subject ORDER BY id))[1] AS subject
    FROM upkeep.events WHERE run_id IS NOT NULL AND type LIKE 'run.%' GROUP BY run_id
), started AS (
    SELECT DISTINCT ON (run_id) run_id, at, summary
    FROM upkeep.events WHERE run_id IS NOT NULL AND type = 'run.started' ORDER BY run_id, id
), ended AS (
    SELECT DISTINCT ON (run_id) run_id, at, type, summary
    FROM upkeep.events WHERE run_id IS NOT NULL AND type IN ('run.ended', 'run.skipped') ORDER BY run_id, id DESC
), steps AS (
    SELECT run_id, jsonb_object_agg(step, seconds) AS seconds
    FROM (
        SELECT run_id, summary ->> 'step' AS step, sum((summary ->> 'seconds')::double precision) AS seconds
        FROM upkeep.events WHERE run_id IS NOT NULL AND type = 'step.ended' AND summary ? 'step'
        GROUP BY run_id, summary ->> 'step'
    ) AS by_step GROUP BY run_id
), agents AS (
    SELECT run_id,
           (array_agg(summary ORDER BY id DESC))[1] AS newest,
           sum((summary ->> 'requests')::bigint)::bigint AS requests,
           sum((summary ->> 'input_uncached')::bigint)::bigint AS input_uncached,
           sum((summary ->> 'cache_read')::bigint)::bigint AS cache_read,
           sum((summary ->> 'cache_write')::bigint)::bigint AS cache_write,
           sum((summary ->> 'output')::bigint)::bigint AS output,
           sum((summary ->> 'reasoning')::bigint)::bigint AS reasoning,
           sum((summary ->> 'cost_reported_usd')::numeric) AS cost_reported_usd,
           sum((summary ->> 'cost_priced_usd')::numeric) AS cost_priced_usd,
           bool_and(coalesce((summary ->> 'complete')::boolean, false)) AS complete
    FROM upkeep.events WHERE run_id IS NOT NULL AND type = 'agent.ended' GROUP BY run_id
), proposed AS (
    SELECT DISTINCT ON (run_id) run_id, summary ->> 'url' AS url
    FROM upkeep.events WHERE run_id IS NOT NULL AND type IN ('pr.created', 'pr.adopted') ORDER BY run_id, id DESC
)
SELECT
    begun.run_id,
    begun.system,
    begun.subject,
    started.summary ->> 'trigger' AS trigger,
    coalesce(started.at, begun.first_at) AS started_at,
    ended.at AS ended_at,
    coalesce(ended.summary ->> 'outcome', CASE ended.type WHEN 'run.skipped' THEN 'skipped' END) AS outcome,
    ended.summary ->> 'reason' AS reason,
    coalesce(steps.seconds, '{}'::jsonb) AS seconds,
    extract(epoch FROM ended.at - coalesce(started.at, begun.first_at))::double precision AS seconds_total,
    agents.newest ->> 'engine' AS engine,
    agents.newest ->> 'engine_version' AS engine_version,
    agents.newest ->> 'model' AS model,
    agents.requests,
    agents.input_uncached,
    agents.cache_read,
    agents.cache_write,
    agents.output,
    agents.reasoning,
    agents.cost_reported_usd,
    agents.cost_priced_usd,
    agents.newest ->> 'price_source' AS price_source,
    agents.newest ->> 'basis' AS basis,
    agents.complete,
    coalesce(proposed.url, ended.summary ->> 'pr_url') AS pr_url,
    coalesce(ended.summary ->> 'base', started.summary ->> 'base') AS base,
    coalesce(ended.summary ->> 'head', started.summary ->> 'head') AS head,
    coalesce(ended.summary -> 'counts', '{}'::jsonb) AS counts
FROM begun
LEFT JOIN started USING (run_id)
LEFT JOIN ended USING (run_id)
LEFT JOIN steps USING (run_id)
LEFT JOIN agents USING (run_id)
LEFT JOIN proposed USING (run_id);
COMMENT ON VIEW metrics.runs IS
    'One row a run, out of upkeep.events. outcome is null while it goes on; the next start closes killed runs.';
"""

GRANTS = """
GRANT USAGE ON SCHEMA upkeep, metrics TO analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA upkeep, metrics TO analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA upkeep GRANT SELECT ON TABLES TO analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA metrics GRANT SELECT ON TABLES TO analyst;
ALTER ROLE analyst SET statement_timeout = '30s';
ALTER ROLE analyst SET default_transaction_read_only = on;
ALTER ROLE analyst SET search_path = metrics, upkeep;
"""


def upgrade() -> None:
    for statements in (TABLES, RUNS, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
