"""To which flow a new event belongs.

What belongs here: the decision, by what the content and the scan say about the surroundings of its calls. What does
not: reading feature names out of paths (`features.py`), writing anything.

Signs are asked in an order, the surest first; each later one only decides between the flows that the earlier ones left:

1. the function, then the outermost type, then the file: flows whose events are sent there
2. the type's name: flows whose entries name it in `component`, `firingLocation` or `location`
3. the folder, then the flow that is named like the feature, then the feature's whole area
4. the name: flows with known events that begin with the same words

A sign decides when one flow has at least one and a half times the weight of the next. A known event weighs 1, shared
among the flows that document it. No sign at all: a new flow, by path. Several flows left: nobody can know, so the event
goes to unassigned.json with the flows that were left.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from upkeep.content.authoring.features import APP, Features
from upkeep.content.authoring.words import common_words, shared_beginning, slug, type_of, visible, words
from upkeep.content.entry import sent_as
from upkeep.content.evidence import Evidence
from upkeep.content.folder import Content, Flow
from upkeep.content.scan.model import Call, ScanResult

CLEAR = 1.5
"""How many times the weight of the next flow the first has to have."""

_TYPE_NAME = re.compile(r"\b[A-Z]\w{3,}")
Key = tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """Where an event is documented.

    `calls` holds, by slug, the calls for which a flow takes it; the flows exist or are to be made. Without any, the
    flows that are equally likely are in `suspected`, and `reason` says why in one sentence.
    """

    calls: Mapping[str, tuple[Call, ...]] = field(default_factory=dict)
    suspected: tuple[str, ...] = ()
    reason: str = ""

    @property
    def flows(self) -> tuple[str, ...]:
        return tuple(self.calls)


@dataclass(frozen=True)
class _Verdict:
    """What one file says: its flow, or those that are equally likely and why."""

    flow: str | None
    suspected: tuple[str, ...] = ()
    reason: str = ""


class Placement:
    """Knows where the documented events of a content folder are sent."""

    def __init__(self, content: Content, head: ScanResult, evidence: Evidence | None) -> None:
        self._flows = dict(content.flows)
        self._beginning = shared_beginning(head.by_name())
        self._features = Features(call.path for call in head.calls)
        self._weights: dict[Key, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        self._named: dict[str, str] = {}
        self._named.update({name: name for name in content.flows})
        for flow in content.flows.values():
            self._named.setdefault(slug(str(flow.data.get("flowName", ""))), flow.slug)
            if flow.key:
                self._named.setdefault(flow.key, flow.slug)
            self._learn_entries(flow)
        self._learn_evidence(evidence)
        self._learn_calls(head, evidence)

    def place(self, name: str, calls: Sequence[Call]) -> Decision:
        """Decide for one event by its calls, file by file, and remember it for those that come after.

        Files that decide for different flows document the event in each of them. A file that only a new flow could take
        counts where no flow of the content takes the event, and one that does not decide only where no other does.
        """
        by_file: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            by_file[call.path].append(call)
        decisions = {path: self._place_in_file(path, found) for path, found in by_file.items()}
        clear = {path: decision.flow for path, decision in decisions.items() if decision.flow is not None}
        if any(flow in self._flows for flow in clear.values()):
            clear = {path: flow for path, flow in clear.items() if flow in self._flows}
        for path, flow in clear.items():
            self._learn(name, flow, by_file[path])
        if clear:
            shared = [call for call in calls if call.path not in clear]
            taken = {flow: [call for call in calls if clear.get(call.path) == flow] for flow in clear.values()}
            return Decision({flow: (*found, *shared) for flow, found in taken.items()})
        suspected = sorted({flow for decision in decisions.values() for flow in decision.suspected})
        return Decision(suspected=tuple(suspected), reason=next(iter(decisions.values())).reason)

    def _learn(self, name: str, flow: str, calls: Iterable[Call]) -> None:
        self._named.setdefault(flow, flow)
        for call in calls:
            for key in self._places(call.path, call.symbol):
                self._weights[key][flow][name] = 1.0

    def _place_in_file(self, path: str, calls: Sequence[Call]) -> _Verdict:
        left: set[str] | None = None
        for votes in self._signs(path, calls):
            counted = {flow: weight for flow, weight in votes.items() if left is None or flow in left}
            if not counted:
                continue
            most = max(counted.values())
            left = {flow for flow, weight in counted.items() if weight * CLEAR > most}
            if len(left) == 1:
                return _Verdict(next(iter(left)))
        if left:
            names = ", ".join(sorted(left))
            reason = f"the events around {visible(path)} belong equally to {names}"
            return _Verdict(None, tuple(sorted(left)), reason)
        return _Verdict(self._features.of(path).slug)

    def _signs(self, path: str, calls: Sequence[Call]) -> Iterator[Counter[str]]:
        for depth in range(3):
            yield self._votes({_surroundings(call)[depth] for call in calls})
        yield self._votes({("named", name) for call in calls for name in _types(call)})
        folder = path.rpartition("/")[0]
        yield self._votes({("folder", folder)})
        feature = self._features.of(path)
        if feature.slug != APP and feature.slug in self._named:
            yield Counter([self._named[feature.slug]])
        if feature.slug != APP:
            yield self._votes({("area", feature.area)})
        yield self._alike(calls[0].name or "", one_is_enough=feature.slug == APP)

    def _votes(self, keys: Iterable[Key]) -> Counter[str]:
        merged: dict[str, dict[str, float]] = defaultdict(dict)
        for key in keys:
            for flow, names in self._weights.get(key, {}).items():
                merged[flow].update(names)
        return Counter({flow: sum(names.values()) for flow, names in merged.items()})

    def _alike(self, name: str, *, one_is_enough: bool) -> Counter[str]:
        """Return the flows with events that begin with most of the same words: two at least, or, where the path tells
        nothing, one with which the events of one flow alone begin. What all names of the app begin with does not
        count."""
        own = tuple(word.lower() for word in words(name)[: len(self._beginning)])
        beginning = len(own) if own == self._beginning else 0
        found: dict[int, Counter[str]] = defaultdict(Counter)
        for flow in self._flows.values():
            for event in flow.events:
                found[max(common_words(sent_as(event.data), name) - beginning, 0)][flow.slug] += 1
        depth = max(found, default=0)
        if depth >= 2 or (
            one_is_enough
            and depth == 1
            and len(found[1]) == 1
            and found[1].total() >= 3
            and len(words(name)) > beginning + 1
        ):
            return found[depth]
        return Counter()

    def _learn_entries(self, flow: Flow) -> None:
        for event in flow.events:
            text = " ".join(str(event.data.get(key, "")) for key in ("component", "firingLocation", "location"))
            for name in _TYPE_NAME.findall(text):
                self._weights["named", name][flow.slug][event.name] = 1.0

    def _learn_evidence(self, evidence: Evidence | None) -> None:
        for flow, names in evidence.events.items() if evidence is not None else ():
            for name, places in names.items():
                for place in places:
                    for key in self._places(place.path, place.symbol):
                        self._weights[key][flow][name] = 1.0

    def _learn_calls(self, head: ScanResult, evidence: Evidence | None) -> None:
        """Learn from the scan of known names, where the evidence file does not say which flow a file's call is."""
        documented: dict[str, set[str]] = defaultdict(set)
        for flow in self._flows.values():
            for event in flow.events:
                documented[sent_as(event.data)].add(flow.slug)
        settled = {
            (name, place.path)
            for names in (evidence.events.values() if evidence is not None else ())
            for name, places in names.items()
            for place in places
        }
        for name, calls in head.by_name().items():
            flows = documented.get(name, set())
            for call in calls:
                if (name, call.path) in settled:
                    continue
                for key in self._places(call.path, call.symbol):
                    for flow_slug in flows:
                        self._weights[key][flow_slug].setdefault(name, 1 / len(flows))

    def _places(self, path: str, symbol: str) -> tuple[Key, ...]:
        feature = self._features.of(path)
        return (*_keys(path, symbol), ("folder", path.rpartition("/")[0]), ("area", feature.area))


def _surroundings(call: Call) -> tuple[Key, Key, Key]:
    return _keys(call.path, call.symbol)


def _keys(path: str, symbol: str) -> tuple[Key, Key, Key]:
    return ("symbol", path, symbol), ("type", path, symbol.split(".")[0]), ("file", path)


def _types(call: Call) -> set[str]:
    stem = call.path.rpartition("/")[2].split(".")[0]
    return {name for name in (type_of(call.symbol), call.symbol.split(".")[0], stem) if name[:1].isupper()}
