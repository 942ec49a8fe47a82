"""Stands outside a sandbox while it runs and ends it when it passes a limit that the kernel does not hold for us.

What belongs here: the standard library only, because the file runs by itself (`python -I -S warden.py LIMITS…
FOLDERS… BWRAP…`), between whoever started it and bubblewrap, so that the bounds come with the command line. What does
not: what a limit is by default (`profile.py`), which system calls are refused (`syscalls.py`), what its end means
(`sandbox.py`).

Why a watcher beside rlimits and cgroups: RLIMIT_NPROC does not bind the host's root, even in a user namespace
(fork(2)), RLIMIT_AS breaks every program that reserves address space (Node, Bun, Go), no rlimit bounds a folder, and
cgroup v2 is delegated on few hosts. So: a cgroup where there is one, and everywhere a look at processes, memory and
folders, often enough that a bomb is ended within a fraction of a second. Killing bubblewrap ends the whole sandbox at
once, for its first process ends with it and the kernel then kills all of the process namespace (pid_namespaces(7)).

Ends with the command's own status, or with STOPPED or NOT_STARTED and a last line on standard error that says why.
"""

# ruff: noqa: PTH102, PTH106, PTH110, PTH115, PTH116, PTH120, PTH123, PTH208, SIM105
# pathlib, contextlib and json each take longer to import than the program without them takes to start.

from __future__ import annotations

import os
import select
import signal
import sys
import time

MARK = "upkeep-sandbox: "
STOPPED = 79
NOT_STARTED = 78
TICK_SECONDS = 0.05
SCAN_SECONDS = 1.0
FREE_FLOOR = 256 << 20
"""A disk with less free space than this is about to stop the host's own work, whoever filled it."""

SLACK = 16
"""Processes that the kernel allows beyond the limit: a bomb is to be ended and named, not to go on in a small way."""

CGROUPS = "/sys/fs/cgroup"
OWNER_VARIABLE = "UPKEEP_PROCESS_OWNER"
# keyctl(2), which libc has no function for: its number by machine.
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_JOIN_SESSION_KEYRING = 1
GONE_SECONDS = 10.0
TERMINATED = 128 + signal.SIGTERM


class Passed(Exception):
    """A limit was passed: which one, and a sentence about it."""

    def __init__(self, limit: str, sentence: str) -> None:
        super().__init__(f"{limit}: {sentence}")


def family(root: int) -> dict[int, int]:
    """Every descendant of a process, itself included, with the memory that is its alone, in bytes.

    Orphans of a process namespace become children of its first process, so none is missed.
    """
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(name)) is not None:
            children.setdefault(parent, []).append(int(name))
    found: dict[int, int] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        found[pid] = _memory(pid)
        pending += children.get(pid, ())
    return found


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is a name in brackets that may hold anything, brackets and spaces too.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def _memory(pid: int) -> int:
    """Anonymous memory, in use and swapped out (proc_pid_status(5))."""
    total = 0
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith((b"RssAnon:", b"VmSwap:")):
                    total += int(line.split()[1]) << 10
    except (OSError, ValueError):
        return total
    return total


def shared_memory(pids: dict[int, int]) -> int:
    """Bytes of memory that these processes share: what they have mapped, each page once (proc_pid_smaps(5)), or hold as
    files without a name (memfd_create(2)), whichever is more."""
    mapped = 0
    held: dict[tuple[int, int], int] = {}
    for pid in pids:
        mapped += first_number(f"/proc/{pid}/smaps_rollup", 1, b"Pss_Shmem") << 10
        folder = f"/proc/{pid}/fd"
        try:
            for name in os.listdir(folder):
                if os.readlink(f"{folder}/{name}").startswith("/memfd:"):
                    status = os.stat(f"{folder}/{name}")
                    held[status.st_dev, status.st_ino] = status.st_blocks * 512
        except OSError:
            continue
    return max(mapped, sum(held.values()))


def usage(folders: list[str]) -> int:
    """Bytes on disk of these folders; an empty file counts as a block, for it fills a disk too. Raises Passed for names
    so long that they cannot be looked at."""
    total = 0
    pending = list(folders)
    while pending:
        try:
            with os.scandir(pending.pop()) as listing:
                for entry in listing:
                    total += _size(entry)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == 36:  # ENAMETOOLONG
                raise Passed("disk", "folders lie too deep in each other to be measured") from None
    return total


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return max(4096, entry.stat(follow_symlinks=False).st_blocks * 512)
    except OSError:
        return 0


def first_number(path: str, field: int, mark: bytes = b"") -> int:
    """One number of a small file of /proc; 0 where it cannot be read."""
    try:
        with open(path, "rb") as file:
            line = next(line for line in file if mark in line)
        return int(line.replace(b"/", b" ").split()[field])
    except (OSError, StopIteration, ValueError, IndexError):
        return 0


class Watch:
    """Looks at a sandbox. Cheap signs (threads of the host, its free memory, free disk) are read at each tick, and only
    where one of them moved, or a second passed, everything is counted."""

    def __init__(self, spec: dict[str, int], folders: list[str], pid: int) -> None:
        self.spec, self.folders, self.pid = spec, folders, pid
        self._baseline = usage(folders)
        self._next_scan = self._next_walk = 0.0
        self._threads = self._available = self._free = 0
        self._shared = first_number("/proc/meminfo", 1, b"Shmem:") << 10

    def look(self) -> None:
        """Raises Passed."""
        now = time.monotonic()
        threads, available = first_number("/proc/loadavg", 4), first_number("/proc/meminfo", 1, b"MemAvailable") << 10
        moved = threads - self._threads > self.spec["processes"] // 2
        if now >= self._next_scan or moved or self._available - available > self.spec["memory"] // 4:
            self._threads, self._available = threads, available
            self._count()
            self._next_scan = time.monotonic() + SCAN_SECONDS
        free = self._free_bytes()
        if now >= self._next_walk or self._free - free > self.spec["disk"] // 4:
            self._free = free
            self._measure(now)

    def _count(self) -> None:
        living = family(self.pid)
        processes, memory = sum(_threads(pid) for pid in living), sum(living.values())
        if (first_number("/proc/meminfo", 1, b"Shmem:") << 10) - self._shared > self.spec["memory"] // 8:
            # Somebody on this machine shares much: looking at who takes longer.
            memory += shared_memory(living)
        if processes > self.spec["processes"]:
            raise Passed("processes", f"more than {self.spec['processes']} processes and threads")
        if memory > self.spec["memory"]:
            raise Passed("memory", f"more than {self.spec['memory'] >> 20} MiB of memory")

    def _measure(self, now: float) -> None:
        grown = usage(self.folders) - self._baseline
        if grown > self.spec["disk"]:
            raise Passed("disk", f"its folders grew by more than {self.spec['disk'] >> 20} MiB")
        if grown > 0 and self.folders and self._free < FREE_FLOOR:
            raise Passed("disk", "the disk is full")
        # Looking at a large tree costs time: at most a twentieth of it.
        self._next_walk = now + max(SCAN_SECONDS, 20 * (time.monotonic() - now))

    def _free_bytes(self) -> int:
        free = []
        for folder in self.folders:
            try:
                status = os.statvfs(folder)
            except OSError:
                continue
            free.append(status.f_bavail * status.f_frsize)
        return min(free, default=0)


def _threads(pid: int) -> int:
    try:
        return max(1, os.stat(f"/proc/{pid}/task").st_nlink - 2)
    except OSError:
        return 0


class Cgroup:
    """Moves this process, and so what it starts, into a cgroup of its own with the limits, and back at the end.

    `made` is its folder; None where no cgroup v2 is ours to divide. The nearest one upwards that hands both controllers
    to its children is taken (cgroups(7)).
    """

    def __init__(self, spec: dict[str, int], root: str = CGROUPS) -> None:
        self.made: str | None = None
        self._home = _own_cgroup(root)
        parent = self._home
        while parent is not None and not _divides(parent):
            parent = os.path.dirname(parent) if len(parent) > len(root) else None
        if parent is not None:
            self.made = _enter(parent, spec)

    def leave(self) -> None:
        if self.made is None or self._home is None:
            return
        try:
            _write(f"{self._home}/cgroup.procs", str(os.getpid()))
            os.rmdir(self.made)
        except OSError:
            return  # The next one sweeps it.


def _own_cgroup(root: str) -> str | None:
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in lines:
        number, _, path = line.split(":", 2)
        if number == "0" and os.path.exists(f"{root}{path}/cgroup.procs"):
            return (root + path).rstrip("/")
    return None


def _divides(folder: str) -> bool:
    try:
        with open(f"{folder}/cgroup.subtree_control") as file:
            return {"pids", "memory"} <= set(file.read().split()) and os.access(folder, os.W_OK)
    except OSError:
        return False


def _enter(parent: str, spec: dict[str, int]) -> str | None:
    for name in os.listdir(parent):
        owner = name.removeprefix("upkeep-")
        if name != owner and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            _remove(f"{parent}/{name}")  # Left by one that was killed.
    made = f"{parent}/upkeep-{os.getpid()}"
    try:
        os.mkdir(made)
        _write(f"{made}/pids.max", str(spec["processes"] + SLACK))
        _write(f"{made}/memory.max", str(spec["memory"] + (64 << 20)))
        _write(f"{made}/cgroup.procs", str(os.getpid()))
    except OSError:
        _remove(made)
        return None
    try:
        _write(f"{made}/memory.swap.max", "0")
    except OSError:
        return made  # A kernel without swap has no such file.
    return made


def _remove(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def spawn(argv: list[str], status: int, calls: int | None) -> int:
    """Start bubblewrap with an empty environment: its first process inside is a copy of it, and /proc/1/environ shows
    what it was started with. Only the mark by which we find our own goes along. `calls`: where it reads the filter of
    system calls."""
    mark = os.environ.get(OWNER_VARIABLE)
    pid = os.fork()
    if pid:
        return pid
    try:
        os.set_inheritable(status, True)
        if calls is not None:
            os.set_inheritable(calls, True)
        # A computer short of memory ends this first (proc_pid_oom_score_adj(5)).
        try:
            _write("/proc/self/oom_score_adj", "1000")
        except OSError:
            pass
        forget_keys()
        filtered = [] if calls is None else ["--seccomp", str(calls)]
        argv = [argv[0], "--json-status-fd", str(status), *filtered, *argv[1:]]
        os.execve(argv[0], argv, {} if mark is None else {OWNER_VARIABLE: mark})
    except OSError as error:
        print(f"{MARK}not started: {argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(NOT_STARTED)


class Inside:
    """The first process inside, known by a descriptor. When it is gone, everything inside is: the kernel kills a
    process namespace with its first process and waits for all of it (pid_namespaces(7))."""

    def __init__(self, report: int) -> None:
        """`report`: bubblewrap's status, whose first line comes as soon as there is such a process."""
        self.started = False
        self._file = os.fdopen(report, "rb", buffering=0)
        self._fd = -1
        line = self._file.read(4096) or b""
        number = line.partition(b'"child-pid":')[2].split(b",")[0].strip(b" }\n")
        self._rest = line.partition(b"\n")[2]
        if number.isdigit():
            try:
                self._fd = os.pidfd_open(int(number))
            except OSError:
                return  # It has ended already.

    def wait(self) -> None:
        """Wait until it is gone, after bubblewrap is: what it started may not touch anything afterwards."""
        # bubblewrap reports a status only of a command that it could start.
        self.started = b"exit-code" in self._rest + (self._file.read(4096) or b"")
        if self._fd >= 0:
            select.select([self._fd], [], [], GONE_SECONDS)
            os.close(self._fd)
        self._file.close()


def forget_keys() -> None:
    """Take a session keyring of our own, without keys (keyctl_join_session_keyring(3)).

    The account's own goes along into namespaces, and Kerberos tickets and disk passwords are kept in it.
    """
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        import ctypes

        ctypes.CDLL(None).syscall(number, _JOIN_SESSION_KEYRING, None)


def attend(pid: int, spec: dict[str, int], folders: list[str]) -> int:
    """Wait for bubblewrap and return its status. Whatever raises ends it first."""
    ended = os.pidfd_open(pid)
    try:
        # Nothing is looked at before the first tick: a short command has ended by then, a long one starts undisturbed.
        if not select.select([ended], [], [], TICK_SECONDS)[0]:
            watch = Watch(spec, folders, pid)
            while not select.select([ended], [], [], TICK_SECONDS)[0]:
                watch.look()
    except BaseException:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def pipe_with(text: str) -> int | None:
    """Where `text`, hexadecimal and shorter than a pipe is wide, can be read as bytes; None for "-"."""
    if text == "-":
        return None
    read, write = os.pipe()
    os.write(write, bytes.fromhex(text))
    os.close(write)
    return read


def main(spec: dict[str, int], calls: str, folders: list[str], argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, _terminated)
    report, status = os.pipe()
    group = Cgroup(spec)
    reader = pipe_with(calls)
    pid = spawn(argv, status, reader)
    os.close(status)
    if reader is not None:
        os.close(reader)
    inside = Inside(report)
    try:
        code = attend(pid, spec, folders)
    except Passed as passed:
        print(f"{MARK}stopped: {passed}", file=sys.stderr, flush=True)
        code = STOPPED
    except Terminated:
        code = TERMINATED
    inside.wait()
    group.leave()
    if code not in (0, STOPPED, TERMINATED) and not inside.started:
        print(f"{MARK}not started: bubblewrap ended with {code}", file=sys.stderr, flush=True)
        return NOT_STARTED
    return code if code >= 0 else 128 - code


class Terminated(BaseException):
    """Whoever started us wants the sandbox to end."""


def _terminated(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


if __name__ == "__main__":
    # processes, memory, disk, filter, number of folders, folders, then bubblewrap and its arguments.
    _count = 6 + int(sys.argv[5])
    _spec = dict(zip(("processes", "memory", "disk"), map(int, sys.argv[1:4]), strict=True))
    sys.exit(main(_spec, sys.argv[4], sys.argv[6:_count], sys.argv[_count:]))
