"""Having content written and proving it: work folder, agent, harvest, evidence, validation, guardrails.

What belongs here: the loop in which an author writes, code checks, and a model gets its findings back. What does not:
what is covered (`ranges.py`, `service.py`), what the agent is told (`prompt.py`), what leaves (`publish.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.content import evidence
from upkeep.content.author import author
from upkeep.content.compare import ContentDelta
from upkeep.content.desk import Desk
from upkeep.content.prompt import Assignment, build_prompt
from upkeep.content.records import ChangeSet, GeneratedContent
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.scan.delta import delta as scan_delta
from upkeep.content.scan.model import ScanDelta, ScanResult
from upkeep.content.scan.scanner import scan
from upkeep.content.summary import UpdateSummary, answer_schema
from upkeep.database.events import EventType
from upkeep.errors import AgentSaidNothing

CORRECTIONS = 2
"""How often a model gets its findings back."""


@dataclass(frozen=True)
class Upstream:
    """What is known of the upstream at both ends of a change set."""

    desk: Desk
    change_set: ChangeSet

    @cached_property
    def head(self) -> ScanResult:
        return self._scan(self.change_set.head)

    @cached_property
    def base(self) -> ScanResult | None:
        described = self.change_set.described
        return self._scan(described) if described is not None else None

    @cached_property
    def delta(self) -> ScanDelta:
        return scan_delta(self.base, self.head, self._renames())

    def _scan(self, sha: str) -> ScanResult:
        return scan(self.desk.upstream, sha, self.desk.watch.scan, cache=self.desk.scan_cache)

    def _renames(self) -> dict[str, str]:
        described = self.change_set.described
        if described is None:
            return {}
        changes = self.desk.upstream.changes(described, self.change_set.head)
        return {
            change.old_path: change.path for change in changes if change.old_path and change.old_path != change.path
        }

    def source(self, sha: str | None) -> evidence.Source | None:
        """Texts of the upstream at a commit, remembered: evidence and validation ask for the same files."""
        if sha is None or self.desk.upstream.resolve(f"{sha}^{{commit}}") is None:
            return None
        repository = self.desk.upstream

        @lru_cache(maxsize=512)
        def read(path: str) -> str | None:
            data = repository.read(sha, path)
            try:
                return None if data is None else data.decode()
            except UnicodeDecodeError:
                return None

        return read


@dataclass(frozen=True)
class Draft:
    """The content after one try, and what was found about it."""

    files: Mapping[str, bytes]
    delta: ContentDelta
    report: ValidationReport
    evidence_findings: tuple[Finding, ...]
    refused: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        return [*self.refused, *self.report.errors]


class Writer:
    """Has the content of one change set written."""

    def __init__(self, desk: Desk, change_set: ChangeSet) -> None:
        self.desk = desk
        self.change_set = change_set
        self.upstream = Upstream(desk, change_set)
        self.before = desk.target.read_folder(change_set.start_sha, desk.watch.content)
        self.usage: Usage | None = None
        self.seconds = 0.0
        self.transcript: str | None = None

    def write(self) -> GeneratedContent:
        """Run the agent until its content is valid, or its corrections are used up. Content that stays invalid or
        breaks a guardrail is returned too: checks stop it, and people see why.

        Raises AgentError and its children.
        """
        with self._folder() as folder:
            self._lay_out(folder)
            findings: list[Finding] = []
            for tries in range(1, CORRECTIONS + 2):
                summary = self._ask(folder, tries, findings)
                draft = self._check(folder)
                findings = draft.findings
                if not findings or not self.desk.agent.writes_with_model:
                    break
        return self._record(draft, summary, tries)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self.desk.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _lay_out(self, folder: Path) -> None:
        """The target's tree to write in; for a model also the upstream's tree and what changed, to read."""
        watch = self.desk.watch
        if not self.desk.agent.writes_with_model:
            content = folder / "work" / watch.content
            content.parent.mkdir(parents=True)
            self.desk.target.export(self.change_set.start_sha, content, prefix=watch.content)
            return
        self.desk.target.export(self.change_set.start_sha, folder / "work")
        self.desk.upstream.export(self.change_set.head, folder / "upstream")
        context = folder / "context"
        context.mkdir()
        (context / "scan.json").write_text(self.upstream.delta.model_dump_json(indent=1))
        described = self.change_set.described
        if described is not None:
            patch = self.desk.upstream.patch(described, self.change_set.head)
            (context / "upstream.patch").write_bytes(patch)

    def _ask(self, folder: Path, tries: int, findings: list[Finding]) -> UpdateSummary:
        desk = self.desk
        desk.before("agent")
        reads = {name: folder / name for name in ("upstream", "context") if (folder / name).is_dir()}
        task = AgentTask(
            subject=desk.name,
            work=folder / "work",
            reads=reads,
            prompt=build_prompt(self._assignment(folder, tries, findings)),
            answer_schema=answer_schema(),
            log_dir=desk.logs,
            offline=lambda: self._offline(folder / "work"),
        )
        result = desk.agent.run(task)
        self._account(result)
        if result.outcome == "said_nothing" or result.answer is None:
            raise AgentSaidNothing(
                f"agent {desk.agent.name} ended without a usable answer",
                remedy=f"Read its transcript {result.transcript}; `upkeep update {desk.name} --retry` asks it again.",
                said=result.message[:500],
            )
        try:
            return UpdateSummary.model_validate(result.answer)
        except ValidationError as error:
            raise AgentSaidNothing(
                f"the answer of agent {desk.agent.name} is not of the demanded form: {error.error_count()} faults",
                code="agent.answer_invalid",
                remedy=f"Read its transcript {result.transcript}; a stronger model may help.",
            ) from error

    def _assignment(self, folder: Path, tries: int, findings: list[Finding]) -> Assignment:
        watch, change_set = self.desk.watch, self.change_set
        return Assignment(
            watch=self.desk.name,
            content=watch.content,
            instructions=self.instructions,
            kind=change_set.kind,
            base=change_set.base,
            head=change_set.head,
            commits=change_set.commits,
            commit_count=change_set.commit_count,
            reads={name: folder / name for name in ("upstream", "context") if (folder / name).is_dir()},
            findings=tuple(findings) if tries > 1 else (),
        )

    @cached_property
    def instructions(self) -> str | None:
        """Path of the instructions in the target repository; None: it has none, the packaged ones are used."""
        path = self.desk.watch.instructions
        if path is not None and self.desk.target.read(self.change_set.start_sha, path) is not None:
            return path
        return None

    def _offline(self, work: Path) -> dict[str, Any]:
        """What the engine `scan` does instead of asking a model."""
        today = datetime.now(UTC).date()
        authored = author(self.before, self.upstream.delta, self.upstream.head, today=today)
        root = work / self.desk.watch.content
        for path, data in authored.files.items():
            if data is None:
                (root / path).unlink(missing_ok=True)
                continue
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        return authored.summary.model_dump(mode="json")

    def _account(self, result: AgentResult) -> None:
        self.usage = result.usage if self.usage is None else self.usage + result.usage
        self.seconds += result.seconds
        self.transcript = str(result.transcript) if result.transcript else self.transcript
        self.desk.run.event(EventType.AGENT_ENDED, seconds=round(result.seconds, 3), **result.usage.model_dump())
