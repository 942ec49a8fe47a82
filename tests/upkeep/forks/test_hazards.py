"""Disks that cannot be written, and stale locks: what a run may never leave behind, on real repositories.

The child processes run one rebase as the assets do. A disk is made read-only or full by bubblewrap's own mounts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.rebases import World, theirs
from tests.support.tools import tool
from upkeep.forks.outcomes import Outcome

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from pathlib import Path
from tests.support.rebases import make_desk, rebase
report = rebase(make_desk(Path(sys.argv[2]), "child", {"path": sys.argv[1]}))
print(report.exit_code, (report.error or {}).get("code"))
"""


def child(world: World, prefix: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, sys.executable, "-c", RUN, str(world.work.path), str(world.home)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def mounted(world: World, *mounts: str) -> tuple[str, ...]:
    """A prefix under which the disk is as `mounts` say, and the test's own folder can be written unless they say so."""
    own = str(world.work.path.parent)
    return (str(tool("bwrap")), "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--bind", own, own, *mounts)


class TestADisk:
    def test_on_which_the_repository_cannot_be_written_ends_the_run_untouched(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        before = world.everything()
        work = str(world.work.path)
        done = child(world, mounted(world, "--ro-bind", work, work))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1 git"), done.stdout
        assert world.everything() == before
        assert not (world.home / "forks/fork/lock").exists()
        assert len(list(world.home.glob("reports/rebase/fork/*/child/summary.md"))) == 1
        assert world.run().outcome is Outcome.REBASED

    def test_on_which_the_home_cannot_be_written_ends_the_run_untouched(self, world: World) -> None:
        world.commit_upstream({"a.txt": theirs()})
        world.home.mkdir(exist_ok=True)
        before = world.everything()
        done = child(world, mounted(world, "--ro-bind", str(world.home), str(world.home)))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("1 "), done.stdout
        assert world.everything() == before
        assert world.run().outcome is Outcome.REBASED

    @pytest.mark.parametrize(("home", "scratch"), [(4096, 1 << 24), (1 << 24, 4096)], ids=["home", "scratch"])
    def test_that_is_full_ends_the_run_untouched(self, world: World, home: int, scratch: int) -> None:
        world.commit_upstream({"a.txt": theirs()})
        world.home.mkdir(exist_ok=True)
        before = world.everything()
        own = str(world.work.path.parent)
        places = [part for place in ("/tmp", "/dev/shm") for part in ("--size", str(scratch), "--tmpfs", place)]
        # A checkout below /tmp would be hidden, with the interpreter that the child is started by.
        places += ["--ro-bind", str(ROOT), str(ROOT)]
        of_home = ("--size", str(home), "--tmpfs", str(world.home))
        done = child(world, mounted(world, *places, "--bind", own, own, *of_home))
        assert done.returncode == 0, done.stderr
        code, reason = done.stdout.split()
        assert code == "1"
        assert reason in ("forks.no_room", "forks.merge_failed", "git.disk_full", "unexpected")
        assert world.everything() == before
        assert world.run().outcome is Outcome.REBASED


class TestALockThatIsStale:
    def leave(self, world: World, hours: float) -> None:
        """What a run on another host left, whose heartbeat is that old."""
        folder = world.home / "forks/fork/lock"
        folder.mkdir(parents=True)
        then = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        meta = {"token": "x", "run_id": "theirs", "host": "elsewhere", "boot": "b/1", "pid": 1, "process_start": 1}
        (folder / "meta.json").write_text(
            json.dumps({**meta, "started": then, "heartbeat": then, "snapshot": {"trunk": "abc"}})
        )

    def test_keeps_the_run_out_and_names_its_holder(self, world: World) -> None:
        self.leave(world, 7)
        before = world.everything()
        report = world.run()
        assert (report.outcome, report.exit_code) == (Outcome.LOCKED, 15)
        assert report.error is not None
        assert report.error["holder"]["run_id"] == "theirs"
        assert "token" not in report.error["holder"]
        assert world.everything() == before
        (summary,) = world.home.glob("reports/rebase/fork/*/*/summary.md")
        said = summary.read_text()
        assert "is being rebased by run theirs: pid 1 on elsewhere since " in said
        assert "\n- last sign of life: 20" in said
        assert "\n- started from trunk: `abc`\n" in said

    def test_is_taken_over_by_force_which_stands_in_the_report(self, world: World) -> None:
        self.leave(world, 7)
        world.commit_upstream({"a.txt": theirs()})
        report = world.run(force=True)
        assert (report.outcome, report.overrides) == (Outcome.REBASED, ("--force",))
        assert report.takeover is not None
        assert report.takeover.forced
        (summary,) = world.home.glob("reports/rebase/fork/*/*/summary.md")
        assert "**Lock taken over, by force**: run theirs: pid 1 on elsewhere since " in summary.read_text()

    def test_is_not_taken_over_by_force_before_six_hours(self, world: World) -> None:
        self.leave(world, 5)
        assert world.run(force=True).exit_code == 15
