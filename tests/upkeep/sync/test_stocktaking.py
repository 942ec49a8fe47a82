"""Taking the inventory: what is asked of forges, what is kept, and what a later look says without asking."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.gitea import BOT, TOKEN, Gitea
from tests.support.github import TOKEN as GITHUB_TOKEN
from tests.support.github import GitHub
from tests.support.github_server import HostedRepository
from tests.support.repositories import MakeRepository
from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.server import Database
from upkeep.errors import ConfigError, ForgeError
from upkeep.sync import recorded, registry, stocktaking
from upkeep.sync.inventory import Inventory

Register = Callable[..., None]


@pytest.fixture
def settings(tmp_path: Path, gitea: Gitea) -> Settings:
    return Settings.model_validate(
        {
            "home": tmp_path / "home",
            "forges": {
                "coulomb": {"kind": "gitea", "url": gitea.url, "token": TOKEN, "orgs": ["coulomb"], "user_repos": True},
                "hub": {"kind": "github", "token": GITHUB_TOKEN},
            },
        }
    )


@pytest.fixture
def register(database: Database, make_repository: MakeRepository) -> Register:
    def register(slug: str, **fields: Any) -> None:
        path = make_repository(f"{slug}-{uuid.uuid4().hex[:6]}").path
        with database.session() as session:
            registry.register(session, path, slug=slug, **fields)

    return register


def take(settings: Settings, database: Database, **options: Any) -> Inventory:
    return stocktaking.take(settings, database, **options)


def kept(database: Database, now: datetime | None = None) -> Inventory | None:
    with database.session() as session:
        return stocktaking.kept(session, now=now)


def slugs(found: Inventory) -> list[list[str]]:
    return [
        [one.repo_slug for one in found.registered],
        [one.full_name for one in found.unregistered],
        [one.repo_slug for one in found.hub_only],
    ]


def test_an_inventory_is_taken_kept_and_compared_anew_without_a_call(
    settings: Settings, database: Database, gitea: Gitea, register: Register
) -> None:
    for name in ("coulomb/docs", "coulomb/new", f"{BOT}/mine"):
        gitea.lists(name)
    register("docs", forge="coulomb", repo="coulomb/docs")
    register("gone", forge="coulomb", repo="coulomb/gone")
    found = take(settings, database)
    assert slugs(found) == [["docs"], ["coulomb/new", f"{BOT}/mine"], ["gone"]]
    assert found.forges[0].repositories == 3
    asked = len(gitea.requests)

    register("new", forge="coulomb", repo="coulomb/new")
    again = stocktaking.report(database, settings)
    assert again is not None
    assert slugs(again) == [["docs", "new"], [f"{BOT}/mine"], ["gone"]]
    assert again.forges[0].listed_at == found.forges[0].listed_at
    assert len(gitea.requests) == asked


def test_a_rename_is_followed_from_the_second_inventory_on_and_even_at_the_first(
    settings: Settings, database: Database, gitea: Gitea, register: Register
) -> None:
    docs, moved = gitea.lists("coulomb/docs"), gitea.lists("coulomb/moved")
    gitea.server.rename(moved, "coulomb/shifted")
    for name in ("docs", "moved"):
        register(name, forge="coulomb", repo=f"coulomb/{name}")
    first = take(settings, database)
    assert [(one.repo_slug, one.renamed_from) for one in first.registered] == [
        ("docs", None),
        ("moved", "coulomb/moved"),
    ]
    assert first.unregistered == ()

    gitea.server.rename(docs, "elsewhere/manual")
    gitea.lists("coulomb/docs")
    second = take(settings, database)
    assert [one.repository.full_name for one in second.registered] == ["elsewhere/manual", "coulomb/shifted"]
    assert slugs(second)[1:] == [["coulomb/docs"], []]


def test_a_name_that_was_changed_in_the_registry_is_another_repository(
    settings: Settings, database: Database, gitea: Gitea, register: Register
) -> None:
    for name in ("coulomb/a", "coulomb/b"):
        gitea.lists(name)
    register("x", forge="coulomb", repo="coulomb/a")
    take(settings, database)
    register("x", forge="coulomb", repo="coulomb/b")
    found = take(settings, database)
    assert [(one.repository.full_name, one.renamed_from) for one in found.registered] == [("coulomb/b", None)]
    assert [one.full_name for one in found.unregistered] == ["coulomb/a"]


def test_ignored_repositories_are_listed_apart_and_stay_ignored_when_renamed(
    settings: Settings, database: Database, gitea: Gitea
) -> None:
    record = gitea.lists("coulomb/dotfiles")
    with database.session() as session:
        registry.ignore(session, "coulomb/dotfiles", "mine alone")
    take(settings, database)
    gitea.server.rename(record, "coulomb/settings")
    found = take(settings, database)
    assert [(one.repository.full_name, one.note) for one in found.ignored] == [("coulomb/settings", "mine alone")]
    assert found.unregistered == ()


def test_a_list_with_gaps_is_kept_with_them_and_decides_nothing_about_the_hub(
    settings: Settings, database: Database, gitea: Gitea, register: Register
) -> None:
    gitea.lists("coulomb/secret", hidden_from={BOT})
    gitea.lists("coulomb/new")
    register("gone", forge="coulomb", repo="coulomb/gone")
    register("secret", forge="coulomb", repo="coulomb/secret")
    for found in (take(settings, database), kept(database)):
        assert found is not None
        assert not found.complete
        assert "1 are not visible" in found.forges[0].gaps[0]
        assert slugs(found) == [[], ["coulomb/new"], []]
        assert found.undecided == ("gone", "secret")


def test_a_page_that_fails_leaves_the_last_inventory_as_it_was(
    settings: Settings, database: Database, gitea: Gitea
) -> None:
    gitea.lists("coulomb/a")
    before = take(settings, database)
    gitea.lists("coulomb/b")
    gitea.fault("GET .*/repos$", status=200, content="<html>", kind="text/html", times=9)
    with pytest.raises(ForgeError):
        take(settings, database)
    after = kept(database)
    assert after is not None
    assert after.forges == before.forges
    assert slugs(after) == slugs(before)


def test_every_inventory_is_an_event(settings: Settings, database: Database, gitea: Gitea) -> None:
    gitea.lists("coulomb/a")
    take(settings, database, run_id="run-1")
    with database.session() as session:
        (event,) = events.of_subject(session, "sync", "forge:coulomb")
    assert (event.run_id, event.summary["repositories"], event.summary["complete"]) == ("run-1", 1, True)


def test_github_is_listed_beside_gitea(
    settings: Settings, database: Database, gitea: Gitea, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in github.configuration.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(github.gh).parent}{os.pathsep}{os.environ['PATH']}")
    gitea.lists("coulomb/a")
    github.server.repositories["team/b"] = HostedRepository("team/b", Path("/nowhere"))
    both = settings.model_copy(
        update={"forges": {**settings.forges, "hub": settings.forges["hub"].model_copy(update={"orgs": ("team",)})}}
    )
    assert slugs(take(both, database))[1] == ["coulomb/a", "team/b"]
    assert slugs(take(both, database, forge="hub"))[1] == ["team/b"]


def test_a_forge_that_cannot_be_listed_says_what_to_set(settings: Settings, database: Database) -> None:
    for name, reason in (
        ("here", "config.forge_kind"),
        ("hub", "config.nothing_to_list"),
        ("cuolomb", "config.unknown_forge"),
    ):
        with pytest.raises(ConfigError) as caught:
            take(settings, database, forge=name)
        assert caught.value.reason == reason
    with pytest.raises(ConfigError) as caught:
        take(Settings(), database)
    assert caught.value.reason == "config.nothing_to_list"
    assert "orgs" in caught.value.remedy


def test_nothing_was_taken_yet(database: Database) -> None:
    assert kept(database) is None


def test_a_forge_that_is_listed_no_longer_is_forgotten_by_the_next_inventory_of_all(
    settings: Settings, database: Database, gitea: Gitea
) -> None:
    gitea.lists("coulomb/a")
    take(settings, database)
    renamed = settings.model_copy(update={"forges": {"other": settings.forges["coulomb"]}})
    assert [each.forge for each in take(renamed, database, forge="other").forges] == ["other"]
    assert [each.forge for each in kept(database).forges] == ["coulomb", "other"]  # type: ignore[union-attr]
    assert [each.forge for each in take(renamed, database).forges] == ["other"]


def test_a_report_says_how_old_the_sync_is(
    settings: Settings, database: Database, gitea: Gitea, register: Register
) -> None:
    gitea.lists("coulomb/docs")
    register("docs", forge="coulomb", repo="coulomb/docs")
    with database.session() as session:
        recorded.record_attempt(session, "docs", findings=[], reason=None)
    take(settings, database)
    now = datetime.now(UTC)
    for later, band in ((timedelta(0), "fresh"), (timedelta(hours=2), "ageing"), (timedelta(days=2), "stale")):
        found = kept(database, now=now + later)
        assert found is not None
        assert found.registered[0].age == band


def test_whatever_a_description_says_is_kept_as_it_is(settings: Settings, database: Database, gitea: Gitea) -> None:
    words = ["a \x00 in it", "␛0000", "a \\u0000 that is none", "größe \U0001f600", "'; DROP TABLE x; --"]
    for number, text in enumerate(words):
        gitea.lists(f"coulomb/r{number}", description=text)
    taken = take(settings, database)
    assert [one.description for one in taken.unregistered] == words
    assert [one.description for one in kept(database).unregistered] == words  # type: ignore[union-attr]
