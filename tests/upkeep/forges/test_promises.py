"""What every forge over HTTP promises: the same scenarios against the fake GitHub (through the real gh) and the fake
Gitea. What is peculiar to one of them stands in `test_github.py` and `test_gitea.py`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.forges import REPO, SILENT, create, quick, source
from tests.support.repositories import MakeRepository
from upkeep.errors import ForgeError, ForgeUnavailable

KINDS = ("github", "gitea")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def host(request: pytest.FixtureRequest, kind: str) -> Any:
    """The server: `forge()` opens a forge on it, `fault()` lets requests go wrong, `requests` came so far."""
    return request.getfixturevalue(kind)


@pytest.fixture
def dashboard(host: Any, make_repository: MakeRepository) -> Any:
    """The repository, and what persons do to its pull requests."""
    return host.repo(REPO, source(make_repository))


def on_each(faults: list[dict[str, Any]], **more: list[dict[str, Any]]) -> Any:
    """These faults on every forge, and more on some: (kind, fault)."""
    cases = [(kind, fault) for kind in KINDS for fault in (*faults, *more.get(kind, ()))]
    return pytest.mark.parametrize(("kind", "fault"), cases, indirect=["kind"])


def methods(host: Any) -> list[str]:
    return [request.method for request in host.requests]


def test_listing_stops_at_the_page_that_reaches_back_far_enough(host: Any, dashboard: Any) -> None:
    for _ in range(120):
        dashboard.closes(dashboard.opens("other"))
    number = dashboard.opens("bot/1")
    forge = host.forge()
    since = dashboard.pulls[number].created_at
    assert [one.number for one in forge.pull_requests(REPO, branch_prefix="bot/", since=since)] == [number]
    assert forge.calls == 1


def test_states_are_open_closed_and_merged(host: Any, dashboard: Any) -> None:
    closed, merged = dashboard.opens("bot/1"), dashboard.opens("bot/2")
    dashboard.closes(closed)
    commit = dashboard.merges(merged)
    opened = dashboard.opens("other")
    seen = {one.number: one for one in host.forge().pull_requests(REPO)}
    assert [seen[number].state for number in (closed, merged, opened)] == ["closed", "merged", "open"]
    assert seen[merged].merge_commit_sha == commit
    assert seen[merged].merged_at is not None
    assert seen[closed].closed_at is not None
    assert (seen[opened].merge_commit_sha, seen[opened].closed_at) == (None, None)


def test_an_existing_open_pull_request_is_adopted(host: Any, dashboard: Any) -> None:
    forge = host.forge()
    first = create(forge)
    assert create(forge, title="Another title").number == first.number
    assert methods(host) == ["POST", "POST", "GET"]
    assert len(dashboard.pulls) == 1


def test_closing_puts_the_note_on_top_in_one_call(host: Any, dashboard: Any) -> None:
    forge = host.forge()
    made = create(forge)
    before = forge.calls
    closed = forge.close_pull_request(REPO, made.number, note="> Superseded by #2.", body=made.body)
    assert forge.calls - before == 1
    assert (closed.state, closed.body) == ("closed", "> Superseded by #2.\n\nWhat changed\n")
    again = forge.close_pull_request(REPO, made.number, note="> Superseded by #2.")
    assert (again.state, again.body) == ("closed", closed.body)


# Whether a person was there ----------------------------------------------------------------------------------------


def test_an_unchanged_pull_request_costs_no_call_to_judge(host: Any, dashboard: Any) -> None:
    forge = host.forge()
    made = create(forge)
    before = forge.calls
    assert not forge.touched_by_person(made, since=made.updated_at)
    assert forge.calls == before


def reopens(dashboard: Any, number: int) -> None:
    dashboard.closes(number)
    dashboard.reopens(number)


@pytest.mark.parametrize(
    "act", [lambda here, number: here.comments(number), lambda here, number: here.reviews(number), reopens]
)
def test_a_comment_review_or_reopening_by_a_person_is_seen(host: Any, dashboard: Any, act: Any) -> None:
    forge = host.forge()
    made = create(forge)
    act(dashboard, made.number)
    seen = forge.pull_request(REPO, made.number)
    before = forge.calls
    assert forge.touched_by_person(seen, since=made.updated_at)
    assert forge.calls - before == 1
    assert forge.touched_by_person(seen)


# Faults ------------------------------------------------------------------------------------------------------------


@on_each(
    [{"status": 502}, {"status": 500}, {"drop": True}], github=[{"status": 409}], gitea=[{"cut": True}, {"short": True}]
)
def test_a_read_is_repeated_with_growing_pauses(host: Any, dashboard: Any, fault: dict[str, Any]) -> None:
    host.fault("GET .*/pulls$", times=2, **fault)
    naps: list[float] = []
    assert quick(host, naps).pull_requests(REPO) == []
    assert naps == [0.25, 0.5]


def test_a_forge_that_stays_away_is_reported_as_unavailable(host: Any, dashboard: Any) -> None:
    host.fault("pulls", status=503, times=99)
    forge = quick(host)
    with pytest.raises(ForgeUnavailable, match="503") as caught:
        forge.pull_requests(REPO)
    assert caught.value.transient
    assert forge.calls == 5


def test_a_silent_forge_is_left_after_the_deadline(host: Any, dashboard: Any) -> None:
    host.fault("pulls", delay=3, times=99)
    with pytest.raises(ForgeUnavailable) as caught:
        host.forge(deadline=0.5).pull_requests(REPO)
    assert caught.value.reason == "forge.timeout"


@on_each(
    [{"status": 502, "after": True}, {"drop": True, "after": True}, SILENT],
    github=[{"status": 409, "after": True}],
    gitea=[{"cut": True, "after": True}],
)
def test_a_create_that_took_effect_unseen_is_found_and_not_repeated(
    host: Any, dashboard: Any, fault: dict[str, Any]
) -> None:
    host.fault("POST .*/pulls$", **fault)
    made = create(quick(host, attempt_seconds=1.5))
    assert made.state == "open"
    assert len(dashboard.pulls) == 1
    assert methods(host).count("POST") == 1


@on_each([{"status": 502}, {"drop": True}], github=[{"status": 409}])
def test_a_create_that_did_not_take_effect_is_looked_up_and_repeated(
    host: Any, dashboard: Any, fault: dict[str, Any]
) -> None:
    host.fault("POST .*/pulls$", **fault)
    made = create(quick(host))
    assert methods(host) == ["POST", "GET", "POST"]
    assert list(dashboard.pulls) == [made.number]


def test_a_pull_request_that_a_person_closed_while_we_waited_is_not_created_again(host: Any, dashboard: Any) -> None:
    host.fault("POST .*/pulls$", status=502, after=True)
    forge = host.forge(sleep=lambda _: dashboard.closes(1))
    assert create(forge).state == "closed"
    assert len(dashboard.pulls) == 1


@on_each([{"status": 502}, {"status": 502, "after": True}, SILENT])
def test_a_close_with_unknown_outcome_ends_with_one_note(host: Any, dashboard: Any, fault: dict[str, Any]) -> None:
    forge = quick(host, attempt_seconds=1.5)
    made = create(forge)
    host.fault("PATCH", **fault)
    closed = forge.close_pull_request(REPO, made.number, note="> Note", body=made.body)
    assert (closed.state, closed.body) == ("closed", "> Note\n\nWhat changed\n")


def test_an_unknown_repository_or_number_is_not_found(host: Any, dashboard: Any) -> None:
    for call in (lambda: host.forge().pull_requests("o/none"), lambda: host.forge().pull_request(REPO, 7)):
        with pytest.raises(ForgeError, match="404") as caught:
            call()
        assert caught.value.reason == "forge.not_found"
