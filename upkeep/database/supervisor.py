"""The parent of the embedded PostgreSQL server: a program of its own, run by path, on the standard library alone.

What belongs here: holding the server as a child, ending it when nobody uses it any more, and the change of account that
root needs. What does not: everything that a user of the server does (`embedded.py`).

    supervisor.py serve HOME UID GID -- POSTGRES ARGUMENT…    becomes a daemon; returns 0 once the server is ready
    supervisor.py run UID GID -- PROGRAM ARGUMENT…            the program under that account, in the current folder

Why a supervisor: the process that happens to need the server first may end first, politely or by `kill -9`, while
others go on. So nobody who uses the server owns it. The supervisor does, in a session of its own, and does nothing but
wait for one of two things: that the exclusive lock on `database.lock` is granted (every user holds it shared, so nobody
is left, and the kernel says so even for those who were killed), or that the server ended. If the supervisor itself is
killed, the kernel sends the server PDEATHSIG, which is a clean shutdown, and the next who needs one starts both again.

This module forks by itself, against the rule that only `upkeep/process.py` starts processes: that rule exists so that
children die with us, and this child is the one that must not. It is about 20 ms from start to the server's first query,
which is why it imports nothing else.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

USERS_LOCK = "database.lock"
"""Held shared by everyone who uses the server, for as long as they do."""
SUPERVISOR_LOCK = "database.supervisor.lock"
"""Held exclusively by the supervisor for its whole life; holds its pid."""
FOLDER = "database"
DATA = "data"
LOG = "database.log"
"""Beside the server's folder, not in it: we may be root, and open no file in a folder that another account may fill."""
LOG_LIMIT = 8 * 1024 * 1024

START_SECONDS = 60
"""A server that was killed replays its log first; it is given this long."""
STOP_SECONDS = 20
PR_SET_PDEATHSIG = 1


class ServerEnded(Exception):
    """Raised in the middle of a blocking wait by SIGCHLD."""


class StopAsked(Exception):
    """Raised in the middle of a blocking wait by SIGTERM or SIGINT."""


def main(arguments: list[str]) -> int:
    separator = arguments.index("--")
    options, argv = arguments[:separator], arguments[separator + 1 :]
    match options:
        case ["serve", home, uid, gid]:
            return _daemonise(["hold", home, uid, gid], argv)
        case ["hold", home, uid, gid, pipe]:
            return _hold(Path(home), int(uid), int(gid), argv, int(pipe))
        case ["run", uid, gid]:
            _become(int(uid), int(gid))
            os.execv(argv[0], argv)
    raise SystemExit(f"usage: see {__file__}")


def _daemonise(options: list[str], argv: list[str]) -> int:
    """Leave the supervisor behind and wait for its word: `ready`, or what went wrong (empty: the server says it)."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.set_inheritable(writing, True)
        # Another program image and not only another process: the environment that we were started with carries the
        # mark by which upkeep/process.py finds and ends whatever its children left behind.
        itself = [sys.executable, "-I", "-S", __file__, *options, str(writing), "--", *argv]
        os.execve(sys.executable, itself, {"LANG": "C.UTF-8", "PATH": os.defpath})
    os.close(writing)
    with os.fdopen(reading) as pipe:
        word = pipe.read()
    if word != "ready":
        sys.stderr.write(word)
        return 1
    return 0


def _hold(home: Path, uid: int, gid: int, argv: list[str], pipe: int) -> int:
    os.set_inheritable(pipe, False)
    os.chdir("/")
    try:
        _serve(home, uid, gid, argv, pipe)
    except Exception as error:  # noqa: BLE001
        # The one who waits at the pipe is told, whatever it is.
        with suppress(OSError):
            os.write(pipe, f"{type(error).__name__}: {error}".encode())
        return 1
    return 0


def _serve(home: Path, uid: int, gid: int, argv: list[str], pipe: int) -> None:
    own = os.open(home / SUPERVISOR_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _lock_within(own, START_SECONDS)
    os.ftruncate(own, 0)
    os.pwrite(own, f"{os.getpid()}\n".encode(), 0)
    users = os.open(home / USERS_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    data = home / FOLDER / DATA
    _clear(data)
    _redirect(home / LOG)
    for number, handler in ((signal.SIGCHLD, _ended), (signal.SIGTERM, _asked), (signal.SIGINT, _asked)):
        signal.signal(number, handler)
    child = 0
    try:
        child = _start(argv, data, uid, gid)
        _await_ready(data)
        os.write(pipe, b"ready")
        os.close(pipe)
        fcntl.flock(users, fcntl.LOCK_EX)  # granted when the last user has let go, or has died
    except (ServerEnded, StopAsked):
        pass
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _stop(child)


def _ended(number: int, frame: object) -> NoReturn:
    raise ServerEnded


def _asked(number: int, frame: object) -> NoReturn:
    raise StopAsked


def _lock_within(descriptor: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("another supervisor of this database does not end") from None
            time.sleep(0.005)


def _redirect(log: Path) -> None:
    """Standard streams away from whoever started us: they may wait for the end of a pipe that we hold."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _start(argv: list[str], data: Path, uid: int, gid: int) -> int:
    """Fork the server. The signal handlers of the supervisor must not run in the child before it has become another."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(data)  # as ourselves: the account of the server could not come here by path
        os.setsid()
        _become(uid, gid)
        # After the change of account, which clears it. Fast shutdown: SIGINT (PostgreSQL manual, 18.5).
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))
        if os.getppid() != parent:
            os._exit(1)
        os.execv(argv[0], argv)
    except BaseException as error:  # noqa: BLE001
        # A forked child must never return into its parent's code.
        os.write(2, f"FATAL:  the server could not be started: {error}\n".encode())
    os._exit(127)


def _become(uid: int, gid: int) -> None:
    if os.geteuid() == 0 and uid != 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _await_ready(data: Path) -> None:
    """Until the eighth line of postmaster.pid says so: the sign that pg_ctl waits for."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready(data):
            return
        time.sleep(0.002)
    raise TimeoutError(f"the server was not ready within {START_SECONDS} s")


def ready(data: Path) -> bool:
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def _stop(child: int) -> None:
    """Fast shutdown, then the immediate one, then the kernel's."""
    if not child:
        return
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(child, number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
                    continue
            return


def _clear(data: Path) -> None:
    """End what an earlier supervisor left behind, and remove its marks.

    We hold the supervisor's lock, so whatever still runs in this folder belongs to nobody. The pid in postmaster.pid is
    not believed: in a container it is soon somebody else's, and PostgreSQL then refuses to start.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        signalled: set[int] = set()
        while (left := _servers(data)) and time.monotonic() < deadline:
            for pid in left - signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            signalled |= left
            time.sleep(0.005)
        if not left:
            break
    for name in (data / "postmaster.pid", *data.parent.glob(".s.PGSQL.*")):
        with suppress(FileNotFoundError):
            name.unlink()


def _servers(data: Path) -> set[int]:
    """Processes named `postgres` that work in this data folder."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program = (entry / "exe").readlink().name.removesuffix(" (deleted)")
            if program == "postgres" and os.path.samestat((entry / "cwd").stat(), data.stat()):
                found.add(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
