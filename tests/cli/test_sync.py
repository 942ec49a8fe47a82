"""`upkeep sync` and `upkeep hooks` as a person uses them, and what a commit starts."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.test_up import UPKEEP, processes_of
from tests.support.hub import FILE, HubTerminal
from tests.support.hub import hub as hub
from tests.support.repositories import MakeRepository
from tests.support.workplans import plan, task
from upkeep.sync import markers
from upkeep.sync.hooks import Hook
from upkeep.sync.workingtree import WorkingTree

PROGRAM = "import typer; from cli.sync import sync; typer.run(sync)"


def eventually(holds: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def test_a_sync_says_what_it_found_and_the_second_has_nothing_to_do(hub: HubTerminal) -> None:
    said = hub.out("sync", "sample", "--fix")
    assert said == f"sample: consistent; 1 workplan, 2 tasks, 3 changed in the hub, written: {FILE}\n"
    assert hub.out("sync", "sample", "--fix") == "sample: consistent; 1 workplan, 2 tasks, 0 changed in the hub\n"
    assert hub.out("sync", "--all") == "1 unchanged since their last sync\n"


def test_without_fix_only_the_hub_is_written(hub: HubTerminal) -> None:
    before = hub.read()
    said = hub.out("sync", "sample")
    assert "a.md:1: warning C-17: A has no `state_hub_workstream_id:`\n      `upkeep sync --fix` writes it." in said
    assert hub.read() == before
    # The repository says `fix: true`, so a timer writes them.
    hub.out("sync", "--all", "--as-configured")
    assert hub.read().count("state_hub_task_id") == 2
    assert hub.out("sync", "--all", "--as-configured") == "1 unchanged since their last sync\n"


def test_findings_that_are_errors_exit_2(hub: HubTerminal) -> None:
    hub.write(plan("A", "someday"))
    (told,) = hub.json("sync", "sample", exit_code=2)["repositories"]
    assert (told["consistent"], told["last_state_synced_at"]) == (False, None)
    (finding,) = told["findings"]
    assert (finding["code"], finding["file"], finding["line"]) == ("C-08", FILE, 5)
    assert "draft, active" in finding["fix"]


def test_one_that_fails_does_not_stop_the_others(hub: HubTerminal) -> None:
    hub.out("repos", "register", str(hub.sample.path), "--slug", "again", "--workplans", "plans/*.md")
    configuration = os.environ["UPKEEP_CONFIG"]
    with open(configuration, "a") as file:  # noqa: PTH123 - appended to
        file.write(f"  broken: {{path: {hub.sample.path}, workplans: ['../*.md']}}\n")
    told = {one["repository"]: one for one in hub.json("sync", "--all", exit_code=1)["repositories"]}
    assert told["broken"]["error"]["code"] == "config.bad_pattern"
    assert told["again"]["consistent"]
    assert told["sample"]["consistent"]


def test_who_waits_at_a_terminal_sees_how_far_it_is_and_the_result_stays_clean(
    hub: HubTerminal, make_repository: MakeRepository
) -> None:
    hub.out("repos", "register", str(make_repository("other").path))
    command = [str(UPKEEP), "sync", "--all", "--json"]
    terminal, inside = os.openpty()
    shown = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=inside) as program:
        os.close(inside)
        with suppress(OSError):  # EIO: nobody has the terminal's other end any more
            while part := os.read(terminal, 65536):
                shown += part
        assert program.stdout is not None
        told = json.loads(program.stdout.read())
    os.close(terminal)
    assert [one["repository"] for one in told["repositories"]] == ["other", "sample"]
    # Which one is at work is drawn ten times a second: of a sync that is quicker only the bar's two ends are sure.
    assert b"sync" in shown
    assert b"100%" in shown
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)
    assert done.stderr == b""


def test_an_unknown_repository_is_told_with_the_nearest(hub: HubTerminal) -> None:
    error = hub.error("sync", "sampel")
    assert error.reason == "config.unknown_repository"
    assert "did you mean sample" in error.message
    assert hub.run("sync").exit_code == 2
    assert hub.run("sync", "sample", "--all").exit_code == 2


def test_a_marker_that_nobody_took_is_part_of_the_next_sync(hub: HubTerminal) -> None:
    hub.out("sync", "sample", "--fix")
    (markers.prepare(hub.home, "sample") / "4711").touch()
    assert hub.out("sync", "--all").startswith("sample: consistent")
    assert markers.waiting(hub.home) == []


def test_hooks_are_installed_shown_and_taken_out(hub: HubTerminal) -> None:
    assert hub.json("hooks", "status", "--all")["hooks"][0]["state"] == "absent"
    (done,) = hub.json("hooks", "install", "sample")["hooks"]
    assert (done["state"], done["changed"]) == ("installed", True)
    assert hub.out("hooks", "install", "--all") == f"sample: installed ({done['path']})\n"
    assert "sync --hook sample" in (hub.sample.path / ".git/hooks/post-commit").read_text()
    assert hub.out("hooks", "uninstall", "sample") == f"sample: absent now ({done['path']})\n"


def test_a_hook_that_is_no_shell_script_exits_1_and_says_what_to_do(hub: HubTerminal) -> None:
    file = hub.sample.path / ".git/hooks/post-commit"
    file.parent.mkdir(exist_ok=True)
    file.write_text("#!/usr/bin/env python3\n")
    said = hub.out("hooks", "install", "sample", exit_code=1)
    assert "foreign" in said
    assert "Let it run" in said


@pytest.fixture
def hooked(hub: HubTerminal) -> Hook:
    """The hook, installed, with a command that runs this code whatever `upkeep` is installed."""
    hub.out("repos", "list")  # the registry knows it
    command = [sys.executable, "-P", "-c", PROGRAM, "--hook", "sample"]
    environment = {"UPKEEP_CONFIG": os.environ["UPKEEP_CONFIG"], "UPKEEP_HOME": str(hub.home)}
    hook = Hook("sample", WorkingTree.open(hub.sample.path), hub.home, command, environment)
    assert hook.install().changed
    return hook


def commit(hub: HubTerminal, message: str) -> None:
    """As a person commits: with the environment that leads to this test's database."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    command = ["git", "-C", str(hub.sample.path), *who, "commit", "-q", "--all", "--allow-empty", "-m", message]
    subprocess.run(command, check=True, timeout=60)


def test_a_commit_moves_the_timestamp(hub: HubTerminal, hooked: Hook) -> None:
    hub.write(hub.read().replace("status: todo", "status: in_progress", 1))
    commit(hub, "begin")
    assert eventually(lambda: hub.json("repos", "list")[0]["age"] == "fresh")
    assert [each["id"] for each in hub.json("dispatch", "sample")["active_workstreams"][0]["pending_tasks"]]
    assert hub.read().count("state_hub_task_id") == 2
    assert eventually(lambda: markers.waiting(hub.home) == [])


def test_ten_commits_in_a_row_are_one_sync(hub: HubTerminal, hooked: Hook) -> None:
    hub.out("sync", "sample", "--fix")
    log = hub.home / "logs" / "sync-hook.log"
    with (markers.folder(hub.home, "sample") / "lock").open("w") as busy:
        # As while an earlier hook's process is at work: those of the ten leave it to that one.
        fcntl.flock(busy, fcntl.LOCK_EX)
        for number in range(10):
            commit(hub, str(number))
        assert eventually(lambda: log.exists() and log.read_text().count("another is at it") == 10, 120)
    assert len(list(markers.inbox(hub.home, "sample").iterdir())) == 10
    commit(hub, "the last")
    assert eventually(lambda: "sample: 1 sync(s)" in log.read_text(), 60)
    assert log.read_text().count("sample: consistent") == 1
    assert markers.waiting(hub.home) == []


def test_a_commit_starts_the_database_where_none_runs_and_the_last_user_stops_it(
    make_repository: MakeRepository, tmp_path: Path
) -> None:
    sample = make_repository("sample")
    sample.commit({FILE: plan("A", "active", task("A-1"))})
    configuration = tmp_path / "upkeep.yaml"
    home = tmp_path / "home"
    configuration.write_text(f"home: {home}\nrepositories:\n  sample: {{path: {sample.path}, fix: true}}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UPKEEP_")}

    def upkeep(*arguments: str) -> str:
        command = [str(UPKEEP), "--config", str(configuration), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    upkeep("hooks", "install", "sample")
    assert eventually(lambda: processes_of(home) == [])
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    commit = ["git", "-C", str(sample.path), *who, "commit", "-q", "--allow-empty", "-m", "x"]
    done = subprocess.run(commit, env=environment, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    log = home / "logs" / "sync-hook.log"
    assert eventually(lambda: log.exists() and "sample: 1 sync(s) in" in log.read_text(), 60)
    assert eventually(lambda: processes_of(home) == [], 60)
    (listed,) = json.loads(upkeep("repos", "list", "--json"))
    assert (listed["age"], listed["last_attempt_reason"]) == ("fresh", None)
    assert sample.path.joinpath(FILE).read_text().count("state_hub_task_id") == 1


def test_a_hook_whose_sync_fails_logs_it_and_keeps_the_marker(hub: HubTerminal, hooked: Hook) -> None:
    configuration = Path(os.environ["UPKEEP_CONFIG"])
    good = configuration.read_text()
    log = hub.home / "logs" / "sync-hook.log"
    for broken, told in ((f"{good}nonsense: 1\n", "config.invalid"), (f"home: {hub.home}\n", "ConfigError")):
        configuration.write_text(broken)
        commit(hub, "x")
        assert eventually(lambda told=told: log.exists() and told in log.read_text(), 60), told
        assert markers.waiting(hub.home) == ["sample"]
    configuration.write_text(good)
    hub.out("sync", "sample")
    assert markers.waiting(hub.home) == []
