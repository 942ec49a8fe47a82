"""What a kernel with cgroup v2 does with a sandbox' limits: the program of `test_cgroup_kernel.py`.

What belongs here: what is run as the one program of a kernel of its own, as its root, with /sys/fs/cgroup mounted and
both controllers handed down. Prints one line that begins with RESULT. What does not: judging it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from upkeep.agents import warden
from upkeep.agents.profile import MIB, Limits, Profile
from upkeep.agents.sandbox import Sandbox, stopped

SPEC = {"processes": 48, "memory": 128 * MIB, "disk": 64 * MIB}
LIMITS = Limits(processes=48, memory=128 * MIB, file=16 * MIB, disk=64 * MIB, temp=16 * MIB, open_files=128)


def held_by_the_kernel() -> dict[str, Any]:
    """Without any watcher: only what the group does by itself."""
    group = warden.Cgroup(SPEC)
    assert group.made is not None
    made = Path(group.made)
    found = {"pids.max": (made / "pids.max").read_text().strip(), "forks": forks(), "hog": hog()}
    found["oom_kills"] = dict(line.split() for line in (made / "memory.events").read_text().splitlines())["oom_kill"]
    found["refused_forks"] = (made / "pids.events").read_text().split()[1]
    group.leave()
    found["left_behind"] = made.exists()
    return found


def forks() -> dict[str, Any]:
    """Start programs until the kernel says no."""
    children: list[int] = []
    try:
        while len(children) < 500:
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    except OSError as error:
        return {"started": len(children), "errno": errno.errorcode[error.errno or 0]}
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return {"started": len(children), "errno": ""}


def hog() -> int:
    """How a child ends that takes three times the memory."""
    pid = os.fork()
    if pid == 0:
        held = bytearray(3 * SPEC["memory"])
        held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def held_by_the_sandbox(folder: Path) -> dict[str, Any]:
    profile = Profile(directory=folder, home=folder, private=(folder,), limits=LIMITS)
    found: dict[str, Any] = {}
    for name, script in (
        ("quiet", "exit 7"),
        ("fork bomb", "bash -c 'for i in $(seq 300); do sleep 50 & done; wait'"),
        (
            "memory bomb",
            "for i in 1 2 3; do python3 -c 'x = bytearray(90 << 20); import time; time.sleep(50)' & done; wait",
        ),
    ):
        done = Sandbox(profile).run(["sh", "-c", script], deadline=120)
        stop = stopped(done)
        found[name] = stop.cause if stop else done.returncode
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        result = {"kernel": os.uname().release, **held_by_the_kernel(), **held_by_the_sandbox(Path(name).resolve())}
    result["groups_left"] = [path.name for path in Path(warden.CGROUPS).glob("upkeep-*")]
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    sys.exit(main())
