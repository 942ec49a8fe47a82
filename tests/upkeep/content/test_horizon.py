"""A dashboard with a long past: no more calls for it, and nothing of it forgotten that still matters."""

from __future__ import annotations

from dataclasses import replace

from tests.support.github import GitHub
from tests.support.updates import CART, REPO, Pair, cart
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.database import events
from upkeep.database.events import EventType


def ours(pair: Pair) -> dict[str, tuple[int, str]]:
    """Number and state of each pull request of ours, by upstream head."""
    found = pair.forge.pull_requests(REPO, branch_prefix=BRANCH_PREFIX)
    return {each.head_branch.removeprefix(BRANCH_PREFIX): (each.number, each.state) for each in found}


def proposed(pair: Pair, *names: str) -> str:
    """Push a cart with these events (none: leave the app as it is), update, and return the head."""
    head = pair.push({CART: cart(*names)}) if names else pair.app.head()
    pair.update()
    return head


def merged(pair: Pair, *names: str) -> str:
    head = proposed(pair, *names)
    pair.persons.merges(ours(pair)[head][0])
    return head


def declined(pair: Pair, *names: str) -> str:
    head = proposed(pair, *names)
    pair.persons.closes(ours(pair)[head][0])
    return head


def set_back(pair: Pair, head: str) -> None:
    pair.app.git("reset", "-q", "--hard", head)
    pair.app.git("push", "-q", "--force", pair.upstream.url, "HEAD:refs/heads/main")


def test_an_update_takes_at_most_four_calls_however_long_the_past(github_pair: Pair, github: GitHub) -> None:
    merged(github_pair)
    pulls = github.server.repositories[REPO].pulls
    for number in range(2, 122):  # more than a page of other people's
        pulls[number] = replace(pulls[1], number=number, head=f"topic-{number}", created_at=github.server.clock)
    merged(github_pair, "cart opened")
    untouched = proposed(github_pair, "cart opened", "cart closed")

    head = github_pair.push({CART: cart("cart opened", "cart closed", "cart cleared")})
    seen = len(github.requests)
    github_pair.update()

    assert len(github.requests) - seen <= 4
    found = ours(github_pair)
    assert (found[untouched][1], found[head][1]) == ("closed", "open")


def test_a_merge_that_is_reverted_brings_back_what_was_declined_before_it(pair: Pair) -> None:
    merged(pair)
    before = pair.branches()["main"]
    refused = declined(pair, "cart opened")
    merged(pair, "cart opened", "cart closed")
    merged(pair, "cart opened", "cart closed", "cart cleared")

    pair.dashboard.git("update-ref", "refs/heads/main", before)
    pair.push({CART: cart("cart opened", "cart closed", "cart cleared", "cart left")})

    assert pair.update().change_set.base == refused


def test_a_declined_head_that_comes_back_is_not_proposed_again(pair: Pair) -> None:
    first = merged(pair)
    refused = declined(pair, "cart opened")
    set_back(pair, first)
    merged(pair, "cart closed")
    merged(pair, "cart closed", "cart cleared")

    set_back(pair, refused)

    assert pair.update().reason == "pull_request_declined"


def test_a_dry_run_leaves_no_horizon_behind(pair: Pair) -> None:
    merged(pair)
    pair.push({CART: cart("cart opened")})
    for dry_run in (True, False):
        pair.update(dry_run=dry_run)
        with pair.database.session() as session:
            known = events.newest_of(session, "content", "watch:ferry", EventType.PR_LISTED)
        assert (known is None) == dry_run
