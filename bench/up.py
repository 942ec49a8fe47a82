"""How long it takes under `upkeep up` from the tick of the sensor that sees a commit to the pull request.

Starts `upkeep up` with its embedded database on the demo's app and dashboard, pushes one commit a round, and reads the
moments from Dagster's and Upkeep's own records: tick, request, start of the worker, pull request, end of the run.

    python -P bench/up.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sqlalchemy as sa  # noqa: E402

from tests.cli.test_up import Up  # noqa: E402
from tests.support.updates import WATCH, Pair, cart, make_pair  # noqa: E402
from tests.support.waiting import until  # noqa: E402
from upkeep.content.ranges import BRANCH_PREFIX  # noqa: E402
from upkeep.database.server import Database, connect  # noqa: E402

TARGET_SECONDS = 8.0
POLL_MINUTES = 0.05

_TICKS = """
query($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) {
    ... on Sensor { sensorState { ticks(limit: 100, statuses: [SUCCESS]) { timestamp endTimestamp runIds } } }
  }
}
"""
_RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { creationTime startTime endTime status } } }"
_SENSOR = {"repositoryName": "__repository__", "repositoryLocationName": "upkeep", "sensorName": "content_heads"}


@dataclass(frozen=True)
class Round:
    """Seconds. `total` is from the start of the tick to the pull request; the others are parts of it, but
    `push_to_tick`, which the poll interval decides, and `after`, which is the run's tidying up."""

    push_to_tick: float
    look: float
    queue: float
    worker: float
    steps: float
    after: float
    total: float


def play(pair: Pair, up: Up, database: Database, number: int) -> Round:
    path = f"feature/cart{number}/src/main/kotlin/org/example/ferry/cart{number}/Cart.kt"
    pushed = time.time()
    head = pair.push({path: cart(f"cart {number} opened")}, f"Add cart {number}")
    branch = BRANCH_PREFIX + head
    until(lambda: branch in pair.branches(), "the pull request")
    row = until(lambda: _row(database, branch), "the end of the run")
    tick = next(tick for tick in _ticks(up) if row.run_id in tick["runIds"])
    run = until(lambda: _ended(up, row.run_id), "the end of the run")
    # What a person does next: the following round then starts from it, like the first.
    pair.dashboard.git("update-ref", "refs/heads/main", f"refs/heads/{branch}")
    opened, began = row.opened.timestamp(), row.began.timestamp()
    return Round(
        push_to_tick=tick["timestamp"] - pushed,
        look=run["creationTime"] - tick["timestamp"],
        queue=run["startTime"] - run["creationTime"],
        worker=began - run["startTime"],
        steps=opened - began,
        after=run["endTime"] - opened,
        total=opened - tick["timestamp"],
    )


def _ended(up: Up, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = up.ask(_RUN, id=run_id)["runOrError"]
    return run if run["endTime"] else None


def _ticks(up: Up) -> list[dict[str, Any]]:
    return up.ask(_TICKS, selector=_SENSOR)["sensorOrError"]["sensorState"]["ticks"]  # type: ignore[no-any-return]


def _row(database: Database, branch: str) -> Any:
    """The pull request of a branch with the run that ended with it."""
    query = sa.text(
        """
        SELECT pr.created_at AS opened, ended.run_id,
               (SELECT min(at) FROM upkeep.events WHERE run_id = ended.run_id) AS began
        FROM upkeep.pull_requests AS pr
        JOIN upkeep.events AS ended ON ended.type = 'run.ended' AND ended.summary ->> 'head' = :head
        WHERE pr.head_branch = :branch
        """
    )
    with database.session() as session:
        return session.execute(query, {"branch": branch, "head": branch.removeprefix(BRANCH_PREFIX)}).one_or_none()


def measure(folder: Path, rounds: int) -> list[Round]:
    # The pair's own database is not used: `upkeep up` starts the embedded one of its home.
    with connect(folder / "home") as own, make_pair(folder, own, more=f"    poll_minutes: {POLL_MINUTES}\n") as pair:
        up = Up(pair.config, folder / "home")
        try:
            up.wait_until_ready()
            until(lambda: len(pair.branches()) == 2, "the first pull request")
            (first,) = [name for name in pair.branches() if name != "main"]
            pair.dashboard.git("update-ref", "refs/heads/main", f"refs/heads/{first}")
            until(lambda: {run["status"] for run in up.runs(WATCH)} == {"SUCCESS"}, "the first run's end")
            return [play(pair, up, own, number) for number in range(rounds)]
        finally:
            up.process.send_signal(signal.SIGTERM)
            up.process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-") as folder:
        played = measure(Path(folder), options.rounds)
    median = {name: round(statistics.median(getattr(one, name) for one in played), 2) for name in asdict(played[0])}
    words = {
        "push_to_tick": "from the push to the tick that sees it (the poll interval)",
        "look": "tick: poll, compare, request the run",
        "queue": "queue, and start of the worker process",
        "worker": "worker: definitions, instance, lock",
        "steps": "steps up to the pull request",
        "after": "from the pull request to the end of the run",
        "total": "from the tick to the pull request",
    }
    for name, words_ in words.items():
        print(f"{median[name]:8.2f} s  {words_}")
    print(f"target: {TARGET_SECONDS:g} s; ratio {median['total'] / TARGET_SECONDS:.2f}; rounds {options.rounds}")
    if options.json:
        figures = {"target_seconds": TARGET_SECONDS, "median": median, "rounds": [asdict(one) for one in played]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
