"""`upkeep rebase` as a person uses it: a real database, real repositories, gates in the real sandbox."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.rebase import _ask, rebase
from cli.state import explain
from orchestration.rebase import rebase as execute
from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.tools import tool
from upkeep.config import load
from upkeep.database.locks import hold
from upkeep.database.server import connect
from upkeep.errors import ConfigError
from upkeep.forges.text import inline
from upkeep.forks import lock as folder_lock

ROOT = Path(__file__).parents[2]
OLD = "".join(f"line {number}\n" for number in range(12))
OURS = OLD.replace("line 3\n", "ours\n")


@dataclass
class Terminal:
    """Runs `upkeep rebase …` on the fork `tool`: `upstream` and `fork` are bare, `work` is the person's clone."""

    upstream: RepoBuilder
    fork: RepoBuilder
    work: RepoBuilder
    home: Path
    configuration: Path
    database_url: str

    def configure(self, **settings: Any) -> None:
        fork = {"path": str(self.work.path), "trunk": "trunk", "forge": "here", "repo": "o/tool", **settings}
        self.configuration.write_text(json.dumps({"home": str(self.home), "forks": {"tool": fork}}))

    def commit_upstream(self, line: int) -> None:
        clone = self.upstream.clone(self.home.parent / f"clone-{line}")
        clone.commit({"a.txt": OLD.replace(f"line {line}\n", "theirs\n")}, "Upstream (#7)")
        clone.git("push", "-q", "origin", "main")

    def run(self, *arguments: str, input: str | None = None) -> Result:
        app = typer.Typer()
        app.command()(rebase)
        return CliRunner().invoke(app, list(arguments), input=input)

    def out(self, *arguments: str, exit_code: int = 0) -> str:
        done = self.run("tool", *arguments)
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done.stdout

    def report(self, *arguments: str, exit_code: int = 0) -> Any:
        report = json.loads(self.out(*arguments, "--json", exit_code=exit_code))
        assert report["exit_code"] == exit_code
        (folder,) = self.home.glob(f"reports/rebase/tool/*/{report['run_id']}")
        written = json.loads((folder / "report.json").read_text())
        assert {name: value for name, value in written.items() if name != "$schema"} == report
        return report

    def moved(self) -> dict[str, object]:
        return {
            "fork": self.fork.git("for-each-ref"),
            "work": self.work.git("for-each-ref"),
            "files": (self.work.path / "a.txt").read_text(),
        }

    def events(self, run_id: str) -> list[tuple[str, Any]]:
        import sqlalchemy as sa

        query = "SELECT type, summary FROM upkeep.events WHERE run_id = :run ORDER BY id"
        with connect(self.home, self.database_url) as database, database.session() as session:
            return [(row[0], row[1]) for row in session.execute(sa.text(query), {"run": run_id})]


@pytest.fixture
def terminal(
    database_url: str, make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    seed = make_repository("seed")
    seed.commit({"a.txt": OLD}, "Base")
    upstream = seed.bare_clone(tmp_path / "upstream.git")
    seed.switch("trunk", "main")
    seed.commit({"a.txt": OURS}, "Patch")
    fork = seed.bare_clone(tmp_path / "fork.git")
    work = fork.clone(tmp_path / "work", branch="trunk")
    work.git("remote", "add", "upstream", str(upstream.path))
    made = Terminal(upstream, fork, work, tmp_path / "home", tmp_path / "upkeep.yaml", database_url)
    made.configure()
    # A command sets these for the processes that it starts.
    monkeypatch.setenv("UPKEEP_HOME", str(made.home))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("UPKEEP_CONFIG", str(made.configuration))
    monkeypatch.setenv("UPKEEP_DATABASE_URL", database_url)
    monkeypatch.delenv("FORCE_STALE_LOCK", raising=False)
    return made


def test_a_clean_day_is_verified_gated_and_pushed_and_can_be_restored(terminal: Terminal) -> None:
    tool("bwrap")
    terminal.configure(gates=["grep -q ours a.txt && grep -q theirs a.txt"])
    terminal.commit_upstream(9)
    old = terminal.fork.head("trunk")
    report = terminal.report()
    assert report["outcome"] == "rebased"
    assert [gate["result"] for gate in report["gates"]] == ["passed"]
    assert terminal.fork.head("trunk") == terminal.work.head() == report["verification"]["tip"]
    kinds = [kind for kind, _ in terminal.events(report["run_id"])]
    assert (kinds[0], kinds[-1]) == ("run.started", "run.ended")
    steps = [summary["step"] for kind, summary in terminal.events(report["run_id"]) if kind == "step.ended"]
    assert steps == ["lock", "snapshot", "verify", "gates", "apply", "stack", "delta"]
    assert terminal.out().startswith("# tool: Nothing to do")
    restored = terminal.report("--restore", report["run_id"])
    assert (restored["outcome"], restored["restored"]) == ("restored", report["run_id"])
    assert terminal.fork.head("trunk") == old


def test_a_conflict_day_exits_10_and_moves_nothing(terminal: Terminal) -> None:
    terminal.commit_upstream(3)
    before = terminal.moved()
    said = terminal.out(exit_code=10)
    assert said.startswith("# tool: Patches conflict; trunk was not moved")
    assert "Patch 1 conflicts: Patch" in said
    assert terminal.moved() == before


def test_only_verified_moves_nothing(terminal: Terminal) -> None:
    terminal.configure(gates=["false"])
    terminal.commit_upstream(9)
    before = terminal.moved()
    report = terminal.report("--verify-only")
    assert (report["outcome"], report["verify_only"], report["gates"]) == ("verified", True, [])
    assert terminal.moved() == before


def test_a_gate_that_fails_exits_14_and_nothing_is_pushed(terminal: Terminal) -> None:
    tool("bwrap")
    terminal.configure(gates=["true", "echo broken; exit 1"])
    terminal.commit_upstream(9)
    before = terminal.moved()
    report = terminal.report(exit_code=14)
    assert (report["outcome"], report["stopped_at"]) == ("gates_failed", "gates")
    assert report["error"]["code"] == "forks.gate_failed"
    assert Path(report["gates"][1]["log"]).read_text() == "broken\n"
    assert terminal.moved() == before
    ended = terminal.events(report["run_id"])[-1][1]
    assert (ended["outcome"], ended["reason"], ended["exit_code"]) == ("failed", "gates_failed", 14)
    assert ended["step"] == "gates"


@pytest.mark.parametrize(("answer", "outcome"), [("n\n", "cancelled"), ("", "cancelled"), ("y\n", "rebased")])
def test_on_a_terminal_the_gates_are_asked_for(terminal: Terminal, answer: str, outcome: str) -> None:
    tool("bwrap")
    terminal.configure(gates=["true"])
    terminal.commit_upstream(9)
    before = terminal.moved()
    app = typer.Typer()
    app.command()(lambda: print(execute(load(), "tool", ask=_ask).outcome))
    done = CliRunner().invoke(app, [], input=answer)
    assert done.stdout.split()[-1] == outcome
    assert "true (at most 30 min)" in done.stderr
    assert (terminal.moved() == before) == (outcome == "cancelled")


def typed(terminal: Terminal, *arguments: str, answer: str = "") -> tuple[int, str]:
    """`upkeep rebase tool …` on a terminal, with `answer` typed once it asks: exit code, and what it showed."""
    program = "import typer; from cli.rebase import rebase; typer.run(rebase)"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", program, "tool", *arguments],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    try:
        # On Linux a terminal whose last user is gone answers with an error.
        with suppress(OSError):
            while part := os.read(ours, 65536):
                shown += part
                if answer and b"Run them now?" in shown:
                    os.write(ours, answer.encode())
                    answer = ""
    finally:
        os.close(ours)
    return child.wait(240), shown.decode(errors="replace")


def test_a_person_at_a_terminal_is_asked_and_yes_answers(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(tool('bwrap')).parent}{os.pathsep}{os.environ['PATH']}")
    terminal.configure(gates=["test -f a.txt"])
    terminal.commit_upstream(9)
    before = terminal.moved()

    code, shown = typed(terminal, answer="n\n")

    assert code == 1, shown
    assert "test -f a.txt (at most 30 min)" in shown
    assert "the gates were not wanted" in shown
    assert terminal.moved() == before

    code, shown = typed(terminal, "--yes")

    assert code == 0, shown
    assert "Run them now?" not in shown
    assert "theirs" in (terminal.work.path / "a.txt").read_text()
    assert terminal.fork.head("trunk") == terminal.work.head()


def test_skipped_gates_stand_in_the_report(terminal: Terminal) -> None:
    terminal.configure(gates=["false"])
    terminal.commit_upstream(9)
    said = terminal.out("--skip-gates")
    assert said.startswith("# tool: Rebased and pushed")
    assert f"**Override: {inline('--skip-gates')}**" in said
    assert "| `false` | skipped |" in said


def test_a_fork_that_is_locked_in_the_database_exits_15_with_a_report(terminal: Terminal) -> None:
    before = terminal.moved()
    with (
        connect(terminal.home, terminal.database_url) as database,
        hold(database, "fork:tool", system="forks", run_id="other"),
    ):
        report = terminal.report("--force", exit_code=15)
    assert report["outcome"] == "locked"
    assert "other" in report["error"]["message"] + json.dumps(report["error"])
    assert terminal.moved() == before


def test_a_fork_whose_folder_is_locked_exits_15_and_force_does_not_help_against_the_living(terminal: Terminal) -> None:
    folder = terminal.home / "forks" / "tool" / "lock"
    with folder_lock.hold(folder, "other"):
        report = terminal.report("--force", exit_code=15)
    assert (report["outcome"], report["overrides"]) == ("locked", ["--force"])
    assert report["error"]["holder"]["run_id"] == "other"
    assert terminal.out().startswith("# tool: Nothing to do")


def test_force_stale_lock_is_the_flag(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_STALE_LOCK", "1")
    assert terminal.report()["overrides"] == ["--force"]


def test_an_unknown_fork_names_the_nearest(terminal: Terminal) -> None:
    error = terminal.run("tol").exception
    assert isinstance(error, ConfigError)
    assert error.reason == "config.unknown_fork"
    assert "did you mean tool" in error.message
    assert error.remedy


def test_a_database_that_is_gone_ends_in_a_report(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    report = terminal.report(exit_code=1)
    assert report["outcome"] == "failed"
    assert report["error"]["code"].startswith("database")


def test_explain_says_of_a_fork_what_will_break(terminal: Terminal) -> None:
    terminal.commit_upstream(3)
    app = typer.Typer()
    app.command()(explain)

    said = CliRunner().invoke(app, ["tool"])

    assert said.exit_code == 0
    assert said.stdout.startswith("tool: will_break\n")
    assert "Patch 1, Patch: a.txt, since" in said.stdout
    told = json.loads(CliRunner().invoke(app, ["tool", "--json"]).stdout)
    assert (told["fork"], told["code"]) == ("tool", "will_break")
    error = CliRunner().invoke(app, ["tol"]).exception
    assert isinstance(error, ConfigError)
    assert "did you mean tool" in error.message


def test_a_restore_that_only_verifies_is_wrong_usage(terminal: Terminal) -> None:
    assert terminal.run("tool", "--restore", "x", "--verify-only").exit_code == 2


def test_a_restore_of_an_unknown_run_exits_12(terminal: Terminal) -> None:
    assert terminal.report("--restore", "nothing", exit_code=12)["error"]["code"] == "forks.no_backup"


def test_a_fork_by_url_is_gated_in_a_worktree_of_our_mirror(terminal: Terminal) -> None:
    tool("bwrap")
    upstream = {"upstream": str(terminal.upstream.path)}
    gates = [{"run": "sed -i s/ours/OURS/ a.txt", "fix": True}, "grep -q OURS a.txt"]
    terminal.configure(path=None, url=str(terminal.fork.path), remotes=upstream, gates=gates)
    terminal.commit_upstream(9)
    report = terminal.report()
    assert report["outcome"] == "rebased"
    assert terminal.fork.head("trunk^") == report["verification"]["tip"]
    assert b"OURS" in terminal.fork.read("trunk", "a.txt")
    (written,) = terminal.home.glob(f"reports/rebase/tool/*/{report['run_id']}/summary.md")
    assert f"changed files: our commit `{terminal.fork.head('trunk')[:12]}` |" in written.read_text()
    assert terminal.report()["outcome"] == "no_change"
    terminal.commit_upstream(10)
    report = terminal.report()
    assert [each["kind"] for each in report["verification"]["own_before"]] == ["fix"]
    assert terminal.fork.head("trunk^") == report["verification"]["tip"]
    assert terminal.fork.git("rev-list", "--count", "main..trunk") == "2"
