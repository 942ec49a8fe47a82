"""`upkeep repos` and `upkeep goals` as a person uses them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.repositories import MakeRepository
from upkeep.sync import ages


def test_a_configured_repository_is_listed_before_its_first_sync(hub: HubTerminal) -> None:
    (one,) = hub.json("repos", "list")
    assert (one["slug"], one["domain"], one["goal"], one["source"]) == (
        "sample",
        "docs",
        "Write it down",
        "configuration",
    )
    assert (one["age"], one["last_state_synced_at"], one["last_attempt_at"]) == ("stale", None, None)
    hub.out("sync", "sample")
    assert hub.json("repos", "list")[0]["age"] == "fresh"
    lines = hub.out("repos", "list").splitlines()
    assert lines[0].split()[:3] == ["repository", "age", "synced"]
    assert lines[1].split()[:2] == ["sample", "fresh"]


def test_a_repository_is_registered_changed_and_ignored(hub: HubTerminal, make_repository: MakeRepository) -> None:
    other = make_repository("other")
    other.git("remote", "add", "origin", "https://ada:secret@forge.example/o/other.git")
    one = hub.json("repos", "register", str(other.path), "--domain", "d", "--forge", "here", "--repo", "o/other")
    assert (one["slug"], one["path"], one["repo"], one["fix"]) == ("other", str(other.path), "o/other", False)
    assert one["remote"] == "https://forge.example/o/other.git"
    assert hub.json("repos", "register", str(other.path), "--fix")["fix"] is True
    hub.out("repos", "ignore", "other", "--why", "an experiment")
    assert [each["slug"] for each in hub.json("repos", "list")] == ["sample"]
    kept = {each["slug"]: each for each in hub.json("repos", "list", "--all")}
    assert (kept["other"]["state"], kept["other"]["note"]) == ("ignored", "an experiment")
    assert hub.error("sync", "other").reason == "config.unknown_repository"


def test_what_stands_in_the_configuration_is_changed_there(hub: HubTerminal) -> None:
    for arguments in (("register", str(hub.sample.path)), ("ignore", "sample")):
        hub.out("repos", "list")
        error = hub.error("repos", *arguments)
        assert error.reason == "config.configured"
        assert "Change it there" in error.remedy


def test_a_repository_that_leaves_the_configuration_keeps_its_history(hub: HubTerminal) -> None:
    hub.out("sync", "sample")
    file = Path(os.environ["UPKEEP_CONFIG"])
    kept = file.read_text()
    file.write_text(f"home: {hub.home}\n")
    assert hub.json("repos", "list") == []
    file.write_text(kept)
    assert hub.json("repos", "list")[0]["last_state_synced_at"] is not None


def test_a_name_that_was_never_registered_is_ignored_and_a_slip_is_told(hub: HubTerminal) -> None:
    hub.out("repos", "list")
    done = hub.run("repos", "ignore", "sampel")
    assert (done.exit_code, done.stdout.split()[:3]) == (0, ["sampel", "is", "ignored;"])
    assert "was never registered" in done.stderr
    assert "did you mean sample?" in done.stderr
    assert hub.run("repos", "ignore", "coulomb/dotfiles").stderr == "", "of a forge's name that is what it is for"
    assert hub.run("repos", "ignore", "sampel").stderr == ""


def test_what_cannot_be_a_name_is_not_ignored(hub: HubTerminal) -> None:
    for name in ("", "a b", "/x", "o/", "o/a/b", "../x"):
        assert hub.error("repos", "ignore", "--", name).reason == "config.bad_name"
    assert len(hub.json("repos", "list", "--all")) == 1


def test_what_is_no_repository_is_refused_with_what_is_there_instead(
    hub: HubTerminal, tmp_path: Path, make_repository: MakeRepository
) -> None:
    (tmp_path / "empty").mkdir()
    inside = hub.sample.path / "workplans"
    bare = hub.sample.bare_clone(tmp_path / "bare.git").path
    for path, why, remedy in (
        (tmp_path / "nowhere", "there is no such folder", "Clone it there"),
        (tmp_path / "empty", "it has no .git", "Clone it there"),
        (inside, f"it lies inside the one at {hub.sample.path}", f"upkeep repos register {hub.sample.path}"),
        (bare, "it is a bare repository", "Clone it"),
        (hub.sample.path / "workplans" / "a.md", "it lies inside", "Register that"),
    ):
        error = hub.error("repos", "register", str(path))
        assert error.reason == "sync.unreachable"
        assert why in error.message
        assert remedy in error.remedy


def test_a_forge_that_is_not_configured_is_refused(hub: HubTerminal, make_repository: MakeRepository) -> None:
    error = hub.error("repos", "register", str(make_repository("other").path), "--forge", "heer")
    assert error.reason == "config.unknown_forge"
    assert "did you mean here" in error.message
    assert len(hub.json("repos", "list", "--all")) == 1


def test_a_goal_by_command_comes_before_the_configured_one(hub: HubTerminal) -> None:
    hub.out("repos", "list")
    hub.out("goals", "set", "sample", "Ship it", "--description", "by spring")
    assert hub.json("repos", "list")[0]["goal"] == "Ship it"
    goal = hub.json("dispatch", "sample")["active_goal"]
    assert (goal["title"], goal["description"]) == ("Ship it", "by spring")
    assert hub.json("goals", "set", "sample", "Ship it", "--description", "by spring")["id"] == goal["id"]
    assert hub.error("goals", "set", "none", "x").reason == "config.unknown_repository"


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "band", "words"),
    [
        (timedelta(0), "fresh", "0 s"),
        (timedelta(minutes=59, seconds=59), "fresh", "59 min"),
        (timedelta(hours=1), "ageing", "1 h"),
        (timedelta(hours=24), "ageing", "1 d"),
        (timedelta(hours=24, seconds=1), "stale", "1 d"),
        (timedelta(days=-3), "fresh", "0 s"),
        (None, "stale", "never"),
    ],
)
def test_ages_fall_into_three_bands(age: timedelta | None, band: str, words: str) -> None:
    at = None if age is None else NOW - age
    assert (ages.band(at, NOW), ages.words(at, NOW)) == (band, words)
