"""The REST API as a client sees it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from tests.support.api import FILE, Api
from tests.support.api import api as api
from tests.support.repositories import MakeRepository
from tests.support.workplans import plan, task
from upkeep.database import events
from upkeep.sync import registry
from upkeep.sync.dispatch import Dispatch, dispatch


def test_the_registry_is_listed_with_goals_and_ages(api: Api) -> None:
    api.sync()
    page = api.get("/repos/")
    assert (page["total"], page["next"]) == (2, None)
    other, sample = page["repositories"]
    assert (other["slug"], other["source"], other["age"], other["goal"]) == ("other", "command", "stale", None)
    assert (sample["slug"], sample["source"], sample["age"]) == ("sample", "configuration", "fresh")
    assert sample["goal"] == {"title": "Write it down", "description": ""}
    assert datetime.fromisoformat(sample["last_state_synced_at"]).utcoffset() == UTC.utcoffset(None)
    assert api.get("/repos/sample/") == sample


def test_pages_lead_from_one_to_the_next_and_leave_none_out(api: Api) -> None:
    with api.database.session() as session:
        for number in range(25):
            registry.ignore(session, f"o/r{number:02}", "not ours")
    seen, path = [], "/repos/?state=managed&state=ignored&limit=10"
    while path:
        answer = api.ask("GET", path)
        page = answer.json()
        assert page["total"] == 27
        seen += [one["slug"] for one in page["repositories"]]
        assert answer.headers.get("link") == (f'<{page["next"]}>; rel="next"' if page["next"] else None)
        path = page["next"]
    assert seen == [*(f"o/r{number:02}" for number in range(25)), "other", "sample"]


def test_a_repository_is_registered(api: Api, make_repository: MakeRepository) -> None:
    third = make_repository("third")
    body = {"path": str(third.path), "domain": "d", "fix": True, "goal": {"title": "Grow"}}
    answer = api.ask("POST", "/repos/", token="write", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/repos/third/"
    shown = api.ask("GET", "/repos/third/")
    assert shown.json() == answer.json()
    assert shown.headers["etag"] == answer.headers["etag"]
    assert (shown.json()["fix"], shown.json()["goal"]["title"], shown.json()["state"]) == (True, "Grow", "managed")
    assert api.row("third").path == third.path
    problem = api.problem("POST", "/repos/", 409, token="write", json=body)
    assert problem["code"] == "sync.registered"


def test_a_registration_changes_in_what_is_named_and_nothing_else(api: Api) -> None:
    before = api.get("/repos/other/")
    after = api.ask("PATCH", "/repos/other/", token="write", json={"fix": True, "repo": "o/other"}).json()
    assert after == {**before, "fix": True, "repo": "o/other"}
    after = api.ask("PATCH", "/repos/other/", token="write", json={"state": "ignored", "note": "later"}).json()
    assert (after["state"], after["note"]) == ("ignored", "later")
    assert [one["slug"] for one in api.get("/repos/")["repositories"]] == ["sample"]
    after = api.ask("PATCH", "/repos/other/", token="write", json={"state": "managed", "note": None}).json()
    assert after == {**before, "fix": True, "repo": "o/other"}
    assert api.ask("PATCH", "/repos/other/", token="write", json={}).json() == after


def test_a_change_of_its_place_looks_there(api: Api, make_repository: MakeRepository) -> None:
    moved = make_repository("moved")
    moved.git("remote", "add", "origin", "https://ada:secret@forge.example/o/moved.git")
    after = api.ask("PATCH", "/repos/other/", token="write", json={"path": str(moved.path)}).json()
    assert (after["path"], after["remote"]) == (str(moved.path), "https://forge.example/o/moved.git")
    problem = api.problem("PATCH", "/repos/other/", 409, token="write", json={"path": "/nowhere"})
    assert problem["code"] == "sync.unreachable"
    assert api.get("/repos/other/")["path"] == str(moved.path)
    for method, path in (("PATCH", "/repos/other/"), ("POST", "/repos/")):
        body = {"forge": "heer", "path": str(moved.path)}
        assert api.problem(method, path, 409, token="write", json=body)["code"] == "config.unknown_forge"


def test_what_stands_in_the_configuration_is_changed_there(api: Api) -> None:
    before = api.get("/repos/sample/")
    for body in ({"domain": "x"}, {"state": "ignored"}, {"path": str(api.other.path)}, {"fix": True, "goal": None}):
        problem = api.problem("PATCH", "/repos/sample/", 409, token="write", json=body)
        assert problem["code"] == "config.configured"
        assert "upkeep.yaml" in problem["detail"]
        assert "repositories: sample:" in problem["remedy"]
    problem = api.problem("POST", "/repos/", 409, token="write", json={"path": str(api.sample.path)})
    assert problem["code"] == "config.configured"
    assert api.get("/repos/sample/") == before


def test_a_goal_is_set_and_taken_away_even_for_what_is_configured(api: Api) -> None:
    goal = {"title": "Ship it", "description": "by spring"}
    assert api.ask("PATCH", "/repos/sample/", token="write", json={"goal": goal}).json()["goal"] == goal
    assert api.get("/repos/sample/dispatch")["active_goal"]["title"] == "Ship it"
    after = api.ask("PATCH", "/repos/sample/", token="write", json={"goal": None}).json()
    assert after["goal"]["title"] == "Write it down"


def test_a_change_may_insist_that_nobody_was_faster(api: Api) -> None:
    tag = api.ask("GET", "/repos/other/").headers["etag"]
    first = api.ask("PATCH", "/repos/other/", token="write", json={"domain": "a"}, headers={"If-Match": tag})
    assert first.status_code == 200
    problem = api.problem("PATCH", "/repos/other/", 412, token="write", json={"domain": "b"}, headers={"If-Match": tag})
    assert problem["code"] == "web.changed"
    newer = {"If-Match": f'"x", {first.headers["etag"]}'}
    assert api.ask("PATCH", "/repos/other/", token="write", json={"domain": "b"}, headers=newer).status_code == 200
    weak = {"If-Match": "W/" + api.ask("GET", "/repos/other/").headers["etag"]}
    api.problem("PATCH", "/repos/other/", 412, token="write", json={"domain": "c"}, headers=weak)
    assert api.ask("PATCH", "/repos/other/", token="write", json={}, headers={"If-Match": "*"}).status_code == 200


def test_dispatch_is_the_answer_of_the_engine(api: Api) -> None:
    api.sync()
    with api.database.session() as session:
        answer = dispatch(session, "sample")
    told = api.get("/repos/sample/dispatch")
    assert told == json.loads(answer.model_dump_json())
    assert Dispatch.model_validate(told).active_workstreams[0].pending_tasks[0].id == "A-2"


def test_who_has_the_answer_already_gets_it_only_once(api: Api) -> None:
    api.sync()
    first = api.ask("GET", "/repos/sample/dispatch")
    tag = first.headers["etag"]
    for header in (tag, f'"other", W/{tag}', "*"):
        again = api.ask("GET", "/repos/sample/dispatch", headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    file = api.sample.path / FILE
    file.write_text(file.read_text().replace("status: todo", "status: done", 1))
    api.sync()
    changed = api.ask("GET", "/repos/sample/dispatch", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)


def test_findings_of_the_last_sync_are_told_a_part_at_a_time(api: Api) -> None:
    bad = [task(f"A-{number}", "wip") for number in range(5)]
    (api.sample.path / FILE).write_text(plan("A", "active", *bad, task("A-9")))
    api.sync()
    told = api.get("/repos/sample/findings?severity=error&limit=2&offset=1")
    assert (told["total"], [one["line"] for one in told["findings"]]) == (5, [17, 23])
    assert told["last_attempt_reason"].startswith("C-08 workplans/a.md:11 ")
    assert {one["code"] for one in told["findings"]} == {"C-08"}
    assert api.get("/repos/other/findings")["findings"] == []


def test_health_counts_and_names_nothing(api: Api) -> None:
    api.sync()
    health = api.get("/state/health", token=None)
    assert health["status"] == "ok"
    assert health["repositories"] == {"fresh": 1, "ageing": 0, "stale": 1, "failing": 0}
    assert "sample" not in json.dumps(health)


def test_an_unknown_repository_is_not_found(api: Api) -> None:
    for path in ("/repos/nope/", "/repos/nope/dispatch", "/repos/nope/findings"):
        problem = api.problem("GET", path, 404)
        assert problem["code"] == "config.unknown_repository"
        assert "other, sample" in problem["detail"]
    assert "did you mean sample" in api.problem("GET", "/repos/sampel/dispatch", 404)["detail"]


def test_an_ignored_repository_has_no_work(api: Api) -> None:
    api.ask("PATCH", "/repos/other/", token="write", json={"state": "ignored"})
    assert api.problem("GET", "/repos/other/dispatch", 404)["code"] == "config.unknown_repository"
    assert api.get("/repos/other/")["state"] == "ignored"


def test_changes_name_who_made_them(api: Api) -> None:
    api.ask("PATCH", "/repos/other/", token="write", json={"domain": "x", "goal": {"title": "G"}})
    with api.database.session() as session:
        told = events.of_subject(session, "sync", "repository:other")
    assert {event.summary.get("by") for event in told[:2]} == {"token:write"}


def test_what_a_person_writes_into_the_configuration_counts_at_once(api: Api) -> None:
    text = api.config.read_text()
    api.config.write_text(text + f"  added: {{path: {api.other.path}}}\n")
    assert api.get("/repos/added/")["source"] == "configuration"
    assert api.problem("PATCH", "/repos/added/", 409, token="write", json={"fix": True})["code"] == "config.configured"
    api.config.write_text(text + "  broken: {path\n")
    assert api.get("/repos/added/")["state"] == "managed"
    api.config.write_text(text)
    assert api.get("/repos/added/")["state"] == "removed"
