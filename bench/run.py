"""Runs every benchmark, one after the other, and keeps their figures as JSON under the folder given.

python -P bench/run.py [--into FOLDER] [NAME …]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    "poll",
    "scan",
    "validate",
    "update",
    "up",
    "rebase",
    "forecast",
    "sync",
    "inventory",
    "sandbox",
    "gateway",
    "guardrails",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, help="where the JSON files go; default: a new temporary folder")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; default: all")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    into = options.into or Path(tempfile.mkdtemp(prefix="upkeep-bench-"))
    into.mkdir(parents=True, exist_ok=True)
    # As a user has it: modules are compiled once, not anew by every process.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    failed = []
    for name in options.names or NAMES:
        print(f"\n== {name}", flush=True)
        command = [sys.executable, "-P", str(HERE / f"{name}.py"), "--json", str(into / f"{name}.json")]
        done = subprocess.run(command, env=environment)
        if done.returncode != 0:
            failed.append(name)
    print(f"\nfigures: {into}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
