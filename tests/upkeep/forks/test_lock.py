"""The folder lock: who gets it, who does not, and what is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upkeep.database.locks import here
from upkeep.errors import LockError, LockLost
from upkeep.forks import lock as locks
from upkeep.forks.lock import Meta

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "forks" / "codex" / "lock"


def leave(folder: Path, *, hours: float = 0.0, **changes: object) -> Meta:
    """A lock that somebody left, by default a process of this host and boot that is gone."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    now = here()
    moment = datetime.now(UTC) - timedelta(hours=hours)
    values = {
        "token": "somebody",
        "run_id": "theirs",
        "host": now.host,
        "boot": now.boot,
        "pid": ended.pid,
        "process_start": 1,
        "started": moment,
        "heartbeat": moment,
        "snapshot": {"trunk": "a" * 40},
    }
    meta = Meta.model_validate({**values, **changes})
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(meta.model_dump_json())
    return meta


def age(folder: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (then, then))


def test_the_holder_is_there_to_read_and_gone_afterwards(folder: Path) -> None:
    with locks.hold(folder, "ours", snapshot={"trunk": "b" * 40}) as lock:
        meta = json.loads((folder / "meta.json").read_text())
        assert (meta["run_id"], meta["pid"], meta["snapshot"]) == ("ours", os.getpid(), {"trunk": "b" * 40})
        lock.show({"trunk": "c" * 40})
        found = locks.holder_of(folder)
        assert found is not None
        assert found.snapshot == {"trunk": "c" * 40}
        lock.check()
    assert not folder.exists()
    assert [path.name for path in folder.parent.iterdir()] == ["lock.guard"]


@pytest.mark.parametrize("force", [False, True])
def test_a_living_holder_is_named_and_never_overridden(folder: Path, force: bool) -> None:
    with locks.hold(folder, "first") as lock:
        refused = pytest.raises(LockError, match="codex is being rebased by run first: pid")
        with refused as caught, locks.hold(folder, "second", force=force):
            pytest.fail("two held it")
        assert caught.value.exit_code == 15
        lock.check()


def test_a_living_holder_in_another_process_is_not_overridden(folder: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom upkeep.forks import lock\n"
        "with lock.hold(Path(sys.argv[1]), 'other'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(LockError, match="run other"), locks.hold(folder, "ours", force=True):
            pytest.fail("two held it")
        other.send_signal(signal.SIGKILL)
        other.wait()
        with locks.hold(folder, "ours") as lock:
            assert lock.takeover is not None
            assert lock.takeover.holder is not None
            assert (lock.takeover.holder.run_id, lock.takeover.forced) == ("other", False)
    finally:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()


@pytest.mark.parametrize("changes", [{}, {"boot": "earlier/1"}], ids=["process gone", "earlier boot"])
def test_a_holder_that_is_proven_dead_is_taken_over(folder: Path, changes: dict[str, object]) -> None:
    left = leave(folder, **changes)
    with locks.hold(folder, "ours") as lock:
        assert lock.takeover is not None
        assert lock.takeover.holder == left
        assert not lock.takeover.forced
        lock.check()
    assert not folder.exists()


@pytest.mark.parametrize("force", [False, True])
def test_another_host_is_believed_for_six_hours(folder: Path, force: bool) -> None:
    leave(folder, host="elsewhere", hours=5.5)
    with pytest.raises(LockError) as caught, locks.hold(folder, "ours", force=force):
        pytest.fail("it was taken")
    assert "use --force in 0.5 h" in caught.value.remedy
    assert (folder / "meta.json").exists()


def test_another_host_is_taken_over_by_force_after_that(folder: Path) -> None:
    leave(folder, host="elsewhere", hours=6.1)
    with pytest.raises(LockError, match="run theirs") as caught, locks.hold(folder, "ours"):
        pytest.fail("it was taken")
    assert "FORCE_STALE_LOCK=1" in caught.value.remedy
    with locks.hold(folder, "ours", force=True) as lock:
        assert lock.takeover is not None
        assert lock.takeover.forced


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"token": 1}'])
def test_a_meta_that_cannot_be_read_proves_nothing(folder: Path, content: bytes | None) -> None:
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "meta.json").write_bytes(content)
    with pytest.raises(LockError, match="cannot be read"), locks.hold(folder, "ours", force=True):
        pytest.fail("it was taken")
    age(folder, 6.1)
    with pytest.raises(LockError), locks.hold(folder, "ours"):
        pytest.fail("it was taken")
    with locks.hold(folder, "ours", force=True) as lock:
        assert lock.takeover is not None
        assert (lock.takeover.holder, lock.takeover.forced) == (None, True)


def test_a_holder_that_died_before_it_could_write_is_taken_over(folder: Path) -> None:
    left = leave(folder)
    (folder / "meta.json").unlink()
    folder.with_name("lock.guard").write_text(left.model_dump_json())
    with locks.hold(folder, "ours") as lock:
        assert lock.takeover is not None
        assert lock.takeover.holder == left


def test_a_refused_run_leaves_no_word_in_the_guard(folder: Path) -> None:
    leave(folder, host="elsewhere")
    with pytest.raises(LockError), locks.hold(folder, "ours"):
        pytest.fail("it was taken")
    assert folder.with_name("lock.guard").read_bytes() == b""


def test_a_lock_that_was_taken_away_is_noticed(folder: Path) -> None:
    with locks.hold(folder, "ours") as lock:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, "token": "somebody else"}))
        with pytest.raises(LockLost, match="is lost"):
            lock.check()
    assert folder.exists()


def test_the_heartbeat_goes_on(folder: Path) -> None:
    with locks.hold(folder, "ours", heartbeat_seconds=0.01) as lock:
        first = lock.meta.heartbeat
        until = time.monotonic() + 10
        while (found := locks.holder_of(folder)) is None or found.heartbeat == first:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_of_many_that_find_a_dead_holder_one_takes_over(folder: Path) -> None:
    leave(folder)
    outcomes: list[str] = []
    together = threading.Barrier(6)
    done = threading.Barrier(6)

    def try_it(number: int) -> None:
        together.wait()
        try:
            with locks.hold(folder, f"run {number}") as lock:
                outcomes.append("took over" if lock.takeover else "took")
                done.wait()
        except LockError:
            outcomes.append("refused")
            done.wait()

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 5 + ["took over"]
