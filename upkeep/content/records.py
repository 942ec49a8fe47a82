"""What one update knows at each of its steps: the records that pass from asset to asset.

What belongs here: frozen models, stored as they are by the IO manager. What does not: trees and clones (they are git
objects, named here by SHA) and the procedures (`service.py`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from upkeep.agents.base import Usage
from upkeep.content.compare import ContentDelta
from upkeep.content.coverage import Coverage
from upkeep.content.ranges import Decision, RangeKind
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.summary import UpdateSummary
from upkeep.forges.base import PullRequest
from upkeep.guardrails.report import GuardrailReport


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class UpstreamHead(Record):
    """The upstream branch as it was when the run looked. `previous` is what the state says was seen last."""

    watch: str
    branch: str
    sha: str
    subject: str = ""
    committed_at: datetime | None = None
    previous: str | None = None


class CommitLine(Record):
    sha: str
    subject: str
    author: str
    committed_at: datetime


class ChangeSet(Record):
    """What the update has to cover, and from where its branch starts.

    `base` is None for a bootstrap. `described` is the upstream commit that the content at `start_sha` describes: the
    same as `base`, except after rewritten history, where `base` is the merge base. `start_sha` is the commit of the
    target that the new branch starts from: the base branch, or the head of `stacked_on`.
    `commits` holds the newest of the range (capped), `commit_count` their true number.
    """

    watch: str
    decision: Decision
    reason: str
    kind: RangeKind = "range"
    base: str | None = None
    described: str | None = None
    head: str
    commit_count: int = 0
    commits: tuple[CommitLine, ...] = ()
    files_changed: int = 0
    calls_changed: int = 0
    base_branch_sha: str = ""
    start_sha: str = ""
    stacked_on: PullRequest | None = None
    supersedes: tuple[PullRequest, ...] = ()
    pull_request: PullRequest | None = None
    """The one that exists for this head already (decisions `exists` and `declined`)."""


class GeneratedContent(Record):
    """What was written, and everything that was found out about it. `tree` is the target's whole tree with the new
    content; None where nothing changed."""

    watch: str
    head: str
    tree: str | None
    outcome: Literal["changed", "no_change"]
    reason: str = ""
    agent: str
    engine: str
    model: str = ""
    instructions: str = ""
    tries: int = 1
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_deleted: int = 0
    summary: UpdateSummary
    delta: ContentDelta
    coverage: Coverage | None = None
    usage: Usage
    report: ValidationReport
    evidence_findings: tuple[Finding, ...] = ()
    guardrails: GuardrailReport
    transcript: str | None = None
    sandbox: str = ""
    """What held the agent in, as `AgentResult.sandbox`; of several tries the weakest."""
    sandbox_profile: dict[str, Any] | None = None
    unsafe_no_sandbox: bool = False


class PublishedUpdate(Record):
    """What left the house. `dry_run`: nothing did, `title` and `body` are what would have; `no_change` and `nothing`:
    there was nothing to propose."""

    watch: str
    head: str
    outcome: Literal["created", "adopted", "declined", "merged", "nothing", "no_change", "dry_run"]
    pull_request: PullRequest | None = None
    branch: str
    commit: str | None = None
    title: str = ""
    body: str = ""
    superseded: tuple[PullRequest, ...] = Field(default=())
    forge_calls: int = 0
