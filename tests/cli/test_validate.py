from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from cli.validate import lines
from tests.support.sample_content import edited, good_content, replaced, write
from tests.support.tools import tool
from upkeep.content.report import ValidationReport
from upkeep.content.validate import validate

DIAGRAMS = "checkout/flow-diagrams.md"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["validate", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(good_content(), tmp_path / "good")


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return write(replaced(DIAGRAMS, '"cart opened"', '"cart opend"'), tmp_path / "bad")


def test_good_content_is_valid(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good, "--node", "no") == 0
    assert capsys.readouterr().out.splitlines()[-1] == ("valid: 0 errors, 0 warnings in 2 flows, 4 events, 4 diagrams")


def test_bad_content_is_invalid_and_grouped_by_file(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bad, "--node", "no") == 2
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == DIAGRAMS
    assert printed[1].split()[:2] == ["-", "warning"]
    assert printed[2].split()[:2] == ["19", "error"]
    assert "     1  error     unknown_event_node" in printed
    assert printed[-1] == "invalid: 1 errors, 1 warnings in 2 flows, 4 events, 4 diagrams"


def test_the_report_is_printed_and_written_as_json(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    assert run(bad, "--node", "no", "--json", "--report", file) == 2
    printed = ValidationReport.model_validate(json.loads(capsys.readouterr().out))
    assert printed == ValidationReport.model_validate_json(file.read_text())
    assert printed == validate(replaced(DIAGRAMS, '"cart opened"', '"cart opend"'))


def test_a_report_that_cannot_be_written_is_an_error_of_its_own(good: Path, tmp_path: Path) -> None:
    assert run(good, "--node", "no", "--report", tmp_path / "absent" / "report.json") == 1


@pytest.mark.parametrize("what", ["absent", "file"])
def test_a_directory_that_is_none_is_wrong_usage(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / what) == 64
    assert str(tmp_path / what) in capsys.readouterr().err.replace("\n", "")


def test_a_base_folder_makes_old_errors_warnings(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bad, "--node", "no", "--base", bad) == 0
    assert "existing" in capsys.readouterr().out


def git(folder: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    names = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([tool("git"), *names, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def test_a_base_revision_is_read_from_the_repository_around(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "dashboard"
    broken = replaced(DIAGRAMS, '"cart opened"', '"cart opend"')
    content = write(broken, repository / "content" / "analytics")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Broken from the start")
    write(edited("home/events.json", lambda flow: flow["events"][0].update(name="Home opened")), content)
    write({DIAGRAMS: broken[DIAGRAMS]}, content)
    assert run(content, "--node", "no", "--base", "HEAD", "--json") == 2
    report = ValidationReport.model_validate(json.loads(capsys.readouterr().out))
    assert [
        (item.code, item.severity)
        for item in report.findings
        if item.code in ("unknown_event_node", "event_name_tidied")
    ] == [
        ("unknown_event_node", "warning"),
        ("event_name_tidied", "error"),
        ("unknown_event_node", "error"),
    ]


def test_a_base_that_is_neither_folder_nor_revision_is_named(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good, "--node", "no", "--base", "no-such-thing") == 1
    assert "no-such-thing" in capsys.readouterr().err


def test_node_auto_goes_on_without_mermaid_and_says_so(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPKEEP_MERMAID_DIR", str(tmp_path / "nothing"))
    assert run(good) == 0
    captured = capsys.readouterr()
    assert "not asked" in captured.err
    assert "not checked: mermaid" in captured.out


def test_node_yes_fails_without_mermaid(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPKEEP_MERMAID_DIR", str(tmp_path / "nothing"))
    assert run(good, "--node", "yes") == 1


def test_colour_is_for_terminals_only(capsys: pytest.CaptureFixture[str], bad: Path) -> None:
    run(bad, "--node", "no")
    assert "\x1b" not in capsys.readouterr().out
    report = validate(replaced(DIAGRAMS, '"cart opened"', '"cart opend"'))
    assert any("\x1b[31;1m" in line for line in lines(report, colour=True))
    assert not any("\x1b" in line for line in lines(report, colour=False))


def test_validation_imports_nothing_heavy() -> None:
    heavy = ("pandas", "sqlalchemy", "dagster", "aiohttp", "git", "asyncio", "markdown_it")
    code = f"import sys, cli.validate, upkeep.content.validate; print([n for n in {heavy} if n in sys.modules])"
    found = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"
