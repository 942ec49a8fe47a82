"""One update after another on real repositories: what is proposed, what is left alone, what is recorded."""

from __future__ import annotations

import json

import pytest

from tests.support.repositories import RepoBuilder
from tests.support.tools import unavailable
from tests.support.updates import CART, REPO, Pair, cart
from upkeep.content.folder import EVIDENCE
from upkeep.content.mermaid import FOLDER_VARIABLE, NodeMermaid
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.content.service import rebuild_state
from upkeep.content.watching import poll_heads
from upkeep.database.state import read_watch
from upkeep.errors import BranchGone, ContentInvalid, RepositoryNotReady
from upkeep.publish import superseded_by


def states(pair: Pair) -> dict[int, str]:
    return {each.number: each.state for each in pair.forge.pull_requests(REPO)}


def recorded(pair: Pair, rev: str = "main") -> str:
    return str(json.loads(pair.dashboard.read(rev, f"content/analytics/{EVIDENCE}"))["commit"])


def names(pair: Pair, rev: str) -> set[str]:
    found = set()
    for path in pair.dashboard.files(rev):
        if path.startswith("content/analytics/") and path.endswith("/events.json"):
            found |= {event["name"] for event in json.loads(pair.dashboard.read(rev, path))["events"]}
    return found


def test_a_first_update_proposes_what_the_dashboard_lacks_and_leaves_main_alone(each_pair: Pair) -> None:
    main = each_pair.branches()["main"]
    done = each_pair.update()
    assert (done.outcome, done.change_set.kind) == ("done", "bootstrap")
    branch = BRANCH_PREFIX + each_pair.app.head()
    assert set(each_pair.branches()) == {"main", branch}
    assert each_pair.branches()["main"] == main
    assert {"checkout coupon applied", "search no results shown"} <= names(each_pair, branch)
    assert recorded(each_pair, branch) == each_pair.app.head()
    with each_pair.database.session() as session:
        state = read_watch(session, "ferry")
    assert state.last_processed_commit == each_pair.app.head()
    assert state.attempts == {}


def test_a_second_update_of_the_same_head_does_nothing(each_pair: Pair) -> None:
    each_pair.update()
    again = each_pair.update()
    assert (again.outcome, again.reason) == ("nothing_new", "pull_request_open")
    assert states(each_pair) == {1: "open"}


def test_many_commits_become_one_pull_request(pair: Pair) -> None:
    pair.update()
    pair.persons.merges(1)
    assert pair.update().reason == "pull_request_merged"
    for index in range(4):
        pair.push({CART: cart(*(f"cart event {number}" for number in range(index + 1)))})
    done = pair.update()
    assert done.change_set.commit_count == 4
    assert states(pair) == {1: "merged", 2: "open"}
    assert {f"cart event {number}" for number in range(4)} <= names(pair, BRANCH_PREFIX + pair.app.head())


def test_the_base_is_what_the_content_records_after_a_squash_too(each_pair: Pair) -> None:
    first = each_pair.app.head()
    each_pair.update()
    each_pair.persons.merges(1)
    each_pair.push({CART: cart("cart opened")})
    assert each_pair.update().change_set.base == first


def test_an_untouched_open_pull_request_is_superseded_after_the_new_one_exists(each_pair: Pair) -> None:
    each_pair.update()
    each_pair.push({CART: cart("cart opened")})
    done = each_pair.update()
    assert states(each_pair) == {1: "closed", 2: "open"}
    assert superseded_by(each_pair.forge.pull_request(REPO, 1)) == 2
    assert {"cart opened", "checkout coupon applied"} <= names(each_pair, BRANCH_PREFIX + each_pair.app.head())
    assert done.change_set.kind == "bootstrap"


def test_a_persons_commit_is_built_upon_and_kept(each_pair: Pair) -> None:
    each_pair.update()
    branch = BRANCH_PREFIX + each_pair.app.head()
    person = each_pair.dashboard.clone(each_pair.folder / "person", branch=branch)
    person.commit({"content/analytics/notes.md": "checked by ada\n"}, "Note")
    person.git("push", "-q", "origin", branch)
    each_pair.push({CART: cart("cart opened")})
    done = each_pair.update()
    assert done.change_set.stacked_on is not None
    assert states(each_pair) == {1: "open", 2: "open"}
    new = BRANCH_PREFIX + each_pair.app.head()
    assert each_pair.dashboard.read(new, "content/analytics/notes.md") == b"checked by ada\n"
    assert "cart opened" in names(each_pair, new)
    assert each_pair.branches()[branch] == person.head()


def test_a_comment_of_a_person_keeps_a_pull_request_open_too(each_pair: Pair) -> None:
    each_pair.update()
    each_pair.persons.comments(1)
    each_pair.push({CART: cart("cart opened")})
    each_pair.update()
    assert states(each_pair) == {1: "open", 2: "open"}


def test_a_declined_pull_request_is_not_recreated_and_its_content_not_proposed_again(each_pair: Pair) -> None:
    each_pair.update()
    each_pair.persons.merges(1)
    each_pair.push({CART: cart("cart opened")})
    declined = each_pair.app.head()
    each_pair.update()
    each_pair.persons.closes(2)
    assert each_pair.update().reason == "pull_request_declined"
    each_pair.push({CART: cart("cart opened", "cart closed")})
    done = each_pair.update()
    assert done.change_set.base == declined
    found = names(each_pair, BRANCH_PREFIX + each_pair.app.head())
    assert "cart closed" in found
    assert "cart opened" not in found


@pytest.mark.parametrize(
    ("relevance", "outcome", "reason"), [("any", "nothing_new", "no_change"), ("calls", "skipped", "not_relevant")]
)
def test_commits_without_any_effect_are_processed_and_covered_by_the_next_range(
    pair: Pair, relevance: str, outcome: str, reason: str
) -> None:
    if relevance == "any":  # `calls` is what holds for the offline agent
        pair.config.write_text(pair.config.read_text() + "    relevance: any\n")
    pair.update()
    pair.persons.merges(1)
    first = recorded(pair)
    quiet = pair.push({"README.md": "# Ferry, improved\n"})
    done = pair.update()
    assert (done.outcome, done.reason) == (outcome, reason)
    assert (done.content is None) == (relevance == "calls")
    with pair.database.session() as session:
        assert read_watch(session, "ferry").last_processed_commit == quiet
    pair.push({CART: cart("cart opened")})
    later = pair.update()
    assert later.change_set.base == first
    assert later.change_set.commit_count == 2


def test_rewritten_history_starts_at_the_merge_base_and_is_said_in_the_pull_request(pair: Pair) -> None:
    start = pair.app.head()
    pair.push({CART: cart("cart opened")})
    pair.update()
    pair.persons.merges(1)
    pair.app.reset(start)
    pair.push({CART: cart("cart shown")}, "Rewritten")
    done = pair.update()
    assert (done.change_set.kind, done.change_set.base) == ("rewritten", start)
    body = pair.forge.pull_request(REPO, 2).body
    assert "history was rewritten" in body
    found = names(pair, BRANCH_PREFIX + pair.app.head())
    assert "cart shown" in found
    assert "cart opened" not in found


def test_history_without_common_ancestor_is_a_bootstrap(pair: Pair) -> None:
    pair.update()
    pair.persons.merges(1)
    pair.app.git("checkout", "-q", "--orphan", "fresh")
    pair.push({CART: cart("cart opened")}, "New beginning")
    done = pair.update()
    assert done.change_set.kind == "bootstrap"
    assert "no common ancestor" in done.change_set.reason


def test_a_branch_that_is_gone_is_an_error_and_state_stays(pair: Pair) -> None:
    pair.update()
    before = pair.app.head()
    pair.upstream.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(BranchGone):
        pair.update()
    with pair.database.session() as session:
        assert read_watch(session, "ferry").last_processed_commit == before


def test_a_dry_run_leaves_nothing_behind(pair: Pair) -> None:
    done = pair.update(dry_run=True)
    assert done.published is not None
    assert done.published.outcome == "dry_run"
    assert "## What changed" in done.published.body
    assert set(pair.branches()) == {"main"}
    assert states(pair) == {}
    with pair.database.session() as session:
        assert read_watch(session, "ferry").last_processed_commit is None


def test_three_failed_attempts_give_a_head_up_until_retry_or_a_new_head(pair: Pair) -> None:
    events = pair.dashboard.read("main", "content/analytics/search/events.json")
    assert events

    def fail(step: str) -> None:
        if step == "publish":
            raise ContentInvalid("as if it were invalid")

    for _ in range(3):
        with pytest.raises(ContentInvalid):
            pair.update(before=fail)
    given_up = pair.update()
    assert (given_up.outcome, given_up.reason) == ("skipped", "attempts_exhausted")
    assert states(pair) == {}
    assert pair.update(retry=True).outcome == "done"


def test_lost_state_is_rebuilt_from_the_forge(each_pair: Pair) -> None:
    each_pair.update()
    with each_pair.database.session() as session:
        session.connection().exec_driver_sql("DELETE FROM upkeep.watches")
    rebuilt = rebuild_state(each_pair.settings, "ferry", each_pair.database)
    assert rebuilt.last_processed_commit == each_pair.app.head()
    assert rebuilt.last_pr_url == each_pair.forge.pull_request(REPO, 1).url


def test_the_body_carries_the_same_for_machines(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE)
    if (missing := NodeMermaid().missing()) is not None:
        unavailable(missing)
    pair.update()
    body = pair.forge.pull_request(REPO, 1).body
    block = body.partition("```json\n")[2].partition("\n```")[0]
    record = json.loads(block)
    assert record["watch"] == "ferry"
    assert record["upstream"]["head"] == pair.app.head()
    assert record["validation"]["errors"] == 0
    assert record["counts"]["events_added"] == 2
    assert "mermaid" in record["checks_run"]
    assert record["checks_unavailable"] == []
    assert "lists differ" not in body


def test_two_watches_on_one_dashboard_leave_each_others_pull_requests_alone(each_pair: Pair) -> None:
    each_pair.update()
    branch = BRANCH_PREFIX + "f" * 40
    each_pair.dashboard.branch(branch, "main")
    other = each_pair.dashboard.clone(each_pair.folder / "other", branch=branch)
    other.commit({"content/web/x.md": "x\n"})
    other.git("push", "-q", "origin", branch)
    each_pair.persons.opens(branch, body="<!-- upkeep:update web -->\n\nOf another watch.")
    each_pair.push({CART: cart("cart opened")})
    each_pair.update()
    assert states(each_pair) == {1: "closed", 2: "open", 3: "open"}


@pytest.fixture
def working_copy(pair: Pair) -> Pair:
    """The same pair, watched through a person's working copy of the app."""
    pair.upstream.clone(pair.folder / "copy")
    config = pair.config.read_text().replace(f'url: "{pair.upstream.url}"', "path: copy")
    pair.config.write_text(config)
    return pair


def test_a_working_copy_is_pulled_and_its_new_commits_proposed(working_copy: Pair) -> None:
    head = working_copy.push({CART: cart("cart opened")})
    assert poll_heads(working_copy.settings, deadline=30)["ferry"].sha == head
    done = working_copy.update()
    assert done.change_set.head == head
    assert RepoBuilder(working_copy.folder / "copy", create=False).head() == head


def test_a_dirty_working_copy_is_left_as_it_is_and_said(working_copy: Pair) -> None:
    working_copy.push({CART: cart("cart opened")})
    readme = working_copy.folder / "copy" / "README.md"
    readme.write_text("mine\n")
    with pytest.raises(RepositoryNotReady) as caught:
        working_copy.update()
    assert caught.value.reason == "git.dirty"
    assert "stash" in caught.value.remedy
    assert readme.read_text() == "mine\n"
