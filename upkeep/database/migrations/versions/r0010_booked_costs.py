"""What a run's requests to models are booked at: also of one that was cancelled or killed before it could say so."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# The view as it is, with one column more at its end.
EXTEND = """
DO $$
BEGIN
    EXECUTE 'CREATE OR REPLACE VIEW metrics.runs AS SELECT run.*, booked.cost_usd AS cost_booked_usd FROM ('
        || rtrim(pg_get_viewdef('metrics.runs'::regclass), '; ')
        || ') AS run LEFT JOIN (SELECT run_id, sum(cost_usd) AS cost_usd FROM upkeep.model_requests '
        || 'WHERE state <> ''reserved'' GROUP BY run_id) AS booked USING (run_id)';
END
$$
"""


def upgrade() -> None:
    op.execute(EXTEND)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward; restore a backup to go back")
