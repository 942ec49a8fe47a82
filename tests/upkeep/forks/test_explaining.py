"""What a person is told about a fork who asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rebases import World, theirs
from upkeep.config import Settings
from upkeep.database.locks import hold
from upkeep.database.server import Database
from upkeep.forks import forecast
from upkeep.forks.explaining import Explanation, explain


def ask(world: World, database: Database, **more: Any) -> Explanation:
    fork = {"path": world.work.path, "trunk": "trunk", "forge": "here", "repo": "o/fork", **more}
    settings = Settings.model_validate({"home": world.home, "forks": {"fork": fork}})
    forecast.note(database, forecast.look(settings, "fork", database))
    return explain(settings, "fork", database)


def test_a_fork_that_is_current(world: World, database: Database) -> None:
    said = ask(world, database, schedule=None)

    assert said.code == "up_to_date"
    assert "Trunk has all of upstream." in said.lines
    assert "It has no schedule: `upkeep rebase fork` rebases it." in said.lines
    assert said.lines[-1] == "No run of this fork is recorded yet."


def test_a_patch_that_will_break_is_named_with_its_files_and_since_when(world: World, database: Database) -> None:
    sha = world.commit_upstream({"a.txt": theirs(3)}, "Break it")

    said = ask(world, database, time_zone="Europe/Berlin")

    assert said.code == "will_break"
    assert "A rebase now: patch 1 (First patch) will break." in said.lines
    assert f"  Patch 1, First patch: a.txt, since {sha[:12]} Break it" in said.lines
    assert any(line.startswith("The hourly look ahead has said so since") for line in said.lines)
    assert any("`0 5 * * *` (Europe/Berlin)" in line for line in said.lines)


@pytest.mark.parametrize(("escalate", "code"), [([], "will_rebase"), (["a.*"], "needs_person")])
def test_what_goes_and_what_a_person_has_to_see(
    world: World, database: Database, escalate: list[str], code: str
) -> None:
    world.upstream.git("branch", "next", "main")
    world._commit(world.upstream, "next", {"b.txt": theirs(3)}, "Not merged yet")
    world.commit_upstream({"a.txt": theirs(15)})

    said = ask(world, database, escalate=escalate, next_branches=["next"])

    assert said.code == code
    assert "A rebase now: all 2 patches go." in said.lines
    assert "Once next is merged upstream: patch 2 (Second patch) will break." in said.lines
    assert any("such as a.txt" in line for line in said.lines) == bool(escalate)


def test_who_holds_the_lock_and_why_nothing_can_be_said(world: World, database: Database) -> None:
    settings = Settings.model_validate(
        {
            "home": world.home,
            "forks": {"fork": {"path": world.work.path, "trunk": "gone", "forge": "here", "repo": "o/fork"}},
        }
    )
    with hold(database, "fork:fork", system="forks", run_id="other"):
        said = explain(settings, "fork", database)

    assert said.code == "git.branch_gone"
    assert "has no branch gone" in said.lines[0]
    assert any("run other" in line for line in said.lines)
