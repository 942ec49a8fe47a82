"""A fork that is rebased without Dagster, and, unless a test brings one, without a database.

What belongs here: an upstream, a fork and a person's working copy, the desk of that fork, and one rebase of it. What
does not: what a rebase must do (the tests).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.repositories import RepoBuilder
from upkeep.config import Settings
from upkeep.errors import RunCancelled
from upkeep.forks import report as reporting
from upkeep.forks import service
from upkeep.forks.desk import Desk
from upkeep.forks.outcomes import Outcome
from upkeep.forks.report import Draft, Report

TRUNK = "refs/heads/trunk"
LINES = "".join(f"line {number}\n" for number in range(20))


def make_desk(
    home: Path, run_id: str, fork: dict[str, Any], agents: dict[str, Any] | None = None, **options: Any
) -> Desk:
    """The desk of the fork `fork`, whose settings are `fork`."""
    values = {"trunk": "trunk", "forge": "here", "repo": "o/fork", **fork}
    settings = Settings.model_validate({"home": home, "forks": {"fork": values}, "agents": agents or {}})
    return Desk("fork", settings, run_id, Draft("fork", run_id, trigger="cli"), **options)


def rebase(desk: Desk, *, restore: str | None = None, force: bool = False) -> Report:
    """One whole run under the folder lock alone."""
    *_, report = service.rebase(desk, service.held(desk, force=force), restore=restore)
    assert isinstance(report, Report)
    return report


@dataclass
class World:
    """`upstream` and `fork` are bare and served; `work` is the person's clone with remotes `origin` and `upstream`."""

    upstream: RepoBuilder
    fork: RepoBuilder
    work: RepoBuilder
    home: Path
    runs: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    agents: dict[str, Any] = field(default_factory=dict)

    def commit_upstream(self, changes: dict[str, str | bytes | None], message: str = "Upstream") -> str:
        return self._commit(self.upstream, "main", changes, message)

    def commit_fork(self, changes: dict[str, str | bytes | None], message: str = "Patch") -> str:
        return self._commit(self.fork, "trunk", changes, message)

    def _commit(self, bare: RepoBuilder, branch: str, changes: dict[str, str | bytes | None], message: str) -> str:
        clone = bare.clone(self.home.parent / f"clone-{len(list(self.home.parent.iterdir()))}", branch=branch)
        clone.clock = self.work.clock
        sha = clone.commit(changes, message)
        self.work.clock = clone.clock
        clone.git("push", "-q", "origin", branch)
        return sha

    def desk(self, **options: Any) -> Desk:
        self.runs += 1
        place = {} if "url" in self.settings else {"path": self.work.path}
        return make_desk(self.home, f"run-{self.runs}", {**place, **self.settings}, self.agents, **options)

    def run(self, *, restore: str | None = None, force: bool = False, **options: Any) -> Report:
        report = rebase(self.desk(**options), restore=restore, force=force)
        folder = reporting.folder_of(self.home, report)
        assert reporting.read(folder / "report.json") == report
        assert (folder / "summary.md").read_text().startswith("# fork: ")
        assert not (self.home / "forks/fork/lock").exists() or report.outcome is Outcome.LOCKED
        return report

    def everything(self) -> dict[str, object]:
        """All refs of all three, and the person's files, index and worktrees."""
        git = self.work.path / ".git"
        files = {path: path.read_bytes() for path in sorted(self.work.path.rglob("*.txt"))}
        return {
            **{name: each.git("for-each-ref") for name, each in vars(self).items() if isinstance(each, RepoBuilder)},
            "HEAD": (git / "HEAD").read_text(),
            "index": self.work.git_bytes("ls-files", "--stage", "-z"),
            "worktrees": self.work.git("worktree", "list"),
            "files": files,
        }


def make_world(folder: Path) -> World:
    """An upstream, a fork with two patches on it, and a person's working copy, below `folder`."""
    seed = RepoBuilder(folder / "seed")
    seed.commit({"a.txt": LINES, "b.txt": LINES}, "Base")
    upstream = seed.bare_clone(folder / "upstream.git")
    seed.switch("trunk", "main")
    seed.commit({"a.txt": LINES.replace("line 3\n", "ours\n")}, "First patch")
    seed.commit({"b.txt": LINES.replace("line 3\n", "ours\n")}, "Second patch")
    fork = seed.bare_clone(folder / "fork.git")
    work = fork.clone(folder / "work", branch="trunk")
    work.git("branch", "-q", "main", "origin/main")
    work.git("remote", "add", "upstream", str(upstream.path))
    return World(upstream, fork, work, folder / "home")


def copy_world(world: World, folder: Path) -> World:
    """A world of one's own out of one that was made before, with all that is in its repositories."""
    copies = []
    for each in (world.upstream, world.fork, world.work):
        shutil.copytree(each.path, folder / each.path.name, symlinks=True)
        copy = RepoBuilder(folder / each.path.name, create=False)
        copy.clock = each.clock
        copies.append(copy)
    upstream, fork, work = copies
    work.git("remote", "set-url", "origin", str(fork.path))
    work.git("remote", "set-url", "upstream", str(upstream.path))
    work.git("update-index", "-q", "--refresh")  # copies are other files, which git would take for changed ones
    return World(upstream, fork, work, folder / "home")


@pytest.fixture(scope="session")
def first_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(first_world: World, tmp_path: Path) -> World:
    """A world of the test's own: a copy, which costs a fifth of making one."""
    return copy_world(first_world, tmp_path)


def theirs(number: int = 15, text: str = "theirs") -> str:
    return LINES.replace(f"line {number}\n", f"{text}\n")


def dies(at: int) -> Callable[[], None]:
    """What lets a run go on that often, and then ends it."""
    left = iter(range(at))

    def may() -> None:
        if next(left, None) is None:
            raise RunCancelled("stopped by the test")

    return may
