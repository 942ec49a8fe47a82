"""Limits by cgroup v2, on a real kernel that has it: User-Mode Linux, a Linux kernel that runs as a program.

Few machines hand a cgroup to whoever runs a test, and containers and older virtual machines have cgroup v1. This kernel
boots in seconds, has the machine's files read-only as its root, and needs no rights.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.tools import ROOT, find
from upkeep.process import run

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{bwrap} HOME=/run TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o size=512m tmpfs /run
mount -t tmpfs tmpfs /dev/shm 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+pids +memory' > /sys/fs/cgroup/cgroup.subtree_control
cd {root}
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={root} {python} -P {probe}
{python} -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321fedc)'
"""
"""The last line switches this kernel off (reboot(2))."""


def test_the_kernel_holds_processes_and_memory_and_nothing_is_left(tmp_path: Path) -> None:
    kernel, bwrap = find("linux.uml"), find("bwrap")
    if kernel is None or bwrap is None:
        pytest.skip("User-Mode Linux is not installed (python ops/install_tools.py kernel)")
    init = tmp_path / "init"
    names = {"root": ROOT, "python": sys.executable, "probe": ROOT / "tests/support/cgroup_probe.py"}
    quoted = {name: shlex.quote(str(path)) for name, path in names.items()}
    init.write_text(INIT.format(**quoted, bwrap=shlex.quote(str(Path(bwrap).parent))))
    init.chmod(0o755)
    command = [kernel, "mem=1G", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "con=null", "con0=fd:0,fd:1"]
    done = run([*command, "quiet"], cwd=tmp_path, deadline=600, check=False)
    lines = [line for line in done.text.splitlines() if line.startswith("RESULT ")]
    assert lines, done.text[-3000:] + done.error_text[-1000:]
    found = json.loads(lines[-1].removeprefix("RESULT "))

    # 48 processes and 16 more, the probe itself among them.
    assert found["pids.max"] == "64"
    assert found["forks"] == {"started": 63, "errno": "EAGAIN"}
    assert int(found["refused_forks"]) >= 1
    assert (found["hog"], int(found["oom_kills"]) >= 1) == (-9, True), "out of memory in its group alone"
    assert found["left_behind"] is False
    assert (found["quiet"], found["fork bomb"], found["memory bomb"]) == (7, "processes", "memory")
    assert found["groups_left"] == []
