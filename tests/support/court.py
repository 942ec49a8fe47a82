"""A fork whose conflicts an agent settles: the local forge, the real sandbox, and what the agent does as a script.

What belongs here: the fork, its agent, and one run that ends with a judgement. What does not: what a judgement must be
(the tests).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.github import GitHub
from tests.support.rebases import LINES, World, rebase, theirs
from tests.support.tools import tool
from upkeep.database.server import Database
from upkeep.forges.base import PullRequest
from upkeep.forges.local import LocalForge
from upkeep.forks.desk import Desk
from upkeep.forks.outcomes import Outcome
from upkeep.forks.records import Judgement
from upkeep.forks.report import Report

REPO = "o/fork"
MERGED = LINES.replace("line 3\n", "theirs and ours\n")


def write(path: str, text: str) -> str:
    return f"cat > {path} <<'TEXT'\n{text}TEXT\n"


def answer(*files: tuple[str, str], settled: bool = True, reason: str = "", doubts: tuple[str, ...] = ()) -> str:
    said = [{"path": path, "decision": decision, "why": "Both hold."} for path, decision in files]
    value = {"settled": settled, "reason": reason, "files": said, "doubts": list(doubts)}
    return f"cat <<'ANSWER'\n{json.dumps(value)}\nANSWER\n"


SETTLE_A = write("a.txt", MERGED) + answer(("a.txt", "merged"), doubts=("Is @ada sure?",))


@dataclass
class Court:
    """A fork whose conflicts go to an agent. `script` is what the agent does, in its folder, at each try."""

    world: World
    database: Database
    folder: Path
    github: GitHub | None = None

    def script(self, text: str) -> None:
        (self.folder / "agent.sh").write_text(text)

    def desk(self, **options: Any) -> Desk:
        desk = self.world.desk(database=self.database, **options)
        if self.github is not None:
            desk.forge = self.github.forge(sleep=lambda _: None, jitter=lambda: 0.0)
        return desk

    def run(self, **options: Any) -> Report:
        return rebase(self.desk(**options))

    @property
    def forge(self) -> LocalForge:
        found = self.desk().forge
        assert isinstance(found, LocalForge)
        return found

    def proposals(self) -> list[PullRequest]:
        return self.forge.pull_requests(REPO, branch_prefix="upkeep/rebase/fork/")

    def asked(self) -> int:
        """How often the agent was started so far."""
        return len(list(self.world.home.glob("runs/forks/fork/*/agent/*/*-events.jsonl")))

    def judged(self, state: str, **options: Any) -> Judgement:
        """A run on which trunk does not move, and what became of the conflicts."""
        trunk, before = self.world.fork.head("trunk"), self.world.work.head()
        report = self.run(**options)
        assert (report.outcome, report.exit_code) == (Outcome.NEEDS_HUMAN, 10)
        assert (self.world.fork.head("trunk"), self.world.work.head()) == (trunk, before)
        assert report.judgement is not None
        assert report.judgement.state == state, report.judgement.message
        return report.judgement


@pytest.fixture
def court(world: World, database: Database, tmp_path: Path) -> Court:
    bwrap = tool("bwrap")
    assert bwrap
    script = tmp_path / "agent.sh"
    world.settings |= {"on_conflict": "agent", "agent": "writer", "delta_pull_request": False}
    world.agents["writer"] = {
        "engine": "command",
        "bin": "/bin/sh",
        "arguments": [str(script)],
        "files": [str(script)],
        "model": "gpt-5.2",
        "base_url": "http://127.0.0.1:9/v1",
        "budget_usd": None,
    }
    made = Court(world, database, tmp_path)
    made.script(SETTLE_A)
    world.commit_upstream({"a.txt": theirs(3)}, "Break it (#5)")
    return made
