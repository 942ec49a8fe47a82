"""How quick sync is: the look at repositories that did not change, a full sync, and a commit's way to its timestamp.

- a drift check of 2,000 repositories with 10,000 workplans and 100,000 tasks in which nothing changed, with the memory
  that it takes, and of half of them: time should follow the number;
- what it costs when some of them changed: the check, and the syncs that follow, for 40 and for 80 of them. The time for
  one should stay the same;
- a full sync of some of them, for each file and task;
- from `git commit` with the hook to the end of the sync that it starts, which is a little after the timestamp moved,
  with the database down and up; and what the hook adds to the commit itself, each beside a commit without it. Load of
  the machine is told, as it is most of what these differ by.

    python -P bench/sync.py [--json FILE] [--repositories N] [--commits N]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from upkeep.database import schema
from upkeep.database.server import Database, connect
from upkeep.database.tables import repositories, tasks, workstreams
from upkeep.sync import registry, service, survey
from upkeep.sync.hooks import Hook
from upkeep.sync.workingtree import WorkingTree

PLANS = 5
TASKS = 10
PROGRAM = "import typer; from cli.sync import sync; typer.run(sync)"


def workplan(number: int) -> str:
    head = f"---\nid: WP-{number}\ntype: workplan\ntitle: Plan {number}\nstatus: active\nupdated: 2026-03-16\n---\n"
    blocks = (
        f"## Task: number {task}\n```task\nid: WP-{number}-T{task}\nstatus: todo\npriority: high\n```\n"
        + "Prose about what is to be done, and why.\n" * 5
        for task in range(TASKS)
    )
    return head + "\n".join(blocks)


def make_repositories(root: Path, count: int) -> list[Path]:
    """Working trees with the least that git needs; workplans are the same in each, ids are per repository."""
    plans = [workplan(number) for number in range(PLANS)]
    paths = []
    for number in range(count):
        path = root / f"r{number:05}"
        (path / ".git" / "refs" / "heads").mkdir(parents=True)
        (path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
        (path / ".git" / "refs" / "heads" / "main").write_text("a" * 40 + "\n")
        (path / "workplans").mkdir()
        for index, plan in enumerate(plans):
            file = path / "workplans" / f"{index}.md"
            file.write_text(plan)
            os.utime(file, (1_700_000_000, 1_700_000_000))
        paths.append(path)
    return paths


def record(database: Database, paths: list[Path]) -> None:
    """What a sync of each would have recorded, without the hour that 2,000 first syncs take."""
    time.sleep(2.1)  # files that are younger than that are read again once
    with database.session() as session:
        rows, streams, all_tasks = [], [], []
        for path in paths:
            tree = WorkingTree.open(path)
            stamps = {place.path: tree.stamp(place) for place in tree.files(["workplans/*.md"]).places}
            files = {name: [s.size, s.mtime, s.inode, s.sha256] for name, s in stamps.items() if s}
            rows.append(
                {"slug": path.name, "path": str(path), "source": "command", "last_head": "a" * 40, "files": files}
            )
            for number in range(PLANS):
                common = {"repository": path.name, "title": "t", "base_status": "todo", "status": "todo"}
                stream = {**common, "id": uuid.uuid4(), "local_id": f"WP-{number}", "file": f"workplans/{number}.md"}
                streams.append(stream)
                all_tasks += [
                    {**common, "id": uuid.uuid4(), "workstream": stream["id"], "local_id": f"WP-{number}-T{task}"}
                    for task in range(TASKS)
                ]
        session.execute(sa.insert(repositories), rows)
        session.execute(
            sa.update(repositories).values(last_state_synced_at=sa.func.now(), last_attempt_at=sa.func.now())
        )
        session.execute(sa.insert(workstreams), streams)
        session.execute(sa.insert(tasks), all_tasks)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def drift(database: Database, root: Path, count: int) -> dict[str, Any]:
    record(database, make_repositories(root, count))
    survey.check(database)
    cpu = time.process_time()
    seconds, checked = timed(lambda: survey.check(database))
    cpu = time.process_time() - cpu
    assert len(checked.agree) == count, dict(list(checked.drifted.items())[:3])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "repositories": count,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "memory_mib": round(memory),
        "load": round(os.getloadavg()[0], 1),
    }


def changed(database: Database, root: Path, counts: tuple[int, ...]) -> dict[str, Any]:
    """After `drift`: some repositories change one status each. Milliseconds for each of them, over what a check costs
    in which nothing changed."""
    quiet = min(timed(lambda: survey.check(database))[0] for _ in range(2))
    figures: dict[str, Any] = {}
    paths = sorted(root.glob("r*"))
    for count in counts:
        chosen, paths = paths[:count], paths[count:]
        for path in chosen:
            file = path / "workplans" / "0.md"
            file.write_text(file.read_text().replace("status: todo", "status: done", 1))
        check, found = timed(lambda: survey.check(database))
        assert len(found.drifted) == count, len(found.drifted)
        with database.session() as session:
            managed = [registry.find(session, path.name) for path in chosen]
        started = time.perf_counter()
        for one in managed:
            service.sync(database, one, fix=False, trigger="cli")
        syncs = time.perf_counter() - started
        figures[f"{count}_ms_each"] = round((max(check - quiet, 0) + syncs) / count * 1e3, 1)
    return figures


def full(database: Database, root: Path, count: int) -> dict[str, Any]:
    """First syncs, with ids written into every file."""
    paths = make_repositories(root, count)
    with database.session() as session:
        managed = [registry.register(session, path, slug=f"full-{path.name}") for path in paths]
    first, _ = timed(lambda: [service.sync(database, one, fix=True, trigger="cli") for one in managed])
    second, _ = timed(lambda: [service.sync(database, one, fix=True, trigger="cli") for one in managed])
    files = count * PLANS
    return {"ms_a_file_first": round(first / files * 1e3, 1), "ms_a_file_again": round(second / files * 1e3, 1)}


def commits(root: Path, count: int) -> dict[str, Any]:
    """Seconds from the start of `git commit` to the moved timestamp, and of the commit alone with and without hook."""
    path, home = root / "committed", root / "home"
    git = ["git", "-C", str(path), "-c", "user.name=b", "-c", "user.email=b", "-c", "gc.auto=0"]
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    (path / "workplans").mkdir()
    (path / "workplans" / "0.md").write_text(workplan(0))
    subprocess.run([*git, "add", "."], check=True)
    with connect(home) as database:
        schema.ensure(database)
        with database.session() as session:
            registry.register(session, path, slug="committed", fix=True)
    command = [sys.executable, "-P", "-c", PROGRAM, "--hook", "committed"]
    hook = Hook("committed", WorkingTree.open(path), home, command, {"UPKEEP_HOME": str(home)})
    log = home / "logs" / "sync-hook.log"

    def ended() -> int:
        return log.read_text().count("sync(s)") if log.exists() else 0

    def commit(*options: str) -> float:
        command = [*git, *options, "commit", "-q", "--allow-empty", "-m", "x"]
        return timed(lambda: subprocess.run(command, check=True))[0]

    def measured() -> tuple[float, float, float]:
        """Seconds of a commit without the hook, of one with it, and from the beginning of that to the sync's end."""
        without = commit("-c", "core.hooksPath=/dev/null")
        before, started = ended(), time.perf_counter()
        with_hook = commit()
        while ended() == before:
            time.sleep(0.005)
        return without, with_hook, time.perf_counter() - started

    hook.install()
    figures: dict[str, Any] = {"commits": count, "load": [round(each, 1) for each in os.getloadavg()]}
    pairs = []
    for name in ("down", "up"):
        with ExitStack() as held:
            if name == "up":
                held.enter_context(connect(home))
            measured()
            rows = [measured() for _ in range(count)]
        seconds = sorted(row[2] for row in rows)
        figures[f"{name}_seconds_median"] = round(statistics.median(seconds), 2)
        figures[f"{name}_seconds_p95"] = round(seconds[math.ceil(count * 0.95) - 1], 2)
        figures[f"{name}_seconds_max"] = round(seconds[-1], 2)
        pairs += rows
    slower = [with_hook - without for without, with_hook, _ in pairs]
    figures["commit_ms"] = round(statistics.median(row[0] for row in pairs) * 1e3, 1)
    figures["commit_slower_ms"] = round(statistics.median(slower) * 1e3, 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repositories", type=int, default=2000)
    parser.add_argument("--commits", type=int, default=40)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="upkeep-bench-sync-") as folder:
        root = Path(folder)
        for name, count in (("drift_half", options.repositories // 2), ("drift", options.repositories)):
            with connect(root / f"home-{name}") as database:
                schema.ensure(database)
                figures[name] = drift(database, root / name, count)
                print(f"{name:11} {figures[name]}", flush=True)
                if name == "drift":
                    figures["changed"] = changed(database, root / name, (40, 80))
                    print(f"{'changed':11} {figures['changed']}", flush=True)
                    figures["full"] = full(database, root / "full", 10)
                    print(f"{'full':11} {figures['full']}", flush=True)
        figures["hook"] = commits(root, options.commits)
        print(f"{'hook':11} {figures['hook']}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
