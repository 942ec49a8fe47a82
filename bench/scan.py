"""The scan of a Kotlin app of 4,500 files: cold, after ten files changed, and against parsing every file.

    python bench/scan.py [--files 4500] [--json FILE]

Targets (issue A): 3 s cold, 0.3 s when ten files changed. The comparison runs the obvious `$_.track($EVENT, $$$)` over
every file, in the same process and run, so that the ratio holds on any machine. It reads the same blobs and resolves
nothing; what it misses (`?.` calls) is counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast_grep_py import SgRoot

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.kotlin import kotlin_app
from upkeep.content.scan.scanner import scan
from upkeep.git import Repository
from upkeep.settings.scan import ScanSettings

SETTINGS = ScanSettings.model_validate({"kotlin": {"calls": ["track", "logEvent"], "event": 0, "properties": 1}})
CHANGED = 10


def main() -> None:
    """Print the figures; with `--json` write them too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=4500)
    parser.add_argument("--calling", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.files, arguments.calling, arguments.rounds)
    for name, value in figures.items():
        print(f"{name:34} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"scan": figures}, indent=2) + "\n")


def measure(folder: Path, files: int, calling: int, rounds: int) -> dict[str, Any]:
    """Return the figures: seconds are the best of `rounds`, so that other work on the machine counts least."""
    app, size = build(folder / "app", files, calling)
    repository = Repository.open(app)
    cold, rescan, naive = [], [], []
    for number in range(rounds):
        cache = folder / f"cache-{number}"
        first, seconds = timed(lambda cache=cache: scan(repository, "HEAD~1", SETTINGS, cache=cache))  # type: ignore[misc]
        cold.append(seconds)
        second, seconds = timed(lambda cache=cache: scan(repository, "HEAD", SETTINGS, cache=cache))  # type: ignore[misc]
        rescan.append(seconds)
        matches, seconds = timed(lambda: parse_everything(repository))
        naive.append(seconds)
    return {
        "files": files,
        "megabytes": round(size / 1e6, 1),
        "calls": len(first.calls),
        "unresolved": sum(call.name is None for call in first.calls),
        "files parsed cold": first.files_parsed,
        "files parsed again": second.files_parsed,
        "cold seconds": round(min(cold), 2),
        "10 files changed seconds": round(min(rescan), 2),
        "parsing every file seconds": round(min(naive), 2),
        "parsing every file finds": matches,
        "times faster cold": round(min(naive) / min(cold), 1),
        "times faster with 10 changed": round(min(naive) / min(rescan), 1),
    }


def build(path: Path, files: int, calling: int) -> tuple[Path, int]:
    """Write the app, commit it, change ten files, commit again."""
    size = 0
    written = []
    for name, source in kotlin_app(files, calling=calling):
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source)
        size += len(source)
        written.append(target)
    git(path, "init", "-q", "-b", "main")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "Import the app")
    for target in written[2 :: max(1, len(written) // CHANGED)][:CHANGED]:
        target.write_text(target.read_text() + '\nfun late(t: Tracker) { t.track("late") }\n')
    git(path, "commit", "-q", "-a", "-m", "Change ten files")
    git(path, "gc", "-q")
    return path, size


def parse_everything(repository: Repository) -> int:
    """Return how many calls a plain ast-grep rule finds."""
    shas = [entry.sha for entry in repository.tree("HEAD") if entry.path.endswith(".kt")]
    return sum(
        len(SgRoot(content.decode(), "kotlin").root().find_all(pattern="$_.track($EVENT, $$$)"))
        for _, content in repository.blobs(shas)
    )


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return action(), time.perf_counter() - started


def git(path: Path, *arguments: str) -> None:
    """Run git in the app; no configuration of this machine is read."""
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(path), *identity, *arguments], check=True)


if __name__ == "__main__":
    main()
