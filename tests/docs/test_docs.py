"""README and docs say what the tool does: their commands exist, their links lead somewhere, their YAML is valid."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt

from cli.main import command_line
from tests.hostile.attacks import ATTACKS
from upkeep.config import load
from upkeep.database.events import Reason

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def fences(page: Path, *languages: str) -> Iterator[str]:
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type == "fence" and token.info.strip() in languages:
            yield token.content


def commands(page: Path) -> set[tuple[str, ...]]:
    """`upkeep a b` as words, from shell blocks and code spans, up to the first option, value or placeholder."""
    text = (
        "\n".join(fences(page, "", "sh", "bash", "console"))
        + "\n"
        + "\n".join(re.findall(r"`(upkeep [^`]+)`", page.read_text()))
    )
    found = re.findall(r"^(?:\$ )?upkeep ((?:[a-z][a-z-]* ?)+)", text, flags=re.MULTILINE)
    return {tuple(words.split()) for words in found}


def known() -> dict[str, set[str]]:
    app = command_line()
    groups = {group.name: group.typer_instance for group in app.registered_groups if group.name}
    top = {command.name or "" for command in app.registered_commands}
    below = {
        name: {
            command.name or command.callback.__name__.replace("_", "-")
            for command in instance.registered_commands
            if command.callback is not None
        }
        for name, instance in groups.items()
        if isinstance(instance, typer.Typer)
    }
    return {**{name: set() for name in top}, **below}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    there = known()
    for words in commands(page):
        assert words[0] in there, f"{page.name} shows `upkeep {' '.join(words)}`"
        if there[words[0]] and words != ("demo",):  # which plays by itself, too
            assert len(words) > 1, f"{page.name} shows `upkeep {words[0]}` without its subcommand"
            assert words[1] in there[words[0]], f"{page.name} shows `upkeep {' '.join(words)}`"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target) or target.startswith("../pull/"):
            continue
        path, _, anchor = target.partition("#")
        if path:
            assert (page.parent / path).exists(), f"{page.name} links to {target}"
        else:
            assert anchor in anchors, f"{page.name} links to #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_configuration_that_is_shown_is_valid(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UPKEEP_HOME", raising=False)
    for number, block in enumerate(fences(page, "yaml")):
        if not re.match(r"(#.*\n)*(home|forges|agents|budgets|watches|forks|repositories|web):", block):
            continue
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        assert load(path).source == path


def test_every_reason_of_a_run_is_explained() -> None:
    page = (ROOT / "docs" / "updater.md").read_text()
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in page] == []


def test_make_targets_that_the_readme_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_variable_that_the_code_reads_is_in_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    read = subprocess.run(
        ["git", "-C", str(ROOT), "grep", "-hoE", r"\bUPKEEP_[A-Z_]+\b", "--", "*.py", "Makefile", ".ci/run"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    set_for_children = {"UPKEEP_PROCESS_OWNER", "UPKEEP_AGENT_KEY", "UPKEEP_GATEWAY_URL", "UPKEEP_GATEWAY_KEY"}
    internal = {*set_for_children, "UPKEEP_MODEL", "UPKEEP_ANSWER_SCHEMA", "UPKEEP_NOT_SET"}
    assert set(read) - internal <= set(re.findall(r"^(\w+)=", example, re.MULTILINE)) | internal


def test_every_threat_to_agents_names_attacks_and_tests_that_exist() -> None:
    page = (ROOT / "docs" / "agents.md").read_text()
    table = page.partition("## The threats, one by one")[2].partition("\n## ")[0]
    names = set(re.findall(r"`([a-z0-9_-]+)`", table))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if "node_modules" not in path.parts]
    functions = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert {attack.name for attack in ATTACKS} <= names
    assert {name for name in names if name.startswith("test_")} <= functions
    files = set(re.findall(r"`([\w/]*test_\w+\.py)`", table))
    assert [path for path in files if not list((ROOT / "tests").rglob(path.removeprefix("tests/")))] == []
