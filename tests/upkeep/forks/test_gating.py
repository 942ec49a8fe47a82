"""Gates on the verified tip: real git, real sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.rebases import make_desk
from tests.support.repositories import MakeRepository, RepoBuilder
from tests.support.tools import tool
from upkeep.errors import RunCancelled
from upkeep.forks import ownership, rawcommit, service
from upkeep.forks.desk import GateFailed
from upkeep.forks.gating import SandboxedGates
from upkeep.forks.report import Draft, Gate

OLD, NEW = "one\ntwo\nthree\n", "one\ntwo\nthree\nfour\n"
MEND = "sed -i s/two/TWO/ a.txt"


class Bench:
    """A fork whose upstream went on, and its gates on the tip that a rebase makes."""

    def __init__(self, work: RepoBuilder, home: Path) -> None:
        self.work = work
        self.home = home
        self.runs = 0
        self.draft = Draft("fork", "none", trigger="cli")

    def run(self, *gates: Any, asked: Any = lambda _: None, **settings: Any) -> tuple[str, str, tuple[Gate, ...]]:
        """The verified tip, the tip that passed, and what ran."""
        self.runs += 1
        desk = make_desk(self.home, f"run-{self.runs}", {"path": self.work.path, "gates": gates, **settings})
        self.draft = desk.draft
        before = self.work.refs("refs/")
        snapshot = service.take_snapshot(desk)
        verification = service.verified(desk, snapshot)
        runner = SandboxedGates(asked=asked, bwrap=tool("bwrap"), user_home=self.home)
        try:
            tip, ran = runner(desk, snapshot, verification)
        finally:
            assert self.work.refs("refs/") == before
            assert self.work.git("status", "--porcelain") == ""
            assert self.work.git("worktree", "list").count("\n") == 0
            assert list(desk.trees.glob("*")) == []
        return str(verification.tip), tip, ran

    def failure(self, *gates: Any, **settings: Any) -> tuple[str, tuple[Gate, ...]]:
        with pytest.raises(GateFailed) as failed:
            self.run(*gates, **settings)
        return failed.value.message, self.draft.parts["gates"]


@pytest.fixture
def bench(make_repository: MakeRepository, tmp_path: Path) -> Bench:
    tool("bwrap")
    seed = make_repository("seed")
    seed.commit({"a.txt": OLD, "b.txt": OLD, ".gitignore": "*.o\n"}, "Base")
    upstream = seed.bare_clone(tmp_path / "upstream.git")
    seed.switch("trunk", "main")
    seed.commit({"b.txt": OLD + "ours\n"}, "Patch")
    fork = seed.bare_clone(tmp_path / "fork.git")
    work = fork.clone(tmp_path / "work", branch="trunk")
    work.git("remote", "add", "upstream", str(upstream.path))
    clone = upstream.clone(tmp_path / "clone")
    clone.commit({"a.txt": NEW}, "Upstream")
    clone.git("push", "-q", "origin", "main")
    return Bench(work, tmp_path / "home")


def results(ran: tuple[Gate, ...]) -> list[tuple[str, str]]:
    return [(each.command, each.result) for each in ran]


def test_gates_see_the_verified_tip_and_pass(bench: Bench) -> None:
    gates = ("grep -q four a.txt && grep -q ours b.txt", "touch build.o")
    verified, tip, ran = bench.run(*gates)
    assert tip == verified
    assert results(ran) == [(gate, "passed") for gate in gates]
    assert {each.tree for each in ran} == {bench.work.git("rev-parse", f"{tip}^{{tree}}")}
    assert not any(each.cached for each in ran)
    assert all(each.log and Path(each.log).is_file() for each in ran)


def test_the_same_tree_is_not_gated_twice(bench: Bench) -> None:
    bench.run("test -f a.txt")
    assert [each.cached for each in bench.run("test -f a.txt")[2]] == [True]
    assert [each.cached for each in bench.run("test -f b.txt")[2]] == [False]


def test_all_gates_are_tried_and_the_failed_are_named(bench: Bench) -> None:
    message, ran = bench.failure("echo oh no; exit 3", "true", "no-such-program")
    assert results(ran) == [("echo oh no; exit 3", "failed"), ("true", "passed"), ("no-such-program", "failed")]
    assert "it ended with status 3" in message
    assert "`no-such-program`: it could not run" in message
    assert Path(str(ran[0].log)).read_text() == "oh no\n"


def test_a_gate_that_hangs_has_failed(bench: Bench) -> None:
    message, ran = bench.failure({"run": "sleep 60", "timeout_minutes": 1 / 60})
    assert results(ran) == [("sleep 60", "timed_out")]
    assert "it could not run" in message


@pytest.mark.parametrize(
    ("run", "paths"),
    [(MEND, "a.txt"), ("rm b.txt", "b.txt"), ("echo x > new.txt", "new.txt"), ("chmod +x a.txt", "a.txt")],
)
def test_a_gate_that_changes_files_has_failed_today_and_tomorrow(bench: Bench, run: str, paths: str) -> None:
    seen = "grep -q two a.txt && test -f b.txt && test ! -e new.txt && test ! -x a.txt"
    message, ran = bench.failure(run, seen)
    assert results(ran) == [(run, "changed_files"), (seen, "passed")]
    assert f"it changed files: {paths}" in message
    again, ran = bench.failure(run, seen)
    assert [(each.result, each.cached) for each in ran] == [("changed_files", True), ("passed", True)]
    assert again == message


def test_what_a_gate_with_fix_changes_is_a_commit_of_ours_that_all_gates_judge(bench: Bench) -> None:
    gates = ({"run": "grep -q TWO a.txt && test ! -e b.txt && test -f new.txt"}, {"run": MEND, "fix": True})
    more = {"run": "rm -f b.txt; echo new > new.txt", "fix": True}
    verified, tip, ran = bench.run(*gates, more)
    assert bench.work.git("rev-parse", f"{tip}^") == verified
    raw = rawcommit.parse(tip, bench.work.git_bytes("cat-file", "commit", tip))
    assert ownership.kind_of(raw) == "fix"
    assert bench.work.read(tip, "a.txt").decode() == NEW.replace("two", "TWO")
    assert bench.work.files(tip) == [".gitignore", "a.txt", "new.txt"]
    assert [(each.result, each.fixed) for each in ran] == [("passed", tip)] * 2 + [("passed", None)] * 3
    dates = bench.work.git("log", "--format=%cd %ad", "--date=raw", "-2", tip).replace("\n", " ").split(" ")
    assert len(set(dates[0:5:2])) == 1  # its parent's: the same changes on the same tip are the same commit


def test_a_fix_with_nothing_to_mend_makes_nothing(bench: Bench) -> None:
    verified, tip, _ = bench.run({"run": "sed -i s/zzz/y/ a.txt", "fix": True})
    assert tip == verified


def test_a_fix_that_never_comes_to_rest_has_failed(bench: Bench) -> None:
    message, _ = bench.failure({"run": "echo more >> a.txt", "fix": True})
    assert "it changed files: a.txt" in message


def test_a_red_that_was_there_before_is_told_from_a_new_one(bench: Bench) -> None:
    message, ran = bench.failure("exit 1", "! grep -q four a.txt", "true", baseline=True)
    assert "`exit 1`: it ended with status 1 (red on the old trunk, too)" in message
    assert "`! grep -q four a.txt`: it ended with status 1 (green on the old trunk)" in message
    assert [(each.command, each.result) for each in ran if each.baseline] == [
        ("exit 1", "failed"),
        ("! grep -q four a.txt", "passed"),
    ]


def test_a_sandbox_that_cannot_start_is_never_a_pass(bench: Bench) -> None:
    desk = make_desk(bench.home, "run", {"path": bench.work.path, "gates": ["true"]})
    snapshot = service.take_snapshot(desk)
    verification = service.verified(desk, snapshot)
    with pytest.raises(GateFailed, match="it could not run"):
        SandboxedGates(bwrap="/nonexistent/bwrap", user_home=bench.home)(desk, snapshot, verification)


def test_a_repository_that_a_gate_made_is_not_asked_anything(bench: Bench) -> None:
    evil = bench.home.parent / "escaped"
    script = (
        "mkdir -p sub/.git/refs sub/.git/objects && echo 'ref: refs/heads/x' > sub/.git/HEAD && "
        f"printf '[core]\\n\\trepositoryformatversion = 0\\n\\tfsmonitor = touch {evil}\\n' > sub/.git/config"
    )
    verified, tip, _ = bench.run(script)
    assert tip == verified
    assert not evil.exists()


def test_who_is_asked_and_says_no_ends_it_before_any_gate(bench: Bench) -> None:
    def no(gates: Any) -> None:
        assert [gate.run for gate in gates] == ["true"]
        raise RunCancelled("no")

    with pytest.raises(RunCancelled):
        bench.run("true", asked=no)
    assert "gates" not in bench.draft.parts
