"""`_evidence.json`: where in the upstream's source each documented event is sent, at one commit.

What belongs here: reading and writing the file, and carrying it from one commit to the next. What does not: checking
that evidence exists in a commit (`validate.py`), finding calls (`scan/`).

The file is written by code only. Each update builds it anew:

- An event that the scan sees has the scan's calls as its evidence.
- Every entry of the previous file is followed by itself: to the line of the head's text that holds what the old line
  held. It stays where the scan has nothing to say about that line, and goes where the scan reads another name there.
- An entry that cannot be followed is dropped, and is a finding where it leaves its event without evidence.

An event that stands in several flows has evidence in each of them by the *assignment rule*: a call belongs to the flows
that had evidence in its file before; else to those whose other events have most evidence nearby (the same function,
then type, file, folder); else to all flows that document the name.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher

from pydantic import BaseModel, ConfigDict, ValidationError

from upkeep.content.edit import to_json
from upkeep.content.entry import sent_as
from upkeep.content.folder import EVIDENCE, Content
from upkeep.content.jsontext import pointer_of
from upkeep.content.report import Finding
from upkeep.content.scan.model import Call, ScanResult
from upkeep.errors import ContentInvalid

Source = Callable[[str], str | None]
"""Text of a file of the upstream at one commit, by its path; None where there is none or it is not text."""

_LINE_END = re.compile(r"\r\n|\n|\r")

MAX_DIFF_LINES = 20_000
"""Longer files are followed by unique lines alone: the comparison of two texts is quadratic at worst."""


class Place(BaseModel):
    """Where an event is sent: path in the upstream, line from 1, enclosing type and function ("" at top level)."""

    model_config = ConfigDict(frozen=True)

    path: str
    line: int
    symbol: str = ""


class Evidence(BaseModel):
    """Places by flow slug and event name, for one commit of one repository."""

    model_config = ConfigDict(frozen=True)

    repository: str
    commit: str
    events: dict[str, dict[str, tuple[Place, ...]]] = {}

    def of(self, slug: str, name: str) -> tuple[Place, ...]:
        return self.events.get(slug, {}).get(name, ())


def read(data: bytes) -> Evidence:
    """Read the file. Raises `ContentInvalid` (`content.evidence`) where it is not what `write` writes."""
    try:
        return Evidence.model_validate(json.loads(data.decode("utf-8-sig")))
    except (ValueError, RecursionError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ContentInvalid(
            f"{EVIDENCE} cannot be read: {detail}",
            remedy="Restore the file from the base branch; it is written by upkeep only.",
            code="content.evidence",
        ) from error


def write(evidence: Evidence) -> bytes:
    """Return the file's bytes: flows and events sorted, places sorted by path and line."""
    events = {
        slug: {
            name: [place.model_dump() for place in sorted(set(places), key=_order)]
            for name, places in sorted(names.items())
            if places
        }
        for slug, names in sorted(evidence.events.items())
    }
    record = {
        "repository": evidence.repository,
        "commit": evidence.commit,
        "events": {slug: names for slug, names in events.items() if names},
    }
    return to_json(record).encode()


def build(
    files: Mapping[str, bytes],
    scan: ScanResult,
    repository: str,
    commit: str,
    previous: Evidence | None = None,
    *,
    base_source: Source | None = None,
    head_source: Source | None = None,
) -> tuple[Evidence, tuple[Finding, ...]]:
    """Build the evidence of `files` at `commit`, and say what was lost on the way.

    `scan` is that commit's; the sources give the upstream's texts at `previous.commit` and at `commit`. Without
    `head_source` entries that the scan does not confirm cannot be followed and are dropped.
    """
    sent = {
        (slug, event.name): sent_as(event.data) for slug, flow in Content(files).flows.items() for event in flow.events
    }
    documented: dict[str, dict[str, str]] = defaultdict(dict)
    for (slug, name), string in sent.items():
        documented[string][slug] = name
    calls = scan.by_name()
    kept, lost = _follow_all(previous, sent, calls, _Follower(base_source, head_source))
    assignment = _Assignment(documented, calls, previous, sent)
    for string, found in calls.items():
        for call in found:
            for slug in assignment.flows(call, list(documented.get(string, ()))):
                kept[slug, documented[string][slug]][call.path, call.line] = _place(call)
    events: dict[str, dict[str, tuple[Place, ...]]] = defaultdict(dict)
    for (slug, name), places in sorted(kept.items()):
        events[slug][name] = tuple(sorted(places.values(), key=_order))
    findings = [
        _finding(slug, name, place, commit, elsewhere=sent[slug, name] in calls)
        for (slug, name), places in sorted(lost.items())
        if (slug, name) not in kept
        for place in places
    ]
    return Evidence(repository=repository, commit=commit, events=dict(events)), tuple(findings)


Key = tuple[str, str]
"""Flow slug and event name."""


def _follow_all(
    previous: Evidence | None, sent: Mapping[Key, str], calls: Mapping[str, list[Call]], follower: _Follower
) -> tuple[dict[Key, dict[tuple[str, int], Place]], dict[Key, list[Place]]]:
    """Return the entries that are there at head, by path and line, and those that are not. `sent` holds the string that
    is sent for each documented event."""
    heard: dict[tuple[str, int], set[str]] = defaultdict(set)
    for name, found in calls.items():
        for call in found:
            heard[call.path, call.line].add(name)
    kept: dict[Key, dict[tuple[str, int], Place]] = defaultdict(dict)
    lost: dict[Key, list[Place]] = defaultdict(list)
    for slug, name, place in _entries(previous):
        if (slug, name) not in sent:
            continue
        string = sent[slug, name]
        new = follower.follow(place, string)
        if new is not None and string in heard.get((new.path, new.line), {string}):
            kept[slug, name][new.path, new.line] = new
        else:
            lost[slug, name].append(place)
    return kept, lost


def _entries(evidence: Evidence | None) -> Iterable[tuple[str, str, Place]]:
    if evidence is not None:
        for slug, names in evidence.events.items():
            for name, places in names.items():
                for place in places:
                    yield slug, name, place


def _order(place: Place) -> tuple[str, int, str]:
    return place.path, place.line, place.symbol


def _place(call: Call) -> Place:
    return Place(path=call.path, line=call.line, symbol=call.symbol)


def _finding(slug: str, name: str, place: Place, commit: str, *, elsewhere: bool) -> Finding:
    found = "where the scan sees it now belongs to other flows" if elsewhere else "the scan sees the event nowhere else"
    return Finding(
        code="evidence_vanished",
        severity="warning",
        file=EVIDENCE,
        pointer=pointer_of("events", slug, name),
        message=(
            f"the event {name!r} of {slug} was sent at {place.path}:{place.line}; that line is gone at {commit[:12]} "
            f"and {found}: see whether the app still sends it{' there' if elsewhere else ''}"
        ),
    )


class _Follower:
    """Follows lines from the base's texts to the head's."""

    def __init__(self, base: Source | None, head: Source | None) -> None:
        self._base, self._head = base, head
        self._texts: dict[tuple[str, str], list[str] | None] = {}
        self._maps: dict[str, dict[int, int]] = {}

    def follow(self, place: Place, name: str) -> Place | None:
        """Return where a place is at head, None where it is gone or cannot be known."""
        new = self._lines("head", place.path)
        if new is None:
            return None
        old = self._lines("base", place.path)
        if old is None:
            return self._by_name(place, name, new)
        if not 1 <= place.line <= len(old):
            return None
        line = self._map(place.path, old, new).get(place.line) or _unique(old[place.line - 1], new, place.line)
        return place.model_copy(update={"line": line}) if line else None

    def _by_name(self, place: Place, name: str, new: list[str]) -> Place | None:
        """Without the old text the name itself is all there is to go by: the nearest line that spells it."""
        lines = [number for number, line in enumerate(new, 1) if f'"{name}"' in line]
        if not lines:
            return None
        return place.model_copy(update={"line": min(lines, key=lambda line: (abs(line - place.line), line))})

    def _map(self, path: str, old: list[str], new: list[str]) -> dict[int, int]:
        if path not in self._maps:
            self._maps[path] = {}
            if len(old) + len(new) <= MAX_DIFF_LINES:
                matcher = SequenceMatcher(None, old, new, autojunk=False)
                self._maps[path] = {
                    block.a + offset + 1: block.b + offset + 1
                    for block in matcher.get_matching_blocks()
                    for offset in range(block.size)
                }
        return self._maps[path]

    def _lines(self, side: str, path: str) -> list[str] | None:
        if (side, path) not in self._texts:
            source = self._base if side == "base" else self._head
            text = source(path) if source is not None else None
            self._texts[side, path] = None if text is None else [line.strip() for line in _LINE_END.split(text)]
        return self._texts[side, path]


def _unique(line: str, new: list[str], near: int) -> int | None:
    """Return the line that says the same, the nearest of several; None where nothing does, or it says nothing."""
    if not any(char.isalnum() for char in line):
        return None
    same = [number for number, candidate in enumerate(new, 1) if candidate == line]
    return min(same, key=lambda number: (abs(number - near), number), default=None)


class _Assignment:
    """Which flows a call of an event belongs to, among those that document it."""

    def __init__(
        self,
        documented: Mapping[str, Mapping[str, str]],
        calls: Mapping[str, list[Call]],
        previous: Evidence | None,
        sent: Mapping[Key, str],
    ) -> None:
        self._before: dict[tuple[str, str], set[str]] = defaultdict(set)
        for slug, name, place in _entries(previous):
            self._before[sent.get((slug, name), name), place.path].add(slug)
        self._votes: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for name, slugs in documented.items():
            if len(slugs) == 1:
                for call in calls.get(name, ()):
                    for key in _surroundings(call):
                        self._votes[key].update(list(slugs))

    def flows(self, call: Call, among: list[str]) -> list[str]:
        if len(among) < 2:
            return among
        before = [slug for slug in among if slug in self._before[call.name or "", call.path]]
        if before:
            return before
        for key in _surroundings(call):
            votes = self._votes.get(key, Counter())
            most = max((votes[slug] for slug in among), default=0)
            if most:
                return [slug for slug in among if votes[slug] == most]
        return among


def _surroundings(call: Call) -> list[tuple[str, ...]]:
    """Return what surrounds a call, the nearest first: function, type, file, folder."""
    kind = call.symbol.split(".")[0]
    folder = call.path.rpartition("/")[0]
    return [("symbol", call.path, call.symbol), ("type", call.path, kind), ("file", call.path), ("folder", folder)]
