"""What the next rebase will meet: the engine against upstream as it is now, and branches that are not merged yet.

What belongs here: looking, and remembering what was seen. What does not: rebasing, and when to look
(`sensors/forks.py`).

A look holds no lock, moves no ref and leaves nothing in the person's repository: what it fetches goes into a bare
repository of its own (`forks/NAME/ahead.git` under the home), which borrows the other's objects. It is a forecast and
no verification: where git itself has to rebase (signed commits, say) the merges are the same and only the commits are
not, so the engine is asked all the same; where it cannot even tell, the outlook says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.errors import BranchGone, GitError, RemoteUnavailable
from upkeep.forks import attributes, measures, memory, ownership, routing
from upkeep.forks.desk import place_of
from upkeep.forks.engine import Engine
from upkeep.forks.memory import Memory
from upkeep.forks.place import Place, committer_of
from upkeep.forks.quarantine import Quarantine, object_folder, quarantine
from upkeep.forks.records import PATCHES_NAMED, Forecast, Outlook, Record
from upkeep.forks.stack import read_stack
from upkeep.forks.stops import Settle
from upkeep.forks.verify import conflicting, escalated
from upkeep.git import Repository
from upkeep.plumbing.command import display_url

LOOK_SECONDS = 30.0
_SEEN = "refs/upkeep/seen/"


def outlook(
    place: Quarantine,
    branch: str,
    head: str,
    trunk: str,
    *,
    settle: Settle = lambda _: None,
    escalate: tuple[str, ...] = (),
) -> Outlook:
    """Try trunk on one upstream commit, in memory and nowhere else. Raises GitError."""
    started = time.monotonic()
    stack = read_stack(place, head, trunk, own=ownership.is_own)
    laid = attributes.lay_out(place, head)
    if blind := routing.blind(place, stack, laid):
        return Outlook(branch=branch, head=head, patches=len(stack.patches), unknown="; ".join(blind))
    with Engine(place, committer_of(place.repository)) as engine:
        result = engine.rebase(stack, settle)
        conflicts = [conflicting(engine, stack, each, result.conflicts) for each in result.conflicts]
    return Outlook(
        branch=branch,
        head=head,
        patches=len(stack.patches),
        # The commands of a report need objects that only we have.
        conflicts=tuple(each.model_copy(update={"reproduce": ()}) for each in conflicts),
        escalated=escalated(place, stack, escalate),
        unsure=routing.reasons(place, stack, laid),
        seconds=round(time.monotonic() - started, 3),
    )


def look(settings: Settings, name: str, database: Database | None, *, deadline: float = LOOK_SECONDS) -> Forecast:
    """Look ahead for one fork, within about `deadline` seconds.

    Raises RemoteUnavailable, BranchGone (trunk or upstream's branch; one of `next_branches` that is gone is left out),
    RepositoryNotReady, GitError.
    """
    started = time.monotonic()
    place = place_of(settings, name)
    left: Callable[[], float] = lambda: max(1.0, deadline - (time.monotonic() - started))  # noqa: E731
    heads = _heads(place, left)
    ahead = _fetched(place, settings.home / "forks" / name / "ahead.git", heads, left)
    known = memory.known(database, name) if database is not None else ()
    trunk, fork = heads.trunk, place.fork
    with quarantine(place.repository, also=[ahead]) as objects:
        settle = Memory(objects, known)
        outlooks = tuple(
            outlook(objects, branch, sha, trunk, settle=settle, escalate=fork.escalate if number == 0 else ())
            for number, (branch, sha) in enumerate(heads.upstream.items())
        )
        behind = measures.behind(objects.git, heads.upstream[fork.upstream_branch], trunk)
    return Forecast(
        fork=name,
        looked_at=datetime.now(UTC),
        trunk=trunk,
        behind=behind,
        outlooks=outlooks,
        seconds=round(time.monotonic() - started, 3),
    )


def note(database: Database, forecast: Forecast) -> bool:
    """Record the forecast where it says something else than the one recorded last; whether it did. Looking twice at the
    same records once, so a tick may do it."""
    subject = f"fork:{forecast.fork}"
    now = _summary(forecast)
    with database.session() as session:
        before = events.newest_of(session, "forks", subject, EventType.FORECAST_CHANGED)
        if (before.summary.get("branches") if before else {}) == now["branches"]:
            return False
        events.record(session, system="forks", subject=subject, type=EventType.FORECAST_CHANGED, **now)
    return True


def _summary(forecast: Forecast) -> dict[str, Any]:
    """Which patches break on which branches; what else moves is no other forecast."""
    breaks = {
        each.branch: [{"number": one.number, "subject": one.subject[:120]} for one in each.conflicts[:PATCHES_NAMED]]
        for each in forecast.breaks
    }
    return {"branches": breaks, "trunk": forecast.trunk, "head": forecast.tonight.head}


class _Heads(Record):
    """`upstream`: the branch that trunk is rebased on first, then those of `next_branches` that are there."""

    trunk: str
    upstream: dict[str, str]


def _heads(place: Place, left: Callable[[], float]) -> _Heads:
    fork = place.fork
    reach: Mapping[str, Any] = {"config": place.config, "env": place.env}
    names = [fork.upstream_branch, *fork.next_branches]
    theirs = Repository.remote_heads(place.fork_url, [f"refs/heads/{fork.trunk}"], **reach, deadline=left())
    found = Repository.remote_heads(place.upstream_url, [f"refs/heads/{n}" for n in names], **reach, deadline=left())
    for url, branch, refs in ((place.fork_url, fork.trunk, theirs), (place.upstream_url, fork.upstream_branch, found)):
        if f"refs/heads/{branch}" not in refs:
            raise BranchGone(
                f"{display_url(url)} has no branch {branch}",
                remedy="Set the branch that exists in upkeep.yaml, or restore it on the remote.",
                branch=branch,
            )
    upstream = {name: found[ref] for name in names if (ref := f"refs/heads/{name}") in found}
    return _Heads(trunk=theirs[f"refs/heads/{fork.trunk}"], upstream=upstream)


def _fetched(place: Place, path: Path, heads: _Heads, left: Callable[[], float]) -> Repository:
    """Our own repository with the objects of `heads`. One whose borrowed objects were pruned is made anew."""
    try:
        return _fetch(place, path, heads, left)
    except RemoteUnavailable:
        raise
    except GitError:
        shutil.rmtree(path, ignore_errors=True)
        return _fetch(place, path, heads, left)


def _fetch(place: Place, path: Path, heads: _Heads, left: Callable[[], float]) -> Repository:
    ahead = Repository.init_bare(path, branch="none")
    (path / "objects/info").mkdir(exist_ok=True)
    borrowed = path / "objects/info/alternates"
    new = borrowed.with_suffix(".new")
    new.write_text(f"{object_folder(place.repository)}\n")
    new.replace(borrowed)
    names = list(heads.upstream)
    for side, url, branches in (("fork", place.fork_url, [place.fork.trunk]), ("upstream", place.upstream_url, names)):
        refspecs = [f"+refs/heads/{name}:{_SEEN}{side}/{name}" for name in branches]
        ahead.fetch(url, refspecs, config=place.config, env=place.env, deadline=left())
    missing = [sha for sha in (heads.trunk, *heads.upstream.values()) if ahead.resolve(sha) is None]
    if missing:
        raise GitError(f"{missing[0]} was rewritten while it was fetched", code="forks.moved")
    return ahead
