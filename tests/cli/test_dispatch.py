"""`upkeep dispatch` as a person or an agent uses it."""

from __future__ import annotations

import json

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.workplans import plan, task
from upkeep.sync.dispatch import Dispatch


def test_the_answer_is_for_people_and_for_agents(hub: HubTerminal) -> None:
    hub.write(
        plan("A", "active", task("A-1"), task("A-2", "todo", "priority: high", "needs_human: true", "question: q"))
    )
    hub.out("sync", "sample", "--fix")
    told = hub.json("dispatch", "sample")
    assert Dispatch.model_validate_json(json.dumps(told)).repo_slug == "sample"
    assert [(each["id"], each["needs_human"]) for each in told["active_workstreams"][0]["pending_tasks"]] == [
        ("A-2", True),
        ("A-1", False),
    ]
    lines = hub.out("dispatch", "sample").splitlines()
    assert lines[0].startswith("sample, synced ")
    assert lines[1:5] == [
        "goal: Write it down",
        "A A (workplans/a.md)",
        "  high     A-2 A-2 [waits for a person]",
        "  -        A-1 A-1",
    ]
    assert lines[5].endswith(" A-2: q")


def test_the_schema_is_published(hub: HubTerminal) -> None:
    schema = json.loads(hub.out("dispatch", "--schema"))
    assert schema["title"] == "Dispatch"
    assert "active_workstreams" in schema["required"]


def test_an_unknown_repository_is_an_error(hub: HubTerminal) -> None:
    assert hub.error("dispatch", "nope").reason == "config.unknown_repository"
    assert hub.run("dispatch").exit_code == 2
