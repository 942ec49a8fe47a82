"""What a repository should work on next."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.workplans import plan, task
from tests.upkeep.sync.conftest import Managing
from upkeep.sync import goals, store
from upkeep.sync.dispatch import MAX_BYTES, MAX_TEXT, Dispatch, Omitted, depth, dispatch


def answer(managing: Managing) -> Dispatch:
    with managing.database.session() as session:
        return dispatch(session, managing.slug)


def test_a_repository_that_was_never_synced_has_nothing_to_do(managing: Managing) -> None:
    assert answer(managing) == Dispatch(
        repo_slug="sample",
        active_goal=None,
        active_workstreams=(),
        human_interventions=(),
        last_state_synced_at=None,
        omitted=Omitted(workstreams=0, tasks=0, interventions=0),
    )


def test_tasks_come_by_priority_then_by_dependency_then_as_in_the_file(managing: Managing) -> None:
    managing.write(
        plan(
            "A",
            "active",
            task("A-1", "todo", "priority: low"),
            task("A-2", "todo", "priority: high", "depends_on: [A-5, A-9]"),
            task("A-3", "done", "priority: critical"),
            task("A-4", "todo"),
            task("A-5", "in_progress", "priority: high", "depends_on: [A-3]"),
            task("A-6", "blocked", "priority: critical"),
            task("A-7", "todo", "priority: critical"),
            task("A-8", "todo", "priority: high"),
        )
    )
    managing.write(plan("B", "draft", task("B-1")), "workplans/b.md")
    managing.sync(fix=True)
    (stream,) = answer(managing).active_workstreams
    assert (stream.id, stream.title, stream.workplan_file) == ("A", "A", "workplans/a.md")
    assert [each.id for each in stream.pending_tasks] == ["A-7", "A-5", "A-8", "A-2", "A-1", "A-4"]


def test_the_workplan_with_the_most_urgent_task_comes_first(managing: Managing) -> None:
    managing.write(plan("A", "active", task("A-1", "todo", "priority: low"), task("A-2", "done")))
    managing.write(plan("B", "active"), "workplans/b.md")
    managing.write(plan("C", "active", task("C-1", "todo", "priority: critical")), "workplans/c.md")
    managing.write(plan("D", "active", task("D-1", "todo", "priority: low", "depends_on: [A-1]")), "workplans/d.md")
    managing.sync(fix=True)
    assert [stream.id for stream in answer(managing).active_workstreams] == ["C", "A", "D", "B"]


def test_however_much_there_is_to_do_the_answer_stays_small(managing: Managing) -> None:
    """Long titles in characters of several bytes, many questions, an id that alone is too long."""
    wide = "漢" * 480

    def file(letter: str, priority: str, count: int) -> str:
        blocks = [
            task(f"{letter}-{number}", "todo", f"priority: {priority}", f"title: {wide}", *question(number))
            for number in range(count)
        ]
        return plan(letter, "active", *blocks, task("X" * 50_000 + letter, "todo", "priority: critical"))

    def question(number: int) -> tuple[str, ...]:
        return ("needs_human: true", f"question: {number} {wide}") if number < 15 else ()

    managing.write(file("A", "low", 40))
    managing.write(file("B", "high", 30), "workplans/b.md")
    for number in range(60):
        managing.write(plan(f"W{number}", "active", front=(f"domain: {wide}",)), f"workplans/{number:02}.md")
    managing.sync()
    with managing.database.session() as session:
        goals.put(session, "sample", wide, wide)
    told = answer(managing)
    size = len(told.model_dump_json().encode())
    assert 0.9 * MAX_BYTES < size <= MAX_BYTES
    given = [each for stream in told.active_workstreams for each in stream.pending_tasks]
    assert {each.priority for each in given} == {"high"}
    assert [each.id for each in given] == [f"B-{number}" for number in range(len(given))]
    assert told.omitted.tasks == 72 - len(given)
    assert told.omitted.interventions == 30 - len(told.human_interventions) > 0
    assert told.omitted.workstreams == 62 - len(told.active_workstreams) > 0


def test_goal_questions_and_time_are_told(managing: Managing) -> None:
    managing.write(plan("A", "active", task("A-1", "todo", "needs_human: true", "question: Which?")))
    done = managing.sync(fix=True)
    with managing.database.session() as session:
        goals.put(session, "sample", "From the file", source="configuration")
        goals.put(session, "sample", "By command", "d" * 9000, by="ada")
    told = answer(managing)
    assert told.last_state_synced_at == done.last_state_synced_at
    assert told.active_goal is not None
    assert told.active_goal.title == "By command"
    assert len(told.active_goal.description) == MAX_TEXT
    (asked,) = told.human_interventions
    assert (asked.task_id, asked.kind, asked.question) == ("A-1", "question", "Which?")
    assert told.active_workstreams[0].pending_tasks[0].needs_human
    with managing.database.session() as session:
        store.answer(session, str(asked.id), "The second", by="ada")
    told = answer(managing)
    assert told.human_interventions == ()
    assert not told.active_workstreams[0].pending_tasks[0].needs_human


def test_a_task_that_no_file_has_any_more_is_not_given_out(managing: Managing) -> None:
    managing.sync(fix=True)
    managing.write(plan("A", "active", task("A-1")))
    managing.sync()
    assert [each.id for each in answer(managing).active_workstreams[0].pending_tasks] == ["A-1"]


def test_the_answer_has_a_schema_that_names_every_key() -> None:
    schema = Dispatch.model_json_schema()
    assert set(schema["required"]) == {
        "repo_slug",
        "active_goal",
        "active_workstreams",
        "human_interventions",
        "last_state_synced_at",
        "omitted",
    }
    assert set(schema["$defs"]["PendingTask"]["required"]) == {"id", "title", "priority", "needs_human"}


NAMES = st.sampled_from("abcdefg")


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(NAMES, st.sets(NAMES)))
def test_what_others_depend_on_comes_first_whatever_the_circles(edges: dict[str, set[str]]) -> None:
    found = depth(edges)
    assert found.keys() == edges.keys()
    last = max(found.values(), default=0)
    for name, names in edges.items():
        for other in names & edges.keys():
            assert found[other] < found[name] or found[name] == last
