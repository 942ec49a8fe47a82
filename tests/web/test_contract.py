"""The service against its own description: schemathesis sends what the document permits, and what it does not.

All of its checks are on. It learns slugs from answers, follows links between operations, and asks without a token too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.repositories import MakeRepository
from tests.support.web_server import new_token, served

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

# 412 is what a precondition is for: `If-Match` may be any text, and the one that schemathesis makes up names nothing.
CONFIGURATION = """
headers = { Authorization = "Bearer ${API_TOKEN}" }
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "412"]
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx"]
"""


def run(url: str, folder: Path, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    return subprocess.run(
        [str(SCHEMATHESIS), "run", f"{url}/openapi.json", "--checks", "all", "--no-color", *arguments],
        cwd=folder,
        env={**os.environ, "API_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_the_service_does_what_its_description_says(
    hub: HubTerminal, make_repository: MakeRepository, tmp_path: Path
) -> None:
    hub.out("sync", "sample", "--fix")
    hub.out("repos", "register", str(make_repository("other").path))
    with served(tmp_path / "served") as server:
        done = run(server.url, tmp_path, new_token("write"), "--max-examples", "5", "--generation-deterministic")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 8" in done.stdout
    assert "web.unexpected" not in server.said()


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("scope", ["write", "read"])
def test_it_does_so_for_long(hub: HubTerminal, make_repository: MakeRepository, tmp_path: Path, scope: str) -> None:
    hub.out("sync", "sample", "--fix")
    hub.out("repos", "register", str(make_repository("other").path))
    with served(tmp_path / "served") as server:
        done = run(server.url, tmp_path, new_token(scope), "--max-examples", "150")
    assert done.returncode == 0, done.stdout + done.stderr
