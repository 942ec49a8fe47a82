"""Having content written and proving it: work folder, agent, harvest, evidence, validation, guardrails.

What belongs here: the loop in which an author writes, code checks, and a model gets its findings back. What does not:
what is covered (`ranges.py`, `service.py`), what the agent is told (`prompt.py`), what leaves (`publish.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import SecretStr

from upkeep.agents import folders
from upkeep.agents.asking import read_answer
from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.agents.harvest import Entry, Refusal, harvest, snapshot
from upkeep.agents.profile import AGENT_FILES
from upkeep.content import coverage, evidence, proposal
from upkeep.content.author import author
from upkeep.content.compare import ContentDelta, compare
from upkeep.content.desk import Desk
from upkeep.content.folder import EVIDENCE
from upkeep.content.prompt import Assignment, build_prompt
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.content.records import ChangeSet, GeneratedContent
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.summary import UpdateSummary, answer_schema
from upkeep.content.upstream import Upstream
from upkeep.content.validate import validate
from upkeep.database.events import EventType
from upkeep.errors import AgentError
from upkeep.guardrails.patch import FileChange, Patch, watch_policy
from upkeep.guardrails.report import GuardrailReport
from upkeep.guardrails.review import review

CORRECTIONS = 2
"""How often a model gets its findings back."""

_COPY = "instructions.md"


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
        """What the author gets back, if anything."""
        return [*self.report.errors, *self.refused] if self.report.errors else []


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
        self.sandbox = ""
        self.profile: dict[str, Any] | None = None
        self.unsafe = False
        self._snapshot: dict[str, Entry] = {}

    def write(self) -> GeneratedContent:
        """Run the agent until its content is valid, or its corrections are used up. Content that stays invalid or
        breaks a guardrail is returned too: checks stop it, and people see why.

        Raises AgentError and its children.
        """
        with self._folder() as folder:
            self._lay_out(folder)
            self._snapshot = snapshot(folder / "work")
            findings: list[Finding] = []
            for tries in range(1, CORRECTIONS + 2):
                summary = self._ask(folder, tries, findings)
                draft = self._check(folder, summary)
                findings = draft.findings
                if not findings or not self.desk.agent.writes_with_model:
                    break
        return self._record(draft, summary, tries)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self.desk.folder
        # Not shutil.rmtree: an agent may have nested folders deeper than Python recurses.
        folders.remove(folder)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            folders.remove(folder)

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
        if self._hidden:
            text = self.desk.target.read(self.change_set.start_sha, self.instructions or "")
            (context / _COPY).write_bytes(text or b"")

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
        try:
            result = desk.agent.run(task)
        except AgentError as error:
            # What failed was paid for too.
            if "usage" in error.details:
                seconds, used = error.details["seconds"], error.details["usage"]
                desk.run.event(EventType.AGENT_ENDED, failed=error.reason, seconds=seconds, **used)
            raise
        self._account(result)
        again = f"`upkeep update {desk.name} --retry` asks it again."
        return read_answer(result, UpdateSummary, agent=desk.agent.name, again=again)

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
            copy=folder / "context" / _COPY if self._hidden else None,
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

    @property
    def _hidden(self) -> bool:
        """Whether the instructions have a name by which a CLI would take orders of the repository unasked: sandboxes
        hide those."""
        return self.instructions is not None and not AGENT_FILES.isdisjoint(PurePosixPath(self.instructions).parts)

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
        if not self.unsafe:
            self.sandbox, self.profile = result.sandbox, result.profile
        self.unsafe = self.unsafe or result.sandbox not in ("", "upkeep")
        self.transcript = str(result.transcript) if result.transcript else self.transcript
        self.desk.run.event(EventType.AGENT_ENDED, seconds=round(result.seconds, 3), **result.usage.model_dump())

    def _check(self, folder: Path, summary: UpdateSummary) -> Draft:
        """Take what was written, write the evidence for it, and judge the whole."""
        desk, change_set = self.desk, self.change_set
        content = desk.watch.content
        taken = harvest(folder / "work", self._snapshot, allow_prefix=content)
        files = dict(self.before)
        for path, data in taken.changes.items():
            inner = path.removeprefix(f"{content}/")
            if inner == EVIDENCE:
                continue
            if data is None:
                files.pop(inner, None)
            else:
                files[inner] = data
        delta = compare(self.before, files)
        lost: tuple[Finding, ...] = ()
        if not delta.empty:
            files, lost = self._with_evidence(files)
            delta = compare(self.before, files)
        report = validate(files, base=self.before, evidence=self.upstream.source(change_set.head), mermaid=desk.mermaid)
        if desk.agent.writes_with_model:
            report = _require_mermaid(report) if not delta.empty else report
            report = _require_word(report, summary, changed=not delta.empty)
        refused = tuple(_as_finding(refusal, content) for refusal in taken.refused)
        whole = tuple(finding for finding in refused if finding.severity == "error")
        report = report.model_copy(update={"findings": (*whole, *report.findings)})
        return Draft(files, delta, report, lost, refused)

    def _with_evidence(self, files: Mapping[str, bytes]) -> tuple[dict[str, bytes], tuple[Finding, ...]]:
        """The files with `_evidence.json` for the head, and what evidence was lost on the way."""
        head = self.change_set.head
        old = self.before.get(EVIDENCE)
        previous = None if old is None else evidence.read(old)
        built, lost = evidence.build(
            files,
            self.upstream.head,
            self.desk.upstream_name,
            head,
            previous,
            base_source=self.upstream.source(previous.commit) if previous else None,
            head_source=self.upstream.source(head),
        )
        return {**files, EVIDENCE: evidence.write(built)}, lost

    def _record(self, draft: Draft, summary: UpdateSummary, tries: int) -> GeneratedContent:
        desk, change_set = self.desk, self.change_set
        assert self.usage is not None
        content = GeneratedContent(
            watch=desk.name,
            head=change_set.head,
            tree=None,
            outcome="no_change" if draft.delta.empty else "changed",
            reason=summary.reason or ("nothing in the content had to change" if draft.delta.empty else ""),
            agent=desk.agent.name,
            engine=desk.agent.engine,
            model=desk.agent.model,
            instructions=self._instructions_said(),
            tries=tries,
            seconds=self.seconds,
            summary=summary,
            delta=draft.delta,
            coverage=coverage.measure(draft.files, self.upstream.head) if desk.watch.scan.root else None,
            usage=self.usage,
            report=draft.report,
            evidence_findings=(*draft.evidence_findings, *draft.refused),
            guardrails=GuardrailReport(),
            transcript=self.transcript,
            sandbox=self.sandbox,
            sandbox_profile=self.profile,
            unsafe_no_sandbox=self.unsafe,
        )
        if draft.delta.empty:
            return content
        return self._with_tree(draft, content)

    def _with_tree(self, draft: Draft, content: GeneratedContent) -> GeneratedContent:
        """Write the tree as a git object that survives gc, measure the change, and put it before the guardrails."""
        desk, change_set = self.desk, self.change_set
        prefix = desk.watch.content
        changes = {f"{prefix}/{path}": draft.files.get(path) for path in draft.delta.files}
        tree = desk.target.tree_with(change_set.start_sha, changes)
        keep = desk.target.commit_tree(tree, [change_set.start_sha], f"Content of run {desk.run.run_id}")
        desk.target.set_ref(
            f"refs/upkeep/content/{desk.name}", keep, desk.target.resolve(f"refs/upkeep/content/{desk.name}")
        )
        _, added, deleted = desk.target.stat(change_set.start_sha, tree)
        content = content.model_copy(
            update={"tree": tree, "files": tuple(sorted(changes)), "lines_added": added, "lines_deleted": deleted}
        )
        patch = Patch(
            files=tuple(
                FileChange(path=path, old=self.before.get(path.removeprefix(f"{prefix}/")), new=data)
                for path, data in sorted(changes.items())
            ),
            texts={
                "title": proposal.title(change_set, content),
                "body": proposal.body(desk.name, change_set, content, desk.web),
                "branch": BRANCH_PREFIX + change_set.head,
                "commit message": proposal.message(change_set, content),
            },
        )
        policy = watch_policy(
            desk.watch.guardrails,
            content=prefix,
            bootstrap=change_set.kind == "bootstrap",
            secrets=tuple(SecretStr(secret) for secret in desk.settings.secrets()),
        )
        return content.model_copy(update={"guardrails": review(patch, policy)})

    def _instructions_said(self) -> str:
        if not self.desk.agent.writes_with_model:
            return "none: the offline agent follows its rules"
        if self.instructions is not None:
            return f"{self.instructions} in the target repository"
        wanted = self.desk.watch.instructions
        return "packaged with Upkeep" + (f" ({wanted} is not in the target repository)" if wanted else "")


def _require_mermaid(report: ValidationReport) -> ValidationReport:
    """What a model wrote is never published without the real parser's verdict."""
    why = report.checks_unavailable.get("mermaid")
    if why is None:
        return report
    finding = Finding(
        code="mermaid_unchecked",
        severity="error",
        file="",
        message=f"A model wrote this, and Mermaid's own parser could not judge its diagrams: {why}",
    )
    return report.model_copy(update={"findings": (finding, *report.findings)})


def _require_word(report: ValidationReport, summary: UpdateSummary, *, changed: bool) -> ValidationReport:
    """That nothing has to change is a word of its own, with a reason: a model whose tools all failed changes nothing
    either, and says that it is done."""
    if changed != summary.no_change and (changed or summary.reason.strip()):
        return report
    if changed:
        message = "The answer says no_change, but the content was changed: undo that, or say what it is for"
    elif summary.no_change:
        message = "The answer says no_change without a reason"
    else:
        message = "Nothing in the content was changed: change it, or answer with no_change and the reason"
    finding = Finding(code="answer_contradicts", severity="error", file="", message=message)
    return report.model_copy(update={"findings": (finding, *report.findings)})


def _as_finding(refusal: Refusal, content: str) -> Finding:
    """A refused file as a finding. Where the tree as a whole was refused nothing was taken: that is an error."""
    return Finding(
        code=f"harvest.{refusal.reason}",
        severity="error" if refusal.path == "." else "warning",
        file=refusal.path.removeprefix(f"{content}/"),
        message=f"Not taken from the agent: {refusal.message}",
    )
