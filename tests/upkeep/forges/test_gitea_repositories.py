"""Gitea's list of repositories: all of it, or told that it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.gitea import BOT, TOKEN, Gitea
from upkeep.errors import AuthenticationFailed, ForgeError, ForgeUnavailable
from upkeep.forges.base import Listing
from upkeep.forges.gitea import GiteaForge


@pytest.fixture
def org(gitea: Gitea) -> Gitea:
    """An organisation of 23 repositories; a page has five."""
    gitea.server.max_response_items = 5
    for number in range(1, 24):
        gitea.lists(f"coulomb/r{number:02}")
    return gitea


def forge(gitea: Gitea) -> GiteaForge:
    return gitea.forge(sleep=lambda _: None)


def listed(gitea: Gitea, *organizations: str, own: bool = False) -> Listing:
    return forge(gitea).list_repositories(organizations or ("coulomb",), own=own)


def names(listing: Listing) -> list[str]:
    return [one.full_name for one in listing.repositories]


def pages(gitea: Gitea) -> list[str]:
    return sorted(one.query["page"] for one in gitea.requests if one.path.endswith("/repos"))


def test_every_page_is_read_once_whatever_the_server_gives_a_page(org: Gitea) -> None:
    told: list[tuple[int, int]] = []
    found = forge(org).list_repositories(
        ("coulomb",), own=False, progress=lambda read, total: told.append((read, total))
    )
    assert names(found) == [f"coulomb/r{number:02}" for number in range(1, 24)]
    assert found.complete
    assert pages(org) == ["1", "2", "3", "4", "5"]
    assert told == [(5, 23), (10, 23), (15, 23), (20, 23), (23, 23)]
    limits = {one.query["page"]: one.query["limit"] for one in org.requests if one.query}
    assert limits == {"1": "100"} | dict.fromkeys("2345", "5"), "the first comes along with the server's settings"


def test_what_a_person_needs_to_decide_is_told(gitea: Gitea) -> None:
    pushed = datetime(2026, 1, 30, 8, tzinfo=UTC)
    record = gitea.lists("coulomb/x", description="Größe", language="Go", size=2048, archived=True, fork=True)
    record.updated_at = pushed
    gitea.lists("coulomb/y", mirror=True, private=True)
    one, other = listed(gitea).repositories
    assert (one.id, one.description, one.language, one.size_kib, one.pushed_at) == (1, "Größe", "Go", 2048, pushed)
    assert (one.archived, one.fork, one.mirror, one.private) == (True, True, False, False)
    assert (other.archived, other.fork, other.mirror, other.private) == (False, False, True, True)
    assert "https://gitea.example/coulomb/x.git" in one.addresses
    assert "git@gitea.example:coulomb/x.git" in one.addresses


def test_organisations_and_the_account_itself_are_one_list_by_id(org: Gitea) -> None:
    org.lists("other/a")
    org.lists(f"{BOT}/mine")
    found = listed(org, "coulomb", "other", own=True)
    assert found.complete
    assert names(found)[-2:] == ["other/a", f"{BOT}/mine"]
    assert len(found.repositories) == 25


def test_an_empty_organisation_is_an_empty_list(gitea: Gitea) -> None:
    gitea.server.organizations.add("coulomb")
    found = listed(gitea)
    assert (found.repositories, found.complete) == ((), True)


def test_a_repository_that_comes_while_pages_are_read_is_found_by_a_second_scan(org: Gitea) -> None:
    def grows(request: Any) -> None:
        if request.query.get("page") == "3" and len(org.server.repositories) == 23:
            org.lists("coulomb/new")

    org.server.before = grows
    found = listed(org)
    assert (len(found.repositories), found.complete) == (24, True)
    assert len(pages(org)) == 10


def test_a_repository_that_goes_while_pages_are_read_takes_no_other_with_it(org: Gitea) -> None:
    """All that follow move up a place: the first of the next page would be lost."""

    def shrinks(request: Any) -> None:
        if request.query.get("page") == "1":
            org.server.before = lambda later: org.server.repositories.pop(1, None) and None

    org.server.before = shrinks
    found = listed(org)
    assert names(found) == [f"coulomb/r{number:02}" for number in range(2, 24)]
    assert found.complete


def test_a_page_that_repeats_is_scanned_again_and_then_told(org: Gitea) -> None:
    org.server.same_page = True
    found = listed(org)
    assert not found.complete
    assert "changed or repeated itself in 3 scans" in found.gaps[0]
    assert names(found) == [f"coulomb/r{number:02}" for number in range(1, 6)]


def test_repositories_that_the_account_may_not_see_are_counted_and_told(org: Gitea) -> None:
    for number in (3, 7):
        org.server.repositories[number].hidden_from.add(BOT)
    found = listed(org)
    assert len(found.repositories) == 21
    assert not found.complete
    assert "counts 23 and shows 21: 2 are not visible to this account" in found.gaps[0]
    assert len(pages(org)) == 10, "two scans that are short in the same way are enough"


def test_without_a_count_nothing_proves_the_list(org: Gitea) -> None:
    org.fault("GET .*/repos$", status=200, content="[]")
    found = listed(org)
    assert found.gaps == (
        "organisation coulomb: the forge does not say how many there are (no X-Total-Count), so nothing proves the "
        "list",
    )


@pytest.mark.parametrize(
    "fault",
    [{"status": 502}, {"drop": True}, {"cut": True, "after": True}, {"short": True, "after": True}],
)
def test_a_page_that_fails_once_is_read_again(org: Gitea, fault: dict[str, Any]) -> None:
    org.fault("GET .*/repos$", times=3, **fault)
    found = listed(org)
    assert (len(found.repositories), found.complete) == (23, True)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 502}, "forge.unavailable"),
        ({"status": 200, "content": "<html>", "kind": "text/html"}, "forge.not_json"),
        ({"short": True, "after": True}, "forge.half_answer"),
        ({"status": 200, "content": '[{"id": "one"}]'}, "forge.unexpected"),
        ({"status": 307, "headers": {"Location": "https://evil.example/"}}, "forge.redirected_elsewhere"),
    ],
)
def test_a_page_that_cannot_be_read_is_an_error_and_never_a_shorter_list(
    org: Gitea, fault: dict[str, Any], reason: str
) -> None:
    def breaks(request: Any) -> None:
        # The first page is served already; those after it are asked for together.
        if request.path.endswith("/repos") and request.query.get("page", "1") == "1":
            org.fault("GET .*/repos$", times=99, **fault)

    org.server.before = breaks
    with pytest.raises((ForgeError, ForgeUnavailable)) as caught:
        listed(org)
    assert caught.value.reason == reason


def test_an_organisation_that_is_not_there_and_a_scope_that_is_missing_are_errors(org: Gitea) -> None:
    with pytest.raises(ForgeError) as caught:
        listed(org, "nobody")
    assert caught.value.reason == "forge.not_found"
    org.server.scopes[TOKEN] = {"repository": "write"}
    with pytest.raises(AuthenticationFailed, match="read:organization") as scope:
        listed(org)
    assert "organization and user" in scope.value.remedy


def test_one_repository_is_found_by_its_id_and_by_a_name_that_it_had(org: Gitea) -> None:
    org.server.rename(org.server.repositories[5], "team/five")
    here = forge(org)
    found = here.find_repository(id=5)
    assert found is not None
    assert found.full_name == "team/five"
    assert here.find_repository(name="coulomb/r05") == found
    assert here.find_repository(name="coulomb/none") is None
    assert here.find_repository(id=99) is None
