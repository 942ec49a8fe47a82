"""The rules of the inventory: who is who, and what may be said of a list that has gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.forges.base import ForgeRepository, Listing
from upkeep.sync.inventory import Inventory, Listed, Name, compare, ids_to_keep, overdue, questions
from upkeep.sync.registry import Managed

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST = "git.example"


def repository(number: int, name: str, **fields: Any) -> ForgeRepository:
    addresses = (f"https://{HOST}/{name}.git", f"git@ssh.{HOST}:{name}.git")
    return ForgeRepository(
        **{"forge": "coulomb", "id": number, "full_name": name, "url": f"https://{HOST}/{name}", "addresses": addresses}
        | fields
    )


def entry(slug: str, **fields: Any) -> Managed:
    plain = {"domain": "", "workplans": (), "fix": False, "source": "command", "state": "managed", "revision": 0}
    empty = dict.fromkeys(("forge", "repo", "remote", "note"))
    empty |= dict.fromkeys(("last_state_synced_at", "last_attempt_at", "last_attempt_reason"))
    return Managed(**{"slug": slug, "path": Path("/src") / slug} | plain | empty | fields)


def listed(
    *repositories: ForgeRepository,
    gaps: Sequence[str] = (),
    singly: Mapping[Name, ForgeRepository | None] | None = None,
) -> Listed:
    return Listed(Listing(forge="coulomb", repositories=repositories, gaps=tuple(gaps)), NOW, HOST, singly or {})


def taken(entries: Sequence[Managed], *lists: Listed, ids: Mapping[Name, int] | None = None) -> Inventory:
    return compare(entries, lists, ids or {}, NOW)


def slugs(found: Inventory) -> dict[str, list[str]]:
    return {
        "registered": [one.repo_slug for one in found.registered],
        "unregistered": [one.full_name for one in found.unregistered],
        "hub_only": [one.repo_slug for one in found.hub_only],
        "ignored": [one.repo_slug for one in found.ignored],
        "undecided": list(found.undecided),
    }


def test_registered_unregistered_hub_only_and_ignored_are_told_apart() -> None:
    entries = [
        entry("docs", forge="coulomb", repo="coulomb/docs", last_state_synced_at=NOW - timedelta(minutes=5)),
        entry("gone", forge="coulomb", repo="coulomb/gone"),
        entry("coulomb/dotfiles", state="ignored", note="private things"),
    ]
    found = taken(
        entries, listed(*(repository(n, f"coulomb/{name}") for n, name in enumerate(("docs", "new", "dotfiles"))))
    )
    assert slugs(found) == {
        "registered": ["docs"],
        "unregistered": ["coulomb/new"],
        "hub_only": ["gone"],
        "ignored": ["coulomb/dotfiles"],
        "undecided": [],
    }
    assert found.complete
    assert (found.registered[0].age, found.registered[0].renamed_from) == ("fresh", None)
    assert found.hub_only[0].why == "coulomb has no coulomb/gone"
    assert found.ignored[0].note == "private things"


@pytest.mark.parametrize(
    "remote",
    [
        "https://git.example/Coulomb/Docs.git",
        "https://me@git.example:3000/coulomb/docs",
        "ssh://git@git.example:2222/coulomb/docs.git",
        "git@ssh.git.example:coulomb/docs.git",
        "https://git.example/gitea/coulomb/docs.git",
    ],
)
def test_a_repository_that_names_no_forge_is_known_by_where_its_remote_leads(remote: str) -> None:
    found = taken([entry("docs", remote=remote)], listed(repository(1, "coulomb/docs"), repository(2, "coulomb/other")))
    assert slugs(found)["registered"] == ["docs"]
    assert slugs(found)["unregistered"] == ["coulomb/other"]


@pytest.mark.parametrize(
    "remote", ["https://elsewhere.example/coulomb/docs.git", "/srv/git/coulomb/docs.git", "docs", None]
)
def test_a_remote_that_leads_elsewhere_makes_it_hub_only_and_says_so(remote: str | None) -> None:
    found = taken([entry("docs", remote=remote)], listed(repository(1, "coulomb/docs")))
    assert slugs(found)["hub_only"] == ["docs"]
    assert (str(remote) if remote else "no remote") in found.hub_only[0].why


def test_names_are_compared_without_regard_to_case() -> None:
    found = taken([entry("docs", forge="coulomb", repo="Coulomb/Docs")], listed(repository(1, "coulomb/docs")))
    assert slugs(found)["registered"] == ["docs"]
    assert found.registered[0].renamed_from is None


def test_a_renamed_or_transferred_repository_is_recognised_by_its_id() -> None:
    entries = [entry("docs", forge="coulomb", repo="coulomb/docs")]
    ids = {("coulomb", "coulomb/docs"): 7}
    found = taken(entries, listed(repository(7, "team/manual"), repository(8, "coulomb/docs")), ids=ids)
    assert slugs(found)["registered"] == ["docs"]
    assert (found.registered[0].repository.full_name, found.registered[0].renamed_from) == (
        "team/manual",
        "coulomb/docs",
    )
    assert slugs(found)["unregistered"] == ["coulomb/docs"], "another one has taken its name"


def test_one_that_is_ignored_stays_so_after_it_was_renamed() -> None:
    entries = [entry("dotfiles", state="ignored")]
    before = listed(repository(7, "coulomb/dotfiles"))
    ids = ids_to_keep(entries, [before], {})
    assert slugs(taken(entries, before, ids=ids))["ignored"] == ["dotfiles"]
    found = taken(entries, listed(repository(7, "coulomb/settings")), ids=ids)
    assert slugs(found)["ignored"] == ["dotfiles"]
    assert found.unregistered == ()


def test_a_bare_name_ignores_nothing_where_it_is_that_of_two() -> None:
    found = taken([entry("x", state="ignored")], listed(repository(1, "a/x"), repository(2, "b/x")))
    assert slugs(found)["unregistered"] == ["a/x", "b/x"]
    assert found.ignored == ()


def test_a_list_with_gaps_makes_nothing_hub_only() -> None:
    entries = [entry("gone", forge="coulomb", repo="coulomb/gone"), entry("local")]
    found = taken(entries, listed(repository(1, "coulomb/new"), gaps=["page 2 is missing"]))
    assert slugs(found)["hub_only"] == []
    assert slugs(found)["undecided"] == ["gone", "local"]
    assert slugs(found)["unregistered"] == ["coulomb/new"]
    assert not found.complete
    assert found.forges[0].gaps == ("page 2 is missing",)


def test_a_gap_at_one_forge_keeps_what_is_missing_at_another_undecided() -> None:
    other = Listed(Listing(forge="hub", repositories=()), NOW, "github.com", {})
    entries = [entry("a", forge="hub", repo="o/a")]
    assert slugs(taken(entries, other))["hub_only"] == ["a"]
    assert slugs(taken(entries, other, listed(gaps=["x"])))["undecided"] == ["a"]


def test_repositories_of_a_forge_that_was_not_looked_at_are_left_out() -> None:
    found = taken([entry("a", forge="hub", repo="o/a")], listed(repository(1, "o/a")))
    assert slugs(found) == slugs(taken([], listed(repository(1, "o/a"))))


def test_what_the_list_lacks_is_asked_for_by_id_and_name() -> None:
    entries = [
        entry("docs", forge="coulomb", repo="coulomb/docs"),
        entry("moved", forge="coulomb", repo="coulomb/moved"),
        entry("mine", remote="git@ssh.git.example:ada/mine.git"),
        entry("listed", forge="coulomb", repo="coulomb/listed"),
        entry("local"),
        entry("other", forge="hub", repo="o/other"),
    ]
    ids = {("coulomb", "coulomb/moved"): 9}
    asked = questions(entries, listed(repository(1, "coulomb/listed")), ids)
    assert asked == {
        ("coulomb", "ada/mine"): None,
        ("coulomb", "coulomb/docs"): None,
        ("coulomb", "coulomb/moved"): 9,
    }


def test_what_was_found_singly_is_registered_though_no_list_has_it() -> None:
    entries = [
        entry("mine", remote=f"https://{HOST}/ada/mine.git"),
        entry("docs", forge="coulomb", repo="coulomb/docs"),
    ]
    singly = {("coulomb", "ada/mine"): repository(3, "ada/mine"), ("coulomb", "coulomb/docs"): None}
    found = taken(entries, listed(singly=singly))
    assert slugs(found)["registered"] == ["mine"]
    assert slugs(found)["hub_only"] == ["docs"]
    assert found.unregistered == ()


def test_a_name_that_was_given_to_a_new_repository_is_found_by_asking() -> None:
    """The old one is deleted: nothing has its id any more."""
    entries = [entry("docs", forge="coulomb", repo="coulomb/docs")]
    ids = {("coulomb", "coulomb/docs"): 7}
    bare = listed(repository(8, "coulomb/docs"))
    assert questions(entries, bare, ids) == {("coulomb", "coulomb/docs"): 7}
    answered = listed(
        repository(8, "coulomb/docs"), singly={("coulomb", "coulomb/docs"): repository(8, "coulomb/docs")}
    )
    assert slugs(taken(entries, answered, ids=ids))["registered"] == ["docs"]
    assert ids_to_keep(entries, [answered], ids) == {("coulomb", "coulomb/docs"): 8}


def test_two_working_copies_of_one_repository_are_both_registered() -> None:
    entries = [entry("a", forge="coulomb", repo="o/x"), entry("b", remote=f"https://{HOST}/o/x.git")]
    found = taken(entries, listed(repository(1, "o/x")))
    assert slugs(found)["registered"] == ["a", "b"]
    assert found.unregistered == ()


def test_a_managed_entry_comes_before_an_ignored_one() -> None:
    entries = [entry("o/x", state="ignored"), entry("x", forge="coulomb", repo="o/x")]
    found = taken(entries, listed(repository(1, "o/x")))
    assert (slugs(found)["registered"], slugs(found)["ignored"]) == (["x"], [])


def test_only_old_repositories_that_are_not_archived_are_overdue() -> None:
    old, young = NOW - timedelta(days=31), NOW - timedelta(days=29)
    found = taken(
        [entry("e", forge="coulomb", repo="o/e")],
        listed(
            repository(1, "o/a", created_at=young),
            repository(2, "o/b", created_at=old),
            repository(3, "o/c", created_at=old, archived=True),
            repository(4, "o/d"),
            repository(5, "o/e", created_at=old),
            repository(6, "o/f", created_at=old - timedelta(days=1)),
        ),
    )
    assert [one.full_name for one in overdue(found, NOW)] == ["o/f", "o/b"]


NAMES = st.sampled_from([f"{owner}/{name}" for owner in ("o", "p") for name in ("a", "b", "c")])
ENTRIES = st.lists(
    st.builds(
        lambda number, name, by_remote, state: entry(
            f"s{number}",
            state=state,
            **({"remote": f"https://{HOST}/{name}.git"} if by_remote else {"forge": "coulomb", "repo": name}),
        ),
        st.integers(0, 99),
        NAMES,
        st.booleans(),
        st.sampled_from(["managed", "ignored"]),
    ),
    max_size=6,
    unique_by=lambda one: one.slug,
)
REPOSITORIES = st.lists(
    st.tuples(st.integers(1, 9), NAMES), max_size=6, unique_by=(lambda each: each[0], lambda each: each[1])
)


@settings(deadline=None, max_examples=200)
@given(ENTRIES, REPOSITORIES, st.dictionaries(NAMES, st.integers(1, 9), max_size=3), st.booleans())
def test_every_repository_and_every_entry_stands_in_exactly_one_place(
    entries: list[Managed], repositories: list[tuple[int, str]], known: dict[str, int], whole: bool
) -> None:
    ids = {("coulomb", name): number for name, number in known.items()}
    lists = [listed(*(repository(*each) for each in repositories), gaps=() if whole else ("gap",))]
    found = compare(entries, lists, ids, NOW)
    places = [
        *(("registered", one.repository.id) for one in found.registered),
        *(("unregistered", one.id) for one in found.unregistered),
        *(("ignored", one.repository.id) for one in found.ignored),
    ]
    by_id: dict[int, set[str]] = {}
    for place, number in places:
        by_id.setdefault(number, set()).add(place)
    assert by_id.keys() == {number for number, _ in repositories}
    assert all(len(where) == 1 for where in by_id.values())
    managed = sorted(one.slug for one in entries if one.state == "managed")
    assert sorted([*slugs(found)["registered"], *slugs(found)["hub_only"], *found.undecided]) == managed
    assert not (found.hub_only and not whole)
    # What is kept makes the next look the same.
    ids |= ids_to_keep(entries, lists, ids)
    assert compare(entries, lists, ids, NOW) == found
    assert ids_to_keep(entries, lists, ids) == {}
