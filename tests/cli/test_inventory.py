"""`upkeep inventory` as a person sees it."""

from __future__ import annotations

import json

import pytest

from tests.support.gitea import BOT, Gitea
from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.hub import hub_on_gitea as hub_on_gitea
from upkeep.errors import ConfigError
from upkeep.sync.inventory import Inventory


@pytest.fixture
def terminal(hub_on_gitea: HubTerminal, gitea: Gitea) -> HubTerminal:
    """The hub with `sample`, which is on the forge, beside one that nobody manages."""
    gitea.lists("coulomb/new", description="Neu \x1b[31mred\x1b[0m", size=3000, archived=True, fork=True)
    return hub_on_gitea


def test_the_three_sections_say_what_a_person_needs(terminal: HubTerminal) -> None:
    said = terminal.out("inventory")
    registered, unregistered, hub_only = (
        said.partition(f"{title} (")[2].partition("\n\n")[0] for title in ("registered", "\nunregistered", "hub-only")
    )
    assert registered.startswith("1)")
    assert "coulomb/sample" in registered
    assert "stale" in registered
    for word in ("coulomb/new", "2.9 MiB", "Python", "archived, fork", "Neu"):
        assert word in unregistered
    assert "\x1b" not in said
    assert hub_only.startswith("0)")
    assert "upkeep repos ignore OWNER/NAME" in said


def test_json_is_the_published_model(terminal: HubTerminal) -> None:
    found = Inventory.model_validate(terminal.json("inventory", "--forge", "coulomb"))
    assert [one.repo_slug for one in found.registered] == ["sample"]
    assert [one.full_name for one in found.unregistered] == ["coulomb/new"]
    assert found.complete


def test_one_that_is_ignored_is_listed_apart(terminal: HubTerminal) -> None:
    terminal.out("repos", "ignore", "coulomb/new", "--why", "not ours")
    said = terminal.out("inventory")
    assert "unregistered (0)" in said
    assert "not ours" in said.partition("ignored (1)")[2]


def test_a_list_with_gaps_is_printed_complained_of_and_ends_with_one(terminal: HubTerminal, gitea: Gitea) -> None:
    gitea.lists("coulomb/secret", hidden_from={BOT})
    done = terminal.run("inventory", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["complete"] is False
    assert "1 are not visible to this account" in done.stderr
    assert terminal.json("inventory", "--last", exit_code=1)["unregistered"][0]["full_name"] == "coulomb/new"


def test_the_last_inventory_is_shown_without_asking_anybody(terminal: HubTerminal, gitea: Gitea) -> None:
    error = terminal.error("inventory", "--last")
    assert isinstance(error, ConfigError)
    assert error.reason == "inventory.none"
    first = terminal.json("inventory")
    gitea.http.close()
    assert terminal.json("inventory", "--last") == first
