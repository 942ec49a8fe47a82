"""The only place that starts a process.

What belongs here: starting, reading, bounding and ending children. What does not: what any one program means by its
arguments or its output (`git.py`, `agents/`, `forges/`, `database/`), and what must not be read in it (`redaction.py`).

Every child leads a session and process group of its own. The group is ended when the call ends, whatever ended it;
when this process dies instead (`kill -9` too), the watcher does (`watcher.py`, `reaper.py`), and after a crash of
both the next `sweep`. Children carry UPKEEP_PROCESS_OWNER in their environment, by which those that left their group
are found.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from upkeep import reaper
from upkeep.errors import CommandFailed, CommandNotFound, CommandTimeout
from upkeep.redaction import Redactor
from upkeep.streams import Limits, Outcome, Pump, Sink
from upkeep.watcher import Watcher

MIB = 1 << 20
TERM_GRACE_SECONDS = 3.0
_STDERR_KEPT = MIB
_TAIL_SHOWN = 4096
# What still comes through the pipes after the leader ended and its group was killed can only be from a process that
# left the group and kept them open.
_DRAIN_SECONDS = 1.0

_KEPT_VARIABLES = (
    *("PATH", "HOME", "USER", "LOGNAME", "TZ", "TMPDIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
    *("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"),
)


def base_environment(extra: Mapping[str, str] | None = None, *, keep: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment that children get: paths, time zone, certificates, UTF-8, and nothing else of ours.

    No GIT_* variable and no token passes unless the caller names it in `keep` (taken from our environment where it is
    set) or gives it in `extra`, which wins.
    """
    kept = {name: os.environ[name] for name in (*_KEPT_VARIABLES, *keep) if name in os.environ}
    return {"PATH": os.defpath, **kept, "LANG": "C.UTF-8", **(extra or {})}


@dataclass(frozen=True)
class Completed:
    """What a finished child left. `returncode` is negative for a signal. `outcome` says who ended it: itself
    (`exited`), the wall clock (`deadline`), silence (`idle`), or we after its final event (`final`).

    `truncated`: something of the output is missing, because of a bound, a line that was cut, or a full disk. `stdout`
    holds the beginning, `stderr` the end. Times are seconds.
    """

    argv: tuple[str, ...]
    returncode: int
    outcome: Outcome
    stdout: bytes
    stderr: bytes
    truncated: bool
    seconds: float

    @property
    def text(self) -> str:
        """Standard output as UTF-8; other bytes survive as surrogates."""
        return self.stdout.decode(errors="surrogateescape")

    @property
    def error_text(self) -> str:
        return self.stderr.decode(errors="replace")


_watcher = Watcher()


def record_in(folder: Path) -> int:
    """Keep a record of every running group in `folder` from now on (`<home>/processes`), and sweep it first. Return
    how many left-over groups and processes of dead owners were ended. Call it once, at the start of a program."""
    folder.mkdir(parents=True, exist_ok=True)
    _watcher.folder = folder
    return sweep(folder)


def sweep(folder: Path | None = None) -> int:
    """End what dead owners left running: by the records in `folder`, and by the marks of living processes. Return how
    many groups and processes there were. Nothing of a living owner is touched."""
    return reaper.sweep(folder)


class _Leader:
    """A started child, leader of its own group, until it is reaped.

    The order matters everywhere: the group is killed while the leader is still a zombie, which keeps its number from
    being given to a stranger.
    """

    def __init__(self, popen: subprocess.Popen[bytes], mark: str, death_signal: int) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.mark = mark
        _watcher.add(reaper.Group(self.pid, reaper.start_time(self.pid), death_signal))

    def ended(self) -> bool:
        if self.popen.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def send_signal(self, number: int) -> None:
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def wait(self, seconds: float | None) -> bool:
        """Wait for the leader to end, without reaping it."""
        until = None if seconds is None else time.monotonic() + seconds
        fd = self.ended_fd()
        try:
            while not self.ended():
                left = 0.5 if until is None else until - time.monotonic()
                if left <= 0:
                    return False
                # Not for ever in one go: an exception for this thread is only raised between two waits.
                select.select([] if fd is None else [fd], [], [], min(left, 0.05 if fd is None else 0.5))
        finally:
            if fd is not None:
                os.close(fd)
        return True

    def ended_fd(self) -> int | None:
        """A descriptor that becomes readable when the leader ends (pidfd_open(2)); None where the system has none."""
        try:
            return os.pidfd_open(self.pid)
        except (AttributeError, OSError):
            return None

    def reap(self) -> int:
        """Kill what is left of the group and take the leader's status. Only after it ended or was killed."""
        if self.popen.returncode is None:
            self.send_signal(signal.SIGKILL)
            self.popen.wait()
            _watcher.remove(self.pid)
        return int(self.popen.returncode)

    def stop(self, grace: float, number: int = signal.SIGTERM) -> int:
        """Ask the group to end, kill it after `grace` seconds, and with it everything that left the group."""
        if self.popen.returncode is not None:
            return int(self.popen.returncode)
        try:
            if not self.ended():
                self.send_signal(number)
                self.wait(grace)
        finally:
            status = self.reap()
            reaper.kill_marked(self.mark)
        return status


def _spawn(
    argv: Sequence[str],
    *,
    cwd: Path | None,
    env: Mapping[str, str] | None,
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    death_signal: int = signal.SIGTERM,
) -> _Leader:
    mark = _watcher.mark()
    environment = {**(base_environment() if env is None else env), reaper.OWNER_VARIABLE: mark}
    try:
        popen = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=environment,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if cwd is not None and not cwd.is_dir():
            raise CommandFailed(
                f"{argv[0]} cannot run in {cwd}: there is no such folder", code="process.no_folder", folder=str(cwd)
            ) from error
        raise CommandNotFound(
            f"{argv[0]} cannot be started: {error.strerror}",
            remedy=f"Install {Path(argv[0]).name} or put it on PATH; `upkeep doctor` lists what is needed.",
            program=str(argv[0]),
        ) from error
    except OSError as error:
        raise CommandFailed(
            f"{argv[0]} cannot be started: {error.strerror}", code="process.not_started", errno=error.errno
        ) from error
    return _Leader(popen, mark, death_signal)


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,
    deadline: float,
    idle: float | None = None,
    after_final: float | None = None,
    on_line: Callable[[str], bool | None] | None = None,
    stdout_path: Path | None = None,
    stderr_path: Path | None = None,
    max_line: int = MIB,
    max_output: int = 64 * MIB,
    max_file: int = 512 * MIB,
    redact: Redactor | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end and return what it left. Nothing of its group is alive afterwards.

    `env` is the whole environment (default: `base_environment()`); `input` is its standard input (default: empty, never
    ours). Seconds: `deadline` from the start, `idle` without a byte on either stream, `after_final` after `on_line`
    returned True. `on_line` gets each line of standard output without its newline, redacted, at most `max_line` bytes;
    what it raises ends the group and goes through. Output is kept up to `max_output` bytes and written to the files as
    it comes. With `redact`, nothing reaches memory, files, callback or errors unredacted.

    Raises CommandNotFound; with `check` also CommandFailed (another status than 0 after it ended by itself) and
    CommandTimeout (`deadline` or `idle`).
    """
    redact = redact or Redactor()
    started = time.monotonic()
    out = Sink(
        keep=max_output,
        file=stdout_path,
        file_limit=max_file,
        max_line=max_line,
        redact=redact or None,
        overlap=redact.longest,
        on_line=on_line,
    )
    try:
        err = Sink(
            keep=_STDERR_KEPT,
            tail=True,
            file=stderr_path,
            file_limit=max_file,
            max_line=max_line,
            redact=redact or None,
            overlap=redact.longest,
        )
        try:
            stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
            leader = _spawn(argv, cwd=cwd, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            outcome, status = _attend(leader, out, err, input, Limits(started, deadline, idle, after_final))
            stdout, stderr = out.finish(), err.finish()
        finally:
            err.close()
    finally:
        out.close()
    completed = Completed(
        argv=tuple(redact(str(part)) for part in argv),
        returncode=status,
        outcome=outcome,
        stdout=stdout,
        stderr=stderr,
        truncated=out.truncated or err.truncated,
        seconds=time.monotonic() - started,
    )
    if check:
        raise_for(completed)
    return completed


def raise_for(completed: Completed) -> None:
    """Raise CommandTimeout or CommandFailed for an outcome that is no success; nothing otherwise."""
    details: dict[str, Any] = {
        "argv": list(completed.argv),
        "returncode": completed.returncode,
        "stderr": completed.error_text[-_TAIL_SHOWN:],
        "seconds": round(completed.seconds, 3),
    }
    name = Path(completed.argv[0]).name
    if completed.outcome in ("deadline", "idle"):
        why = "said nothing for too long" if completed.outcome == "idle" else "took too long"
        raise CommandTimeout(
            f"{name} {why} and was ended after {completed.seconds:.1f} s", outcome=completed.outcome, **details
        )
    if completed.outcome == "exited" and completed.returncode != 0:
        last = completed.error_text.strip().rpartition("\n")[2]
        ending = f"signal {-completed.returncode}" if completed.returncode < 0 else f"status {completed.returncode}"
        raise CommandFailed(f"{name} ended with {ending}" + (f": {last}" if last else ""), **details)


def _attend(leader: _Leader, out: Sink, err: Sink, data: bytes | None, limits: Limits) -> tuple[Outcome, int]:
    """Serve a child's pipes until it has ended, then end what is left of its group."""
    with contextlib.ExitStack() as stack:
        # Reaped last, whatever happens: TERM, grace, KILL.
        stack.callback(leader.stop, TERM_GRACE_SECONDS)
        child = leader.popen
        assert child.stdout is not None
        assert child.stderr is not None
        pump = stack.enter_context(
            Pump(child.stdin, child.stdout, child.stderr, leader.ended, leader.ended_fd(), out, err, data)
        )
        outcome = pump.until_it_ends(limits)
        if outcome != "exited":
            leader.send_signal(signal.SIGTERM)
            pump.serve(time.monotonic() + TERM_GRACE_SECONDS)
            leader.send_signal(signal.SIGKILL)
            pump.serve(time.monotonic() + TERM_GRACE_SECONDS)
        leader.reap()
        if outcome != "exited" or not pump.drain(_DRAIN_SECONDS):
            reaper.kill_marked(leader.mark)
            pump.drain(_DRAIN_SECONDS)
    return outcome, leader.reap()


class Child:
    """A long-lived child that we supervise: a server, or a program that we talk to through its pipes.

    Its group ends with `terminate`, at the end of a `with` block, or when this process dies. What it leaves in its
    group when it ends by itself is killed as soon as `poll` or `wait` sees the end.
    """

    def __init__(self, leader: _Leader, argv: tuple[str, ...]) -> None:
        self._leader = leader
        self.argv = argv

    @property
    def pid(self) -> int:
        return self._leader.pid

    @property
    def stdin(self) -> IO[bytes]:
        """The unbuffered pipe to its standard input; only with `pipes=True`."""
        assert self._leader.popen.stdin is not None
        return self._leader.popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """The unbuffered pipe from its standard output; only with `pipes=True`."""
        assert self._leader.popen.stdout is not None
        return self._leader.popen.stdout

    def poll(self) -> int | None:
        """Its status, or None while it runs."""
        return self._leader.reap() if self._leader.ended() else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for it to end by itself and return its status. Raises CommandTimeout after `timeout` seconds."""
        if not self._leader.wait(timeout):
            raise CommandTimeout(f"{Path(self.argv[0]).name} still runs after {timeout} s", argv=list(self.argv))
        return self._leader.reap()

    def send_signal(self, number: int) -> None:
        """Signal its whole group."""
        self._leader.send_signal(number)

    def terminate(self, grace: float = TERM_GRACE_SECONDS, number: int = signal.SIGTERM) -> int:
        """Ask its group to end with signal `number`, kill it after `grace` seconds, and return its status."""
        try:
            return self._leader.stop(grace, number)
        finally:
            for file in (self._leader.popen.stdin, self._leader.popen.stdout):
                if file is not None:
                    file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.terminate()


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    pipes: bool = False,
    stdout_path: Path | None = None,
    stderr_path: Path | None = None,
    death_signal: int = signal.SIGTERM,
) -> Child:
    """Start a program and return at once. Raises CommandNotFound or CommandFailed where it cannot be started.

    `env` as for `run`. Its output is appended to the files as it is (one file for both: give the same path), or goes
    nowhere; with `pipes`, standard input and output are pipes to us. `death_signal` is what asks it to end
    should we die.
    """
    with contextlib.ExitStack() as stack:

        def log(path: Path | None) -> int | IO[bytes]:
            return subprocess.DEVNULL if path is None else stack.enter_context(path.open("ab", buffering=0))

        leader = _spawn(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else log(stdout_path),
            stderr=log(stderr_path),
            death_signal=death_signal,
        )
    return Child(leader, tuple(map(str, argv)))
