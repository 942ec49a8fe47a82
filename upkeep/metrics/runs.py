"""One row a run, for people and tables: what it did, how it ended, how long it took, what it cost.

What belongs here: reading `metrics.runs`. What does not: computing it, which is a view over `upkeep.events`
(`upkeep/database/migrations/`), so that no run can be missing from it: a failed, cancelled or killed one has its events
like any other, and `events.reconcile` writes the last one of those that could not.

`seconds` is by step and need not add up to `seconds_total`, which is the wall clock from `run.started` to the end.
Tokens are counts and cost is US dollars, both over all attempts of the run, in the normal form of
`upkeep.agents.base.Usage`. What an agent said at its end is missing where the run was cancelled or killed; what the
ledger booked for it (`cost_booked_usd`) is not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import Session

from upkeep.database.events import Outcome
from upkeep.database.tables import METRICS

_moment = TIMESTAMP(timezone=True)

view = sa.table(
    "runs",
    sa.column("run_id", sa.Text),
    sa.column("system", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("trigger", sa.Text),
    sa.column("started_at", _moment),
    sa.column("ended_at", _moment),
    sa.column("outcome", sa.Text),
    sa.column("reason", sa.Text),
    sa.column("seconds", JSONB),
    sa.column("seconds_total", sa.Double),
    sa.column("engine", sa.Text),
    sa.column("engine_version", sa.Text),
    sa.column("model", sa.Text),
    sa.column("requests", sa.BigInteger),
    sa.column("input_uncached", sa.BigInteger),
    sa.column("cache_read", sa.BigInteger),
    sa.column("cache_write", sa.BigInteger),
    sa.column("output", sa.BigInteger),
    sa.column("reasoning", sa.BigInteger),
    sa.column("cost_reported_usd", sa.Numeric),
    sa.column("cost_priced_usd", sa.Numeric),
    sa.column("price_source", sa.Text),
    sa.column("basis", sa.Text),
    sa.column("complete", sa.Boolean),
    sa.column("pr_url", sa.Text),
    sa.column("base", sa.Text),
    sa.column("head", sa.Text),
    sa.column("counts", JSONB),
    sa.column("cost_booked_usd", sa.Numeric),
    schema=METRICS,
)


class Run(BaseModel):
    """One row. `outcome` and `ended_at` are None while the run goes on; usage is None where no agent ran."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    system: str
    subject: str
    trigger: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    reason: str | None
    seconds: dict[str, float]
    seconds_total: float | None
    engine: str | None
    engine_version: str | None
    model: str | None
    requests: int | None
    input_uncached: int | None
    cache_read: int | None
    cache_write: int | None
    output: int | None
    reasoning: int | None
    cost_reported_usd: float | None
    cost_priced_usd: float | None
    price_source: str | None
    basis: str | None
    complete: bool | None
    pr_url: str | None
    base: str | None
    head: str | None
    counts: dict[str, Any]
    cost_booked_usd: float | None

    @property
    def cost_usd(self) -> float:
        """The best known cost: as the ledger booked it, else priced from tokens, else as reported, else 0."""
        return self.cost_booked_usd or self.cost_priced_usd or self.cost_reported_usd or 0.0


def one(session: Session, run_id: str) -> Run | None:
    """The row of a run; None: it has no events."""
    row = session.execute(sa.select(view).where(view.c.run_id == run_id)).mappings().one_or_none()
    return None if row is None else Run.model_validate(dict(row))


def newest(session: Session, *, system: str | None = None, subject: str | None = None, limit: int = 50) -> list[Run]:
    """The newest runs first."""
    query = sa.select(view)
    if system is not None:
        query = query.where(view.c.system == system)
    if subject is not None:
        query = query.where(view.c.subject == subject)
    rows = session.execute(query.order_by(view.c.started_at.desc(), view.c.run_id).limit(limit)).mappings()
    return [Run.model_validate(dict(row)) for row in rows]
