"""The embedded server as its users see it: join it, start it where there is none, let go of it.

What belongs here: the folder's layout, the share that a user holds, the making of a new cluster. What does not: URLs
and sessions (`server.py`), holding the process (`supervisor.py`), where the programs come from (`binaries.py`).

    <home>/database.lock              every user of the server holds it shared; nobody does: the server stops
    <home>/database.start.lock        held by the one who starts it
    <home>/database.supervisor.lock   held by the supervisor, holds its pid
    <home>/database.log               what the server says
    <home>/database/                  0700; owned by the account of the server
        data/                         the cluster
        .s.PGSQL.5432                 its only socket

The server listens nowhere but on that socket, and knows its users by the kernel's word (`peer`). It works in its data
folder and addresses it as `/proc/self/cwd`, its socket folder as `..`: so an unprivileged account can serve a home
below /root, whose mode nobody has to change, for the supervisor enters the folder before it gives up being root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from upkeep import process
from upkeep.database import binaries, supervisor
from upkeep.errors import DatabaseError, DatabaseUnavailable

START_LOCK = "database.start.lock"
DATABASE = "upkeep"
ROLES = ("upkeep", "analyst", "postgres")
ACCOUNTS = ("upkeep", "nobody")
"""Accounts that the server runs as when we are root: the first that the machine has."""
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 107
"""sizeof(sun_path) less the closing NUL (unix(7))."""
WAIT_SECONDS = supervisor.START_SECONDS + supervisor.STOP_SECONDS

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": "..",
    "unix_socket_permissions": "0777",  # the folder is 0700; root as a client of another account must pass, too
    "max_connections": "200",  # Dagster opens a connection a call
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_checkpoints": "off",  # one line every five minutes, of interest to nobody here
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "password_encryption": "scram-sha-256",
}


@dataclass(frozen=True)
class Account:
    uid: int
    gid: int
    name: str


class Embedded:
    """A share in the server of one home. The server runs at least until `leave`, or the end of this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._share: int | None = None
        self._folder: int | None = None

    @property
    def folder(self) -> Path:
        return self.home / supervisor.FOLDER

    @property
    def socket_folder(self) -> str:
        """Where clients of this process find the socket.

        A socket's path has at most 107 bytes. For a home deeper than that, it is the folder by a descriptor that we
        hold, which is as short for every home, and means something in this process alone.
        """
        if len(os.fsencode(self.folder / SOCKET)) <= SOCKET_PATH_BYTES:
            return str(self.folder)
        if self._folder is None:
            self._folder = os.open(self.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}"

    def join(self) -> None:
        """Take a share and see to it that the server runs. Raises DatabaseError and its kinds; see `_explained`."""
        with _explained(self.home):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._share is None:
                share = _open(self.home / supervisor.USERS_LOCK)
                try:
                    _lock(share, fcntl.LOCK_SH)  # waits only while the last one's server is being stopped
                except BaseException:
                    os.close(share)
                    raise
                self._share = share
            self._ensure()

    def _ensure(self) -> None:
        """Start the server unless it runs. Also after it went away under a user: whoever notices first starts it."""
        if self.runs():
            return
        starting = _open(self.home / START_LOCK)
        try:
            _lock(starting, fcntl.LOCK_EX)
            if not self.runs():
                _start(self.home)
        finally:
            os.close(starting)

    def runs(self) -> bool:
        """Whether the server has a supervisor and accepts connections."""
        return supervisor.ready(self.folder / supervisor.DATA) and self._supervisor() is not None

    def leave(self) -> None:
        """Give the share back. The last one waits until the server has ended: afterwards no process is left."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
        if self._share is None:
            return
        share, self._share = self._share, None
        try:
            # Turns our share into the whole lock, or loses the share: both are what we want.
            fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
            pid = self._supervisor()
            if pid is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
                self._await_end()
        except BlockingIOError:
            pass  # somebody else still uses it
        finally:
            os.close(share)

    def _await_end(self) -> None:
        deadline = time.monotonic() + supervisor.STOP_SECONDS
        while self._supervisor() is not None and time.monotonic() < deadline:
            time.sleep(0.002)

    def _supervisor(self) -> int | None:
        """The pid of the supervisor, None where none holds its lock."""
        try:
            own = os.open(self.home / supervisor.SUPERVISOR_LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(own, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(own, 32, 0).strip() or 0) or None
        else:
            return None
        finally:
            os.close(own)


def _start(home: Path) -> None:
    """Run the supervisor until it says that the server is ready. We hold the start lock."""
    if sys.platform != "linux":
        raise DatabaseError(
            f"the embedded PostgreSQL server runs on Linux, and this is {sys.platform}",
            code="database.not_linux",
            remedy="Set UPKEEP_DATABASE_URL to a PostgreSQL server of your own.",
        )
    folder = home / supervisor.FOLDER
    account = _account(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    _own(folder, account)
    programs = binaries.reachable(binaries.installation(), account.uid, account.gid) / "bin"
    if not (folder / supervisor.DATA).is_dir():
        _create_cluster(folder, account, programs)
    _refuse_other_version(folder / supervisor.DATA)
    log = home / supervisor.LOG
    before = log.stat().st_size if log.exists() else 0
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    server = [str(programs / "postgres"), "-D", "/proc/self/cwd", *settings]
    done = _program("serve", str(home), str(account.uid), str(account.gid), "--", *server)
    if done.returncode != 0:
        raise _not_started(done.error_text, log, before)


def _create_cluster(folder: Path, account: Account, programs: Path) -> None:
    """Make the cluster under another name and rename it when it is whole: a killed maker leaves nothing half made."""
    fresh = folder / f"{supervisor.DATA}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _own(fresh, account)
    as_account = ("run", str(account.uid), str(account.gid), "--")
    initdb = [str(programs / "initdb"), "--pgdata=/proc/self/cwd", "--username=postgres", "--encoding=UTF8"]
    initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"]
    done = _program(*as_account, *initdb, folder=fresh)
    if done.returncode == 0:
        _write_access(fresh)
        single = [str(programs / "postgres"), "--single", "-D", "/proc/self/cwd", "-j", "postgres"]
        done = _program(*as_account, *single, folder=fresh, stdin=_FIRST_STATEMENTS)
    if done.returncode != 0 or "ERROR:" in done.error_text:
        raise _not_started(done.error_text, folder.with_name(supervisor.LOG))
    fresh.rename(folder / supervisor.DATA)


_FIRST_STATEMENTS = f"""\
CREATE ROLE upkeep LOGIN CREATEROLE CREATEDB;

CREATE ROLE analyst LOGIN;

GRANT analyst TO upkeep WITH ADMIN OPTION;

CREATE DATABASE {DATABASE} OWNER upkeep;

"""
"""Single-user mode with -j: a statement ends with a semicolon and an empty line."""


def _write_access(data: Path) -> None:
    """Who may connect: the user that we are, and root, who may do everything anyway."""
    people = sorted({pwd.getpwuid(os.getuid()).pw_name, pwd.getpwuid(0).pw_name})
    entries = [f'upkeep "{person}" {role}\n' for person in people for role in ROLES]
    _replace(data / "pg_hba.conf", "local all all peer map=upkeep\n")
    _replace(data / "pg_ident.conf", "".join(entries))


def _replace(file: Path, content: str) -> None:
    """Write to a file that is there, and through no link that the server's account may have put in its place."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "w") as open_file:
        open_file.write(content)


def _program(*arguments: str, folder: Path | None = None, stdin: str = "") -> process.Completed:
    command = [sys.executable, "-I", "-S", supervisor.__file__, *arguments]
    return process.run(command, cwd=folder, input=stdin.encode(), deadline=WAIT_SECONDS, check=False)


def _refuse_other_version(data: Path) -> None:
    version = (data / "PG_VERSION").read_text().strip()
    if version != binaries.MAJOR_VERSION:
        raise DatabaseError(
            f"the data in {data} is of PostgreSQL {version}, the programs are of PostgreSQL {binaries.MAJOR_VERSION}",
            code="database.other_version",
            remedy="Export with the older programs (pg_dumpall) and import into a new home.",
        )


def _account(folder: Path) -> Account:
    """The account of the server: we ourselves; as root the one that owns the data, else an unprivileged one."""
    try:
        if os.geteuid() != 0:
            found = pwd.getpwuid(os.geteuid())  # initdb refuses to work without a name
        elif folder.is_dir() and folder.stat().st_uid != 0:
            found = pwd.getpwuid(folder.stat().st_uid)
        else:
            known = {entry.pw_name: entry for entry in pwd.getpwall()}
            found = next(known[name] for name in ACCOUNTS if name in known)
    except (KeyError, StopIteration):
        raise DatabaseError(
            f"PostgreSQL cannot run here: this machine has no name for uid {os.geteuid()}, "
            f"or we are root and it has none of the accounts {', '.join(ACCOUNTS)}",
            code="database.no_account",
            remedy="Add the account to /etc/passwd, or set UPKEEP_DATABASE_URL to a server of your own.",
        ) from None
    return Account(found.pw_uid, found.pw_gid, found.pw_name)


def _own(path: Path, account: Account) -> None:
    if os.geteuid() == 0:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _not_started(said: str, log: Path, before: int | None = None) -> DatabaseError:
    """`before`: how long the log was before the server wrote to it; None: it did not."""
    with suppress(OSError), log.open("rb") as lines:
        size = log.stat().st_size
        lines.seek(size if before is None else before if before <= size else 0)
        said += "\n" + lines.read().decode(errors="replace")
    telling = [line.partition(":  ")[2] for line in said.splitlines() if "FATAL:" in line or "PANIC:" in line]
    sentence = telling[-1] if telling else said.strip()[-500:]
    if os.strerror(errno.ENOSPC) in said:
        return _disk_full(log.parent / supervisor.FOLDER, sentence)
    return DatabaseUnavailable(
        f"the embedded PostgreSQL server did not start: {sentence}",
        code="database.not_started",
        remedy=f"Read {log}; `upkeep doctor` checks the rest.",
    )


def _disk_full(folder: Path, sentence: str) -> DatabaseError:
    return DatabaseUnavailable(
        f"the embedded PostgreSQL server cannot start, because the disk that holds {folder} is full: {sentence}",
        code="database.disk_full",
        remedy="Free some space and run the same command again; nothing is lost.",
    )


@contextmanager
def _explained(home: Path) -> Iterator[None]:
    """What the file system says about the home, as errors that name the next step."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(home, error.strerror or "") from error
        raise DatabaseError(
            f"the folder of the database cannot be used: {error.strerror}: {error.filename or home}",
            code="database.folder",
            remedy="Let it belong to the user that runs Upkeep, or name another with UPKEEP_HOME.",
        ) from error


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock(descriptor: int, kind: int) -> None:
    """flock with a deadline: whoever holds it against us is starting or stopping the server."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(
                    f"another process has been starting or stopping the database for {WAIT_SECONDS} s",
                    code="database.busy",
                    remedy="Look for a process named postgres or supervisor.py that hangs, end it and try again.",
                ) from None
            time.sleep(0.002)
