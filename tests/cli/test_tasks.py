"""`upkeep tasks` and `upkeep interventions` as a person uses them."""

from __future__ import annotations

import getpass

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.workplans import plan, task


def test_a_status_set_by_hand_is_carried_into_the_file_by_a_fix(hub: HubTerminal) -> None:
    hub.out("sync", "sample", "--fix")
    assert "was todo; `upkeep sync sample --fix`" in hub.out("tasks", "set", "A-1", "in_progress")
    told = hub.json("sync", "sample")["repositories"][0]
    assert [finding["code"] for finding in told["findings"]] == ["C-12"]
    assert "id: A-1\nstatus: todo" in hub.read()
    hub.out("sync", "sample", "--fix")
    assert "id: A-1\nstatus: in_progress" in hub.read()


def test_a_task_or_status_that_is_not_there_is_told(hub: HubTerminal) -> None:
    hub.out("sync", "sample")
    assert hub.error("tasks", "set", "A-9", "done").reason == "sync.unknown_task"
    error = hub.error("tasks", "set", "A-1", "don")
    assert error.reason == "sync.unknown_status"
    assert "did you mean done" in error.message
    assert hub.json("tasks", "set", "A", "blocked")["before"] == "active"


def test_a_name_that_two_repositories_have_needs_the_repository(hub: HubTerminal) -> None:
    hub.out("repos", "register", str(hub.sample.path), "--slug", "twin")
    hub.out("sync", "sample", "twin")
    assert hub.error("tasks", "set", "A-1", "done").reason == "sync.ambiguous_task"
    assert hub.json("tasks", "set", "A-1", "done", "--repo", "twin")["repository"] == "twin"


def test_interventions_of_a_repository_that_is_not_there_are_told(hub: HubTerminal) -> None:
    assert hub.out("interventions", "list", "--repo", "sample") == "nothing waits for a person\n"
    error = hub.error("interventions", "list", "--repo", "sampel")
    assert error.reason == "config.unknown_repository"
    assert "did you mean sample" in error.message


def test_a_question_is_listed_answered_and_kept(hub: HubTerminal) -> None:
    hub.write(plan("A", "active", task("A-1", "todo", "needs_human: true", "question: Which one?")))
    hub.out("sync", "sample", "--fix")
    (asked,) = hub.json("interventions", "list")
    assert (asked["task"], asked["question"], asked["state"]) == ("A-1", "Which one?", "open")
    assert hub.out("interventions", "list").startswith(f"{asked['id'][:8]} sample A-1 [question, open] Which one?")
    done = hub.json("interventions", "answer", asked["id"][:8], "The second")
    assert (done["state"], done["answer"], done["answered_by"]) == ("answered", "The second", getpass.getuser())
    assert hub.out("interventions", "list") == "nothing waits for a person\n"
    assert f"{getpass.getuser()}, {done['closed_at'][:10]}" in hub.out("interventions", "list", "--all")
    hub.out("sync", "sample", "--fix")
    assert hub.json("interventions", "list") == []
    assert hub.error("interventions", "answer", asked["id"], "x").reason == "sync.closed_intervention"
    assert hub.error("interventions", "answer", "0000", "x").reason == "sync.unknown_intervention"
    assert hub.error("interventions", "answer", "", "x").reason == "sync.unknown_intervention"
