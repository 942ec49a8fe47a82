"""One agent that tries every attack in turn, and what we then take from its work tree as the updater does.

What belongs here: the run, and what can be known after it. What does not: attacks, engines, the host.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.attacks import Attack
from tests.hostile.scene import CONTENT, Scene
from tests.support.model_server import Answer, CallTools, ModelServer, Reply, Request, shell
from tests.support.repositories import RepoBuilder
from upkeep.agents.base import Agent, AgentResult, AgentTask
from upkeep.agents.harvest import Harvest, harvest, snapshot
from upkeep.errors import AgentError
from upkeep.git import Repository

RAN = "attack-was-run-42"
"""What the shell says after an attack. It is computed, for a CLI that refuses a command repeats its words."""
SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}},
    "required": ["ok"],
    "additionalProperties": False,
}


def task(scene: Scene) -> AgentTask:
    return AgentTask(
        subject="watch/hostile",
        work=scene.work,
        reads={"upstream": scene.upstream},
        prompt="Document the events of the app.",
        answer_schema=SCHEMA,
        log_dir=scene.logs,
    )


@dataclass
class Raid:
    """What came of one agent's attacks. `outputs`: attack → what its shell said; `committed`: paths of the commit."""

    scene: Scene
    server: ModelServer
    before: dict[str, str]
    outputs: dict[str, str] = field(default_factory=dict)
    result: AgentResult | None = None
    error: AgentError | None = None
    harvest: Harvest = field(default_factory=lambda: Harvest({}))
    committed: list[str] = field(default_factory=list)

    def came_out(self, text: str) -> bool:
        """Whether a text reached the model, a log, or what we took: everything that leaves the sandbox."""
        return any(text in place for place in self._places())

    def _places(self) -> list[str]:
        logs = [path.read_text(errors="replace") for path in self.scene.logs.rglob("*") if path.is_file()]
        taken = [data.decode(errors="replace") for data in self.harvest.changes.values() if data is not None]
        said = [self.result.model_dump_json()] if self.result else [str(self.error)]
        return [*(json.dumps(request.body) for request in self.server.requests), *logs, *taken, *said]

    def left_behind(self, path: str) -> list[str]:
        """Whether something still writes that file."""
        file = self.scene.work / path
        if not file.exists():
            return ["it never started"]
        first = file.stat().st_mtime_ns
        time.sleep(0.3)
        return ["it is still at work"] if file.stat().st_mtime_ns != first else []

    def miscounted(self) -> list[str]:
        """Whether the requests that we account for are not those that were made."""
        made = len([request for request in self.server.requests if request.api])
        counted = (
            self.result.usage.requests if self.result else (self.error or AgentError("")).details["usage"]["requests"]
        )
        return [] if counted == made else [f"{counted} requests are accounted for, {made} were made"]


def raid(agent: Agent, scene: Scene, server: ModelServer, attacks: Sequence[Attack], bare: Path) -> Raid:
    """Let the agent try each attack, then take, commit and look at what it left, as the host does."""
    outcome = Raid(scene, server, scene.hosts_files())
    names = [attack.name for attack in attacks]

    def script(request: Request) -> Reply:
        """By what came back, not by the number of the request: some CLIs ask for other things between."""
        outputs = request.tool_outputs
        outcome.outputs.update(zip(names, outputs, strict=False))
        if len(outputs) >= len(attacks) or not request.tools:
            return Answer({"ok": True})
        return CallTools(shell(f"{attacks[len(outputs)].command(scene)}\necho attack-was-run-$((6 * 7))"))

    server.script = script
    before = snapshot(scene.work)
    try:
        outcome.result = agent.run(task(scene))
    except AgentError as error:
        outcome.error = error
    outcome.harvest = harvest(scene.work, before, allow_prefix=CONTENT)
    outcome.committed = commit(outcome.harvest, bare)
    return outcome


def commit(taken: Harvest, bare: Path) -> list[str]:
    """Bring the changes into a repository of ours and look at them with git; return the paths of its new tree."""
    source = RepoBuilder(bare.with_name("source"))
    base = source.commit({f"{CONTENT}/events.json": "{}\n", ".github/workflows/ci.yml": "on: push\n"})
    repository = Repository.open(source.path)
    tree = repository.tree_with(base, taken.changes)
    sha = repository.commit_tree(tree, [base], "Update")
    repository.patch(base, sha)
    checkout = bare.with_name("checkout")
    repository.export(sha, checkout)
    assert {entry.mode for entry in repository.tree(sha)} <= {"100644"}
    unchanged = (
        {".github/workflows/ci.yml"} if repository.read(sha, ".github/workflows/ci.yml") == b"on: push\n" else set()
    )
    return [entry.path for entry in repository.tree(sha) if entry.path not in unchanged]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
