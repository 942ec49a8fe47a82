"""`upkeep pr` as a person uses it: a real database, a real bare repository, the command's own words."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.pull_requests import app
from tests.support.repositories import MakeRepository, RepoBuilder
from upkeep.config import load
from upkeep.database.server import Database
from upkeep.errors import ConfigError, ForgeError, UpkeepError
from upkeep.forges.local import LocalForge
from upkeep.forges.registry import open_local

REPO = "dashboard"


class Terminal:
    """Runs `upkeep pr …` against a configuration with one local forge and one repository with two pull requests."""

    def __init__(self, forge: LocalForge, bare: RepoBuilder) -> None:
        self.forge = forge
        self.bare = bare

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def out(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.out(*arguments, "--json"))

    def error(self, *arguments: str) -> UpkeepError:
        error = self.run(*arguments).exception
        assert isinstance(error, UpkeepError), error
        return error


@pytest.fixture
def terminal(
    database: Database,
    database_url: str,
    make_repository: MakeRepository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Terminal:
    configuration = tmp_path / "upkeep.yaml"
    configuration.write_text(f"home: {tmp_path / 'home'}\nforges:\n  here: {{kind: local}}\n")
    monkeypatch.setenv("UPKEEP_CONFIG", str(configuration))
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    forge = open_local("here", load(), database)
    source = make_repository("source")
    source.commit({"docs.txt": "old\n"})
    for number in (1, 2):
        source.switch(f"bot/{number}", "main")
        source.commit({"docs.txt": f"new {number}\n"})
    bare = source.bare_clone(forge.place(REPO))
    for number in (1, 2):
        forge.create_pull_request(
            REPO, head=f"bot/{number}", base="main", title=f"Update {number}", body="**What** changed\n"
        )
    return Terminal(forge, bare)


def test_the_list_shows_open_ones_newest_first(terminal: Terminal) -> None:
    lines = terminal.out("list").splitlines()
    assert lines[0].split() == ["repository", "#", "state", "title", "branch", "updated"]
    assert [line.split()[:5] for line in lines[1:]] == [
        ["dashboard", "2", "open", "Update", "2"],
        ["dashboard", "1", "open", "Update", "1"],
    ]


def test_the_list_can_be_narrowed_and_read_by_machines(terminal: Terminal) -> None:
    terminal.out("close", "1")
    assert [one["number"] for one in terminal.json("list")] == [2]
    assert [one["number"] for one in terminal.json("list", "--state", "closed")] == [1]
    assert [(one["number"], one["state"]) for one in terminal.json("list", "--state", "all")] == [
        (2, "open"),
        (1, "closed"),
    ]
    assert "--state all" in terminal.out("list", "--state", "merged")


def test_one_is_shown_with_its_body_what_persons_said_and_the_change(terminal: Terminal) -> None:
    terminal.out("comment", "1", "Please keep the old words")
    shown = terminal.out("show", "1", "--diff")
    assert shown.startswith("dashboard #1 [open] Update 1\nbot/1 (")
    assert "\n**What** changed\n" in shown
    assert f"{getpass.getuser()} said: Please keep the old words" in shown
    assert "-old\n+new 1" in shown
    record = terminal.json("show", "1")
    assert record["notes"][0]["body"] == "Please keep the old words"
    assert record["head_sha"] == terminal.bare.head("bot/1")


def test_control_characters_do_not_reach_the_terminal(terminal: Terminal) -> None:
    terminal.out("comment", "1", "\x1b[31mred")
    assert "\x1b" not in terminal.out("show", "1")
    assert "\\u{1b}[31mred" in terminal.out("show", "1")


def test_a_merge_moves_the_base_and_still_shows_its_change(terminal: Terminal) -> None:
    said = terminal.out("merge", "1", "--strategy", "squash")
    assert said == f"dashboard #1 is merged into main as {terminal.bare.head('main')[:12]}\n"
    assert terminal.bare.read("main", "docs.txt") == b"new 1\n"
    assert "-old\n+new 1" in terminal.out("show", "1", "--diff")


def test_a_conflict_is_an_error_with_the_next_step(terminal: Terminal) -> None:
    terminal.out("merge", "1")
    error = terminal.error("merge", "2")
    assert error.reason == "forge.merge_conflict"
    assert "settle the conflicts" in error.remedy


def test_closing_and_opening_again(terminal: Terminal) -> None:
    assert terminal.json("close", "1")["state"] == "closed"
    assert terminal.json("reopen", "1")["state"] == "open"
    assert terminal.forge.touched_by_person(terminal.forge.pull_request(REPO, 1))


def test_labels_are_set_shown_and_searched(terminal: Terminal) -> None:
    assert terminal.out("label", "1", "urgent", "fork-delta") == "dashboard #1 has the labels: urgent, fork-delta\n"
    assert terminal.json("label", "1", "--remove", "urgent")["labels"] == ["fork-delta"]
    assert "\nlabels: fork-delta\n" in terminal.out("show", "1")
    assert [one["number"] for one in terminal.json("list", "--label", "Fork-Delta")] == [1]
    assert terminal.out("label", "2") == "dashboard #2 has the labels: (none)\n"
    assert terminal.error("label", "2", "").reason == "forge.invalid"


def test_the_repository_must_be_named_where_there_are_several(
    terminal: Terminal, make_repository: MakeRepository
) -> None:
    other = make_repository("other")
    other.commit({"a": "a"})
    other.switch("bot", "main")
    other.commit({"a": "b"})
    other.bare_clone(terminal.forge.place("other"))
    terminal.forge.create_pull_request("other", head="bot", base="main", title="Other", body="")
    error = terminal.error("show", "1")
    assert isinstance(error, ForgeError)
    assert "dashboard, other" in error.remedy
    assert terminal.json("show", "1", "--repo", "other")["title"] == "Other"
    assert len(terminal.json("list")) == 3
    assert len(terminal.json("list", "--repo", "other")) == 1


def test_an_unknown_number_forge_or_state_is_refused(terminal: Terminal) -> None:
    assert terminal.error("show", "9").reason == "forge.not_found"
    error = terminal.error("list", "--forge", "github")
    assert isinstance(error, ConfigError)
    assert error.remedy == "Give --forge with one of: here."
    assert terminal.run("list", "--state", "odd").exit_code == 2
    assert terminal.run("show", "0").exit_code == 2


def test_an_empty_forge_says_where_pull_requests_come_from(terminal: Terminal, tmp_path: Path) -> None:
    configuration = tmp_path / "upkeep.yaml"
    configuration.write_text(f"home: {tmp_path / 'home'}\nforges:\n  here: {{kind: local}}\n  empty: {{kind: local}}\n")
    assert "no open pull requests" in terminal.out("list", "--forge", "empty")
    assert "upkeep demo" in terminal.error("show", "1", "--forge", "empty").remedy
    assert "several local forges" in terminal.error("list").message
