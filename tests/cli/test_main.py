"""The command itself: exit codes, help, and what is not imported for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS, command_line, main

BIN = Path(sys.executable).parent / "upkeep"


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_wrong_usage_is_never_mistaken_for_failed_validation(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("updaet") == 64
    assert exit_code("validate", "--nonsense") == 64
    assert "No such command 'updaet'" in capsys.readouterr().err


def test_a_users_mistake_has_no_trace_but_a_next_step(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_CONFIG", str(tmp_path / "nowhere.yaml"))
    assert exit_code("config", "check") == 1
    said = capsys.readouterr().err
    assert "there is no configuration file" in said
    assert "next:" in said
    assert "Traceback" not in said


def test_with_json_an_error_is_json_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPKEEP_CONFIG", str(tmp_path / "nowhere.yaml"))
    assert exit_code("config", "check", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "config.missing"
    assert error["remedy"]


def test_help_imports_neither_dagster_nor_the_database_nor_pandas() -> None:
    program = (
        "import sys; from cli.main import command_line; command_line(); "
        "heavy = {'dagster', 'sqlalchemy', 'pandas', 'git', 'aiohttp'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    printed = capsys.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in printed] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_the_same_of_itself_alone_and_among_all(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(name, "--help") == 0
    alone = capsys.readouterr().out
    command_line()([name, "--help"], standalone_mode=False)
    assert capsys.readouterr().out == alone
    assert f" {name} " in alone


def test_a_command_that_comes_first_imports_no_other() -> None:
    program = (
        "import sys; from cli.main import main; sys.argv = ['upkeep', 'validate', '--help']; code = 1\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "loaded = {name for name in sys.modules if name.startswith('cli.')}\n"
        "others = loaded - {'cli.main', 'cli.output', 'cli.validate'}\n"
        "sys.exit(code or (str(others) if others else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_colour_leaves_the_terminal() -> None:
    done = subprocess.run([str(BIN), "updaet"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 64
    assert "\x1b[" not in done.stderr


def test_version_is_printed() -> None:
    done = subprocess.run([str(BIN), "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("upkeep ")
