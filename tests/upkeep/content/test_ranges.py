"""Which commits an update covers: every rule of the module docstring, on histories drawn as parent maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.ranges import BRANCH_PREFIX, Proposed, decide
from upkeep.errors import ConfigError
from upkeep.forges.base import PullRequest


@dataclass(frozen=True)
class Drawn:
    """A history as commit → parents."""

    parents: Mapping[str, tuple[str, ...]]

    def exists(self, sha: str) -> bool:
        return sha in self.parents

    def ancestors(self, sha: str) -> set[str]:
        seen: set[str] = set()
        todo = [sha] if sha in self.parents else []
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += self.parents[at]
        return seen

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return ancestor in self.ancestors(descendant)

    def merge_base(self, one: str, other: str) -> str | None:
        common = self.ancestors(one) & self.ancestors(other)
        return max(common, key=lambda sha: len(self.ancestors(sha)), default=None)


LINE = Drawn({"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "x": ("b",), "island": ()})


def pull(
    number: int, sha: str, state: Literal["open", "closed", "merged"] = "open", *, touched: bool = False,
    superseded: bool = False, describes: str | None = None,
) -> Proposed:  # fmt: skip
    now = datetime(2026, 1, number, tzinfo=UTC)
    return Proposed(
        PullRequest(
            forge="here", repo="o/d", number=number, url=f"pr/{number}", state=state, title="", body="",
            head_branch=BRANCH_PREFIX + sha, head_sha=f"head{number}", base_branch="main", created_at=now,
            updated_at=now,
        ),
        touched=touched,
        superseded=superseded,
        describes=describes,
    )  # fmt: skip


def plan(head: str, recorded: str | None, *proposed: Proposed, begin_after: str | None = None, history: Drawn = LINE):  # type: ignore[no-untyped-def]
    return decide(head, recorded=recorded, begin_after=begin_after, proposed=proposed, history=history)


def test_the_range_starts_at_what_the_content_records() -> None:
    made = plan("d", "b")
    assert (made.decision, made.kind, made.base, made.described) == ("update", "range", "b", "b")


def test_an_empty_range_is_nothing_to_do() -> None:
    assert plan("d", "d").decision == "nothing_new"


def test_a_head_older_than_the_record_is_an_empty_range() -> None:
    made = plan("b", "d")
    assert made.decision == "nothing_new"
    assert "older" in made.reason


def test_a_first_run_is_a_bootstrap_unless_begin_after_says_where() -> None:
    assert plan("d", None).kind == "bootstrap"
    made = plan("d", None, begin_after="b")
    assert (made.kind, made.base) == ("range", "b")


def test_begin_after_means_nothing_once_the_content_records_a_commit() -> None:
    assert plan("d", "c", begin_after="a").base == "c"


def test_begin_after_outside_the_history_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="begin_after"):
        plan("d", None, begin_after="nowhere")


def test_an_open_pull_request_for_the_head_is_enough_and_leftovers_are_still_superseded() -> None:
    made = plan("d", "a", pull(2, "d"), pull(1, "c"))
    assert made.decision == "exists"
    assert [each.pull_request.number for each in made.supersedes] == [1]


def test_a_pull_request_that_a_person_closed_is_never_recreated_for_its_head() -> None:
    made = plan("d", "a", pull(1, "d", "closed"))
    assert made.decision == "declined"
    assert made.pull_request is not None


def test_declined_content_is_not_proposed_again() -> None:
    assert plan("d", "a", pull(1, "b", "closed")).base == "b"


def test_a_superseded_pull_request_declines_nothing() -> None:
    assert plan("d", "a", pull(1, "b", "closed", superseded=True)).base == "a"


def test_a_declined_head_before_the_record_changes_nothing() -> None:
    assert plan("d", "c", pull(1, "b", "closed")).base == "c"


def test_a_declined_head_of_other_history_changes_nothing() -> None:
    assert plan("d", "a", pull(1, "x", "closed")).base == "a"


def test_an_untouched_open_pull_request_is_superseded_and_its_range_covered() -> None:
    made = plan("d", "a", pull(1, "b"))
    assert made.base == "a"
    assert [each.pull_request.number for each in made.supersedes] == [1]
    assert made.stacked_on is None


def test_a_touched_open_pull_request_is_stacked_upon_and_stays() -> None:
    made = plan("d", "a", pull(1, "b", touched=True, describes="b"), pull(2, "c"))
    assert made.stacked_on is not None
    assert made.stacked_on.pull_request.number == 1
    assert made.base == "b"
    assert [each.pull_request.number for each in made.supersedes] == [2]


def test_of_two_touched_pull_requests_the_newest_is_stacked_upon() -> None:
    made = plan("d", "a", pull(1, "b", touched=True), pull(2, "c", touched=True))
    assert made.stacked_on is not None
    assert made.stacked_on.pull_request.number == 2
    assert made.supersedes == ()


def test_rewritten_history_starts_at_the_merge_base_and_remembers_what_is_described() -> None:
    made = plan("x", "d")
    assert (made.kind, made.base, made.described) == ("rewritten", "b", "d")


def test_without_common_ancestor_the_whole_tree_is_looked_at_again() -> None:
    assert plan("island", "d").kind == "bootstrap"


def test_a_recorded_commit_that_is_gone_is_a_bootstrap_that_says_so() -> None:
    made = plan("d", "vanished")
    assert made.kind == "bootstrap"
    assert "gone" in made.reason


@st.composite
def situations(draw: st.DrawFn) -> tuple[str, str | None, list[Proposed], Drawn]:
    names = [f"c{index}" for index in range(draw(st.integers(2, 7)))]
    parents: dict[str, tuple[str, ...]] = {}
    for index, name in enumerate(names):
        earlier = st.sampled_from(names[:index]) if index else st.nothing()
        parents[name] = tuple(draw(st.lists(earlier, max_size=2, unique=True))) if index else ()
    proposed = []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        state = draw(st.sampled_from(["open", "closed", "merged"]))
        proposed.append(
            pull(
                number,
                draw(st.sampled_from([*names, "foreign"])),
                state,
                touched=draw(st.booleans()),
                superseded=state == "closed" and draw(st.booleans()),
            )
        )
    recorded = draw(st.sampled_from([None, "vanished", *names]))
    return draw(st.sampled_from(names)), recorded, proposed, Drawn(parents)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(situations())
def test_whatever_the_forge_says_the_promises_hold(situation: tuple[str, str | None, list[Proposed], Drawn]) -> None:
    head, recorded, proposed, history = situation
    made = decide(head, recorded=recorded, begin_after=None, proposed=proposed, history=history)
    same_head = [each for each in proposed if each.upstream_head == head]
    if any(each.pull_request.state in {"open", "merged"} for each in same_head):
        assert made.decision == "exists"
    elif any(each.declined for each in same_head):
        assert made.decision == "declined"
    for each in made.supersedes:
        assert each.pull_request.state == "open"
        assert not each.touched
        assert each.upstream_head != head
    if made.decision == "update":
        assert (made.kind == "bootstrap") == (made.base is None)
        if made.base is not None:
            assert history.is_ancestor(made.base, head)
            assert made.base != head
        touched = [each for each in proposed if each.touched and each.pull_request.state == "open"]
        assert (made.stacked_on is not None) == bool(touched)
