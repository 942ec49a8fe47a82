"""How long it takes to verify a rebase in memory, against `git worktree add` and `git rebase` in the same run.

Two cases on generated histories: 40 picks on a tree of 5,000 files, and 100 picks over 300 upstream commits on one of
30,000 files. Both ways must end at the same tip SHA. Memory is the peak of this process and of its largest child, each
measured in a process of its own. Then how the cost grows: with the picks (twice as many may not cost more than twice as
much), and with the tree (thirty times as many files may not cost half as much again). Each figure there is the best of
several rounds, taken in turns, so that the machine's other work hits all alike.

Run `python -P bench/rebase.py [--json FILE]` from the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHEN = 1_790_000_000
FILES_A_FOLDER = 25
MAX_SECONDS = 0.3
MIN_RATIO = 20.0
MAX_MIB = 150.0
MAX_GROWTH = 1.15
"""A pick among 200 may cost this much of what one among 50 does."""
MAX_TREE = 1.5
"""A rebase in 30,000 files may cost this much of what one in 1,000 does."""
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "LANG": "C.UTF-8",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_COMMITTER_NAME": "Rita Rebase",
    "GIT_COMMITTER_EMAIL": "rita@example.com",
    "GIT_COMMITTER_DATE": f"@{WHEN} +0000",
}


@dataclass(frozen=True)
class Case:
    name: str
    files: int
    patches: int
    upstream: int
    rounds: int
    rounds_of_git: int


PICKS = tuple(Case(f"picks-{number}", 5_000, number, 60, 7, 0) for number in (50, 100, 200))
TREES = tuple(Case(f"tree-{files}", files, 40, 60, 7, 0) for files in (1_000, 5_000, 30_000))
CASES = (Case("small", 5_000, 40, 60, 5, 3), Case("large", 30_000, 100, 300, 5, 1))


def git(repository: Path, *arguments: str, data: bytes | None = None) -> str:
    argv = ["git", "-C", str(repository), "-c", "gc.auto=0", *arguments]
    return subprocess.run(argv, input=data, capture_output=True, check=True, env=ENVIRONMENT).stdout.decode().strip()


def path_of(number: int) -> str:
    return (
        f"src/part{number // (FILES_A_FOLDER * 40)}/module{number // FILES_A_FOLDER}/file{number % FILES_A_FOLDER}.txt"
    )


def lines_of(number: int) -> list[str]:
    return [f"line {line} of file {number}\n" for line in range(40)]


def stream(case: Case) -> Iterator[bytes]:
    """What fast-import reads: a base, then upstream and fork, each changing files of its own and some of the other's.

    Patches that share a file with upstream change another part of it, so every pick is a real three-way merge.
    """
    contents = {number: lines_of(number) for number in range(case.files)}
    clock = WHEN - 1_000_000

    def commit(ref: str, mark: int, parent: str) -> bytes:
        who = b"Ada Person <ada@example.com> %d +0000" % (clock + mark * 60)
        message = b"Change %d\n" % mark
        start = b"from %s\n" % parent.encode() if parent else b""
        return b"commit refs/heads/%s\nmark :%d\nauthor %s\ncommitter %s\ndata %d\n%s%s" % (
            *(ref.encode(), mark, who, who, len(message), message, start),
        )

    def file(number: int, lines: list[str]) -> bytes:
        text = "".join(lines).encode()
        return b"M 100644 inline %s\ndata %d\n%s\n" % (path_of(number).encode(), len(text), text)

    yield commit("base", 1, "")
    for number, lines in contents.items():
        yield file(number, lines)
    mark = 1
    for branch, commits, first_line in (("upstream", case.upstream, 3), ("fork", case.patches, 30)):
        parent, changed = 1, {number: lines for number, lines in contents.items() if number < commits * 6}
        for at in range(commits):
            mark += 1
            yield commit(branch, mark, f":{parent}")
            for touched in (at * 3, at * 3 + 1, at * 5 % (commits * 2)):
                lines = list(changed[touched])
                lines[first_line + at % 5] = f"{branch} changed this in {at}\n"
                changed[touched] = lines
                yield file(touched, lines)
            parent = mark


def build(case: Case, folder: Path) -> Path:
    repository = folder / case.name
    subprocess.run(["git", "init", "-q", "--bare", str(repository)], check=True, env=ENVIRONMENT)
    git(repository, "fast-import", "--quiet", data=b"".join(stream(case)))
    git(repository, "repack", "-adq", "--write-bitmap-index")
    return repository


def with_git(repository: Path, folder: Path) -> tuple[str, float]:
    tree = folder / "worktree"
    started = time.perf_counter()
    git(repository, "worktree", "add", "-q", "--detach", str(tree), "fork")
    git(tree, "rebase", "-q", "upstream")
    tip = git(tree, "rev-parse", "HEAD")
    git(repository, "worktree", "remove", "--force", str(tree))
    return tip, time.perf_counter() - started


def in_memory(repository: Path) -> tuple[str, float]:
    from upkeep.forks.quarantine import quarantine
    from upkeep.forks.rawcommit import Committer
    from upkeep.forks.verify import verify
    from upkeep.git import Repository

    opened = Repository.open(repository)
    onto, head = str(opened.resolve("upstream")), str(opened.resolve("fork"))
    committer = Committer("Rita Rebase", "rita@example.com", datetime.fromtimestamp(WHEN, UTC))
    started = time.perf_counter()
    with quarantine(opened) as folder:
        result = verify(folder, onto, head, committer)
    seconds = time.perf_counter() - started
    if result.tip is None or result.method != "memory":
        raise SystemExit(f"not clean in memory: {result.conflicts}, {result.reasons}")
    return result.tip, seconds


def peak_mib(repository: Path) -> float:
    """The peak of one verification: this program and its largest child, in a process of its own."""
    argv = [sys.executable, "-P", __file__, "--peak-of", str(repository)]
    return float(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)


def measure(case: Case, folder: Path) -> dict[str, float | int | str]:
    repository = build(case, folder)
    in_memory(repository)  # imports are paid once a process, not once a rebase
    ours = [in_memory(repository) for _ in range(case.rounds)]
    theirs = [with_git(repository, folder) for _ in range(case.rounds_of_git)]
    tips = {tip for tip, _ in [*ours, *theirs]}
    if len(tips) != 1:
        raise SystemExit(f"{case.name}: the tips differ: {tips}")
    quick, slow = (statistics.median(seconds for _, seconds in runs) for runs in (ours, theirs))
    return {
        "files": case.files,
        "patches": case.patches,
        "upstream_commits": case.upstream,
        "engine_seconds": round(quick, 3),
        "worktree_rebase_seconds": round(slow, 3),
        "ratio": round(slow / quick, 1),
        "milliseconds_a_pick": round(quick * 1000 / case.patches, 2),
        "peak_mib": round(peak_mib(repository), 1),
        "tip": tips.pop(),
    }


def best(cases: Sequence[Case], folder: Path) -> dict[str, float]:
    """The best time of each case, in seconds, measured in turns."""
    repositories = {case.name: build(case, folder) for case in cases}
    found: dict[str, float] = {}
    for _ in range(cases[0].rounds):
        for name, repository in repositories.items():
            found[name] = min(found.get(name, 1e9), in_memory(repository)[1])
    return found


def growth(folder: Path) -> dict[str, dict[str, float]]:
    """How the cost grows with the picks and with the tree."""
    picks, trees = best(PICKS, folder), best(TREES, folder)
    return {
        "milliseconds_a_pick": {str(case.patches): picks[case.name] * 1000 / case.patches for case in PICKS},
        "seconds_in_files": {str(case.files): trees[case.name] for case in TREES},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name.startswith("GIT_CONFIG")})
    if arguments.peak_of is not None:
        in_memory(arguments.peak_of)
        # Not getrusage for ourselves: its peak is inherited from whoever started us.
        status = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print((int(status) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024)
        return 0
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as name:
        figures = {case.name: measure(case, Path(name)) for case in CASES}
        grown = growth(Path(name))
    print("| files | patches | upstream | engine s | worktree + rebase s | ratio | ms a pick | peak MiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in figures.values():
        print("| " + " | ".join(str(value) for key, value in row.items() if key != "tip") + " |")
    print()
    for what, values in grown.items():
        print(f"{what.replace('_', ' ')}: " + ", ".join(f"{size}: {value:.3g}" for size, value in values.items()))
    small, large = figures["small"], figures["large"]
    picks, trees = (list(values.values()) for values in grown.values())
    held = {
        f"40 picks in at most {MAX_SECONDS} s": float(small["engine_seconds"]) <= MAX_SECONDS,
        f"at least {MIN_RATIO:.0f} times as fast": float(large["ratio"]) >= MIN_RATIO,
        "linear in picks": picks[-1] <= MAX_GROWTH * picks[0],
        "flat in tree size": trees[-1] <= MAX_TREE * trees[0],
        f"under {MAX_MIB:.0f} MiB": max(float(small["peak_mib"]), float(large["peak_mib"])) < MAX_MIB,
    }
    print("\n" + "\n".join(f"{'held' if ok else 'MISSED'}: {target}" for target, ok in held.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"cases": figures, "growth": grown, "targets": held}, indent=2) + "\n")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
