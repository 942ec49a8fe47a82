"""Each rule of the engine, by what it says and does."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from tests.support.workplans import EXAMPLE, STREAM, TASK, plan, task
from upkeep.sync.document import parse
from upkeep.sync.findings import Code
from upkeep.sync.plan import Plan
from upkeep.sync.plan import plan as engine
from upkeep.sync.records import Base, Hub, applied

FILE = "workplans/a.md"


class Sample:
    """A repository and its hub, synced step by step."""

    def __init__(self, *texts: str, names: tuple[str, ...] = ("sample",)) -> None:
        self.names = names
        self.files: dict[str, str] = {}
        self.hub = Hub("sample")
        for number, text in enumerate(texts):
            self.files[f"workplans/{'abc'[number]}.md"] = text

    def plan(self, *, fix: bool = False, read_only: frozenset[str] = frozenset()) -> Plan:
        documents = [parse(path, text.encode()) for path, text in self.files.items()]
        return engine(documents, self.hub, names=self.names, fix=fix, read_only=read_only)

    def sync(self, *, fix: bool = False) -> list[tuple[str, str, int | None]]:
        """Carry the plan out; return code, severity and line of each finding."""
        done = self.plan(fix=fix)
        self.hub = applied(self.hub, done.changes)
        self.files |= {path: after.text for path, after in done.written.items()}
        assert not self.plan(fix=fix)
        return [(finding.code, finding.severity, finding.line) for finding in done.findings]

    def codes(self, *, fix: bool = False) -> list[str]:
        return [code for code, _, _ in self.sync(fix=fix)]

    def edit(self, old: str, new: str, path: str = FILE) -> None:
        assert old in self.files[path]
        self.files[path] = self.files[path].replace(old, new)

    def task(self, name: str = "A-1") -> Any:
        (row,) = [row for row in self.hub.tasks.values() if row.local_id == name]
        return row

    def stream(self, name: str = "A") -> Any:
        (row,) = [row for row in self.hub.workstreams.values() if row.local_id == name]
        return row

    def by_hand(self, status: str, name: str = "A-1") -> None:
        row = self.task(name)
        self.hub = replace(self.hub, tasks={**self.hub.tasks, row.id: replace(row, status=status)})


def one_task(status: str = "todo", *more: str) -> Sample:
    sample = Sample(plan("A", "active", task("A-1", status, *more), task("A-2")))
    sample.sync(fix=True)
    return sample


def test_a_first_sync_adopts_the_ids_that_the_example_carries() -> None:
    sample = Sample(EXAMPLE, names=("the-custodian",))
    assert sample.sync(fix=True) == []
    assert sample.files[FILE] == EXAMPLE
    assert sample.stream("CUST-WP-0014").id == STREAM
    row = sample.task("CUST-WP-0014-T02")
    assert (row.id, row.workstream, row.status, row.priority) == (TASK, STREAM, "todo", "high")
    assert row.base == Base("todo", "2026-03-16")


@pytest.mark.parametrize("written", ["null", "~", "", '""', "''", "Null   # to be filled", "# to be filled"])
def test_an_empty_id_is_filled_in_its_place(written: str) -> None:
    front = f"state_hub_workstream_id: {written}".rstrip()
    sample = Sample(plan("A", "draft", front=(front,)))
    before = sample.files[FILE]
    assert sample.sync(fix=True) == []
    comment = "# to be filled" if "#" in written else ""
    (line,) = [line for line in sample.files[FILE].splitlines() if line.startswith("state_hub_workstream_id")]
    assert line.replace("'", "").replace('"', "").split()[1] == str(sample.stream().id)
    assert line.endswith(comment)
    assert len(sample.files[FILE].splitlines()) == len(before.splitlines())


def test_an_absent_id_becomes_a_line_with_the_blocks_own_indentation_and_line_end() -> None:
    text = plan("A", "active", task("A-1")).replace("\n", "\r\n")
    text = text.replace("```task\r\nid", "  ```task\r\n  id").replace(
        "\r\nstatus: todo\r\n```", "\r\n  status: todo\r\n  ```"
    )
    sample = Sample(text)
    assert sample.sync(fix=True) == []
    assert sample.files[FILE] == text.replace(
        "status: active\r\n", f"status: active\r\nstate_hub_workstream_id: {sample.stream().id}\r\n"
    ).replace("  status: todo\r\n", f'  status: todo\r\n  state_hub_task_id: "{sample.task().id}"\r\n')


def test_an_id_that_is_there_is_never_touched() -> None:
    sample = Sample(plan("A", "active", task("A-1", "todo", "state_hub_task_id: nonsense")))
    assert sample.codes(fix=True) == [Code.HUB_ID]
    assert "state_hub_task_id: nonsense" in sample.files[FILE]
    assert sample.hub.tasks == {}


def test_without_fix_a_missing_id_is_told_and_the_hub_is_written() -> None:
    sample = Sample(plan("A", "active", task("A-1")))
    assert sample.sync() == [(Code.NO_HUB_ID, "warning", 1), (Code.NO_HUB_ID, "warning", 9)]
    assert sample.task().status == "todo"
    assert "state_hub" not in sample.files[FILE]


def test_a_block_that_no_span_can_extend_is_left_and_told() -> None:
    sample = Sample(plan("A", "active", "```task\n{id: A-1, status: todo}\n```\n"))
    assert sample.codes(fix=True) == [Code.NO_HUB_ID]
    assert "{id: A-1, status: todo}\n" in sample.files[FILE]


def test_ids_are_the_same_when_the_hub_is_lost() -> None:
    sample = one_task()
    ids = set(sample.hub.tasks) | set(sample.hub.workstreams)
    sample.hub = Hub("sample")
    assert sample.sync() == []
    assert set(sample.hub.tasks) | set(sample.hub.workstreams) == ids


def test_the_file_wins_where_only_the_file_changed() -> None:
    sample = one_task()
    sample.edit("id: A-1\nstatus: todo", "id: A-1\nstatus: blocked")
    assert sample.sync() == []
    assert (sample.task().status, sample.task().base.status) == ("blocked", "blocked")


def test_a_change_by_hand_in_the_hub_is_written_into_the_file_by_a_fix() -> None:
    sample = one_task("'todo'  # for now")
    sample.by_hand("done")
    before = sample.files[FILE]
    assert sample.sync() == [(Code.CHANGED_IN_HUB, "warning", 12)]
    assert sample.files[FILE] == before
    assert sample.task().status == "done"
    assert sample.sync(fix=True) == [(Code.CHANGED_IN_HUB, "note", 12)]
    assert sample.files[FILE] == before.replace("'todo'  # for now", "'done'  # for now")
    assert sample.task().base.status == "done"
    assert sample.sync(fix=True) == []


def test_both_changed_is_a_question_to_a_person_and_overwrites_nothing() -> None:
    sample = one_task()
    sample.by_hand("cancelled")
    sample.edit("id: A-1\nstatus: todo", "id: A-1\nstatus: blocked")
    before = sample.files[FILE]
    for _ in range(2):
        assert sample.sync(fix=True) == [(Code.CONFLICT, "error", 12)]
    assert sample.files[FILE] == before
    assert (sample.task().status, sample.task().base.status) == ("cancelled", "todo")
    (asked,) = sample.hub.interventions.values()
    assert (asked.kind, asked.state, asked.local_id) == ("conflict", "open", "A-1")
    assert "file says blocked, the hub says cancelled" in asked.question
    sample.edit("id: A-1\nstatus: blocked", "id: A-1\nstatus: cancelled")
    assert sample.sync() == []
    (asked,) = sample.hub.interventions.values()
    assert asked.state == "withdrawn"


@pytest.mark.parametrize(
    ("first", "then", "reopened"),
    [
        ("", "", True),
        ("2026-03-16", "2026-03-16", True),
        ("2026-03-16", "2026-03-15", True),
        ("2026-03-16", "2026-03-17", False),
        ("", "2026-03-16", False),
        ("2026-03-16", "2026-03-16T08:00:00+02:00", False),
    ],
)
def test_a_final_status_is_left_only_with_a_newer_date(first: str, then: str, reopened: bool) -> None:
    def text(status: str, date: str) -> str:
        return plan("A", "active", task("A-1", status), task("A-2"), front=(f"updated: {date}",))

    sample = Sample(text("done", first))
    sample.sync()
    sample.files[FILE] = text("todo", then)
    assert (Code.REOPENED in sample.codes()) == reopened
    assert sample.task().status == ("done" if reopened else "todo")


def test_a_done_workplan_may_be_archived() -> None:
    sample = Sample(plan("A", "done"))
    sample.sync(fix=True)
    sample.edit("status: done", "status: archived")
    assert sample.sync() == []
    assert sample.stream().status == "archived"


def test_an_unknown_status_costs_that_status_alone() -> None:
    sample = one_task()
    sample.edit("id: A-1\nstatus: todo", "id: A-1\nstatus: wip\npriority: high")
    sample.edit("id: A-2\nstatus: todo", "id: A-2\nstatus: blocked")
    assert sample.sync() == [(Code.STATUS, "error", 12)]
    assert (sample.task().status, sample.task().priority) == ("todo", "high")
    assert sample.task("A-2").status == "blocked"


def test_a_task_that_is_gone_from_its_file_stays_in_the_hub_and_is_told() -> None:
    sample = one_task()
    sample.edit(sample.files[FILE][sample.files[FILE].index("## Task: A-2") :], "")
    assert sample.sync() == [(Code.NOT_IN_FILE, "warning", 1)]
    assert not sample.task("A-2").present
    sample.by_hand("cancelled", "A-2")
    assert sample.sync() == []


def test_nothing_counts_as_gone_while_something_cannot_be_read() -> None:
    sample = one_task()
    sample.edit("id: A-2\nstatus: todo", "id: A-2\nstatus: [")
    assert sample.codes() == [Code.TASK_BLOCK]
    assert sample.task("A-2").present


def test_a_new_task_is_told_after_the_first_sync() -> None:
    sample = one_task()
    sample.files[FILE] += task("A-3")
    assert sample.codes(fix=True) == [Code.NEW]
    assert sample.task("A-3").position == 2


def test_a_workplan_whose_file_is_gone_is_told_until_it_is_closed() -> None:
    sample = one_task()
    kept = sample.files.pop(FILE)
    assert sample.sync() == [(Code.FILE_GONE, "warning", None)]
    assert not sample.stream().present
    sample.files[FILE] = kept
    assert sample.sync() == []
    assert sample.stream().present


def test_a_moved_file_is_followed() -> None:
    sample = one_task()
    sample.files["workplans/done/a.md"] = sample.files.pop(FILE)
    assert sample.sync() == [(Code.MOVED, "note", 2)]
    assert sample.stream().file == "workplans/done/a.md"


def test_a_renumbered_task_is_followed_by_the_hubs_id() -> None:
    sample = one_task()
    number = sample.task("A-2").id
    sample.edit("id: A-2\n", "id: A-7\n")
    assert sample.codes() == [Code.MOVED]
    assert sample.task("A-7").id == number


def test_a_copied_file_is_told_and_the_original_stays() -> None:
    sample = one_task()
    sample.files["workplans/0-copy.md"] = sample.files[FILE]
    assert sample.codes() == [Code.DUPLICATE]
    assert sample.stream().file == FILE
    assert sample.task().workstream == sample.stream().id


def test_a_copied_block_is_told_and_the_original_stays() -> None:
    sample = one_task()
    block = sample.files[FILE][sample.files[FILE].index("## Task: A-2") :]
    sample.files[FILE] += block.replace("id: A-2", "id: A-3", 1)
    assert sample.sync() == [(Code.DUPLICATE, "error", 24)]
    assert {row.local_id for row in sample.hub.tasks.values()} == {"A-1", "A-2"}


def test_an_id_of_another_repository_is_told_and_not_taken() -> None:
    other = uuid.uuid4()
    sample = Sample(plan("A", "active", task("A-1", "todo", f"state_hub_task_id: {other}"), task("A-2")))
    sample.hub = replace(sample.hub, foreign={other: "elsewhere"})
    assert sample.sync(fix=True) == [(Code.FOREIGN, "error", 12)]
    assert [row.local_id for row in sample.hub.tasks.values()] == ["A-2"]


def test_an_id_that_the_hub_gave_to_another_task_is_told() -> None:
    sample = one_task()
    one, two = str(sample.task("A-1").id), str(sample.task("A-2").id)
    sample.files[FILE] = sample.files[FILE].replace(one, "X").replace(two, one).replace("X", two)
    assert sample.codes() == [Code.HUB_ID, Code.HUB_ID]
    assert str(sample.task("A-1").id) == one


def test_an_id_that_the_hub_does_not_know_is_told_after_the_first_sync() -> None:
    sample = one_task()
    made = uuid.uuid4()
    sample.files[FILE] += task("A-3", "todo", f"state_hub_task_id: {made}")
    assert sample.codes() == [Code.NEW, Code.HUB_ID]
    assert sample.task("A-3").id == made
    sample.edit(str(made), str(uuid.uuid4()))
    assert sample.codes() == [Code.HUB_ID]
    assert sample.task("A-3").id == made


def test_a_workplan_that_is_done_with_open_tasks_is_an_error_and_the_reverse_a_warning() -> None:
    sample = Sample(plan("A", "done", task("A-1"), task("A-2", "done")), plan("B", "active", task("B-1", "done")))
    assert [(code, severity) for code, severity, _ in sample.sync(fix=True)] == [
        (Code.DONE_TOO_SOON, "error"),
        (Code.NOT_YET_DONE, "warning"),
    ]


def test_dependencies_that_lead_nowhere_or_in_a_circle_are_told() -> None:
    sample = Sample(
        plan(
            "A",
            "active",
            task("A-1", "todo", "depends_on: [A-2]"),
            task("A-2", "todo", "depends_on: A-1"),
            task("A-3", "todo", "depends_on: [A-1, Z-9]"),
        )
    )
    messages = [finding.message for finding in sample.plan(fix=True).findings]
    assert len(messages) == 3
    assert "A-1 → A-2 → A-1" in messages[0]
    assert "A-3 depends on Z-9" in messages[2]


def test_a_question_is_asked_once_answered_once_and_withdrawn_with_its_task() -> None:
    sample = one_task("todo", "needs_human: true", "question: Which?")
    (asked,) = sample.hub.interventions.values()
    assert (asked.kind, asked.question, asked.state) == ("question", "Which?", "open")
    answered = replace(asked, state="answered")
    sample.hub = replace(sample.hub, interventions={asked.id: answered})
    assert sample.sync() == []
    assert sample.hub.interventions == {asked.id: answered}
    sample.edit("question: Which?", "question: Which one?")
    sample.sync()
    assert sorted(each.state for each in sample.hub.interventions.values()) == ["answered", "open"]
    sample.edit("id: A-1\nstatus: todo", "id: A-1\nstatus: cancelled")
    sample.sync()
    assert sorted(each.state for each in sample.hub.interventions.values()) == ["answered", "withdrawn"]


def test_a_file_that_may_not_be_written_keeps_what_the_hub_has_by_hand() -> None:
    sample = one_task()
    sample.by_hand("done")
    held = sample.plan(fix=True, read_only=frozenset({FILE}))
    assert not held
    assert [finding.code for finding in held.findings] == [Code.CHANGED_IN_HUB]
