"""`upkeep web` as a process: started, refused, killed, ended, and without its database for a while."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.waiting import until
from tests.support.web_server import SECONDS, UPKEEP, Served, new_token, served
from upkeep.database import schema
from upkeep.database.server import connect


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="upkeep-web-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(home: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(home).encode() in words:
                found.append(entry.name)
    return found


def test_it_says_where_it_is_and_ends_in_order(hub: HubTerminal, tmp_path: Path) -> None:
    with served(tmp_path / "out") as server:
        assert "no tokens yet; `upkeep token create NAME` makes one" in server.said()
        token = new_token()
        assert server.ask("/repos/", token).json()["repositories"][0]["slug"] == "sample"
        assert server.ask(f"/openapi.json?token={token}").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
        assert server.said().endswith("stopped\n")
        assert "GET /openapi.json?token=*** " in server.said()
        assert token not in server.said()


def test_of_two_on_one_port_one_is_told_to_choose_another(hub: HubTerminal, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    racers = [Served(tmp_path / name, "--port", port) for name in ("one", "two")]
    try:
        loser = until(lambda: next((one for one in racers if one.process.poll() is not None), None), "the end of one")
        (winner,) = [one for one in racers if one is not loser]
        assert loser.process.returncode == 1
        assert f"error web.port: port {port} of 127.0.0.1 is taken" in loser.said()
        assert "--port" in loser.said()
        assert "Traceback" not in loser.said()
        winner.wait_until_ready()
        assert winner.ask("/state/health").status_code == 200
    finally:
        for one in racers:
            one.process.kill()
            one.process.wait()


def test_other_machines_are_let_in_only_where_that_is_said(hub: HubTerminal, tmp_path: Path) -> None:
    refused = subprocess.run([str(UPKEEP), "web", "--host", "0.0.0.0"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "error web.public" in refused.stderr
    with served(tmp_path / "out", "--host", "0.0.0.0", "--public") as server:
        assert "any host name is let in" in server.said()
        assert server.ask("/state/health", headers={"Host": "hub.example"}).status_code == 200


def test_a_killed_service_leaves_nothing_and_starts_again(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a database of its own, which nobody else uses."""
    config = tmp_path / "upkeep.yaml"
    config.write_text(f"home: {short}\n")
    monkeypatch.setenv("UPKEEP_CONFIG", str(config))
    monkeypatch.setenv("UPKEEP_HOME", str(short))
    monkeypatch.delenv("UPKEEP_DATABASE_URL", raising=False)
    with served(tmp_path / "one") as server:
        token = new_token()
        server.process.kill()
        server.process.wait()
    until(lambda: not processes_of(short), "the end of every process")
    with served(tmp_path / "two") as server:
        assert server.ask("/repos/", token).json()["total"] == 0
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(SECONDS) == 0
    assert processes_of(short) == []


def test_it_waits_out_a_database_that_is_away(
    hub: HubTerminal, short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(short) as database:
        schema.upgrade(database)
        monkeypatch.setenv("UPKEEP_DATABASE_URL", database.url)
        with served(tmp_path / "out") as server:
            token = new_token()
            assert server.ask("/repos/", token).status_code == 200
            database.close()  # its last user takes the server down
            for path in ("/state/health", "/repos/", "/repos/sample/dispatch"):
                gone = server.ask(path, token)
                assert (gone.status_code, gone.json()["code"]) == (503, "database.unavailable")
                assert gone.json()["transient"] is True
                assert gone.headers["retry-after"] == "5"
                assert str(short) not in gone.text
            with connect(short) as again:
                assert schema.current(again) == schema.HEAD
                until(lambda: server.ask("/state/health").status_code == 200, "the recovery")
                assert server.ask("/repos/sample/dispatch", token).json()["repo_slug"] == "sample"
            assert server.process.poll() is None
