"""Ends process groups whose owner is gone: the watcher beside every process that starts others, and the sweep.

What belongs here: the standard library only, because the file also runs by itself (`python -I -S reaper.py OWNER`) as a
watcher that must start in milliseconds. What does not: starting or reading processes (`process.py`).

Why a watcher and not PR_SET_PDEATHSIG: that signal is sent when the parent *thread* ends (prctl(2)), and steps run in
threads that end long before the process; it reaches the child alone and not what the child started; and it has to be
set between fork and exec, where Python code can deadlock in a process with threads. A pipe that the owner holds open
closes when the owner is gone, however it went, and the watcher then ends whole groups. /proc tells who is who (Linux).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

OWNER_VARIABLE = "UPKEEP_PROCESS_OWNER"
GRACE_SECONDS = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True)
class Group:
    """A process group that we started. `pid` leads it, `started` is the leader's start in clock ticks since boot
    (proc(5), field 22; None where there is no /proc), `signal` is what asks it to end."""

    pid: int
    started: int | None
    signal: int


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with the pid it names a process for good. None: it is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return int(_fields(stat)[19])


def _fields(stat: str) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on. The second is the name in parentheses, which may hold
    blanks and parentheses itself: count from the last one."""
    return stat[stat.rindex(")") + 2 :].split()


def owner_token(pid: int) -> str:
    """What names `pid` in the mark of its children: pid, start, and pid namespace (a host sees the processes of its
    containers, whose pids mean nothing there). A mark is this, a slash, and a number for the child."""
    try:
        namespace = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return f"{pid}:{start_time(pid) or 0}:{namespace}"


def owner_is_gone(token: str) -> bool:
    """Whether the owner is proven dead. False for a token of another pid namespace or one that cannot be read."""
    try:
        pid, started, _ = (int(part) for part in token.split(":"))
    except ValueError:
        return False
    same_namespace = owner_token(pid).rpartition(":")[2] == token.rpartition(":")[2]
    return same_namespace and started != 0 and start_time(pid) != started


def marked_processes() -> Iterator[tuple[int, str]]:
    """Yield (pid, mark) of every process that carries our mark and that we may look into."""
    needle = f"{OWNER_VARIABLE}=".encode()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for variable in (entry / "environ").read_bytes().split(b"\0"):
                if variable.startswith(needle):
                    yield int(entry.name), variable[len(needle) :].decode(errors="replace")


def kill_marked(mark: str) -> int:
    """Kill every process that carries exactly this mark: what a child started and what then left its group."""
    pids = [pid for pid, found in marked_processes() if found == mark]
    for pid in pids:
        _signal(pid, signal.SIGKILL)
    return len(pids)


def is_ours(group: Group) -> bool:
    """Whether the group is still the one that was recorded, and not a reused number."""
    now = start_time(group.pid)
    return group.started is None or now is None or now == group.started


def signal_group(group: Group, number: int) -> bool:
    """Signal a whole group; False when nothing of it is left."""
    if not is_ours(group):
        return False
    try:
        os.killpg(group.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return group.started is not None and start_time(group.pid) == group.started
    return True


def end(groups: Iterable[Group], owners: Iterable[str] = (), *, grace: float = GRACE_SECONDS) -> int:
    """End groups, and every process that carries the mark of one of `owners` wherever it went. Return how many there
    were. Each group is asked with its own signal first; what is left after `grace` seconds is killed."""
    waiting = {group for group in groups if signal_group(group, group.signal)}
    lost = set(owners)
    leaders = {group.pid for group in waiting}
    strays = {pid for pid, mark in marked_processes() if mark.partition("/")[0] in lost} - leaders if lost else set()
    for pid in strays:
        _signal(pid, signal.SIGTERM)
    found = len(waiting) + len(strays)
    give_up = time.monotonic() + grace
    while (waiting or strays) and time.monotonic() < give_up:
        time.sleep(0.02)
        pids, group_ids = _living()
        waiting = {group for group in waiting if group.pid in group_ids}
        strays &= pids
    for group in waiting:
        signal_group(group, signal.SIGKILL)
    for pid in strays:
        _signal(pid, signal.SIGKILL)
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _living() -> tuple[set[int], set[int]]:
    """The pids and the group ids of all processes that are more than a zombie: nobody may be there to reap ours."""
    pids, groups = set(), set()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, _, group, *_ = _fields((entry / "stat").read_text(errors="replace"))
            if state != "Z":
                pids.add(int(entry.name))
                groups.add(int(group))
    return pids, groups


def record(folder: Path, owner: str, group: Group) -> Path:
    """Write down that a group runs, for a sweep in case owner and watcher die together. Return the file."""
    file = folder / f"{group.pid}-{group.started or 0}.json"
    file.write_text(json.dumps({"owner": owner, **asdict(group)}))
    return file


def sweep(folder: Path | None) -> int:
    """End what dead owners left behind, from the records in `folder` and from the marks of living processes. Return
    how many groups and processes there were. What has a living owner is left alone; so is what cannot be judged."""
    groups = []
    owners = {mark.partition("/")[0] for _, mark in marked_processes()}
    gone = {owner for owner in owners if owner_is_gone(owner)}
    files = sorted(folder.glob("*.json")) if folder is not None and folder.is_dir() else []
    finished: list[Path] = []
    for file in files:
        try:
            entry = json.loads(file.read_text())
            owner, group = str(entry["owner"]), Group(int(entry["pid"]), entry["started"], int(entry["signal"]))
        except (OSError, ValueError, KeyError, TypeError):
            # Half-written when the machine went down: nothing of that boot is alive.
            finished.append(file)
            continue
        if owner_is_gone(owner):
            finished.append(file)
            # Without a living leader the number may be anybody's by now; the marks above find the rest of its group.
            if group.started is not None and start_time(group.pid) == group.started:
                groups.append(group)
    found = end(groups, gone)
    for file in finished:
        file.unlink(missing_ok=True)
    return found


def watch(owner: str) -> None:
    """Read `+ pid started signal` and `- pid` from standard input; when it closes, the owner is gone: end all."""
    groups: dict[int, Group] = {}
    for line in sys.stdin:
        match line.split():
            case ["+", pid, started, number]:
                groups[int(pid)] = Group(int(pid), int(started) or None, int(number))
            case ["-", pid]:
                groups.pop(int(pid), None)
    end(groups.values(), [owner])


if __name__ == "__main__":
    # A terminal's Ctrl-C or a closed session is for the owner; the watcher goes when the owner has gone.
    for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(_number, signal.SIG_IGN)
    watch(sys.argv[1])
