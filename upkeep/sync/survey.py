"""The drift check: a look at every managed repository, and what follows from it.

What belongs here: judging each look, confirming those that agree in one update, and recording those that cannot be
reached. What does not: looking (`drift.py`), syncing (`service.py`), and who asks for that (`sensors/sync.py`,
`cli/sync.py`).

A repository that was synced with errors and did not change since stays as it is: the same files would give the same
findings. It is tried again after `ERRORS_AFTER` all the same, as they may have a cause elsewhere; and after
`BROKEN_AFTER` where the sync did not come to an end (a full disk), since nobody can see from here whether that holds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.database.tables import repositories
from upkeep.sync import attempts as history
from upkeep.sync import recorded, registry
from upkeep.sync.drift import Look, Looker, Target
from upkeep.sync.findings import blocked, summary
from upkeep.sync.recorded import Known
from upkeep.sync.registry import Managed
from upkeep.sync.workingtree import Stamp

ERRORS_AFTER = timedelta(hours=24)
BROKEN_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class Checked:
    """What a check found. Each repository that was looked at is in one of the four, by slug; the words say why.

    `agree` were confirmed, and count as synced now. `drifted` want a sync. `failing` were synced with errors and did
    not change since. `unreachable` have the finding C-24. `more`: the slug after which the next check goes on; None:
    all were looked at. `attempts`: when each of them was last tried.
    """

    agree: tuple[str, ...] = ()
    drifted: Mapping[str, str] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    more: str | None = None
    attempts: Mapping[str, datetime | None] = field(default_factory=dict)


@dataclass
class _Found:
    """A check in the making."""

    agree: list[str] = field(default_factory=list)
    drifted: dict[str, str] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    unreachable: dict[str, Look] = field(default_factory=dict)
    stamps: dict[str, Mapping[str, Stamp]] = field(default_factory=dict)

    def add(self, repository: Managed, known: Known, look: Look, now: datetime) -> None:
        slug = repository.slug
        if look.unreachable is not None:
            self.unreachable[slug] = look
            return
        if look.stamps is not None:
            self.stamps[slug] = look.stamps
        why = wanted(repository, known, look, now)
        if why is not None:
            self.drifted[slug] = why
        elif repository.last_attempt_reason is not None:
            self.failing[slug] = repository.last_attempt_reason
        else:
            self.agree.append(slug)


def wanted(repository: Managed, known: Known, look: Look, now: datetime) -> str | None:
    """Why a reachable repository wants a sync, in words; None: a sync would find what the last one found."""
    tried = repository.last_attempt_at
    if tried is None:
        return "it was never synced"
    if known.blocked is not None:
        return None if look.busy == known.blocked else "it can be synced again"
    if repository.revision != known.revision:
        return "it was changed in the hub"
    # A time ahead of the clock (it was set back) is as good as an old one.
    age = abs(now - tried)
    if known.broken:
        return f"the last sync failed: {repository.last_attempt_reason}" if age > BROKEN_AFTER else None
    if repository.fix and known.fixable:
        return "its files lack what the sync may write"
    if look.difference is None and repository.last_attempt_reason is not None and age > ERRORS_AFTER:
        return f"the last sync had errors: {repository.last_attempt_reason}"
    return look.difference


def check(
    database: Database, *, after: str = "", deadline: float = float("inf"), looker: Looker | None = None
) -> Checked:
    """Look at every managed repository after `after` without reading what did not change, until `deadline`
    (`time.monotonic`). Those that agree with the hub are fresh again, all in one update."""
    with database.session() as session:
        now = session.execute(sa.select(sa.func.now())).scalar_one()
        known = recorded.everything_known(session)
        repos = [one for one in registry.every(session) if one.slug > after and one.slug in known]
    found, more = _Found(), None
    targets = [Target(one.path, one.workplans, known[one.slug]) for one in repos]
    with contextlib.closing((looker or Looker())(targets)) as looks:
        for number, (repository, target) in enumerate(zip(repos, targets, strict=True)):
            if time.monotonic() > deadline and number > 0:
                more = repos[number - 1].slug
                break
            found.add(repository, target.known, next(looks), now)
    attempts = {one.slug: one.last_attempt_at for one in repos}
    _record(database, found, attempts, complete=more is None)
    return Checked(
        agree=tuple(found.agree),
        drifted=found.drifted,
        failing=found.failing,
        unreachable={slug: look.unreachable or "" for slug, look in found.unreachable.items()},
        more=more,
        attempts=attempts,
    )


def _record(database: Database, found: _Found, attempts: Mapping[str, datetime | None], *, complete: bool) -> None:
    with database.session() as session:
        # What somebody syncs now, or synced since we looked, is newer than our look.
        looked = [*found.agree, *found.stamps, *found.unreachable]
        ours = {
            slug for slug, tried in registry.hold(session, looked, skip_busy=True).items() if tried == attempts[slug]
        }
        at = _confirm(session, [slug for slug in found.agree if slug in ours])
        for slug, files in found.stamps.items():
            if slug in ours:
                recorded.store_stamps(session, slug, files)
        _tell_unreachable(session, {slug: look for slug, look in found.unreachable.items() if slug in ours}, attempts)
        events.record(
            session,
            system="sync",
            subject=history.ALL,
            type=EventType.STATE_WRITTEN,
            confirmed_at=at.isoformat(),
            complete=complete,
            agree=len(found.agree),
            drifted=len(found.drifted),
            failing=len(found.failing),
            unreachable=len(found.unreachable),
        )


def _confirm(session: Session, slugs: Sequence[str]) -> datetime:
    """One update for all that agree, and only for those that nobody synced or changed meanwhile; the time that they
    have now, by which `confirmed` finds them again."""
    at: datetime = session.execute(sa.select(sa.func.now())).scalar_one()
    unchanged = repositories.c.last_attempt_reason.is_(None) & (
        repositories.c.revision == repositories.c.synced_revision
    )
    chosen = repositories.c.slug.in_(slugs) & unchanged
    values = {"last_state_synced_at": at, "last_attempt_at": at}
    session.execute(sa.update(repositories).where(chosen).values(values))
    return at


def confirmed(session: Session, at: datetime, *, after: str = "", limit: int | None = None) -> list[str]:
    """The repositories that a check confirmed at this very time and nothing touched since, by slug."""
    chosen = (
        (repositories.c.last_state_synced_at == at)
        & (repositories.c.state == "managed")
        & (repositories.c.slug > after)
    )
    query = sa.select(repositories.c.slug).where(chosen).order_by(repositories.c.slug).limit(limit)
    return list(session.execute(query).scalars())


def _tell_unreachable(session: Session, looks: Mapping[str, Look], attempts: Mapping[str, datetime | None]) -> None:
    """A finding for each; where it is the one that is there already, only the time moves. One that somebody synced
    meanwhile was reached."""
    columns = (repositories.c.slug, repositories.c.last_attempt_at, repositories.c.last_attempt_reason)
    query = sa.select(*columns).where(repositories.c.slug.in_(list(looks))).with_for_update()
    still = []
    for slug, tried, reason in session.execute(query).all():
        finding = blocked(looks[slug].unreachable or "", looks[slug].remedy)
        if text.unescape(reason) == (said := summary([finding])):
            still.append(slug)
        elif tried == attempts[slug]:
            recorded.record_attempt(session, slug, findings=[finding], reason=said, trigger="check")
    chosen = repositories.c.slug.in_(still)
    session.execute(sa.update(repositories).where(chosen).values(last_attempt_at=sa.func.now()))
