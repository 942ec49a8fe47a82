"""Looking ahead: real repositories, nothing of which may change."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.git_server import GitServer
from tests.support.rebases import World, theirs
from upkeep.config import Settings
from upkeep.database import events
from upkeep.database.server import Database
from upkeep.errors import BranchGone, RemoteUnavailable
from upkeep.forks import forecast, memory, service
from upkeep.forks.outcomes import Outcome
from upkeep.forks.records import Forecast


def settings_of(world: World, **more: Any) -> Settings:
    place = {} if "url" in world.settings else {"path": world.work.path}
    fork = {"trunk": "trunk", "forge": "here", "repo": "o/fork", **place, **world.settings, **more}
    return Settings.model_validate({"home": world.home, "forks": {"fork": fork}})


def look(world: World, **more: Any) -> Forecast:
    return forecast.look(settings_of(world, **more), "fork", None)


def everything(world: World) -> dict[str, object]:
    """What `World.everything` says, and the objects that the person's repository holds."""
    objects = sorted(path.name for path in (world.work.path / ".git/objects").rglob("*") if path.is_file())
    return {**world.everything(), "objects": objects}


def test_says_before_the_night_which_patch_will_break_and_touches_nothing(world: World) -> None:
    sha = world.commit_upstream({"a.txt": theirs(3)}, "Break it (#5)")
    before = everything(world)

    found = look(world)

    assert everything(world) == before
    assert found.tonight.words == "patch 1 (First patch) will break"
    (conflict,) = found.tonight.conflicts
    assert (conflict.conflicts, conflict.broken_by and conflict.broken_by.sha) == (("a.txt",), sha)
    assert (found.behind.commits, found.trunk) == (1, world.fork.head("trunk"))
    assert world.run().outcome is Outcome.NEEDS_HUMAN


def test_says_that_all_goes_where_it_does(world: World) -> None:
    world.commit_upstream({"a.txt": theirs(15)})

    found = look(world)

    assert (found.breaks, found.tonight.words) == ((), "all 2 patches go")
    assert found.behind.since is not None


def test_branches_that_come_next_are_tried_too_and_one_that_is_gone_is_left_out(world: World) -> None:
    world.upstream.git("branch", "next", "main")
    world._commit(world.upstream, "next", {"b.txt": theirs(3)}, "Not merged yet")

    found = look(world, next_branches=["next", "gone"])

    assert [(each.branch, each.breaks) for each in found.outlooks] == [("main", False), ("next", True)]
    assert [each.branch for each in found.breaks] == ["next"]
    assert found.breaks[0].words == "patch 2 (Second patch) will break"


def test_escalated_paths_are_foretold(world: World) -> None:
    world.commit_upstream({"b.txt": theirs(15)})

    assert look(world, escalate=["b.*"]).tonight.escalated == ("b.txt",)


def test_a_fork_by_url_is_looked_at_without_a_checkout(world: World) -> None:
    world.settings |= {"url": str(world.fork.path), "remotes": {"upstream": str(world.upstream.path)}}
    world.commit_upstream({"a.txt": theirs(3)})

    assert look(world).tonight.breaks


def test_a_look_while_the_fork_is_locked_is_no_trouble_to_either(world: World) -> None:
    world.commit_upstream({"a.txt": theirs(15)})
    desk = world.desk()
    with service.held(desk):
        snapshot = service.take_snapshot(desk)
        assert look(world).tonight.words == "all 2 patches go"
        assert service.verified(desk, snapshot).clean


def test_signed_patches_are_foretold_though_git_has_to_rebase_them(world: World) -> None:
    world.work.git("config", "commit.gpgSign", "true")
    world.commit_upstream({"a.txt": theirs(3)})

    tonight = look(world).tonight

    assert tonight.breaks
    assert tonight.unsure == ("commits are signed here (commit.gpgSign)",)


def test_where_a_merge_driver_decides_nothing_is_said_and_nothing_is_run(world: World, tmp_path: Path) -> None:
    world.work.git("config", "merge.theirs.driver", f"touch {tmp_path / 'ran'}; false")
    world.commit_upstream({"a.txt": theirs(3), ".gitattributes": "*.txt merge=theirs\n"})

    tonight = look(world).tonight

    assert not tonight.breaks
    assert tonight.words.startswith("cannot be told: a program of this repository")
    assert not (tmp_path / "ran").exists()


def test_a_resolution_that_a_person_accepted_breaks_nothing(world: World, database: Database) -> None:
    world.commit_upstream({"a.txt": theirs(3)})
    settings = settings_of(world)
    (conflict,) = forecast.look(settings, "fork", database).tonight.conflicts
    blob = {
        "base": world.fork.git("rev-parse", "main:a.txt"),
        "ours": world.upstream.git("rev-parse", "main:a.txt"),
        "theirs": world.fork.git("rev-parse", f"{conflict.sha}:a.txt"),
    }
    known = memory.Resolution(
        path="a.txt",
        **{name: f"100644:{sha}" for name, sha in blob.items()},
        mode="100644",
        content=b"settled\n",
        state="accepted",
    )
    memory.put(database, "fork", known)

    assert forecast.look(settings, "fork", database).tonight.words == "all 2 patches go"


def test_what_it_borrowed_may_vanish(world: World) -> None:
    world.commit_upstream({"a.txt": theirs(15)})
    look(world)
    for folder in (world.home / "forks/fork/ahead.git/objects").glob("??"):
        shutil.rmtree(folder)
    world.commit_upstream({"a.txt": theirs(16)})

    assert look(world).tonight.words == "all 2 patches go"


def test_a_trunk_that_is_gone_is_named(world: World) -> None:
    with pytest.raises(BranchGone, match="has no branch elsewhere"):
        look(world, trunk="elsewhere")


def test_a_remote_that_hangs_ends_with_the_deadline(world: World, git_server: GitServer) -> None:
    world.work.git("remote", "set-url", "upstream", git_server.add(world.upstream, "upstream.git"))
    git_server.fail("hang", where="upstream.git", times=9)

    with pytest.raises(RemoteUnavailable):
        forecast.look(settings_of(world), "fork", None, deadline=1.0)


def test_only_a_forecast_that_changed_is_a_row_in_the_events(world: World, database: Database) -> None:
    settings = settings_of(world)

    def noted() -> bool:
        return forecast.note(database, forecast.look(settings, "fork", database))

    assert not noted()
    world.commit_upstream({"a.txt": theirs(3)})
    assert [noted(), noted()] == [True, False]
    world.commit_upstream({"c.txt": "more\n"})
    assert not noted()
    with database.session() as session:
        (row,) = events.of_subject(session, "forks", "fork:fork")
    assert row.summary["branches"] == {"main": [{"number": 1, "subject": "First patch"}]}
    world.commit_upstream({"a.txt": theirs(15)})
    assert noted()
    with database.session() as session:
        assert events.of_subject(session, "forks", "fork:fork")[0].summary["branches"] == {}


def test_the_nightly_report_warns_of_what_comes_next(world: World) -> None:
    world.settings["next_branches"] = ["next"]
    world.upstream.git("branch", "next", "main")
    world._commit(world.upstream, "next", {"a.txt": theirs(3)}, "Not merged yet")

    report = world.run()

    assert report.outcome is Outcome.NO_CHANGE
    (warning,) = report.warnings
    assert (warning.branch, [each.number for each in warning.conflicts]) == ("next", [1])
    text = next(world.home.glob(f"reports/rebase/fork/*/{report.run_id}/summary.md")).read_text()
    assert "**Patch 1 (First patch) will break** when `next` is merged upstream." in text


def test_no_git_of_a_look_is_left_running(world: World) -> None:
    look(world)

    running = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            running.append(file.read_bytes())
    assert running
    assert not [line for line in running if os.fsencode(world.home) in line]
