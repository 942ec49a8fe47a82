"""The registry: which repositories are managed, and when each was last synced.

What belongs here: repositories as rows: reading them, taking them, and changing them by command. What does not:
bringing them in line with `upkeep.yaml` (`configured.py`), goals (`goals.py`), what a sync leaves (`recorded.py`), and
the forge's list of repositories (the inventory).

What stands in `upkeep.yaml` is changed there alone. One that was registered by command stays until it is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import goals, repositories
from upkeep.errors import ConfigError, GitError, RepositoryNotReady
from upkeep.faults import nearest
from upkeep.plumbing.command import display_url, run_git
from upkeep.settings.base import Name
from upkeep.sync.attempts import subject_of
from upkeep.sync.workingtree import WorkingTree

State = Literal["managed", "ignored", "removed"]
Source = Literal["configuration", "command"]

EVERY_STATE: tuple[State, ...] = ("managed", "ignored", "removed")

_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class Managed:
    """A repository of the registry. `repo` is its name on the forge. Times are UTC; `last_state_synced_at` is None
    until a sync ended without errors, `last_attempt_reason` None where the last one did. `revision` counts changes of
    the hub's side."""

    slug: str
    path: Path
    forge: str | None
    repo: str | None
    remote: str | None
    domain: str
    workplans: tuple[str, ...]
    fix: bool
    source: Source
    state: State
    note: str | None
    last_state_synced_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_reason: str | None
    revision: int
    goal: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What its files may call it: the slug, and its name on the forge, with and without the owner."""
        return (self.slug, *((self.repo, self.repo.rpartition("/")[2]) if self.repo else ()))


def hold(session: Session, slugs: Sequence[str], *, skip_busy: bool = False) -> dict[str, datetime | None]:
    """Take the rows of repositories until the transaction ends; return when each was last tried.

    Whoever changes anything of a repository (the row, its goals, workstreams, tasks, interventions) takes its row
    first, and of several in this order: so two who meet wait for each other, and never in a circle. `skip_busy`: leave
    out those that somebody has at this moment.
    """
    query = (
        sa.select(repositories.c.slug, repositories.c.last_attempt_at)
        .where(repositories.c.slug.in_(slugs))
        .order_by(sa.collate(repositories.c.slug, "C"))
        .with_for_update(key_share=True, skip_locked=skip_busy)
    )
    return {row.slug: row.last_attempt_at for row in session.execute(query)}


def touch(session: Session, slug: str) -> None:
    """Note that the hub's side of a repository changed, in the transaction that changes it: the next look at it finds
    drift. A counter and no time, so a clock that jumps hides nothing."""
    chosen = repositories.c.slug == slug
    session.execute(sa.update(repositories).where(chosen).values(revision=repositories.c.revision + 1))


def hold_unchanged(session: Session, one: Managed) -> None:
    """Take the row of a repository that was read a while ago. Raises RepositoryNotReady `sync.registration_changed`
    where it is another folder now, has other patterns, or is no longer managed."""
    hold(session, [one.slug])
    now = find(session, one.slug, states=EVERY_STATE)
    if now.state != "managed":
        why = f"{one.slug} is no longer managed"
    elif (now.path, now.workplans, now.names) != (one.path, one.workplans, one.names):
        why = f"the registration of {one.slug} changed while it was read"
    else:
        return
    raise RepositoryNotReady(why, code="sync.registration_changed", remedy=f"Run `upkeep sync {one.slug}` again.")


def _write(session: Session, slug: str, values: dict[str, Any], *, by: str | None = None) -> None:
    """Add or change a row. What stands in upkeep.yaml is changed by it alone: in one statement, so that it makes no
    difference whether the file's entry came in a moment ago. Raises ConfigError `config.configured`."""
    new = insert(repositories).values(slug=slug, **{"path": "", "source": "command", **values})
    changed = new.on_conflict_do_update(
        index_elements=["slug"], set_={**values, "revision": repositories.c.revision + 1}, where=~_CONFIGURED
    )
    if session.execute(changed.returning(repositories.c.slug)).one_or_none() is None:
        raise _configured_already(slug)
    subject, told = subject_of(slug), what_changed(values)
    events.record(session, system="sync", subject=subject, type=EventType.STATE_WRITTEN, changes=told, by=by)


def what_changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the event of a changed row says."""
    return {name: values[name] for name in ("path", "state", "source", "note") if values.get(name) is not None}


_CONFIGURED = (repositories.c.source == "configuration") & (repositories.c.state == "managed")


def _configured_already(slug: str) -> ConfigError:
    return ConfigError(
        f"{slug} stands in upkeep.yaml",
        code="config.configured",
        remedy=f"Change it there (repositories: {slug}:), or remove it there first.",
    )


def every(
    session: Session, *, states: Sequence[State] = ("managed",), after: str = "", limit: int | None = None
) -> list[Managed]:
    """Repositories of the registry, by slug (in the order of their bytes); `limit` of them after `after`."""
    slug = sa.collate(repositories.c.slug, "C")
    query = _QUERY.where(repositories.c.state.in_(states), slug > after).order_by(slug).limit(limit)
    return [_managed(dict(row)) for row in session.execute(query).mappings()]


def count(session: Session, *, states: Sequence[State] = ("managed",)) -> int:
    query = sa.select(sa.func.count()).select_from(repositories).where(repositories.c.state.in_(states))
    found: int = session.execute(query).scalar_one()
    return found


def _query() -> sa.Select[Any]:
    goal = (
        sa.select(goals.c.title)
        .where(goals.c.repository == repositories.c.slug, goals.c.active)
        .order_by(goals.c.source)
        .limit(1)
        .scalar_subquery()
    )
    return sa.select(repositories, goal.label("goal"))


_QUERY = _query()


def slugs(session: Session) -> list[str]:
    """The slugs of all managed repositories, sorted."""
    query = sa.select(repositories.c.slug).where(repositories.c.state == "managed").order_by(repositories.c.slug)
    return list(session.execute(query).scalars())


def find(session: Session, slug: str, *, states: Sequence[State] = ("managed",), locked: bool = False) -> Managed:
    """One repository; `locked`: nobody else changes it until the transaction ends. ConfigError
    `config.unknown_repository` names the nearest."""
    query = _QUERY.where(repositories.c.slug == text.escape(slug), repositories.c.state.in_(states))
    if locked:
        query = query.with_for_update(key_share=True, of=repositories)
    row = session.execute(query).mappings().one_or_none()
    if row is None:
        known = session.execute(sa.select(repositories.c.slug).where(repositories.c.state.in_(states))).scalars()
        raise ConfigError(
            f"no managed repository is called {slug!r}" + nearest(slug, known, otherwise="there are"),
            code="config.unknown_repository",
            remedy="`upkeep repos list` shows them; `upkeep repos register PATH` adds one.",
        )
    return _managed(dict(row))


def register(
    session: Session,
    path: Path,
    *,
    slug: str | None = None,
    forge: str | None = None,
    repo: str | None = None,
    domain: str = "",
    workplans: Sequence[str] = ("workplans/*.md",),
    fix: bool = False,
    new: bool = False,
    by: str | None = None,
) -> Managed:
    """Manage the repository at `path`; again, with other values, changes them, or with `new` is refused. Raises
    ConfigError `config.bad_name`, `config.configured` (upkeep.yaml has it), `config.bad_pattern`, `sync.registered`,
    RepositoryNotReady `sync.unreachable`."""
    tree = WorkingTree.open(path)
    slug = _name(slug or tree.root.name)
    tree.files(workplans)  # refuses a pattern that leads out
    if new:
        _refuse_known(session, slug)
    _write(
        session,
        slug,
        {
            "path": text.escape(str(tree.root)),
            "forge": forge,
            "forge_repo": repo,
            "remote": remote_of(tree),
            "domain": domain,
            "workplans": list(workplans),
            "fix": fix,
            "source": "command",
            "state": "managed",
            "note": None,
        },
        by=by,
    )
    return find(session, slug)


def _refuse_known(session: Session, slug: str) -> None:
    """Of two who register one slug at the same moment, the second waits here for the first."""
    blank = insert(repositories).values(slug=slug, path="", source="command", state="removed")
    done = session.execute(blank.on_conflict_do_nothing(index_elements=["slug"]).returning(repositories.c.slug))
    if done.one_or_none() is None:
        known = find(session, slug, states=EVERY_STATE)
        if known.source == "configuration" and known.state == "managed":
            raise _configured_already(slug)
        raise ConfigError(
            f"there is a repository {slug} already ({known.state}, {known.path})",
            code="sync.registered",
            remedy="Change that one, or choose another slug.",
        )


def _name(slug: str) -> str:
    try:
        return _NAME.validate_python(slug)
    except ValidationError as error:
        raise ConfigError(
            f"{slug!r} cannot be a name", code="config.bad_name", remedy="Give --slug: letters, digits, `.`, `_`, `-`."
        ) from error


def ignore(session: Session, slug: str, why: str = "") -> None:
    """Manage a repository no longer, and list it apart; one that was never registered too, by its slug or as
    `owner/name`. Its history stays. Raises ConfigError `config.configured`, `config.bad_name`."""
    for part in slug.split("/", 1):
        _name(part)
    _write(session, slug, {"state": "ignored", "note": why or None})


def look(one: Managed, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Look at what changes of a registration lead to, before anything is held: another path or other patterns. Returns
    what is to be changed with them. Raises RepositoryNotReady `sync.unreachable`, ConfigError `config.bad_pattern`."""
    if not {"path", "workplans"} & changes.keys():
        return {}
    tree = WorkingTree.open(Path(changes.get("path", one.path)))
    tree.files(changes.get("workplans", one.workplans))
    return {"path": tree.root, "remote": remote_of(tree)}


def change(session: Session, one: Managed, changes: Mapping[str, Any], *, by: str) -> None:
    """Change a registration that the caller holds (`find` with `locked`): path, remote, forge, repo, domain, workplans,
    fix, state, note. Raises ConfigError `config.configured`."""
    values = {("forge_repo" if name == "repo" else name): value for name, value in changes.items()}
    if "path" in values:
        values["path"] = text.escape(str(values["path"]))
    _write(session, one.slug, {"state": one.state, **values, "source": "command"}, by=by)


def remote_of(tree: WorkingTree) -> str | None:
    """Where `origin` leads, without a password; None where there is no such remote."""
    try:
        done = run_git(["config", "--get", "remote.origin.url"], git_dir=tree.common, accept=(0, 1))
    except GitError:
        return None
    return display_url(done.text.strip()) or None


def _managed(row: dict[str, Any]) -> Managed:
    names = ("slug", "forge", "remote", "domain", "fix", "source", "state", "note")
    times = ("last_state_synced_at", "last_attempt_at", "revision")
    return Managed(
        **{name: row[name] for name in (*names, *times)},
        path=Path(text.unescape(row["path"])),
        repo=row["forge_repo"],
        workplans=tuple(row["workplans"]),
        last_attempt_reason=text.unescape(row["last_attempt_reason"]),
        goal=text.unescape(row["goal"]),
    )
