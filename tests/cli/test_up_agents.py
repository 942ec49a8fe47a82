"""Agents under the real `upkeep up`: how many work at once, whoever started them, and what is left of one that a person
cancels in the UI."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_up import UPKEEP, Up, processes_of
from tests.support.model_server import Answer, CallTools, ModelServer, Reply, Request, shell
from tests.support.tools import tool
from tests.support.updates import WATCH, Pair, make_pair
from tests.support.waiting import until
from upkeep.content.summary import UpdateSummary
from upkeep.database import events
from upkeep.database.events import Outcome
from upkeep.database.server import Database, connect

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

POLLED, TYPED = ("ferry", "tram", "train"), "bus"
LIMIT = 2
NOTHING = Answer(UpdateSummary(no_change=True, reason="nothing to do").model_dump(mode="json"))


class Model:
    """Starts two programs in each watch's sandbox, then says nothing until it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = threading.Event()
        self.length = str(900_000 + os.getpid())

    def __call__(self, request: Request) -> Reply:
        prompt = "\n".join(request.texts)
        (watch,) = [name for name in (*POLLED, TYPED) if f"/work/{name}/" in prompt]
        if not request.tool_outputs:
            self.asked.append(watch)
            # The second leaves the group of whoever started it.
            return CallTools(shell(f"setsid sleep {self.length}1 > /dev/null 2>&1 & sleep {self.length}2"))
        self.let.wait(800)
        return NOTHING

    def programs(self) -> list[str]:
        return [entry for digit in "12" for entry in running(f"sleep\0{self.length}{digit}")]


def running(arguments: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_text(errors="replace").startswith(arguments):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found


@pytest.fixture
def model(model_server: ModelServer) -> Iterator[Model]:
    made = Model()
    model_server.script = made
    yield made
    made.let.set()


@pytest.fixture
def pair(tmp_path: Path, database: Database, model_server: ModelServer, model: Model) -> Iterator[Pair]:
    """Four watches on one upstream with dashboards of their own, three of which are polled, and one real codex."""
    with make_pair(tmp_path, database, more="    agent: writer\n    poll_minutes: 0.05\n") as made:
        text = made.config.read_text()
        watch = text[text.index(f"  {WATCH}:\n") :]
        for name in (*POLLED[1:], TYPED):
            dashboard = made.dashboard.bare_clone(tmp_path / f"{name}.git")
            more = watch.replace(f"  {WATCH}:", f"  {name}:").replace("o/dashboard", f"o/{name}")
            more = more.replace(made.dashboard.url, dashboard.url)
            text += more.replace("poll_minutes: 0.05", "poll_minutes: 100000") if name == TYPED else more
        text += (
            f"agents:\n  writer:\n    engine: codex\n    bin: {tool('codex')}\n"
            f'    base_url: "{model_server.base_url}"\n    timeout_minutes: 12\n    idle_minutes: 12\n'
        )
        made.config.write_text(text)
        yield made


@pytest.fixture
def up(pair: Pair, tmp_path: Path, model: Model) -> Iterator[Up]:
    started = Up(pair.config, tmp_path / "home")
    try:
        started.wait_until_ready()
        yield started
    finally:
        model.let.set()
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            started.process.wait()
        until(lambda: not processes_of(started.home), "the end of every process", pause=0.2)


def slots(up: Up) -> tuple[set[str], set[str]]:
    """Runs that hold a slot of the engine's pool, and runs that wait for one, as the UI shows them."""
    query = (
        "query($k: String!) { instance { concurrencyLimit(concurrencyKey: $k) "
        "{ slotCount claimedSlots { runId } pendingSteps { runId assignedTimestamp } } } }"
    )
    found = up.ask(query, k="agent_codex")["instance"]["concurrencyLimit"]
    assert found["slotCount"] == LIMIT
    held = {each["runId"] for each in found["claimedSlots"]}
    return held, {each["runId"] for each in found["pendingSteps"]} - held


def run_of(up: Up, watch: str) -> dict[str, str]:
    runs = up.runs(watch)
    return runs[0] if runs else {"runId": "", "status": ""}


def test_a_pool_binds_daemon_and_terminal_and_a_cancelled_agent_leaves_nothing(
    pair: Pair, up: Up, model: Model, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    until(lambda: len(model.programs()) == 2 * LIMIT, "two agents at work", pause=0.2)
    at_work = sorted(model.asked)
    (queued,) = set(POLLED) - set(at_work)
    until(lambda: run_of(up, queued)["status"] == "QUEUED", "the third run in the queue", pause=0.2)

    with (tmp_path / "typed.log").open("wb") as log:
        typed = subprocess.Popen(
            [str(UPKEEP), "--config", str(pair.config), "update", TYPED],
            env={name: value for name, value in os.environ.items() if not name.startswith(("UPKEEP_", "DAGSTER"))},
            stdout=log,
            stderr=log,
        )
        said = "waiting for one of 2 slots of the pool agent_codex"
        until(lambda: said in (tmp_path / "typed.log").read_text(), "the command that waits", pause=0.2)
        held, waiting = slots(up)
        assert held == {run_of(up, watch)["runId"] for watch in at_work}
        assert len(waiting) == 1
        assert run_of(up, queued)["status"] == "QUEUED"
        assert sorted(model.asked) == at_work

        first = run_of(up, at_work[0])["runId"]
        cancel = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
        ours = pair.folder / "home" / "work" / at_work[0]
        assert processes_of(ours), "codex works in that folder"
        asked_at = time.monotonic()
        assert up.ask(cancel, id=first)["terminateRun"]["__typename"] == "TerminateRunSuccess"
        until(lambda: not processes_of(ours) and len(model.programs()) <= 2, "the end of the agent and what it started")
        record_property("seconds_from_cancel_to_end", round(time.monotonic() - asked_at, 2))

        until(lambda: len(model.asked) > LIMIT, "whoever waited gets the slot", pause=0.2)
        model.let.set()
        assert typed.wait(600) == 0
    until(lambda: run_of(up, queued)["status"] == "SUCCESS", "the run that was in the queue", pause=0.2)
    until(lambda: run_of(up, at_work[0])["status"] == "CANCELED", "the record of the cancelled one", pause=0.2)

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(300) == 0
    assert model.programs() == []
    with connect(up.home) as own, own.session() as session:
        assert events.of_run(session, first)[-1].summary["outcome"] == Outcome.CANCELLED
