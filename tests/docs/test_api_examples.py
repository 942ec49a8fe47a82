"""The examples of docs/api.md against a running service: each command works, and shows what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub import HubTerminal
from tests.support.hub import hub as hub
from tests.support.repositories import MakeRepository
from tests.support.tools import tool
from tests.support.web_server import new_token, served
from web.app import routed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def examples() -> list[tuple[str, Any]]:
    """Commands and the JSON that the page shows for them."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        command, _, output = re.sub(r"\\\n\s*", "", block).removeprefix("$ ").partition("\n")
        found.append((command, json.loads(output)))
    return found


def shows(page: Any, real: Any, where: str = "") -> None:
    """What the page shows is there; times, ids and paths differ."""
    if isinstance(page, dict):
        assert isinstance(real, dict), where
        for key, value in page.items():
            assert key in real, f"{where}/{key}"
            shows(value, real[key], f"{where}/{key}")
    elif isinstance(page, list):
        assert isinstance(real, list), where
        for number, value in enumerate(page):
            shows(value, real[number], f"{where}/{number}")
    elif not re.search(r"(_at|/path|/instance|/version|/detail|/age)$", where):
        assert page == real, where


@pytest.mark.timeout(600)
def test_every_example_works_and_shows_what_the_page_says(
    hub: HubTerminal, make_repository: MakeRepository, tmp_path: Path
) -> None:
    tool("curl")
    workplan = hub.read()
    hub.write(workplan[: workplan.index("## Task: A-2")])
    hub.out("sync", "sample", "--fix")
    there = [command for command, _ in examples()]
    assert len(there) == 8
    with served(tmp_path / "out") as server:
        environment = {
            **os.environ,
            "HUB": server.url,
            "TOKEN": new_token("write"),
            "REPOSITORY": str(make_repository("custodian").path),
            "NO_PROXY": "*",
        }
        for command, output in examples():
            done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
            shows(output, json.loads(done.stdout), command)


def test_the_page_names_every_path_and_every_status_of_the_document() -> None:
    for path, operations in routed().openapi()["paths"].items():
        assert path.replace("{slug}", "the-custodian") in PAGE or path.replace("{slug}", "sample") in PAGE, path
        for operation in operations.values():
            for status in operation["responses"]:
                if int(status) >= 400 and status != "400":
                    assert re.search(rf"^\| [^|]*\b{status}\b", PAGE, re.MULTILINE), status
