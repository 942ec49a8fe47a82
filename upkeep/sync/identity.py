"""Which entry of a file is which row of the hub.

What belongs here: matching workplans and tasks by the hub's id and by their own, and findings where the two disagree.
What does not: what a match leads to (`plan.py`).

An entry that cannot be matched for certain is left alone on both sides: nothing is created, renamed or overwritten from
it, and the row that it may mean does not count as missing either.

    hub's id in the file   the hub has                                    then
    none                   a row with this local id                       that row; the id can be filled in
    none                   no such row                                    a new row
    known                  that row, under this local id                  that row
    known                  that row, under a local id that no file has    that row, renumbered
    known                  that row, under a local id of another entry    C-06
    of another repository                                                 C-07
    unknown                no row with this local id                      a new row with the file's id
    unknown                a row with this local id and another id        C-06
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from upkeep.sync.findings import Code, Finding, Severity
from upkeep.sync.records import new_id


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file says of a workplan's or task's identity. `path` and `line` are where; `field_line` is where the hub's
    id stands."""

    local_id: str
    hub_id: uuid.UUID | None
    valid: bool
    path: str
    line: int
    field_line: int


class Row(Protocol):
    @property
    def id(self) -> uuid.UUID: ...
    @property
    def local_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Match:
    """The row of an entry; `known` False: it is yet to be made, with this id."""

    id: uuid.UUID
    known: bool


def match(
    entries: Sequence[Entry],
    rows: Mapping[uuid.UUID, Row],
    *,
    repository: str,
    foreign: Mapping[uuid.UUID, str],
    first: bool,
    home: Callable[[uuid.UUID], str],
    key: str,
) -> tuple[list[Match | None], list[Finding]]:
    """Match each entry, or None where that is not certain.

    `first`: the hub has never seen the repository, so ids that it does not know are expected. `home`: the file in which
    a row was seen last. `key`: the name of the id's field, for people.
    """
    matching = _Matching(entries, rows, repository, foreign, first, key)
    matching.drop_local_duplicates(home)
    matching.drop_hub_duplicates()
    return [matching.match(number) for number in range(len(entries))], matching.findings


class _Matching:
    def __init__(
        self,
        entries: Sequence[Entry],
        rows: Mapping[uuid.UUID, Row],
        repository: str,
        foreign: Mapping[uuid.UUID, str],
        first: bool,
        key: str,
    ) -> None:
        self.entries, self.rows = entries, rows
        self.repository, self.foreign, self.first, self.key = repository, foreign, first, key
        self.by_local = {row.local_id: row for row in rows.values()}
        self.locals = {entry.local_id for entry in entries}
        self.taken = {*rows, *foreign, *(entry.hub_id for entry in entries if entry.hub_id)}
        self.dropped: set[int] = set()
        self.findings: list[Finding] = []

    def add(self, code: Code, entry: Entry, line: int, message: str, fix: str, severity: Severity = "error") -> None:
        self.findings.append(
            Finding(
                code=code,
                severity=severity,
                file=entry.path,
                line=line,
                message=message,
                fix=fix,
                subject=entry.local_id,
            )
        )

    def drop_local_duplicates(self, home: Callable[[uuid.UUID], str]) -> None:
        for same in _groups(range(len(self.entries)), lambda number: self.entries[number].local_id):
            row = self.by_local.get(self.entries[same[0]].local_id)

            def worth(number: int, row: Row | None = row) -> tuple[bool, bool]:
                entry = self.entries[number]
                return (
                    row is None or entry.hub_id != row.id,
                    row is None or home(row.id) != entry.path,
                )

            kept = min(same, key=worth)
            self._drop(same, kept, lambda entry: f"the id {entry.local_id}", "Give one of the two another id.")

    def drop_hub_duplicates(self) -> None:
        named = [
            number
            for number, entry in enumerate(self.entries)
            if number not in self.dropped and entry.hub_id is not None
        ]
        for same in _groups(named, lambda number: self.entries[number].hub_id):
            row = self.rows.get(self.entries[same[0]].hub_id or uuid.UUID(int=0))
            owners = [number for number in same if row is not None and self.entries[number].local_id == row.local_id]
            # Where the hub knows the id and under neither name, a guess would rename the wrong one.
            kept = owners[0] if owners else (same[0] if row is None else None)
            self._drop(
                same,
                kept,
                lambda entry: f"`{self.key}` {entry.hub_id}",
                f"The block was copied: remove the line `{self.key}:` from the copy and run `upkeep sync --fix`.",
            )

    def _drop(self, same: Sequence[int], kept: int | None, what: Callable[[Entry], str], fix: str) -> None:
        for number in same:
            if number == kept:
                continue
            entry = self.entries[number]
            other = self.entries[kept if kept is not None else next(each for each in same if each != number)]
            self.dropped.add(number)
            self.add(
                Code.DUPLICATE,
                entry,
                entry.line,
                f"{what(entry)} stands here and in {other.path}:{other.line}; this one is not synced",
                fix,
            )

    def match(self, number: int) -> Match | None:
        entry = self.entries[number]
        if number in self.dropped or not entry.valid:
            return None
        named = self.by_local.get(entry.local_id)
        if entry.hub_id is None:
            if named is not None:
                return Match(named.id, known=True)
            made = new_id(self._name(entry), self.taken)
            self.taken.add(made)
            return Match(made, known=False)
        if entry.hub_id in self.foreign:
            self.add(
                Code.FOREIGN,
                entry,
                entry.field_line,
                f"`{self.key}` {entry.hub_id} is of the repository {self.foreign[entry.hub_id]}",
                f"Remove the line and run `upkeep sync --fix`, or give {entry.local_id} back to its repository.",
            )
            return None
        row = self.rows.get(entry.hub_id)
        if row is not None:
            return self._known(entry, row, named)
        return self._unknown(entry, named)

    def _name(self, entry: Entry) -> str:
        return f"{self.repository}/{self.key}/{entry.local_id}"

    def _known(self, entry: Entry, row: Row, named: Row | None) -> Match | None:
        if row.local_id == entry.local_id:
            return Match(row.id, known=True)
        if row.local_id in self.locals or named is not None:
            self.add(
                Code.HUB_ID,
                entry,
                entry.field_line,
                f"the hub has {entry.hub_id} as {row.local_id}, and not as {entry.local_id}",
                f"Write the id that `{self.key}` had (git log tells), or remove the line and run `upkeep sync --fix`.",
            )
            return None
        self.add(
            Code.MOVED,
            entry,
            entry.line,
            f"{row.local_id} is {entry.local_id} now",
            "Nothing to do: the hub follows.",
            "note",
        )
        return Match(row.id, known=True)

    def _unknown(self, entry: Entry, named: Row | None) -> Match | None:
        assert entry.hub_id is not None
        if named is not None:
            self.add(
                Code.HUB_ID,
                entry,
                entry.field_line,
                f"the hub has {entry.local_id} as {named.id}, and the file says {entry.hub_id}",
                f"Write `{self.key}: {named.id}`.",
            )
            return None
        # Our own id without a row: a sync was killed between files and hub, or the hub was lost.
        if not self.first and entry.hub_id != new_id(self._name(entry), ()):
            self.add(
                Code.HUB_ID,
                entry,
                entry.field_line,
                f"the hub did not know {entry.hub_id}; it is the id of {entry.local_id} from now on",
                "Nothing to do, unless the line was copied from elsewhere.",
                "warning",
            )
        return Match(entry.hub_id, known=False)


def _groups(numbers: Iterable[int], name: Callable[[int], object]) -> list[list[int]]:
    groups: dict[object, list[int]] = {}
    for number in numbers:
        groups.setdefault(name(number), []).append(number)
    return [group for group in groups.values() if len(group) > 1]
