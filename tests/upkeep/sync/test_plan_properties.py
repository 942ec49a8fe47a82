"""What the engine promises, on generated files and hubs that drifted from them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.workplans import files
from upkeep.sync.document import parse
from upkeep.sync.plan import Plan, plan
from upkeep.sync.records import TASK_STATUSES, WORKPLAN_STATUSES, Hub, applied

NAMES = ("sample",)
STATUSES = {"task_statuses": TASK_STATUSES, "plan_statuses": WORKPLAN_STATUSES}
thorough = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

Files = dict[str, bytes]


def planned(contents: Files, hub: Hub, *, fix: bool) -> Plan:
    return plan([parse(path, data) for path, data in contents.items()], hub, names=NAMES, fix=fix)


def carried_out(contents: Files, hub: Hub, done: Plan) -> tuple[Files, Hub]:
    written = {path: document.text.encode() for path, document in done.written.items()}
    return {**contents, **written}, applied(hub, done.changes)


@st.composite
def changed_by_hand(draw: Any, hub: Hub) -> Hub:
    """The hub after people set some statuses, and answered some questions."""
    tasks = {
        key: replace(row, status=draw(st.sampled_from(TASK_STATUSES))) if draw(st.booleans()) else row
        for key, row in hub.tasks.items()
    }
    streams = {
        key: replace(row, status=draw(st.sampled_from(WORKPLAN_STATUSES))) if draw(st.booleans()) else row
        for key, row in hub.workstreams.items()
    }
    asked = {
        key: replace(row, state="answered") if draw(st.booleans()) else row for key, row in hub.interventions.items()
    }
    return replace(hub, tasks=tasks, workstreams=streams, interventions=asked)


@st.composite
def drifted(draw: Any) -> tuple[Files, Hub]:
    """A repository that was synced once (or never), after which people changed files and hub."""
    before = draw(files(**STATUSES))
    hub = Hub("sample")
    if draw(st.booleans()):
        before, hub = carried_out(before, hub, planned(before, hub, fix=draw(st.booleans())))
        hub = draw(changed_by_hand(hub))
        if draw(st.booleans()):
            # Other generated files under the same ids: changed, gone and new ones.
            before = draw(files(**STATUSES))
        if draw(st.booleans()):
            before = {path.replace("0.md", "moved.md"): data for path, data in before.items()}
    return before, hub


@thorough
@given(drifted(), st.booleans())
def test_a_second_plan_is_empty(state: tuple[Files, Hub], fix: bool) -> None:
    contents, hub = state
    first = planned(contents, hub, fix=fix)
    after, hub_after = carried_out(contents, hub, first)
    second = planned(after, hub_after, fix=fix)
    assert not second, (second.changes, second.edits)
    assert not second.edits


@thorough
@given(drifted())
def test_a_fix_leaves_every_byte_outside_the_fields_that_it_owns(state: tuple[Files, Hub]) -> None:
    contents, hub = state
    done = planned(contents, hub, fix=True)
    after, _ = carried_out(contents, hub, done)
    for path, data in contents.items():
        assert without_owned(after[path]) == without_owned(data)
        changed = set(after[path].splitlines()) - set(data.splitlines())
        assert all(re.match(rb" *(state_hub_(workstream|task)_id|status):", line) for line in changed), changed


OWNED_LINE = re.compile(rb"^ *state_hub_(?:workstream|task)_id:.*(?:\r\n|\r|\n|\Z)")
STATUS_VALUE = re.compile(rb"^( *status: *)(['\"]?)[a-z_]+(['\"]?)")


def without_owned(data: bytes) -> list[bytes]:
    """The lines of a file, without those of ids and without the words of statuses. (Quotes and comments of a status
    stay, those of an id are looked at by `test_a_fix_keeps_what_stands_beside_a_value`.)"""
    lines = re.findall(rb".*?(?:\r\n|\r|\n|\Z)", data, re.DOTALL)
    return [STATUS_VALUE.sub(rb"\1\2\3", line) for line in lines if not OWNED_LINE.match(line)]


@thorough
@given(drifted())
def test_a_fix_keeps_what_stands_beside_a_value(state: tuple[Files, Hub]) -> None:
    contents, hub = state
    for path, edits in planned(contents, hub, fix=True).edits.items():
        text = contents[path].decode()
        for edit in edits:
            old = text[edit.start : edit.end]
            assert old.strip("'\"") in ("", "~", "null", "Null") or edit.key == "status"
            assert edit.new.strip().strip("'\"").removeprefix(f"{edit.key}: ").strip("'\"") == edit.value
            assert (old[:1] in ("'", '"')) <= (edit.new[:1] == old[:1])


@thorough
@given(drifted())
def test_without_fix_no_file_is_touched_and_what_would_be_written_is_told(state: tuple[Files, Hub]) -> None:
    contents, hub = state
    told = planned(contents, hub, fix=False)
    assert not told.edits
    would = sum(map(len, planned(contents, hub, fix=True).edits.values()))
    assert sum(finding.fixable for finding in told.findings) == would


@thorough
@given(drifted(), st.booleans())
def test_the_hub_loses_no_row_and_no_change_by_hand(state: tuple[Files, Hub], fix: bool) -> None:
    contents, hub = state
    after = applied(hub, planned(contents, hub, fix=fix).changes)
    assert hub.tasks.keys() <= after.tasks.keys()
    assert hub.workstreams.keys() <= after.workstreams.keys()
    for before, now in [*pairs(hub.tasks, after.tasks), *pairs(hub.workstreams, after.workstreams)]:
        if before.status != before.base.status:
            assert now.status == before.status


def pairs(before: Any, after: Any) -> list[tuple[Any, Any]]:
    return [(row, after[key]) for key, row in before.items()]


@thorough
@given(drifted())
def test_order_of_files_does_not_matter(state: tuple[Files, Hub]) -> None:
    contents, hub = state
    backwards = dict(reversed(contents.items()))
    assert planned(contents, hub, fix=True) == planned(backwards, hub, fix=True)


@settings(deadline=None, max_examples=100)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_are_read_or_reported(data: bytes) -> None:
    for form in (data, b"---\n" + data, b"---\nid: A\nstatus: todo\ntitle: t\n---\n```task\n" + data + b"\n```\n"):
        document = parse("a.md", form)
        assert document.front is not None or document.findings
        done = plan([document], Hub("sample"), names=NAMES, fix=True)
        after = plan([done.written.get("a.md", document)], applied(Hub("sample"), done.changes), names=NAMES, fix=True)
        assert not after


YAML_BITS = st.lists(
    st.sampled_from(
        [
            *("id: A-1", "status: todo", "state_hub_task_id:", " ", "\t", "- ", "? ", ": ", "&a ", "*a", "!!str ", "["),
            *("]", "{", "}", "|", ">", "'", '"', "#", "\n", "\n", "\n", "---", "...", "%YAML 1.1", "\\", "é", "\u2028"),
            *("\x85", "\x07", "<<: ", "null", "~", ",", "@", "`", "```", "=", "2026-03-16", "\ufeff", "\r", "\r\n"),
        ]
    ),
    max_size=25,
).map("".join)


@settings(deadline=None, max_examples=120)
@given(YAML_BITS, st.sampled_from(["", " ", "   "]))
def test_any_block_is_read_or_reported_and_a_fix_of_it_settles(bits: str, indent: str) -> None:
    body = "\n".join(indent + line for line in bits.split("\n"))
    data = f"---\nid: A\nstatus: active\ntitle: t\n---\n{indent}```task\n{body}\n{indent}```\n".encode()
    document = parse("a.md", data)
    hub = Hub("sample")
    done = plan([document], hub, names=NAMES, fix=True)
    written = done.written.get("a.md", document)
    assert not plan([parse("a.md", written.text.encode())], applied(hub, done.changes), names=NAMES, fix=True)
