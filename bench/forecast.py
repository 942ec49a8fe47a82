"""What an hourly look ahead costs, against the fetch, `git worktree add` and `git rebase` that would tell the same.

A fork of 100 patches on a tree of 30,000 files, 300 commits behind. Three kinds of hour:

- nothing new: trunk has all of upstream;
- something new: upstream has ten commits more than an hour ago, and all patches go;
- a patch breaks: the last one, so that git has carried all others over before it stops. The look also searches for the
  upstream commit that broke it.

The remotes lie on this disk: what a network takes comes on top of both ways. What the first look fetches is told apart.

Run `python -P bench/forecast.py [--json FILE]` from the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.rebase import CASES, ENVIRONMENT, build, git, lines_of, path_of  # noqa: E402
from upkeep.config import Settings  # noqa: E402
from upkeep.forks import forecast  # noqa: E402
from upkeep.forks.records import Forecast  # noqa: E402

CASE = CASES[-1]
ROUNDS = 5
ROUNDS_OF_GIT = 1
COMMITS_AN_HOUR = 10
MAX_SECONDS = 1.0
MIN_RATIO = 10.0


@dataclass(frozen=True)
class Yard:
    """`history` has the branches `upstream` and `fork`; `upstream` and `fork` are served, `work` is a person's."""

    history: Path
    upstream: Path
    fork: Path
    work: Path
    home: Path

    @property
    def settings(self) -> Settings:
        fork = {"path": self.work, "trunk": "trunk", "forge": "here", "repo": "o/fork"}
        return Settings.model_validate({"home": self.home, "forks": {"fork": fork}})

    def upstream_at(self, sha: str) -> None:
        git(self.upstream, "update-ref", "refs/heads/main", sha)

    def look(self) -> tuple[Forecast, float]:
        started = time.perf_counter()
        found = forecast.look(self.settings, "fork", None)
        return found, time.perf_counter() - started

    def by_git(self, *, breaks: bool = False) -> tuple[str, float]:
        """The tip of a rebase in a worktree of the person's own repository, or where it stopped."""
        tree = self.work.parent / "worktree"
        started = time.perf_counter()
        git(self.work, "fetch", "-q", "origin")
        git(self.work, "fetch", "-q", "upstream")
        git(self.work, "worktree", "add", "-q", "--detach", str(tree), "origin/trunk")
        argv = ["git", "-C", str(tree), "rebase", "-q", "upstream/main"]
        done = subprocess.run(argv, capture_output=True, env=ENVIRONMENT, check=False)
        if (done.returncode != 0) is not breaks:
            raise SystemExit(f"git rebase ended with {done.returncode}: {done.stderr.decode()}")
        tip = git(tree, "rev-parse", "REBASE_HEAD" if breaks else "HEAD")
        git(self.work, "worktree", "remove", "--force", str(tree))
        return tip, time.perf_counter() - started


def make(folder: Path) -> Yard:
    history = build(CASE, folder)
    yard = Yard(history, folder / "upstream.git", folder / "fork.git", folder / "work", folder / "home")
    for place, refspecs in ((yard.upstream, ["base:main"]), (yard.fork, ["base:main", "fork:trunk"])):
        subprocess.run(["git", "init", "-q", "--bare", str(place)], check=True, env=ENVIRONMENT)
        git(place, "fetch", "-q", str(history), *refspecs)
    # What upstream has not pushed yet lies there already; nobody who fetches `main` gets it.
    git(yard.upstream, "fetch", "-q", str(history), "upstream:refs/hidden/upstream")
    argv = ["git", "clone", "-q", "--no-checkout", "--branch", "trunk", yard.fork.as_uri(), str(yard.work)]
    subprocess.run(argv, check=True, env=ENVIRONMENT)
    git(yard.work, "remote", "add", "upstream", str(yard.upstream))
    return yard


def breaking_commit(yard: Yard) -> str:
    """On upstream's head, a change of the line that only the last patch changes, too."""
    last = CASE.patches - 1
    number, line = last * 3, 30 + last % 5
    lines = lines_of(number)
    lines[line] = "upstream was here\n"
    blob = git(yard.upstream, "hash-object", "-w", "--stdin", data="".join(lines).encode())
    index = {**ENVIRONMENT, "GIT_INDEX_FILE": str(yard.home.with_name("index"))}

    def run(*arguments: str) -> str:
        argv = ["git", "-C", str(yard.upstream), *arguments]
        return subprocess.run(argv, check=True, env=index, capture_output=True, text=True).stdout.strip()

    run("read-tree", "refs/hidden/upstream")
    run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path_of(number)}")
    identity = ["-c", "user.name=Ada Person", "-c", "user.email=ada@example.com"]
    return run(*identity, "commit-tree", "-m", "Break it", "-p", "refs/hidden/upstream", run("write-tree"))


def something_new(yard: Yard, head: str) -> Iterator[float]:
    for left in range(ROUNDS - 1, -1, -1):
        yard.upstream_at(git(yard.upstream, "rev-parse", f"{head}~{left * COMMITS_AN_HOUR}"))
        found, seconds = yard.look()
        expect(found, f"all {CASE.patches} patches go", behind=True)
        yield seconds


def again(yard: Yard, words: str, *, behind: bool) -> Iterator[float]:
    yard.look()  # fetches
    for _ in range(ROUNDS):
        found, seconds = yard.look()
        expect(found, words, behind=behind)
        yield seconds


def expect(found: Forecast, words: str, *, behind: bool) -> None:
    if not found.tonight.words.startswith(words) or bool(found.behind.commits) is not behind:
        raise SystemExit(f"not what was to be seen: {found.tonight.words}, {found.behind}")


def measure(yard: Yard) -> dict[str, dict[str, float]]:
    head = git(yard.upstream, "rev-parse", "refs/hidden/upstream")
    yard.upstream_at(git(yard.upstream, "rev-parse", f"{head}~{ROUNDS * COMMITS_AN_HOUR}"))
    _, first = yard.look()
    new = list(something_new(yard, head))
    theirs = [yard.by_git() for _ in range(ROUNDS_OF_GIT)]
    yard.upstream_at(breaking_commit(yard))
    broken = list(again(yard, f"patch {CASE.patches} ", behind=True))
    stopped = [yard.by_git(breaks=True) for _ in range(ROUNDS_OF_GIT)]
    last = git(yard.work, "rev-parse", "origin/trunk")
    if {sha for sha, _ in stopped} != {last}:
        raise SystemExit(f"git stopped at {stopped}, and not at the last patch {last}")
    # Trunk as it was rebased, on upstream as it was then.
    yard.upstream_at(head)
    git(yard.work, "push", "-q", "--force", "origin", f"{theirs[-1][0]}:refs/heads/trunk")
    still = list(again(yard, f"all {CASE.patches} patches go", behind=False))
    idle = [yard.by_git() for _ in range(ROUNDS_OF_GIT)]
    return {
        "first look": {"look_seconds": round(first, 3)},
        "nothing new": compared(still, idle),
        "something new": compared(new, theirs),
        "a patch breaks": compared(broken, stopped),
    }


def compared(ours: list[float], theirs: list[tuple[str, float]]) -> dict[str, float]:
    quick, slow = statistics.median(ours), statistics.median(seconds for _, seconds in theirs)
    return {
        "look_seconds": round(quick, 3),
        "slowest_look_seconds": round(max(ours), 3),
        "worktree_rebase_seconds": round(slow, 3),
        "ratio": round(slow / quick, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name.startswith("GIT_")})
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name:
        figures = measure(make(Path(name)))
    print(f"{CASE.files} files, {CASE.patches} patches, {CASE.upstream} upstream commits\n")
    print("| an hour with | look s | slowest | fetch + worktree + rebase s | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for what, row in figures.items():
        print(f"| {what} | " + " | ".join(str(value) for value in row.values()) + " |" + (" | | |" * (len(row) == 1)))
    hours = [row for what, row in figures.items() if what != "first look"]
    held = {
        f"a look in under {MAX_SECONDS:g} s": max(row["look_seconds"] for row in hours) < MAX_SECONDS,
        f"at least {MIN_RATIO:g} times as fast": min(row["ratio"] for row in hours) >= MIN_RATIO,
    }
    print("\n" + "\n".join(f"{'held' if ok else 'MISSED'}: {target}" for target, ok in held.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"hours": figures, "targets": held}, indent=2) + "\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
