"""The registry: which repositories are managed, what for, and when each was last synced.

What belongs here: repositories and goals as rows, out of `upkeep.yaml` and out of commands. What does not: what a sync
does (`service.py`) and the forge's list of repositories (the inventory).

`upkeep.yaml` is the truth for what stands in it: `refresh` brings the rows in line with it. A repository that leaves
the file is no longer managed, and keeps its history. One that was registered by command stays until it is ignored.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from upkeep.config import Settings
from upkeep.database import events, text
from upkeep.database.events import EventType
from upkeep.database.tables import goals, repositories
from upkeep.errors import ConfigError, GitError, RepositoryNotReady
from upkeep.faults import nearest
from upkeep.plumbing.command import display_url, run_git
from upkeep.settings.base import Name
from upkeep.settings.repositories import Goal
from upkeep.sync.attempts import subject_of
from upkeep.sync.findings import Code, Finding, Severity, has_errors, summary
from upkeep.sync.workingtree import Stamp, WorkingTree

State = Literal["managed", "ignored", "removed"]
Source = Literal["configuration", "command"]

EVERY_STATE: tuple[State, ...] = ("managed", "ignored", "removed")

_NAME: TypeAdapter[str] = TypeAdapter(Name)
_FINDINGS = TypeAdapter(tuple[Finding, ...])


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


@dataclass(frozen=True)
class Known:
    """What was last synced: the head, the workplan files by path, and what could not even be listed as (file, why).
    `revision`: of the hub's side when that was read. `blocked`: what kept the last attempt from beginning (C-24);
    `broken`: it ended in an error that is no finding. `fixable`: it found something that `--fix` writes."""

    head: str | None
    files: dict[str, Stamp]
    revision: int = 0
    unlisted: frozenset[tuple[str, str]] = frozenset()
    blocked: str | None = None
    broken: bool = False
    fixable: bool = False


@dataclass(frozen=True)
class ActiveGoal:
    id: uuid.UUID
    title: str
    description: str


def refresh(session: Session, settings: Settings) -> None:
    """Bring the rows in line with `upkeep.yaml`. Idempotent, and writes and waits for nothing where nothing changed."""
    if not _to_write(session, settings) and not _goals_to_set(session, settings):
        return
    # Commands that start together find the same differences: one brings them in, the others find none.
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended("upkeep registry", 0))))
    for slug, values in sorted(_to_write(session, settings).items()):
        _write(session, slug, values)
    for slug, goal in sorted(_goals_to_set(session, settings).items()):
        if goal is None:
            _retire(session, slug, "configuration")
        else:
            set_goal(session, slug, goal.title, goal.description, source="configuration")


def _to_write(session: Session, settings: Settings) -> dict[str, dict[str, Any]]:
    """Rows that are not what the file says, with what they are to be."""
    columns = [column for column in repositories.c if column.name not in ("files", "findings")]
    rows = {row["slug"]: row for row in session.execute(sa.select(*columns)).mappings()}
    found = {}
    for slug in settings.repositories:
        values = _configured(settings, slug)
        if slug not in rows or any(rows[slug][name] != value for name, value in values.items()):
            found[slug] = values
    for slug, row in rows.items():
        if row["source"] == "configuration" and row["state"] == "managed" and slug not in settings.repositories:
            found[slug] = {"state": "removed", "note": "no longer in upkeep.yaml"}
    return found


def _goals_to_set(session: Session, settings: Settings) -> dict[str, Goal | None]:
    """Goals of the file that are not there, and (None) those that are there and not in the file."""
    query = sa.select(goals).where(goals.c.source == "configuration", goals.c.active)
    now = {row["repository"]: _goal(dict(row)) for row in session.execute(query).mappings()}
    found: dict[str, Goal | None] = {}
    for slug, entry in settings.repositories.items():
        known = now.get(slug)
        if (entry.goal and (entry.goal.title, entry.goal.description)) != (known and (known.title, known.description)):
            found[slug] = entry.goal
    return found


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


def _configured(settings: Settings, slug: str) -> dict[str, Any]:
    entry = settings.repositories[slug]
    return {
        "path": text.escape(str(entry.path)),
        "forge": entry.forge,
        "forge_repo": entry.repo,
        "domain": entry.domain,
        "workplans": list(entry.workplans),
        "fix": entry.fix,
        "source": "configuration",
        "state": "managed",
        "note": None,
    }


def _write(session: Session, slug: str, values: dict[str, Any], *, by: str | None = None) -> None:
    """Add or change a row. What stands in upkeep.yaml is changed by it alone: in one statement, so that it makes no
    difference whether the file's entry came in a moment ago. Raises ConfigError `config.configured`."""
    new = insert(repositories).values(slug=slug, **{"path": "", "source": "command", **values})
    from_the_file = values.get("source") == "configuration" or values.get("state") == "removed"
    changed = new.on_conflict_do_update(
        index_elements=["slug"],
        set_={**values, "revision": repositories.c.revision + 1},
        where=None if from_the_file else ~_CONFIGURED,
    )
    if session.execute(changed.returning(repositories.c.slug)).one_or_none() is None:
        raise _configured_already(slug)
    told = {name: values[name] for name in ("path", "state", "source", "note") if values.get(name) is not None}
    subject = subject_of(slug)
    events.record(session, system="sync", subject=subject, type=EventType.STATE_WRITTEN, changes=told, by=by)


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
            f"no managed repository is called {slug!r}" + nearest(slug, known).replace("valid keys here", "there are"),
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


# Goals


def set_goal(
    session: Session, slug: str, title: str, description: str = "", *, source: Source = "command", by: str = ""
) -> ActiveGoal:
    """Make this the goal of a repository; the one that it had is kept as history. The same again changes nothing."""
    hold(session, [slug])
    chosen = (goals.c.repository == slug) & (goals.c.source == source) & goals.c.active
    now = session.execute(sa.select(goals).where(chosen)).mappings().one_or_none()
    stored = {"title": text.escape(title), "description": text.escape(description)}
    if now is not None and _is(now, stored):
        return _goal(dict(now))
    _retire(session, slug, source)
    values = {**stored, "id": uuid.uuid4(), "repository": slug, "source": source, "set_by": by}
    row = session.execute(sa.insert(goals).values(values).returning(goals)).mappings().one()
    told = {"goal": str(row["id"]), "source": source}
    subject, by_whom = subject_of(slug), by or None
    events.record(session, system="sync", subject=subject, type=EventType.STATE_WRITTEN, changes=told, by=by_whom)
    return _goal(dict(row))


def _is(row: Any, values: dict[str, Any]) -> bool:
    return not any(row[name] != value for name, value in values.items())


def _retire(session: Session, slug: str, source: Source) -> None:
    chosen = (goals.c.repository == slug) & (goals.c.source == source) & goals.c.active
    session.execute(sa.update(goals).where(chosen).values(active=False))


def active_goal(session: Session, slug: str) -> ActiveGoal | None:
    """A goal set by command comes before the configuration's."""
    query = sa.select(goals).where(goals.c.repository == slug, goals.c.active).order_by(goals.c.source).limit(1)
    row = session.execute(query).mappings().one_or_none()
    return None if row is None else _goal(dict(row))


def active_goals(session: Session, slugs: Sequence[str]) -> dict[str, ActiveGoal]:
    """The goals of several repositories, by slug."""
    query = sa.select(goals).where(goals.c.repository.in_(slugs), goals.c.active)
    # The command's first, as in `active_goal`; of two rows of one repository the last stays.
    rows = session.execute(query.order_by(goals.c.source.desc())).mappings()
    return {row["repository"]: _goal(dict(row)) for row in rows}


def retire_goal(session: Session, slug: str) -> None:
    """Take the goal away that was set by command: the configuration's counts again, where there is one."""
    _retire(session, slug, "command")


def _goal(row: dict[str, Any]) -> ActiveGoal:
    return ActiveGoal(row["id"], text.unescape(row["title"]), text.unescape(row["description"]))


# What a sync leaves


def touch(session: Session, slug: str) -> None:
    """Note that the hub's side of a repository changed, in the transaction that changes it: the next look at it finds
    drift. A counter and no time, so a clock that jumps hides nothing."""
    chosen = repositories.c.slug == slug
    session.execute(sa.update(repositories).where(chosen).values(revision=repositories.c.revision + 1))


def everything_known(session: Session) -> dict[str, Known]:
    """What was last synced of every managed repository, by slug."""
    # Findings are large, and say something only where the last attempt had errors.
    findings = sa.case((repositories.c.last_attempt_reason.is_not(None), repositories.c.findings), else_=None)
    fixable = repositories.c.findings.contains([{"fixable": True}])
    names = ("slug", "last_head", "files", "synced_revision", "last_attempt_reason")
    query = sa.select(*(repositories.c[name] for name in names), findings.label("told"), fixable.label("fixable"))
    rows = session.execute(query.where(repositories.c.state == "managed")).mappings()
    return {row["slug"]: _known(*(row[name] for name in (*names[1:], "told", "fixable"))) for row in rows}


def _known(
    head: str | None,
    files: dict[str, list[Any]],
    revision: int,
    reason: str | None,
    told: list[Any] | None,
    fixable: bool,
) -> Known:
    findings = _FINDINGS.validate_python(text.unescape(told)) if told else ()
    unlisted = {(each.file, each.message) for each in findings if each.code == Code.UNREADABLE}
    explained = has_errors(findings) and summary(findings) == text.unescape(reason)
    return Known(
        head=head,
        files={path: Stamp(*each) for path, each in files.items()},
        revision=revision,
        unlisted=frozenset(each for each in unlisted if each[0] not in files),
        blocked=next((each.message for each in findings if each.code == Code.REPOSITORY), None) if explained else None,
        broken=reason is not None and not explained,
        fixable=fixable,
    )


def store_stamps(session: Session, slug: str, files: Mapping[str, Stamp]) -> None:
    """Newer stamps of files whose content is what was synced."""
    session.execute(sa.update(repositories).where(repositories.c.slug == slug).values(files=_stored(files)))


def _stored(files: Mapping[str, Stamp]) -> dict[str, list[Any]]:
    return {path: [stamp.size, stamp.mtime, stamp.inode, stamp.sha256] for path, stamp in files.items()}


def record_attempt(
    session: Session,
    slug: str,
    *,
    findings: Sequence[Finding],
    reason: str | None,
    synced: Known | None = None,
    remote: str | None = None,
    run_id: str | None = None,
    **summary: Any,
) -> tuple[datetime, datetime | None]:
    """Record that a sync was tried, with its event; return `last_attempt_at` and `last_state_synced_at` as they are.

    `reason` None: it ended without error findings, and `last_state_synced_at` moves too. `synced`: what the hub agrees
    with now, for the next look. `summary` goes into the event (`attempts.py` reads it).
    """
    values: dict[str, Any] = {
        "last_attempt_at": sa.func.now(),
        "last_attempt_reason": text.escape(reason),
        "findings": text.escape([finding.model_dump(mode="json") for finding in findings]),
    }
    if reason is None:
        values["last_state_synced_at"] = sa.func.now()
    if synced is not None:
        values["last_head"] = synced.head
        values["files"] = _stored(synced.files)
        values["synced_revision"] = synced.revision
    if remote is not None:
        values["remote"] = remote
    update = sa.update(repositories).where(repositories.c.slug == slug).values(values)
    returned = update.returning(repositories.c.last_attempt_at, repositories.c.last_state_synced_at)
    attempt, state = session.execute(returned).one()
    changes = {
        "last_attempt_at": attempt.isoformat(),
        "last_state_synced_at": state.isoformat() if state else None,
        "last_attempt_reason": reason,
    }
    events.record(
        session,
        system="sync",
        subject=subject_of(slug),
        type=EventType.STATE_WRITTEN,
        run_id=run_id,
        changes=changes,
        **{f"{severity}s": sum(each.severity == severity for each in findings) for severity in get_args(Severity)},
        **summary,
    )
    return attempt, state


def last_findings(session: Session, slug: str) -> tuple[Finding, ...]:
    """The findings of the last sync."""
    stored = session.execute(sa.select(repositories.c.findings).where(repositories.c.slug == slug)).scalar_one()
    return _FINDINGS.validate_python(text.unescape(stored))


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
