"""`upkeep up` for real: its own database, code server, webserver, daemon; and nothing of them afterwards."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.services import reserved_port
from tests.support.repositories import MakeRepository
from tests.support.updates import CART, WATCH, Pair, cart, make_pair
from tests.support.waiting import until
from tests.support.workplans import plan, task
from upkeep.database import events
from upkeep.database.events import Outcome
from upkeep.database.server import Database, connect
from upkeep.errors import ConfigError

UPKEEP = Path(sys.executable).with_name("upkeep")

ENDLESS_HOOK = "#!/bin/sh\necho $$ > {}\nexec sleep 600\n"


class Up:
    """One `upkeep up` in a process of its own, and what can be asked of it."""

    def __init__(self, config: Path, home: Path) -> None:
        self.home = home
        self.output = home.parent / "up.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("UPKEEP_", "DAGSTER"))}
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [str(UPKEEP), "--config", str(config), "up"], env=environment, stdout=log, stderr=log
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    @property
    def url(self) -> str:
        return re.findall(r"Upkeep is up\.\s+(http\S+)", self.said())[-1]

    def api_answers(self) -> bool:
        (url,) = re.findall(r"API\s+(http\S+)", self.said())
        try:
            with urllib.request.urlopen(f"{url}/state/health", timeout=120) as response:
                return bool(json.load(response)["status"] == "ok")
        except OSError:
            return False

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.said()
            return "Ctrl-C stops everything." in self.said()

        until(ready, "the start", pause=0.2)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]  # type: ignore[no-any-return]

    def runs(self, watch: str) -> list[dict[str, Any]]:
        return self.runs_of(f"watch:{watch}")

    def runs_of(self, subject: str) -> list[dict[str, Any]]:
        """The runs of a subject as the UI shows them, the newest first."""
        query = "query($f: RunsFilter) { runsOrError(filter: $f) { ... on Runs { results { runId status } } } }"
        found = self.ask(query, f={"tags": [{"key": "upkeep/subject", "value": subject}]})
        return found["runsOrError"]["results"]  # type: ignore[no-any-return]

    def syncs(self, repository: str) -> dict[str, str]:
        """Who asked for the syncs that the UI shows of a repository, each with the run that told of it, if one did."""
        entries = "metadataEntries { label ... on TextMetadataEntry { text } }"
        node = f"... on AssetNode {{ assetMaterializations {{ partition runId {entries} }} }}"
        query = f"query($k: AssetKeyInput!) {{ assetNodeOrError(assetKey: $k) {{ {node} }} }}"
        found = self.ask(query, k={"path": ["sync", "sync_timestamps"]})["assetNodeOrError"]["assetMaterializations"]
        return {
            entry["text"]: each["runId"]
            for each in found
            for entry in each["metadataEntries"]
            if each["partition"] == repository and entry["label"] == "trigger"
        }


def processes_of(home: Path) -> list[str]:
    """Every living process that knows this home from its arguments or its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(home).encode() in arguments + environment:
            found.append(f"{entry.name} {arguments.replace(bytes(1), b' ').decode(errors='replace')}")
    return found


@pytest.fixture
def slow_pair(tmp_path: Path, database: Database, make_repository: MakeRepository) -> Iterator[Pair]:
    """Two watches on one upstream; the dashboard of `slow` never answers to a push. And a managed repository."""
    sample = make_repository("sample")
    sample.commit({"workplans/a.md": plan("A", "active", task("A-1"))})
    with make_pair(tmp_path, database, more="    poll_minutes: 0.05\n") as pair:
        text = pair.config.read_text()
        watch = text[text.index(f"  {WATCH}:\n") :].replace(f"  {WATCH}:", "  slow:").replace("o/dashboard", "o/slow")
        dashboard = pair.dashboard.bare_clone(tmp_path / "slow.git")
        hook = dashboard.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(ENDLESS_HOOK.format(tmp_path / "hook.pid"))
        hook.chmod(0o755)
        managed = f"repositories:\n  sample: {{path: {sample.path}}}\n"
        pair.config.write_text(text + watch.replace(pair.dashboard.url, dashboard.url) + managed)
        yield pair


def pushing(pair: Pair) -> int | None:
    """The process that the push of `slow` waits for; None: it has not begun."""
    file = pair.folder / "hook.pid"
    return int(file.read_text()) if file.exists() and file.read_text().strip() else None


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def started(slow_pair: Pair, tmp_path: Path) -> Iterator[Up]:
    up = Up(slow_pair.config, tmp_path / "home")
    try:
        up.wait_until_ready()
        yield up
    finally:
        if up.process.poll() is None:
            up.process.kill()
        up.process.wait()
        until(lambda: not processes_of(up.home), "the end of every process", pause=0.2)


@pytest.mark.timeout(900)
def test_a_commit_becomes_a_pull_request_with_no_command_typed(slow_pair: Pair, started: Up) -> None:
    first = slow_pair.upstream.head("main")
    until(lambda: f"autoupdate/analytics/{first}" in slow_pair.branches(), "the first pull request", pause=0.2)

    head = slow_pair.push({CART: cart("cart opened", "cart closed")}, "Add the cart")
    until(lambda: f"autoupdate/analytics/{head}" in slow_pair.branches(), "the pull request", pause=0.2)
    until(lambda: {run["status"] for run in started.runs(WATCH)} == {"SUCCESS"}, "the end of the runs", pause=0.2)
    assert len(started.runs(WATCH)) == 2

    # A repository that was never synced: the sensor asks for a run. What a command does then needs none.
    assert until(lambda: started.syncs("sample"), "the sync by the sensor", pause=0.2)["sensor"] != ""
    command = [str(UPKEEP), "--config", str(slow_pair.config), "sync", "sample"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UPKEEP_", "DAGSTER"))}
    subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True)
    assert until(lambda: "cli" in started.syncs("sample"), "the sync by the command", pause=0.2)
    assert started.syncs("sample")["cli"] == ""

    waits_for = until(lambda: pushing(slow_pair), "the push that hangs", pause=0.2)
    (slow,) = [run for run in started.runs("slow") if run["status"] == "STARTED"]
    cancel = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
    assert started.ask(cancel, id=slow["runId"])["terminateRun"]["__typename"] == "TerminateRunSuccess"
    until(lambda: started.runs("slow")[0]["status"] == "CANCELED", "the end of the cancelled run", pause=0.2)
    until(lambda: not alive(waits_for), "the end of the push", pause=0.2)

    assert started.api_answers()
    (web,) = [line.split()[0] for line in processes_of(started.home) if " web --host " in line]
    os.kill(int(web), signal.SIGKILL)
    until(lambda: "web ended with status -9; starts again" in started.said(), "the notice", pause=0.2)
    until(started.api_answers, "the API again", pause=0.2)

    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(120) == 0
    assert started.said().endswith("stopped\n")
    assert processes_of(started.home) == []
    with connect(started.home) as own, own.session() as session:
        assert events.of_run(session, slow["runId"])[-1].summary["outcome"] == Outcome.CANCELLED
        assert events.open_runs(session) == []


@pytest.mark.timeout(900)
def test_killing_it_leaves_no_process_and_the_next_start_closes_what_was_open(slow_pair: Pair, started: Up) -> None:
    waits_for = until(lambda: pushing(slow_pair), "the push that hangs", pause=0.2)
    (slow,) = [run for run in started.runs("slow") if run["status"] == "STARTED"]
    second = subprocess.run(
        [str(UPKEEP), "--config", str(slow_pair.config), "up"], capture_output=True, text=True, timeout=150, check=False
    )
    assert second.returncode == 1
    assert f"runs already for {started.home}" in second.stderr

    started.process.kill()
    started.process.wait()
    until(lambda: not processes_of(started.home) and not alive(waits_for), "the end of every process", pause=0.2)

    again = Up(slow_pair.config, started.home)
    try:
        again.wait_until_ready()
        statuses = {run["runId"]: run["status"] for run in again.runs("slow")}
        assert statuses[slow["runId"]] in ("FAILURE", "CANCELED")
    finally:
        again.process.send_signal(signal.SIGTERM)
        assert again.process.wait(120) == 0
    assert processes_of(started.home) == []


def test_a_port_that_is_taken_is_refused_or_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}"), reserved_port(port):
            pass


def test_two_that_start_at_once_choose_different_ports() -> None:
    with reserved_port(None) as one, reserved_port(None) as other:
        assert one != other
    with reserved_port(one) as again:
        assert again == one
