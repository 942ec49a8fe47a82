"""What this process says of its children to the watcher beside it, which ends them when this process is killed.

What belongs here: the watcher's start, the list of groups that run, its records. What does not: the watcher's own work
and the sweep (`reaper.py`), and the children (`process.py`, the only one who tells).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from upkeep import reaper


class Watcher:
    """The groups that run now, known to the watcher process (`reaper.watch`) and, if one is set, to the folder."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._hooked = False
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: dict[int, tuple[reaper.Group, Path | None]] = {}
        self._owner = ""
        self._children = 0

    def mark(self) -> str:
        """Make sure that the watcher runs, and return the mark of the next child."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self._children += 1
            return f"{self._owner}/{self._children}"

    def add(self, group: reaper.Group) -> None:
        with self._lock:
            self._groups[group.pid] = (group, None)
            self._tell(group)
            if self.folder is not None:
                # A full disk costs the record; the watcher and the child's mark are still there.
                with contextlib.suppress(OSError):
                    self._groups[group.pid] = (group, reaper.record(self.folder, self._owner, group))

    def remove(self, pid: int) -> None:
        with self._lock:
            _, file = self._groups.pop(pid, (None, None))
            if file is not None:
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._send(f"- {pid}\n")

    def _tell(self, group: reaper.Group) -> None:
        try:
            self._send(f"+ {group.pid} {group.started or 0} {group.signal}\n")
        except OSError:  # Somebody killed the watcher: the next one learns everything again.
            self._start()

    def _send(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())

    def _start(self) -> None:
        if not self._owner:
            self._owner = reaper.owner_token(os.getpid())
        if not self._hooked:
            self._hooked = True
            atexit.register(self._close)
            # A forked child holds the pipe open and would keep the watcher waiting for it too.
            os.register_at_fork(after_in_child=self._leave)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, self._owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={"LANG": "C.UTF-8"},
            start_new_session=True,
        )
        for group, _ in self._groups.values():
            self._tell(group)

    def _leave(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.returncode = 0  # Not our child: nothing to wait for.
        self._reset()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(reaper.GRACE_SECONDS + 1)
