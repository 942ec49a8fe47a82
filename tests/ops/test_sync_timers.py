"""The timer and the crontab line are what systemd and cron understand, and run a command that exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer

from cli.main import command_line
from tests.support.tools import tool

FOLDER = Path(__file__).resolve().parents[2] / "ops" / "sync"
COMMAND = re.compile(r"upkeep (sync(?: --[a-z-]+)+)")


def without_comments(name: str) -> str:
    return "\n".join(line for line in (FOLDER / name).read_text().splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("name", ["upkeep-sync.service", "crontab"])
def test_the_command_exists_with_its_options(name: str) -> None:
    (found,) = COMMAND.findall(without_comments(name))
    command, *options = found.split()
    parameters = typer.main.get_command(command_line([command])).commands[command].params  # type: ignore[attr-defined]
    assert set(options) == {"--all", "--as-configured"}
    assert set(options) <= {name for parameter in parameters for name in parameter.opts}


def test_systemd_understands_both_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    program = tmp_path / "upkeep"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("upkeep-sync.service", "upkeep-sync.timer"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(text.replace("%h/.local/bin/upkeep", str(program)))
    done = subprocess.run(
        [analyze, "--user", "verify", *map(str, sorted(tmp_path.glob("upkeep-sync.*")))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    calendar = subprocess.run(
        [analyze, "calendar", "--iterations=2", "*:0/15"], capture_output=True, text=True, timeout=60, check=True
    )
    times = re.findall(r"(?:Next elapse|Iter\. #2): \w+ \S+ \d\d:(\d\d):00", calendar.stdout)
    assert (int(times[1]) - int(times[0])) % 60 == 15


def test_the_crontab_has_one_line_for_every_quarter_of_an_hour() -> None:
    setting, line = without_comments("crontab").strip().splitlines()
    assert re.fullmatch(r"[A-Z_]+=\S+", setting)
    minute, *rest = line.split()[:5]
    assert (minute, rest) == ("*/15", ["*"] * 4)
    # A per cent sign ends a command in a crontab (crontab(5)).
    assert "%" not in line
