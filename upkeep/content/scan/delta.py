"""What changed between two scans. Pure: no repository, no clock.

What belongs here: comparing calls by event name and place. What does not: deciding what the content should say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from upkeep.content.scan.model import Call, Renamed, ScanDelta, ScanResult

Place = tuple[str, str, str]


def delta(base: ScanResult | None, head: ScanResult, renames: Mapping[str, str] | None = None) -> ScanDelta:
    """Return what changed from `base` to `head`; without `base` every call of `head` is added.

    `renames` maps paths at base to paths at head, so that a renamed file is no change. A call whose name is unknown
    counts by its expression and place: `added` and `removed` hold such calls (with `name` None), the other lists never
    do. A name is in at most one of added, removed, renamed-from and renamed-to; it may be moved and have changed
    properties at once.
    """
    if base is None:
        return ScanDelta(base=None, head=head.commit, added=head.calls)
    comparison = _Comparison(base.calls, head.calls, renames or {})
    return ScanDelta(
        base=base.commit,
        head=head.commit,
        added=tuple(comparison.added()),
        removed=tuple(comparison.removed()),
        renamed=tuple(comparison.pairs),
        moved=tuple(comparison.moved()),
        properties=tuple(call for calls in comparison.changed_properties().values() for call in calls),
        before={name: _properties(comparison.base_of(name)) for name in comparison.changed_properties()},
    )


class _Comparison:
    def __init__(self, base: Iterable[Call], head: Iterable[Call], renames: Mapping[str, str]) -> None:
        self._renames = renames
        self._base_calls, self._head_calls = tuple(base), tuple(head)
        self._base, self._head = _by_name(self._base_calls), _by_name(self._head_calls)
        gone = [call for name, calls in self._base.items() if name not in self._head for call in calls]
        new = [call for name, calls in self._head.items() if name not in self._base for call in calls]
        self._renamed = self._renamed_names(gone, new)
        self._origin = {after: before for before, after in self._renamed.items()}
        self.pairs = [
            Renamed(before=before, after=after)
            for before, after in self._candidates(gone, new)
            if before.name is not None and self._renamed.get(before.name) == after.name
        ]

    def base_of(self, name: str) -> list[Call]:
        """Return base's calls of what is called `name` at head."""
        return self._base.get(self._origin.get(name, name), [])

    def added(self) -> Iterator[Call]:
        unknown = Counter(self._unknown(call, self._renames) for call in self._base_calls if call.name is None)
        for call in self._head_calls:
            if call.name is None:
                key = self._unknown(call, {})
                if unknown[key]:
                    unknown[key] -= 1
                else:
                    yield call
            elif call.name not in self._base and call.name not in self._origin:
                yield call

    def removed(self) -> Iterator[Call]:
        unknown = Counter(self._unknown(call, {}) for call in self._head_calls if call.name is None)
        for call in self._base_calls:
            if call.name is None:
                key = self._unknown(call, self._renames)
                if unknown[key]:
                    unknown[key] -= 1
                else:
                    yield call
            elif call.name not in self._head and call.name not in self._renamed:
                yield call

    def moved(self) -> Iterator[Call]:
        for name, calls in self._head.items():
            before = self.base_of(name)
            if before and Counter(self._place(call) for call in before) != Counter(_place(call, {}) for call in calls):
                yield from calls

    def changed_properties(self) -> dict[str, list[Call]]:
        """Return head's calls with other properties than base's, by name."""
        changed = {}
        for name, calls in self._head.items():
            before = self.base_of(name)
            if before and set(_properties(before)) != set(_properties(calls)):
                known = {frozenset(call.properties) for call in before}
                changed[name] = [call for call in calls if frozenset(call.properties) not in known] or calls
        return changed

    def _renamed_names(self, gone: list[Call], new: list[Call]) -> dict[str, str]:
        """Return old name to new name, one to one, the pairs with most calls first."""
        votes = Counter((before.name, after.name) for before, after in self._candidates(gone, new))
        renamed: dict[str, str] = {}
        for (before, after), _ in sorted(votes.items(), key=lambda item: (-item[1], str(item[0]))):
            if before is not None and after is not None and before not in renamed and after not in renamed.values():
                renamed[before] = after
        return renamed

    def _candidates(self, gone: list[Call], new: list[Call]) -> Iterator[tuple[Call, Call]]:
        """Yield calls that are the same but for the name.

        Two signs count: the same constant with another value, and one call taking another's seat, that is as many
        calls of one method gone from a function as new in it, in the same order.
        """
        constants = defaultdict(list)
        for call in new:
            if call.resolution in ("constant", "enum"):
                constants[call.expression, call.symbol, call.path].append(call)
        taken: set[int] = set()
        for call in gone:
            same = constants.get((call.expression, call.symbol, self._renames.get(call.path, call.path)))
            if same and call.resolution in ("constant", "enum"):
                after = same.pop(0)
                taken |= {id(call), id(after)}
                yield call, after
        seats: dict[Place, tuple[list[Call], list[Call]]] = defaultdict(lambda: ([], []))
        for call in gone:
            if id(call) not in taken:
                seats[self._place(call)][0].append(call)
        for call in new:
            if id(call) not in taken:
                seats[_place(call, {})][1].append(call)
        for left, right in seats.values():
            if len(left) == len(right):
                yield from zip(left, right, strict=True)

    def _place(self, call: Call) -> Place:
        return _place(call, self._renames)

    @staticmethod
    def _unknown(call: Call, renames: Mapping[str, str]) -> tuple[Place, str]:
        return _place(call, renames), call.expression


def _place(call: Call, renames: Mapping[str, str]) -> Place:
    return renames.get(call.path, call.path), call.symbol, call.method


def _by_name(calls: Iterable[Call]) -> dict[str, list[Call]]:
    names: dict[str, list[Call]] = {}
    for call in calls:
        if call.name is not None:
            names.setdefault(call.name, []).append(call)
    return names


def _properties(calls: Iterable[Call]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for call in calls for name in call.properties))
