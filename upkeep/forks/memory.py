"""Resolutions of conflicts: base, ours and theirs of a file, what became of them, and whether a person accepted that.

What belongs here: the table `resolutions`, and settling a stop from it. What does not: making a resolution
(`settling.py`), and finding out what a person thinks of one (`acceptance.py`).

The contents lie in the database and not as objects without a ref in a repository, where `git gc` would drop them. A
resolution holds for exactly the three versions it was made for. Where upstream has changed the file once more since, it
is carried over by a three-way merge if that goes without a conflict: what tomorrow's rebase would do once trunk holds
the resolution.

    proposed   an agent made it; used to propose it again, never for trunk
    accepted   a person merged it, or trunk came to hold it; used by every verification, and shown in the report
    declined   a person closed its pull request; the agent is not asked about these three versions again
    failed     the agent was asked and did not settle it (`attempts`)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from upkeep.database.server import Database
from upkeep.database.tables import resolutions as rows
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.records import Record
from upkeep.forks.stops import Settled, Side, Sides, Stop
from upkeep.forks.verify import shown

State = Literal["proposed", "accepted", "declined", "failed"]

LARGEST = 4 << 20
"""Bytes of one file that is remembered."""


class Resolution(Record):
    """One row. `base`, `ours` and `theirs` are `Sides.key`. `mode` None: the file is to be deleted. `ours_content` is
    what `ours` held, to carry the resolution over. `patch` is `delta.key`. `tip` is the proposed trunk that holds it,
    `number` and `url` its pull request: None before there is one."""

    path: str
    base: str
    ours: str
    theirs: str
    mode: str | None = None
    content: bytes | None = None
    ours_content: bytes | None = None
    state: State = "proposed"
    patch: str = ""
    agent: str = ""
    attempts: int = 0
    tip: str | None = None
    number: int | None = None
    url: str | None = None
    made_at: datetime | None = None
    decided_at: datetime | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.path, self.base, self.ours, self.theirs


_COLUMNS = tuple(name for name in Resolution.model_fields if name not in ("made_at", "decided_at"))


def known(database: Database, fork: str) -> tuple[Resolution, ...]:
    """All resolutions of a fork, the newest first."""
    query = sa.select(rows).where(rows.c.fork == fork).order_by(rows.c.made_at.desc(), rows.c.path)
    with database.session() as session:
        return tuple(
            Resolution(**{name: row._mapping[name] for name in Resolution.model_fields})
            for row in session.execute(query)
        )


def put(database: Database, fork: str, resolution: Resolution) -> None:
    """Write one, in the place of what was known about the same three versions; attempts that failed stay counted."""
    values = {"fork": fork, **{name: getattr(resolution, name) for name in _COLUMNS}}
    new = insert(rows).values(values)
    changed: dict[str, Any] = {name: new.excluded[name] for name in _COLUMNS if name != "attempts"}
    changed["made_at"] = sa.func.now()
    with database.session() as session:
        session.execute(
            new.on_conflict_do_update(index_elements=["fork", "path", "base", "ours", "theirs"], set_=changed)
        )


def note_failure(database: Database, fork: str, stop: Stop, agent: str) -> None:
    """Count one more attempt at each file of a stop that came to nothing."""
    for sides in stop.sides:
        base, ours, theirs = sides.key
        values = {"fork": fork, "path": shown(sides.path), "base": base, "ours": ours, "theirs": theirs}
        new = insert(rows).values(**values, state="failed", agent=agent, attempts=1)
        again = {"attempts": rows.c.attempts + 1, "agent": agent, "made_at": sa.func.now()}
        with database.session() as session:
            session.execute(
                new.on_conflict_do_update(
                    index_elements=["fork", "path", "base", "ours", "theirs"],
                    set_=again,
                    where=rows.c.state == "failed",
                )
            )


def refuse(database: Database, fork: str, which: Iterable[Resolution]) -> None:
    """Say of what an agent made that it did not pass: an attempt that came to nothing."""
    nothing = {"state": "failed", "mode": None, "content": None, "ours_content": None, "tip": None, "number": None}
    _change(database, fork, which, {**nothing, "url": None, "attempts": rows.c.attempts + 1})


def decide(
    database: Database,
    fork: str,
    resolution: Resolution,
    state: State,
    *,
    result: tuple[str | None, bytes | None] | None = None,
) -> None:
    """What a person decided about it. `result`: mode and content where they made something else of it."""
    values: dict[str, Any] = {"state": state, "decided_at": sa.func.now()}
    if result is not None:
        values |= {"mode": result[0], "content": result[1]}
    _change(database, fork, [resolution], values)


def note_proposal(
    database: Database, fork: str, used: Iterable[Resolution], *, tip: str, number: int | None, url: str | None
) -> None:
    """Say of resolutions which commit and which pull request hold them."""
    _change(database, fork, used, {"tip": tip, "number": number, "url": url})


def forget(database: Database, fork: str, gone: Iterable[Resolution]) -> None:
    for each in gone:
        with database.session() as session:
            session.execute(sa.delete(rows).where(_is(fork, each)))


def _change(database: Database, fork: str, which: Iterable[Resolution], values: Mapping[str, Any]) -> None:
    with database.session() as session:
        for each in which:
            session.execute(sa.update(rows).where(_is(fork, each)).values(**values))


def _is(fork: str, one: Resolution) -> sa.ColumnElement[bool]:
    path, base, ours, theirs = one.key
    return sa.and_(
        rows.c.fork == fork, rows.c.path == path, rows.c.base == base, rows.c.ours == ours, rows.c.theirs == theirs
    )


@dataclass
class Memory:
    """`stops.Settle` from what is remembered in the states `states`. `used` is what it was settled with, in order."""

    quarantine: Quarantine
    resolutions: Sequence[Resolution]
    states: Collection[State] = frozenset({"accepted"})
    used: list[Resolution] = field(default_factory=list)

    def __call__(self, stop: Stop) -> Settled | None:
        """Settle the stop where a resolution is known for every file that conflicts."""
        found = [(sides, answer) for sides in stop.sides if (answer := self._look_up(sides)) is not None]
        if not found or len(found) < len(stop.sides):
            return None
        self.used += [resolution for _, (resolution, _, _) in found]
        files = {sides.path: side for sides, (_, side, _) in found}
        return Settled(files, {sides.path: words for sides, (_, _, words) in found})

    def _look_up(self, sides: Sides) -> tuple[Resolution, Side | None, str] | None:
        """The resolution, the file to take, and in words whose it is; None where nothing is known."""
        base, ours, theirs = sides.key
        fitting = [
            each
            for each in self.resolutions
            if each.state in self.states and (each.path, each.base, each.theirs) == (shown(sides.path), base, theirs)
        ]
        for each in fitting:
            if each.ours == ours:
                return each, self._side(each.mode, each.content), _words(each)
        for each in fitting:
            content = self._carried(each, sides)
            if content is not None:
                words = f"{_words(each)}, carried over to what upstream changed since"
                return each, self._side(each.mode, content), words
        return None

    def _side(self, mode: str | None, content: bytes | None) -> Side | None:
        if mode is None or content is None:
            return None
        return Side(mode, self.quarantine.write("blob", content))

    def _carried(self, resolution: Resolution, sides: Sides) -> bytes | None:
        """The resolution merged with what ours has changed since; None where that conflicts, or is no text."""
        before, after = resolution.ours_content, resolution.content
        if sides.ours is None or before is None or after is None:
            return None
        if not resolution.ours.startswith(f"{sides.ours.mode}:"):
            return None
        now = self.quarantine.blob(sides.ours.sha)
        files = [self.quarantine.folder / f"carried-{name}" for name in ("now", "before", "after")]
        for file, content in zip(files, (now, before, after), strict=True):
            file.write_bytes(content)
        done = self.quarantine.git("merge-file", "-p", "--quiet", *map(str, files), accept=range(256))
        return done.stdout if done.returncode == 0 else None


def _words(resolution: Resolution) -> str:
    if resolution.state != "accepted":
        return f"what {resolution.agent} proposed" + (f" in {resolution.url}" if resolution.url else "")
    return f"the resolution accepted in {resolution.url}" if resolution.url else "a resolution that trunk came to hold"
