"""Reading workplan files, and what is said about those that cannot be read."""

from __future__ import annotations

import itertools

import pytest

from tests.support.workplans import EXAMPLE, STREAM, TASK, plan, task
from upkeep.sync import document, workplan
from upkeep.sync.findings import Code, Finding

FRONT = "---\nid: A\ntitle: t\nstatus: active\n---\n"


def parsed(text: str | bytes) -> document.Document:
    return document.parse("a.md", text.encode() if isinstance(text, str) else text)


def only(read: document.Document) -> Finding:
    (finding,) = read.findings
    assert finding.severity == "error"
    assert finding.fix
    return finding


def test_the_example_of_the_guide_is_read() -> None:
    read = parsed(EXAMPLE)
    assert read.findings == ()
    assert read.whole
    found, findings = workplan.read(read, ["the-custodian"])
    assert findings == []
    assert found is not None
    assert (found.id, found.title, found.domain, found.status) == (
        "CUST-WP-0014",
        "Repo Sync Automation",
        "custodian",
        "active",
    )
    assert (found.hub_id, found.updated) == (STREAM, "2026-03-16")
    (one,) = found.tasks
    assert (one.id, one.title, one.status) == ("CUST-WP-0014-T02", "Git post-commit hook installer", "todo")
    assert (one.priority, one.hub_id) == ("high", TASK)
    assert one.block.line_of("status") == 17


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(end: str, bom: str) -> None:
    read = parsed(bom + EXAMPLE.replace("\n", end))
    assert read.findings == ()
    assert [each.block.text("id") for each in read.tasks] == ["CUST-WP-0014-T02"]
    field = read.tasks[0].block.fields["status"]
    assert (read.text[field.start : field.end], field.line) == ("todo", 17)


def test_mixed_line_ends_give_the_right_places() -> None:
    read = parsed("---\r\nid: A\ntitle: t\rstatus: active\r\n---\n\r\r\n```task\rid: A-1\r\nstatus: 'todo'\n```\r")
    assert read.findings == ()
    field = read.tasks[0].block.fields["status"]
    assert (read.text[field.start : field.end], field.value, field.line) == ("'todo'", "todo", 10)


def test_nested_fences_are_prose() -> None:
    text = FRONT + "````\n```task\nid: NO\n```\n````\n\n    ```task\n    id: NO\n    ```\n\n<pre>\n```task\n</pre>\n\n"
    assert [each.block.text("id") for each in parsed(text + task("A-1")).tasks] == ["A-1"]


def test_an_unclosed_fence_is_told_and_hides_no_row() -> None:
    read = parsed(FRONT + task("A-1") + "```task\nid: A-2\nstatus: todo\n\nProse.\n")
    finding = only(read)
    assert (finding.code, finding.line) == (Code.FENCE, 11)
    assert [each.block.text("id") for each in read.tasks] == ["A-1"]
    assert not read.whole


def test_a_task_inside_a_list_is_told() -> None:
    finding = only(parsed(FRONT + "- item\n\n  ```task\n  id: A-1\n  ```\n"))
    assert (finding.code, finding.line) == (Code.FENCE, 8)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("", Code.NO_FRONT_MATTER, 1),
        ("# A heading\n", Code.NO_FRONT_MATTER, 1),
        (" ---\nid: A\n---\n", Code.NO_FRONT_MATTER, 1),
        ("---\nid: A\n", Code.FRONT_MATTER, 1),
        ("---\nid: A\nid: B\n---\n", Code.FRONT_MATTER, 3),
        ("---\nid: A\n\tstatus: b\n---\n", Code.FRONT_MATTER, 3),
        ("---\n- a\n- b\n---\n", Code.FRONT_MATTER, 2),
        ("---\nid: 'open\n---\n", Code.FRONT_MATTER, 3),
        ("---\nid: &x A\nother: *x\n---\n", Code.UNSAFE_YAML, 2),
        ("---\nid: A\nother: !!python/object:os.system x\n---\n", Code.UNSAFE_YAML, 3),
        ("---\nid: A\nother: " + "[" * 50_000 + "\n---\n", Code.UNSAFE_YAML, 3),
        ("---\nid: A\nother: " + "x" * 70_000 + "\n---\n", Code.UNSAFE_YAML, 1),
        ("---\n%YAML 1.1\n...\n", Code.FRONT_MATTER, 3),
        ("---\n? [a]\n: b\n---\n", Code.FRONT_MATTER, 2),
        ("---\nid: \x07\n---\n", Code.FRONT_MATTER, 2),
        ('---\nid: "a\\0"\n---\n', Code.FRONT_MATTER, 2),
        ('---\nid: "\\ud800"\n---\n', Code.FRONT_MATTER, 2),
        (FRONT + "```task\nid: [\n```\n", Code.TASK_BLOCK, 8),
        (FRONT + "```task\nid: A-1\n<<<<<<< HEAD\nstatus: todo\n```\n", Code.TASK_BLOCK, 9),
    ],
)
def test_a_block_that_cannot_be_read_is_told_with_its_line(text: str, code: Code, line: int) -> None:
    finding = only(parsed(text))
    assert (finding.code, finding.line) == (code, line), finding


def test_a_yaml_bomb_is_refused_at_its_first_anchor() -> None:
    names = "abcdefghi"
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise(names)]
    finding = only(parsed("---\nid: A\n" + "\n".join(bomb) + "\n---\n"))
    assert (finding.code, finding.line) == (Code.UNSAFE_YAML, 3)


def test_a_binary_file_is_told() -> None:
    finding = only(parsed(b"---\nid: A\n\x00\x01"))
    assert (finding.code, finding.line) == (Code.UNREADABLE, 3)
    assert "binary" in finding.message


def test_bytes_that_are_no_utf_8_are_told_with_their_place() -> None:
    finding = only(parsed(b"---\r\nid: A\r\n---\r\ncaf\xe9\r\n"))
    assert (finding.code, finding.line) == (Code.UNREADABLE, 4)
    assert "0xe9" in finding.message


def test_a_large_file_is_told_and_not_parsed() -> None:
    finding = only(parsed(b"---\nid: A\n---\n" + b"x" * document.MAX_BYTES))
    assert finding.code == Code.UNREADABLE
    assert only(document.too_large("a.md", 50_000_000)).message.startswith("the file has 50.0 MB")


def read_plan(text: str) -> list[tuple[str, int | None, str]]:
    _, findings = workplan.read(parsed(text), ["sample", "the-repo"])
    return [(finding.code, finding.line, finding.severity) for finding in findings]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("---\nid: A\ntitle: t\nstatus: wip\n---\n", (Code.STATUS, 4, "error")),
        ("---\nid: A\ntitle: t\n---\n", (Code.FRONT_MATTER, 1, "error")),
        ("---\nid:\ntitle: t\nstatus: done\n---\n", (Code.FRONT_MATTER, 2, "error")),
        ("---\nid: A\ntitle: [t]\nstatus: done\n---\n", (Code.FRONT_MATTER, 3, "error")),
        (plan("A", front=("repo: other",)), (Code.FOREIGN, 6, "error")),
        (plan("A", front=("updated: yesterday",)), (Code.DATES, 6, "error")),
        (plan("A", front=("created: 2026-03-17", "updated: 2026-03-16")), (Code.DATES, 7, "warning")),
        (plan("A", front=("state_hub_workstream_id: 12",)), (Code.HUB_ID, 6, "error")),
        (plan("A", "active", task("A-1", "doing")), (Code.STATUS, 11, "error")),
        (plan("A", "active", task("A-1", "todo", "priority: asap")), (Code.DETAIL, 12, "warning")),
        (plan("A", "active", task("A-1", "todo", "needs_human: true")), (Code.DETAIL, 12, "warning")),
        (plan("A", "active", task("A-1", "todo", "needs_human: perhaps")), (Code.TASK_BLOCK, 12, "error")),
        (plan("A", "active", task("A-1", "todo", "depends_on: {a: b}")), (Code.TASK_BLOCK, 12, "error")),
    ],
)
def test_a_value_that_makes_no_sense_is_told_with_its_line(text: str, wanted: tuple[str, int, str]) -> None:
    assert read_plan(text) == [wanted]


def test_a_file_of_another_type_is_no_workplan_and_no_finding() -> None:
    assert workplan.read(parsed("---\ntype: note\n---\n```task\n"), ["sample"]) == (None, [])


def test_the_repository_may_be_named_as_its_forge_names_it() -> None:
    assert read_plan(plan("A", front=("repo: The-Repo",))) == []


def test_details_of_a_task_are_read() -> None:
    more = ("priority: HIGH", "needs_human: true", "question: Which one?", "depends_on:", "  - A-2", "  - A-3")
    found, findings = workplan.read(parsed(plan("A", "active", task("A-1", "todo", *more))), ["sample"])
    assert findings == []
    assert found is not None
    (one,) = found.tasks
    assert (one.priority, one.needs_human, one.question) == ("high", True, "Which one?")
    assert one.depends_on == ("A-2", "A-3")
