"""Keeps a handful of long-lived services running, and ends them together.

What belongs here: starting, watching, restarting with back-off, ending. What does not: which services there are
(`services.py`), and how a process is started (`upkeep/process.py`, which also ends them all should we be killed).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upkeep.errors import ProcessError
from upkeep.process import Child, start

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A service that ran this long has started well: earlier failures are forgotten."""
MOST_FAILURES = 6
LOG_LINES_SHOWN = 15
LOG_LIMIT = 20 << 20


class ServiceFailed(ProcessError):
    """A service ends again and again."""

    code = "process.service_failed"


@dataclass(frozen=True)
class Service:
    """One long-lived program. `grace`: seconds between asking it to end and killing its group.

    `before_restart` runs when it has ended unasked, before it starts again; nothing of it is alive then.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    grace: float = 5.0
    before_restart: Callable[[], None] | None = None


@dataclass
class _Running:
    service: Service
    child: Child | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0


def restart_delay(failures: int) -> float:
    """Seconds before the next start after so many failures in a row."""
    return float(min(FIRST_DELAY_SECONDS * 2 ** max(failures - 1, 0), LONGEST_DELAY_SECONDS))


class Supervisor:
    """Services in the order in which they were started; they end in the opposite one. Use it as a context."""

    def __init__(self, say: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._services: list[_Running] = []

    def start(self, service: Service) -> None:
        """Raises CommandNotFound."""
        running = _Running(service)
        self._services.append(running)
        self._launch(running)

    def check(self) -> None:
        """Restart what ended unasked, once its time has come. Raises ServiceFailed when that does not help."""
        now = self._clock()
        for running in self._services:
            if running.child is None:
                if now >= running.start_at:
                    self._launch(running)
            elif (status := running.child.poll()) is not None:
                self._ended(running, status, now)

    def stop(self, *, grace: float | None = None) -> None:
        """End all services, the last started first. `grace` replaces that of each."""
        while self._services:
            running = self._services.pop()
            if running.child is not None:
                running.child.terminate(running.service.grace if grace is None else grace)

    def _launch(self, running: _Running) -> None:
        service = running.service
        _rotate(service.log)
        running.child = start(service.argv, env=service.env, stdout_path=service.log, stderr_path=service.log)
        running.started_at = self._clock()

    def _ended(self, running: _Running, status: int, now: float) -> None:
        service = running.service
        running.child = None
        running.failures = 1 if now - running.started_at >= STEADY_SECONDS else running.failures + 1
        if running.failures >= MOST_FAILURES:
            raise ServiceFailed(
                f"{service.name} ended {running.failures} times in a row, the last time with status {status}:\n"
                + "\n".join(f"    {line}" for line in tail(service.log)),
                remedy=f"Read {service.log}, mend the cause, and run `upkeep up` again; `upkeep doctor` may name it.",
            )
        delay = restart_delay(running.failures)
        running.start_at = now + delay
        self._say(f"{service.name} ended with status {status}; starts again in {delay:.0f} s ({service.log})")
        if service.before_restart is not None:
            service.before_restart()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def tail(log: Path, lines: int = LOG_LINES_SHOWN) -> list[str]:
    """The last lines of a log; none where it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, 2) - 16_384, 0))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _rotate(log: Path) -> None:
    """One older log is kept. Only between two lives of a service: it writes to the file that it was given."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
