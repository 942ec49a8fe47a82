"""The offline author on a real dashboard: random changes, and what must hold for each of them."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sample_content import real_content
from upkeep.content import evidence
from upkeep.content.author import author
from upkeep.content.compare import compare
from upkeep.content.entry import property_names, sent_as
from upkeep.content.folder import Content, read_folder
from upkeep.content.jsontext import Array, parse
from upkeep.content.scan.delta import delta
from upkeep.content.scan.model import Call, ScanResult
from upkeep.content.validate import validate

TODAY = date(2026, 3, 4)
ODD_NAMES = ("new thing {} clicked", 'say "{}" été', "odd {{x}} #{}; & <b>", "a->b {} (optional)", "trailing {} ")


@cache
def _dashboard() -> Mapping[str, bytes]:
    return dict(read_folder(real_content()))


def _some_flows(files: Mapping[str, bytes], slugs: set[str]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if "/" not in path or path.split("/")[0] in slugs}


def _calls(files: Mapping[str, bytes]) -> list[Call]:
    """Return a made-up source for a dashboard: a file a component, in a folder a flow."""
    calls: list[Call] = []
    lines: Counter[str] = Counter()
    for slug, flow in Content(files).flows.items():
        for event in flow.events:
            found = re.match(r"\w+", str(event.data.get("component", "")))
            component = found.group() if found else "Screen"
            path = f"feature/{slug}/src/main/kotlin/com/example/{component}.kt"
            lines[path] += 10
            calls.append(
                Call(
                    name=sent_as(event.data),
                    resolution="literal",
                    expression=event.name,
                    method="track",
                    path=path,
                    line=lines[path],
                    symbol=f"{component}.f{lines[path] // 40}",
                    properties=property_names(event.data),
                )
            )
    return calls


def _changed(calls: list[Call], chance: random.Random, steps: int) -> list[Call]:
    """Return the calls after some random changes of the source."""
    for step in range(steps):
        target = chance.choice(calls)
        name = chance.choice(ODD_NAMES).format(step)
        kind = chance.choice(("add", "rename", "remove", "properties", "new feature"))
        if kind == "add":
            calls = [
                *calls,
                target.model_copy(update={"name": name, "line": target.line + 1, "properties": ("id", "é")}),
            ]
        elif kind == "rename":
            calls = [call.model_copy(update={"name": name}) if call.name == target.name else call for call in calls]
        elif kind == "remove":
            calls = [call for call in calls if call.name != target.name] or calls
        elif kind == "properties":
            update = {"properties": (*target.properties[1:], "brand new")}
            calls = [call.model_copy(update=update) if call is target else call for call in calls]
        else:
            path = f"feature/fresh{step}/src/main/kotlin/com/example/Fresh.kt"
            calls = [*calls, target.model_copy(update={"name": name, "path": path, "symbol": "Fresh.f"})]
    return sorted(calls, key=lambda call: (call.path, call.line))


def _entries(text: str) -> dict[str, list[str]]:
    """Return the texts of the entries of an events.json, by name."""
    found: dict[str, list[str]] = defaultdict(list)
    events = parse(text).at("/events")
    assert isinstance(events, Array)
    for item in events.items:
        found[item.value["name"]].append(text[item.start : item.end])
    return found


def _check(files: Mapping[str, bytes], seed: int, steps: int) -> None:
    before = _calls(files)
    base = ScanResult(commit="a" * 40, calls=tuple(before))
    head = ScanResult(commit="b" * 40, calls=tuple(_changed(list(before), random.Random(seed), steps)))
    change = delta(base, head)
    built, _ = evidence.build(files, base, "app", base.commit)
    files = {**files, "_evidence.json": evidence.write(built)}
    authored = author(files, change, head, today=TODAY)
    merged: dict[str, bytes | None] = {**files, **authored.files}
    after = {path: data for path, data in merged.items() if data is not None}

    assert validate(after, base=files).errors == ()
    assert author(after, change, head, today=date(2027, 1, 1)).files == {}

    concerned = {call.name for call in (*change.added, *change.removed, *change.properties) if call.name is not None}
    concerned |= {name for pair in change.renamed for name in (pair.before.name, pair.after.name) if name is not None}
    difference = compare(files, after)
    events = [event for one in (files, after) for flow in Content(one).flows.values() for event in flow.events]
    sent = {event.name: sent_as(event.data) for event in events}
    for flow in difference.flows:
        told = {*flow.events_added, *flow.events_removed, *(rename.after for rename in flow.events_renamed)}
        assert {sent[name] for name in told} <= concerned
        if flow.status == "changed":
            path = f"{flow.slug}/events.json"
            old, new = _entries(files[path].decode()), _entries(after[path].decode())
            for name, texts in old.items():
                if not any(word in text for text in texts for word in concerned):
                    assert new[name] == texts
    untouched = {path for path in files if path.split("/")[0] not in {flow.slug for flow in difference.flows}}
    assert all(after[path] == files[path] for path in untouched if "/" in path)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), steps=st.integers(1, 6), data=st.data())
def test_random_changes_of_some_real_flows_bring_no_error_and_touch_nothing_else(
    seed: int, steps: int, data: st.DataObject
) -> None:
    slugs = data.draw(st.sets(st.sampled_from(sorted(Content(_dashboard()).flows)), min_size=2, max_size=3))
    _check(_some_flows(_dashboard(), slugs), seed, steps)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1_000_000), steps=st.integers(1, 25))
def test_random_changes_of_the_whole_real_dashboard_bring_no_error(seed: int, steps: int) -> None:
    _check(_dashboard(), seed, steps)


def test_a_dashboard_made_from_the_source_of_a_real_one_is_valid() -> None:
    head = ScanResult(
        commit="b" * 40, calls=tuple(sorted(_calls(_dashboard()), key=lambda call: (call.path, call.line)))
    )
    authored = author({}, delta(None, head), head, today=TODAY)
    files = {path: data for path, data in authored.files.items() if data is not None}
    report = validate(files)
    assert report.findings == ()
    assert report.flows == len(Content(_dashboard()).flows)
    assert report.names == len({call.name for call in head.calls})
    assert author(files, delta(None, head), head, today=TODAY).files == {}
