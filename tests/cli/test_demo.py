"""The demo, as a new user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
