"""What is to be done about what is there already: the pure part of a publish."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.errors import PushRefused
from upkeep.forges.base import PullRequest
from upkeep.forges.text import on_top
from upkeep.publish import Plan, RemoteBranch, horizon, link, plan, pointer, superseded_by

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BRANCH = "autoupdate/analytics/1"


def pull_request(
    number: int, state: Literal["open", "closed", "merged"] = "open", branch: str = BRANCH, body: str = "Body"
) -> PullRequest:
    at = EPOCH + timedelta(hours=number)
    return PullRequest(
        forge="github",
        repo="o/dashboard",
        number=number,
        url=f"https://github.com/o/dashboard/pull/{number}",
        state=state,
        title="Title",
        body=body,
        head_branch=branch,
        head_sha="a" * 40,
        base_branch="main",
        created_at=at,
        updated_at=at,
    )


def superseded(number: int, branch: str = BRANCH) -> PullRequest:
    return pull_request(number, "closed", branch, on_top(pointer(pull_request(number + 1)), "Body"))


def nowhere() -> RemoteBranch | None:
    return None


def not_asked() -> RemoteBranch | None:
    raise AssertionError("the remote was asked although the pull requests settle it")


pull_requests = st.lists(
    st.builds(
        lambda state, branch, ours: (state, branch, ours),
        st.sampled_from(["open", "closed", "merged"]),
        st.sampled_from([BRANCH, "autoupdate/analytics/0", "other"]),
        st.booleans(),
    ),
    max_size=6,
).map(
    lambda rows: [
        superseded(number, branch) if state == "closed" and ours else pull_request(number, state, branch)
        for number, (state, branch, ours) in enumerate(rows, 1)
    ]
)
remotes = st.one_of(
    st.none(),
    st.builds(RemoteBranch, sha=st.just("b" * 40), foreign=st.lists(st.just("c" * 40), max_size=2).map(tuple)),
)


@settings(deadline=None, max_examples=300)
@given(pull_requests, remotes)
def test_nothing_of_a_person_is_undone(listed: list[PullRequest], remote: RemoteBranch | None) -> None:
    ours = [one for one in listed if one.head_branch == BRANCH]
    try:
        decided = plan(BRANCH, listed, lambda: remote)
    except PushRefused:
        assert remote is not None
        assert remote.foreign
        assert all(superseded_by(one) is not None for one in ours)
        return
    if decided.action == "push":
        # Never a second one beside an open one, never again what a person closed or merged, never over foreign commits.
        assert all(one.state == "closed" and superseded_by(one) is not None for one in ours)
        assert remote is None or not remote.foreign
        assert decided.expect == (remote.sha if remote else None)
        return
    assert decided.pull_request in ours
    assert decided.pull_request.state == {"adopt": "open", "merged": "merged", "declined": "closed"}[decided.action]
    if decided.action == "declined":
        assert superseded_by(decided.pull_request) is None
    assert (decided.action == "adopt") == any(one.state == "open" for one in ours)


@settings(deadline=None, max_examples=100)
@given(pull_requests, remotes, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(
    listed: list[PullRequest], remote: RemoteBranch | None, dice: object
) -> None:
    shuffled = [*listed]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]

    def outcome(rows: list[PullRequest]) -> Plan | str:
        try:
            return plan(BRANCH, rows, lambda: remote)
        except PushRefused as refused:
            return refused.reason

    assert outcome(listed) == outcome(shuffled)


@pytest.mark.parametrize(
    ("listed", "action", "number"),
    [
        ([pull_request(1, "open")], "adopt", 1),
        ([pull_request(1, "closed"), pull_request(2, "open")], "adopt", 2),
        ([pull_request(1, "merged"), pull_request(2, "closed")], "merged", 1),
        ([pull_request(1, "closed"), superseded(2)], "declined", 1),
    ],
)
def test_what_is_there_settles_it_without_asking_the_remote(
    listed: list[PullRequest], action: str, number: int
) -> None:
    decided = plan(BRANCH, listed, not_asked)
    assert decided.action == action
    assert decided.pull_request is not None
    assert decided.pull_request.number == number


def test_a_new_branch_is_pushed_with_an_empty_lease() -> None:
    assert plan(BRANCH, [pull_request(1, branch="other")], nowhere) == Plan("push", expect=None)


def test_a_branch_that_an_earlier_run_left_is_pushed_over_with_its_sha_as_the_lease() -> None:
    assert plan(BRANCH, [], lambda: RemoteBranch("b" * 40)) == Plan("push", expect="b" * 40)


def test_a_branch_with_a_persons_commits_is_refused_with_a_way_out() -> None:
    with pytest.raises(PushRefused) as caught:
        plan(BRANCH, [], lambda: RemoteBranch("b" * 40, ("c" * 40,)))
    assert caught.value.reason == "git.person_on_branch"
    assert caught.value.details["commits"] == ["c" * 40]
    assert BRANCH in caught.value.remedy


def test_a_pointer_is_recognised_on_top_of_a_body_only() -> None:
    note = pointer(pull_request(12))
    assert superseded_by(pull_request(1, "closed", body=on_top(note, "Body"))) == 12
    assert superseded_by(pull_request(1, "closed", body="x" * 1000 + note)) is None
    assert superseded_by(pull_request(1, "closed")) is None
    assert link(pull_request(12)) in note


def test_the_horizon_keeps_every_open_one_and_everything_since_the_last_merge() -> None:
    assert horizon([]) is None
    assert horizon([pull_request(3), pull_request(2, "closed")]) is None
    assert horizon([pull_request(3), pull_request(2, "merged"), pull_request(1, "merged")]) == EPOCH + timedelta(
        hours=2
    )
    assert horizon([pull_request(3, "merged"), pull_request(1)]) == EPOCH + timedelta(hours=1)
