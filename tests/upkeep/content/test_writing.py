"""The loop around an author: its instructions, its corrections, and what is refused in the end.

The author is a program of the engine `command`: as contained as the CLIs, without their start-up time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.support.repositories import RepoBuilder
from tests.support.tools import mermaid, tool
from tests.support.updates import Pair, make_pair
from upkeep.content.writing import CORRECTIONS
from upkeep.database.server import Database
from upkeep.errors import ContentInvalid

AUTHOR = """
import json, pathlib, re, sys
prompt = sys.stdin.read()
answer = {"no_change": False, "reason": "", "summary": "", "doubts": [], "unassigned": []}
lists = ("flows_changed", "flows_added", "events_added", "events_changed", "events_renamed", "events_removed")
answer |= {name: [] for name in lists}
diagrams = pathlib.Path("content/analytics/search/flow-diagrams.md")
"""
ANSWER = "print(json.dumps(answer))\n"
BREAK = """
with diagrams.open("a") as file:
    file.write('\\n## More\\n\\n```mermaid\\nflowchart TD\\n  a["unknown %d"]\\n' % len(prompt))
    file.write("  class a event;\\n```\\n")
answer["summary"] = "Added <b>a diagram</b> for @ada."
"""
QUOTE = """
path = re.search(r"Your instructions are in `([^`]+)`", prompt)
answer |= {"no_change": True, "reason": pathlib.Path(path[1]).read_text() if path else "packaged"}
"""

Open = Callable[..., AbstractContextManager[Pair]]


@pytest.fixture
def open_pair(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Open:
    """A pair whose author runs this script."""

    @contextmanager
    def opened(script: str, more: str = "") -> Iterator[Pair]:
        tool("bwrap")
        mermaid()
        monkeypatch.setenv("MODEL_KEY", "sk-canary-0123456789abcdef")
        program = tmp_path / "author.py"
        program.write_text(AUTHOR + script + ANSWER)
        agent = {
            "engine": "command",
            "bin": str(Path(sys.executable).resolve()),
            "arguments": [str(program)],
            "files": [str(program)],
            "model": "gpt-5.2",
            "api_key": "${MODEL_KEY}",
        }
        more = f"    agent: writer\n{more}agents:\n  writer: {json.dumps(agent)}\n"
        with make_pair(tmp_path, database, more=more) as made:
            yield made

    return opened


def adds_to_dashboard(pair: Pair, path: str, text: str) -> None:
    clone: RepoBuilder = pair.dashboard.clone(pair.folder / "person")
    clone.commit({path: text}, "Say how")
    clone.git("push", "-q", "origin", "HEAD:main")


def test_content_that_stays_invalid_is_handed_back_twice_and_then_refused(open_pair: Open) -> None:
    with open_pair(BREAK) as pair:
        with pytest.raises(ContentInvalid, match="unknown"):
            pair.update()
        with pair.database.session() as session:
            ended = session.connection().exec_driver_sql(
                "SELECT count(*) FROM upkeep.events WHERE type = 'agent.ended'"
            )
            assert ended.scalar_one() == 1 + CORRECTIONS == 3
        assert set(pair.branches()) == {"main"}


def test_packaged_instructions_are_used_and_said_to_be_where_the_repository_has_none(open_pair: Open) -> None:
    with open_pair(QUOTE, "    instructions: .ai/updater.md\n") as pair:
        done = pair.update()
    assert done.content is not None
    assert done.content.reason == "packaged"
    assert done.content.instructions == "packaged with Upkeep (.ai/updater.md is not in the target repository)"


@pytest.mark.parametrize("path", [".ai/updater.md", ".codex/updater.md", "AGENTS.md"])
def test_the_repositorys_own_instructions_can_be_read_whatever_their_name(open_pair: Open, path: str) -> None:
    """Names by which CLIs take orders of a repository unasked are hidden in the sandbox: there a copy is read."""
    with open_pair(QUOTE, f"    instructions: {path}\n") as pair:
        adds_to_dashboard(pair, path, "Mind the gap.")
        done = pair.update()
    assert done.content is not None
    assert done.content.reason == "Mind the gap."
    assert done.content.instructions == f"{path} in the target repository"
