"""GitHub's list of repositories through the real gh: all of it, or told that it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.github import BOT, GitHub
from tests.support.github_server import HostedRepository
from upkeep.errors import ForgeError
from upkeep.forges.base import Listing


@pytest.fixture
def org(github: GitHub) -> GitHub:
    """An organisation of 120 repositories, one of them private, and one of the account's own."""
    for number in range(120):
        name = f"coulomb/r{number:03}"
        github.server.repositories[name] = HostedRepository(name, Path("/nowhere"), private=number == 7)
    github.server.repositories[f"{BOT}/mine"] = HostedRepository(f"{BOT}/mine", Path("/nowhere"))
    return github


def listed(github: GitHub, *organizations: str, own: bool = False) -> Listing:
    return github.forge(sleep=lambda _: None).list_repositories(organizations, own=own)


def test_all_pages_are_read_and_the_count_of_the_account_proves_them(org: GitHub) -> None:
    found = listed(org, "coulomb", own=True)
    assert found.complete
    assert [one.full_name for one in found.repositories] == [*(f"coulomb/r{n:03}" for n in range(120)), f"{BOT}/mine"]
    assert found.repositories[7].private
    assert found.repositories[0].addresses[0] == "https://github.com/coulomb/r000.git"


def test_a_repository_that_comes_meanwhile_is_found_by_a_second_scan(org: GitHub) -> None:
    fault = org.fault("GET /orgs/coulomb/repos", status=502, after=True)
    forge = org.forge(
        sleep=lambda _: org.server.repositories.setdefault("coulomb/new", HostedRepository("coulomb/new", Path("/x")))
    )
    found = forge.list_repositories(("coulomb",), own=False)
    assert fault.times == 0
    assert (len(found.repositories), found.complete) == (121, True)


def test_an_account_that_is_no_member_cannot_prove_that_it_sees_all(org: GitHub) -> None:
    org.server.strangers.add(BOT)
    found = listed(org, "coulomb")
    assert len(found.repositories) == 119
    assert found.gaps == (
        "organisation coulomb: private repositories are counted for members only, so nothing proves the list",
    )


def test_a_page_that_cannot_be_read_is_an_error(org: GitHub) -> None:
    org.fault("GET /orgs/coulomb/repos", status=502, times=9)
    with pytest.raises(ForgeError, match="502"):
        listed(org, "coulomb")


def test_one_repository_is_found_by_id_and_by_name(org: GitHub) -> None:
    forge = org.forge()
    found = forge.find_repository(id=1003)
    assert found is not None
    assert found == forge.find_repository(name="coulomb/r003")
    assert forge.find_repository(id=9) is None
    assert forge.find_repository(name="coulomb/none") is None
