"""How well the hub knows its repositories: the answer of `list_repos` and `get_sync_health`.

What belongs here: the models and one query. What does not: printing, and changing anything.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from upkeep.database.tables import repositories
from upkeep.sync import ages, registry
from upkeep.sync.ages import Band

MOST_ATTENTION = 50
"""Repositories that one answer names as wanting a look: it goes to an agent."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RepositoryHealth(_Model):
    """`age`: fresh under 1 h, ageing to 24 h, stale after that or never. `reason`: why the last sync did not succeed;
    null where it did."""

    repo_slug: str
    domain: str
    goal: str | None
    age: Band
    last_state_synced_at: datetime | None
    last_attempt_at: datetime | None
    reason: str | None


class Repositories(_Model):
    """By slug. `next_after`: there are more after that one; null: there are none."""

    repositories: tuple[RepositoryHealth, ...]
    next_after: str | None


class Bands(_Model):
    """How many repositories are in each band, and of how many the last sync did not succeed."""

    fresh: int
    ageing: int
    stale: int
    failing: int


class SyncHealth(Bands):
    """How many repositories are in each band, and those that a person should look at: stale, or failing, these first.
    `attention_omitted`: how many of them are not listed."""

    attention: tuple[RepositoryHealth, ...]
    attention_omitted: int


def list_repositories(
    session: Session, now: datetime | None = None, *, after: str = "", limit: int | None = None
) -> Repositories:
    """Every managed repository, by slug; `limit` of them after `after`."""
    at = now or datetime.now(UTC)
    found = registry.every(session, after=after, limit=None if limit is None else limit + 1)
    more = limit is not None and len(found) > limit
    found = found[:limit]
    return Repositories(
        repositories=tuple(
            RepositoryHealth(
                repo_slug=one.slug,
                domain=one.domain,
                goal=one.goal,
                age=ages.band(one.last_state_synced_at, at),
                last_state_synced_at=one.last_state_synced_at,
                last_attempt_at=one.last_attempt_at,
                reason=one.last_attempt_reason,
            )
            for one in found
        ),
        next_after=found[-1].slug if more else None,
    )


def sync_health(session: Session, now: datetime | None = None) -> SyncHealth:
    """The bands of all managed repositories."""
    found = list_repositories(session, now).repositories
    counts = {band: sum(one.age == band for one in found) for band in ("fresh", "ageing", "stale")}
    attention = [one for one in found if one.age == "stale" or one.reason is not None]
    attention.sort(key=lambda one: one.reason is None)
    return SyncHealth(
        **counts,
        failing=sum(one.reason is not None for one in found),
        attention=tuple(attention[:MOST_ATTENTION]),
        attention_omitted=max(len(attention) - MOST_ATTENTION, 0),
    )


def bands(session: Session) -> Bands:
    """The numbers alone, counted by the database."""
    age = sa.func.now() - repositories.c.last_state_synced_at
    fresh, ageing = age < ages.FRESH, (age >= ages.FRESH) & (age <= ages.AGEING)
    managed = repositories.c.state == "managed"
    counted = {
        "fresh": fresh,
        "ageing": ageing,
        "stale": (age > ages.AGEING) | repositories.c.last_state_synced_at.is_(None),
        "failing": repositories.c.last_attempt_reason.is_not(None),
    }
    columns = [sa.func.count().filter(condition).label(name) for name, condition in counted.items()]
    return Bands(**session.execute(sa.select(*columns).where(managed)).mappings().one())
