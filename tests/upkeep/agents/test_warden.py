"""What the watcher beside a sandbox counts, and its cgroup."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from upkeep.agents import warden

SPEC = {"processes": 64, "memory": 256 << 20, "disk": 1 << 20}


def own_group(root: Path) -> Path:
    """The folder of this process' cgroup below `root`, as /proc has it."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if line.startswith("0:"))
    folder = root / path.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.procs").touch()
    return folder


class TestCgroup:
    """In folders that are laid out like cgroup v2; what the kernel does with the numbers is its own affair."""

    def test_the_nearest_that_divides_both_controllers_is_used(self, tmp_path: Path) -> None:
        own = own_group(tmp_path)
        (own / "cgroup.subtree_control").write_text("cpu pids memory\n")
        entered = warden.Cgroup(SPEC, str(tmp_path))
        assert entered.made is not None
        group = Path(entered.made)
        assert group.parent == own
        assert (group / "pids.max").read_text() == str(64 + warden.SLACK)
        assert int((group / "memory.max").read_text()) > SPEC["memory"]
        assert (group / "cgroup.procs").read_text() == str(os.getpid())
        entered.leave()
        assert (own / "cgroup.procs").read_text() == str(os.getpid()), "it goes back before the group is removed"

    @pytest.mark.parametrize("control", ["", "pids\n", None])
    def test_without_one_there_is_none(self, tmp_path: Path, control: str | None) -> None:
        own = own_group(tmp_path)
        if control is not None:
            (own / "cgroup.subtree_control").write_text(control)
        assert warden.Cgroup(SPEC, str(tmp_path)).made is None

    def test_what_a_killed_one_left_is_removed(self, tmp_path: Path) -> None:
        own = own_group(tmp_path)
        (own / "cgroup.subtree_control").write_text("pids memory\n")
        with subprocess.Popen(["true"]) as gone:
            gone.wait()
        stale, living = own / f"upkeep-{gone.pid}", own / f"upkeep-{os.getppid()}"
        stale.mkdir()
        living.mkdir()
        warden.Cgroup(SPEC, str(tmp_path))
        assert (stale.exists(), living.exists()) == (False, True)

    def test_a_machine_without_cgroup_v2(self, tmp_path: Path) -> None:
        entered = warden.Cgroup(SPEC, str(tmp_path / "none"))
        assert entered.made is None
        entered.leave()


def test_a_family_is_everybody_below() -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        try:
            end = time.monotonic() + 20
            while len(found := warden.family(child.pid)) < 2:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert child.pid in found
            assert found[child.pid] > 1 << 20
            assert os.getpid() not in found
        finally:
            for pid in warden.family(child.pid):
                os.kill(pid, 9)


@pytest.mark.parametrize(
    "take",
    [
        "held = mmap.mmap(-1, 64 << 20); held.write(b'x' * (64 << 20)); "
        "[os.fork() or (time.sleep(60), os._exit(0)) for _ in range(2)]",
        "held = os.memfd_create('x'); os.write(held, b'x' * (64 << 20))",
    ],
    ids=["mapped by three processes", "a file without a name"],
)
def test_shared_memory_is_counted_once(take: str) -> None:
    code = f"import mmap, os, time\n{take}\nprint('ready', flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            living = warden.family(child.pid)
            assert 64 << 20 <= warden.shared_memory(living) < 80 << 20
            assert sum(living.values()) < 64 << 20, "it is nobody's alone"
        finally:
            for pid in warden.family(child.pid):
                os.kill(pid, 9)


def test_folders_are_measured_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "a" / "link").symlink_to("/usr")
    assert 100_000 <= warden.usage([str(tmp_path / "a")]) < 200_000
    assert warden.usage([str(tmp_path / "gone")]) == 0


def test_many_empty_files_fill_a_disk_too(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert warden.usage([str(tmp_path)]) >= 100 * 4096


@pytest.mark.parametrize(("path", "field", "mark"), [("/proc/meminfo", 1, b"MemAvailable"), ("/proc/loadavg", 4, b"")])
def test_numbers_of_proc(path: str, field: int, mark: bytes) -> None:
    assert warden.first_number(path, field, mark) > 0
    assert warden.first_number("/nowhere", 1) == 0
