"""Services are kept alive with back-off, and end together."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.supervise import LONGEST_DELAY_SECONDS, MOST_FAILURES, Service, ServiceFailed, Supervisor, restart_delay, tail
from tests.support import waiting
from upkeep import reaper

PYTHON = sys.executable
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def supervisor(said: list[str], clock: Clock) -> Iterator[Supervisor]:
    with Supervisor(said.append, clock=clock) as made:
        yield made


def service(tmp_path: Path, code: str, name: str = "web", **options: object) -> Service:
    return Service(name, [PYTHON, "-u", "-c", code], ENVIRONMENT, tmp_path / "logs" / f"{name}.log", **options)  # type: ignore[arg-type]


def until(condition: Callable[[], object], supervisor: Supervisor | None = None) -> None:
    """Wait for it; with `supervisor`, while that looks after its services."""

    def holds() -> object:
        if not (answer := condition()) and supervisor is not None:
            supervisor.check()
        return answer

    waiting.until(holds, pause=0.01)


def pids(log: Path) -> list[int]:
    return [int(line) for line in tail(log) if line.isdigit()]


FOREVER = "import os, time; print(os.getpid()); time.sleep(600)"
BRIEFLY = "import os; print(os.getpid())"


def test_a_service_that_ends_is_started_again_after_its_delay(
    tmp_path: Path, supervisor: Supervisor, said: list[str], clock: Clock
) -> None:
    web = service(tmp_path, BRIEFLY)
    supervisor.start(web)
    until(lambda: said, supervisor)

    assert said == [f"web ended with status 0; starts again in 1 s ({web.log})"]
    supervisor.check()
    assert len(pids(web.log)) == 1
    clock.now += 1
    until(lambda: len(pids(web.log)) == 2, supervisor)


def test_a_service_that_keeps_ending_ends_everything_with_its_last_words(
    tmp_path: Path, supervisor: Supervisor, clock: Clock
) -> None:
    supervisor.start(service(tmp_path, "raise SystemExit('the port is taken')", name="bad"))

    def fail() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            clock.now += 1
            supervisor.check()
            time.sleep(0.01)

    with pytest.raises(ServiceFailed, match="the port is taken") as failed:
        fail()
    assert f"{MOST_FAILURES} times in a row" in failed.value.message
    assert "bad.log" in failed.value.remedy


def test_failures_long_ago_are_forgotten(tmp_path: Path, supervisor: Supervisor, said: list[str], clock: Clock) -> None:
    web = service(tmp_path, "import time; time.sleep(0.3)")
    supervisor.start(web)
    for expected in range(1, MOST_FAILURES + 3):
        clock.now += 600
        until(lambda expected=expected: len(said) == expected, supervisor)
        clock.now += 1
        supervisor.check()
    assert all("again in 1 s" in line for line in said)


def test_what_a_service_leaves_behind_is_killed_before_it_starts_again(tmp_path: Path, supervisor: Supervisor) -> None:
    log = tmp_path / "logs" / "web.log"
    left: list[int] = []
    # The child of the child stays behind in the group when the leader ends.
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)\n"
    )
    supervisor.start(service(tmp_path, code, before_restart=lambda: left.append(pids(log)[0])))
    until(lambda: left, supervisor)

    until(lambda: _running(left[0]) is None)


def _running(pid: int) -> int | None:
    """Its start time; None for a process that is gone or a zombie that nobody has reaped yet."""
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return None if state == "Z" else reaper.start_time(pid)


def test_all_services_end_with_the_supervisor_the_last_first(tmp_path: Path, said: list[str]) -> None:
    logs = []
    with Supervisor(said.append) as supervisor:
        for name in ("one", "two"):
            started = service(tmp_path, FOREVER, name=name)
            supervisor.start(started)
            logs.append(started.log)
            until(lambda started=started: pids(started.log))
        running = [pids(log)[0] for log in logs]
        assert all(_running(pid) is not None for pid in running)

    assert [_running(pid) for pid in running] == [None, None]


def test_a_service_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path, said: list[str]) -> None:
    deaf = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid()); time.sleep(600)"
    with Supervisor(said.append) as supervisor:
        web = service(tmp_path, deaf, grace=0.2)
        supervisor.start(web)
        until(lambda: pids(web.log))

    assert _running(pids(web.log)[0]) is None


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_delays_grow_and_stay_bounded(failures: int) -> None:
    assert 1 <= restart_delay(failures) <= restart_delay(failures + 1) <= LONGEST_DELAY_SECONDS


def test_a_log_that_is_not_there_has_no_last_words(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == []
