"""What a whole update costs beside the bare git and gh steps, without an agent's own time.

In one run, on the same fake GitHub over a unix socket, alternating:

- a shell script that fetches both repositories, lists pull requests, writes a tree and a commit, pushes, opens the pull
  request and reads it back: the least that any updater must do;
- `upkeep update`, as a process from start to end, with the offline agent on the demo's app and dashboard.

Says where the seconds go: by step inside the run (from the events), and outside it (start, Dagster, database).

    python -P bench/update.py [--json FILE] [--rounds N]
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.github import GitHub, running_github  # noqa: E402
from tests.support.repositories import RepoBuilder  # noqa: E402
from tests.support.updates import CART, REPO, WATCH, Pair, cart, make_pair  # noqa: E402
from upkeep.database import schema  # noqa: E402
from upkeep.database.server import Database, connect  # noqa: E402
from upkeep.forges.gh import API_VERSION  # noqa: E402

MORE_SECONDS = 3.5
INSIDE_SECONDS = 1.5

SCRIPT = """
set -euo pipefail
git -C "$APP" fetch --quiet origin main
git -C "$DASHBOARD" fetch --quiet origin main
gh api -H "$VERSION" "repos/$REPO/pulls?state=all&per_page=100" > /dev/null
cd "$DASHBOARD"
export GIT_INDEX_FILE="$DASHBOARD/script-index"
git read-tree FETCH_HEAD
blob=$(date +%N | git hash-object -w --stdin)
git update-index --add --cacheinfo "100644,$blob,content/analytics/notes.md"
tree=$(git write-tree)
commit=$(git -c user.name=Script -c user.email=script@example.com commit-tree "$tree" -p FETCH_HEAD -m "Update")
git push --quiet --force-with-lease="refs/heads/$BRANCH:" origin "$commit:refs/heads/$BRANCH"
opened=(-f title=Update -f body=Body -f base=main -f head="$BRANCH")
number=$(gh api -H "$VERSION" "repos/$REPO/pulls" "${opened[@]}" --jq .number)
gh api -H "$VERSION" "repos/$REPO/pulls/$number" > /dev/null
"""


def script_seconds(pair: Pair, clones: dict[str, RepoBuilder], round_: int) -> float:
    environment = {
        **os.environ,
        **pair.environment,
        "APP": str(clones["app"].path),
        "DASHBOARD": str(clones["dashboard"].path),
        "REPO": REPO,
        "VERSION": f"X-GitHub-Api-Version: {API_VERSION}",
        "BRANCH": f"script/{round_}",
    }
    started = time.perf_counter()
    done = subprocess.run(["bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"the script failed: {done.stderr}")
    return time.perf_counter() - started


def update_seconds(pair: Pair, database: Database) -> tuple[float, dict[str, Any]]:
    """Wall seconds of the process, and the run's row in metrics.runs."""
    environment = {
        **os.environ,
        **pair.environment,
        "UPKEEP_CONFIG": str(pair.config),
        "UPKEEP_DATABASE_URL": database.url,
    }
    command = [str(Path(sys.executable).parent / "upkeep"), "update", WATCH, "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"the update failed: {done.stderr}")
    run_id = json.loads(done.stdout)["run_id"]
    with database.session() as session:
        row = session.connection().exec_driver_sql(
            "SELECT seconds, seconds_total FROM metrics.runs WHERE run_id = %s", (run_id,)
        )
        by_step, total = row.one()
    return seconds, {"steps": by_step, "inside": total}


def measure(rounds: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    with running_github() as github, connect(folder / "home") as database:
        schema.upgrade(database)
        os.environ["PATH"] = f"{Path(github.gh).parent}{os.pathsep}{os.environ['PATH']}"
        with make_pair(folder, database, github=github) as pair:
            return _rounds(pair, github, database, rounds)


def _rounds(pair: Pair, github: GitHub, database: Database, rounds: int) -> dict[str, Any]:
    clones = {
        "app": pair.upstream.clone(pair.folder / "script-app"),
        "dashboard": pair.dashboard.clone(pair.folder / "script-dashboard"),
    }
    update_seconds(pair, database)  # Dagster's tables, the mirrors and the scan's cache are made once
    scripts, updates, insides, steps = [], [], [], []
    for round_ in range(rounds):
        pair.push({CART: cart(*(f"cart event {number}" for number in range(round_ + 1)))})
        scripts.append(script_seconds(pair, clones, round_))
        seconds, row = update_seconds(pair, database)
        updates.append(seconds)
        insides.append(float(row["inside"]))
        steps.append(row["steps"])
    return {
        "rounds": rounds,
        "script_seconds": statistics.median(scripts),
        "update_seconds": statistics.median(updates),
        "inside_seconds": statistics.median(insides),
        "steps": {name: statistics.median(float(step.get(name, 0)) for step in steps) for name in steps[-1]},
        "forge_calls": len(github.requests),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    figures = measure(options.rounds)
    script = figures["script_seconds"]
    more = figures["update_seconds"] - script
    figures["more_seconds"] = more
    print(f"shell script with the same git and gh steps  {script:6.2f} s")
    print(f"upkeep update, whole process                 {figures['update_seconds']:6.2f} s")
    print(f"  more than the script                       {more:6.2f} s   wanted: at most {MORE_SECONDS} s")
    inside = figures["inside_seconds"]
    print(f"  inside the run                             {inside:6.2f} s")
    print(f"    more than the script                     {inside - script:6.2f} s   wanted: at most {INSIDE_SECONDS} s")
    for name, seconds in sorted(figures["steps"].items(), key=lambda item: -item[1]):
        print(f"    {name:<40} {seconds:6.2f} s")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
