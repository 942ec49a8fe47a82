"""The engine `scan`: no model, the calling system's own deterministic procedure.

What belongs here: nothing but calling it. What does not: the procedure (the calling system's package) and whether what
it wrote is good.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.errors import AgentError


@dataclass(frozen=True)
class ScanAgent:
    """One entry under `agents:` with `engine: scan`."""

    name: str

    engine = "scan"
    model = ""
    writes_with_model = False

    def run(self, task: AgentTask) -> AgentResult:
        """Raises AgentError (code `agent.no_offline`) for a task that only a model can do."""
        if task.offline is None:
            raise AgentError(
                f"agent {self.name} has no model, and there is no offline procedure for {task.subject}",
                code="agent.no_offline",
                remedy="configure an agent with a model for it, such as engine codex",
            )
        started = time.monotonic()
        answer = task.offline()
        usage = Usage(engine=self.engine, cost_priced_usd=0.0)
        return AgentResult(outcome="answered", answer=answer, usage=usage, seconds=time.monotonic() - started)
