"""The demo, as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tools import tool

BIN = Path(sys.executable).parent / "upkeep"


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UPKEEP_")}
    environment["UPKEEP_HOME"] = str(tmp_path / "home")

    def upkeep(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return upkeep


def test_it_makes_two_pull_requests_and_then_finds_nothing_new(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    played = run("demo")
    assert played.returncode == 0, played.stderr
    assert "Pull request #1" in played.stdout
    assert "Pull request #2" in played.stdout
    for change in (
        "+ checkout coupon removed",
        "~ search submited -> search submitted",
        "- onboarding tutorial skipped",
        "flow wallet (added)",
        "checkout payment started: properties +currency",
        "0 errors",
        "make up",
    ):
        assert change in played.stdout
    again = json.loads(run("demo", "--json").stdout)
    assert [update["outcome"] for update in again["updates"]] == ["nothing_new"]
    listed = json.loads(run("pr", "list", "--state", "all", "--json").stdout)
    assert {each["number"]: each["state"] for each in listed} == {1: "merged", 2: "open"}
    shown = run("state", "show", "demo")
    assert "lastProcessedCommit" in shown.stdout


def test_a_configuration_that_is_there_is_left_alone(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine = "watches:\n  mine: {upstream: {url: u}, target: {url: t, forge: here, repo: o/r}}\n"
    (tmp_path / "upkeep.yaml").write_text(mine)
    played = run("demo")
    assert played.returncode == 0, played.stderr
    assert (tmp_path / "upkeep.yaml").read_text() == mine
    assert str(tmp_path / "home" / "demo" / "upkeep.yaml") in played.stdout


def test_a_commit_moves_the_timestamp_of_a_managed_sample(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    played = run("demo", "sync")
    assert played.returncode == 0, played.stderr
    assert "ferry-timetable: 1 workplan, 3 tasks, ids written into workplans/winter.md" in played.stderr
    assert "upkeep dispatch ferry-timetable" in played.stdout
    listed = {each["slug"]: each for each in json.loads(run("repos", "list", "--json").stdout)}
    assert {slug: each["age"] for slug, each in listed.items()} == {
        "ferry-tickets": "fresh",
        "ferry-timetable": "fresh",
    }
    assert listed["ferry-timetable"]["last_state_synced_at"] in played.stdout
    dispatched = json.loads(run("dispatch", "ferry-timetable", "--json").stdout)
    assert dispatched["active_goal"]["title"] == "Every crossing of the winter can be looked up"
    assert [each["question"] for each in dispatched["human_interventions"]] == [
        "Is it called North Pier or Lighthouse Pier?"
    ]

    again = json.loads(run("demo", "sync", "--json").stdout)
    assert again["status"] == "todo"
    assert again["after"] > again["before"] >= listed["ferry-timetable"]["last_state_synced_at"]
    folder = tmp_path / "home" / "demo" / "sync" / "ferry-timetable"
    said = subprocess.run(["git", "-C", str(folder), "status", "--porcelain"], capture_output=True, check=True)
    assert said.stdout == b""


def test_a_fork_has_a_clean_day_and_a_day_of_conflict_and_then_says_what_there_is(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tool("bwrap")
    played = run("demo", "rebase")
    assert played.returncode == 0, played.stderr
    clean, conflict = played.stdout.split("# board: ")[1:]
    for part in ("Rebased and pushed", "upstream has it", "`1.1-harbour.1`", "## Kept: 3", "| `sh test.sh` | passed |"):
        assert part in clean
    for part in ("Patches conflict; trunk was not moved", "Patch 2 conflicts", "`board.sh`", "worktree add --detach"):
        assert part in conflict
    assert "Merge pull request" in conflict
    again = run("demo", "rebase")
    assert "Both days have been played." in again.stdout
    assert "Patches conflict; trunk was not moved (exit code 10)" in again.stdout
    assert json.loads(run("demo", "rebase", "--json").stdout)["reports"] == []
    (delta,) = json.loads(run("pr", "list", "--json").stdout)
    assert (delta["title"], delta["labels"]) == ("Fork delta of board: 3 patches", ["fork-delta"])
    assert run("rebase", "board").returncode == 10
    assert (tmp_path / "upkeep.yaml").read_text().count("forks:") == 1
