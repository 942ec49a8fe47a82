"""The consistency engine: files, hub and last synced base in; changes, edits and findings out.

What belongs here: the whole of the decision, as a pure function. What does not: reading files (`workingtree.py`), the
tables (`store.py`), and the order of doing it (`service.py`).

What `plan` promises, and tests prove on generated files: once its changes are applied and its edits written, a second
plan is empty; an edit touches the fields that the hub owns in a file (its ids) and a status that was changed in the hub
by hand, and not one byte else; no row of the hub is ever removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

from upkeep.sync import edit, identity, rules, status, workplan
from upkeep.sync.block import Block
from upkeep.sync.document import Document
from upkeep.sync.edit import Edit
from upkeep.sync.findings import Code, Finding, Severity, ordered
from upkeep.sync.identity import Entry, Match
from upkeep.sync.records import (
    CLOSED,
    Base,
    Changes,
    Hub,
    Intervention,
    InterventionKind,
    InterventionState,
    Task,
    Workstream,
    intervention_id,
)
from upkeep.sync.workplan import TASK_ID, WORKSTREAM_ID, FileTask, Workplan


@dataclass(frozen=True, slots=True)
class Plan:
    """`edits` by path, with the documents that they lead to in `written`. `findings` hold what stays after both."""

    changes: Changes
    edits: Mapping[str, tuple[Edit, ...]]
    written: Mapping[str, Document]
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.changes) or bool(self.edits)


def plan(
    documents: Sequence[Document],
    hub: Hub,
    *,
    names: Sequence[str],
    fix: bool,
    read_only: AbstractSet[str] = frozenset(),
) -> Plan:
    """Compare all workplan files of a repository with what the hub has of it.

    `names`: what the repository is called, slug first. `fix`: edits may be planned, except in files of `read_only`.
    """
    closed = set(read_only)
    while True:
        draft = _Draft(hub, names, fix, closed)
        draft.compare(documents)
        written = {
            document.path: edit.apply(document, draft.edits[document.path])
            for document in documents
            if document.path in draft.edits
        }
        refused = {path for path, after in written.items() if after is None}
        if not refused:
            break
        # A value that cannot be written without touching its surroundings is reported and left to a person.
        closed |= refused
    return Plan(
        changes=draft.changes(),
        edits={path: tuple(edits) for path, edits in draft.edits.items()},
        written={path: after for path, after in written.items() if after is not None},
        findings=ordered(draft.findings),
    )


@dataclass
class _Draft:
    """A plan in the making: the rows as they are to be, and what was found on the way."""

    hub: Hub
    names: Sequence[str]
    fix: bool
    read_only: AbstractSet[str]
    workstreams: dict[uuid.UUID, Workstream] = field(default_factory=dict)
    tasks: dict[uuid.UUID, Task] = field(default_factory=dict)
    asked: dict[uuid.UUID, Intervention] = field(default_factory=dict)
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    blocks: dict[uuid.UUID, tuple[str, Block]] = field(default_factory=dict)
    """Where each row that was matched stands."""

    def compare(self, documents: Sequence[Document]) -> None:
        plans = []
        for document in sorted(documents, key=lambda document: document.path):
            found, findings = workplan.read(document, self.names)
            self.findings += findings
            if found is not None:
                plans.append(found)
        matched = self._match_workplans(plans)
        self._match_tasks(plans, matched)
        if all(document.whole for document in documents):
            self._notice_missing(plans)
        rows = {**self.hub.tasks, **self.tasks}
        streams = {**self.hub.workstreams, **self.workstreams}
        self.findings += rules.gone(streams, rows, self.blocks)
        self.findings += rules.lifecycle(streams, rows, self.blocks)
        self.findings += rules.dependencies(rows, self.blocks)

    def changes(self) -> Changes:
        """The rows that differ from the hub's, by id."""
        withdrawn = {
            number: replace(known, state="withdrawn")
            for number, known in self.hub.interventions.items()
            if number not in self.asked and known.state == "open" and self._settled(known)
        }
        return Changes(
            tuple(row for key, row in sorted(self.workstreams.items()) if self.hub.workstreams.get(key) != row),
            tuple(row for key, row in sorted(self.tasks.items()) if self.hub.tasks.get(key) != row),
            tuple(
                row
                for key, row in sorted({**withdrawn, **self.asked}.items())
                if self.hub.interventions.get(key) != row
            ),
        )

    def _settled(self, known: Intervention) -> bool:
        """Whether we know enough of its subject to withdraw a question: it was matched, or is certainly gone."""
        row = self.workstreams.get(known.subject) or self.tasks.get(known.subject)
        return row is not None

    # Workplans

    def _match_workplans(self, plans: Sequence[Workplan]) -> list[uuid.UUID | None]:
        entries = [
            Entry(found.id, found.hub_id, found.hub_id_valid, found.path, found.block.line_of("id"), line)
            for found in plans
            for line in [found.block.line_of(WORKSTREAM_ID)]
        ]
        matches, findings = identity.match(
            entries,
            self.hub.workstreams,
            repository=self.hub.repository,
            foreign=self.hub.foreign,
            first=not self.hub.synced_before,
            home=lambda row: self.hub.workstreams[row].file,
            key=WORKSTREAM_ID,
        )
        self.findings += findings
        return [self._workplan(found, match) if match else None for found, match in zip(plans, matches, strict=True)]

    def _workplan(self, found: Workplan, match: Match) -> uuid.UUID | None:
        """The row of a workplan as it is to be; its id, or None where it cannot become one."""
        known = self.hub.workstreams.get(match.id)
        if known is None and not found.status:
            return None
        self.blocks[match.id] = (found.path, found.block)
        if known is not None and known.file != found.path:
            self._add(
                Code.MOVED, match.id, f"{found.id} was in {known.file}", "Nothing to do: the hub follows.", "note"
            )
        before = known or Workstream(
            match.id, found.id, "", "", found.status, found.path, Base(found.status, found.updated)
        )
        merged_status, base = self._status(match.id, found.id, found.status, found.updated, before)
        self.workstreams[match.id] = Workstream(
            id=match.id,
            local_id=found.id,
            title=found.title,
            domain=found.domain,
            status=merged_status,
            file=found.path,
            base=base,
        )
        self._hub_id(match, found.id, found.hub_id, WORKSTREAM_ID, quote="")
        return match.id

    # Tasks

    def _match_tasks(self, plans: Sequence[Workplan], matched: Sequence[uuid.UUID | None]) -> None:
        found = [
            (plan, task, stream) for plan, stream in zip(plans, matched, strict=True) if stream for task in plan.tasks
        ]
        entries = [
            Entry(
                task.id,
                task.hub_id,
                task.hub_id_valid,
                plan.path,
                task.block.line_of("id"),
                task.block.line_of(TASK_ID),
            )
            for plan, task, _ in found
        ]
        matches, findings = identity.match(
            entries,
            self.hub.tasks,
            repository=self.hub.repository,
            foreign=self.hub.foreign,
            first=not self.hub.synced_before,
            home=self._home,
            key=TASK_ID,
        )
        self.findings += findings
        for (plan, task, stream), match in zip(found, matches, strict=True):
            if match is not None:
                self._task(plan, task, stream, match)

    def _home(self, task: uuid.UUID) -> str:
        stream = self.hub.workstreams.get(self.hub.tasks[task].workstream)
        return stream.file if stream else ""

    def _task(self, plan: Workplan, found: FileTask, stream: uuid.UUID, match: Match) -> None:
        known = self.hub.tasks.get(match.id)
        if known is None and not found.status:
            return
        self.blocks[match.id] = (plan.path, found.block)
        updated = plan.updated if not found.updated or status.newer(plan.updated, found.updated) else found.updated
        before = known or Task(match.id, stream, found.id, "", found.status, Base(found.status, updated))
        if known is None and self.hub.synced_before:
            self._add(Code.NEW, match.id, f"{found.id} is new", "Nothing to do: the hub has it now.", "note")
        merged_status, base = self._status(match.id, found.id, found.status, updated, before)
        self.tasks[match.id] = Task(
            id=match.id,
            workstream=stream,
            local_id=found.id,
            title=found.title,
            status=merged_status,
            base=base,
            priority=found.priority,
            needs_human=found.needs_human,
            question=found.question,
            depends_on=found.depends_on,
            position=found.position,
        )
        self._hub_id(match, found.id, found.hub_id, TASK_ID, quote='"')
        if found.needs_human and merged_status not in CLOSED:
            self._ask(match.id, found.id, "question", found.question)

    def _notice_missing(self, plans: Sequence[Workplan]) -> None:
        """Rows that no file has any more. Only called where every file could be read."""
        said = {found.id for found in plans} | {task.id for found in plans for task in found.tasks}
        ids = {found.hub_id for found in plans} | {task.hub_id for found in plans for task in found.tasks}
        for stream in self.hub.workstreams.values():
            if stream.id not in self.workstreams and stream.local_id not in said and stream.id not in ids:
                self.workstreams[stream.id] = replace(stream, present=False)
        for task in self.hub.tasks.values():
            if task.id not in self.tasks and task.local_id not in said and task.id not in ids:
                self.tasks[task.id] = replace(task, present=False)

    # What workplans and tasks have in common

    def _status(
        self, row: uuid.UUID, name: str, said: str, updated: str, before: Workstream | Task
    ) -> tuple[str, Base]:
        """The status and base that the hub is to have."""
        if not said:
            return before.status, before.base
        merged = status.merge(said, updated, before.status, before.base)
        if merged.verdict == "reopened":
            since = f" ({before.base.updated})" if before.base.updated else ""
            self._add(
                Code.REOPENED,
                row,
                f"{name} is {before.status} in the hub, and the file says {said} without a newer `updated:`{since}",
                f"Write today's date after `updated:`, or `status: {before.status}`.",
                key="status",
            )
        elif merged.verdict == "conflict":
            question = (
                f"The file says {said}, the hub says {before.status}; both were {before.base.status}. Which holds?"
            )
            self._ask(row, name, "conflict", question, said)
            self._add(
                Code.CONFLICT,
                row,
                f"{name}: the file says {said} and the hub was changed to {before.status} by hand",
                f"`upkeep interventions answer {intervention_id(row, 'conflict', question)} file|hub`",
                key="status",
            )
        elif merged.verdict == "hub":
            return self._from_hub(row, name, said, before, merged.base)
        return merged.status, merged.base

    def _from_hub(
        self, row: uuid.UUID, name: str, said: str, before: Workstream | Task, base: Base
    ) -> tuple[str, Base]:
        message = f"{name} was changed to {before.status} in the hub, and the file says {said}"
        if self._edit(row, "status", before.status):
            self._add(Code.CHANGED_IN_HUB, row, message, "Written into the file.", "note", key="status")
            return before.status, base
        self._add(
            Code.CHANGED_IN_HUB,
            row,
            message,
            f"`upkeep sync --fix` writes `status: {before.status}`." if not self.fix else f"Write `{before.status}`.",
            "warning",
            key="status",
            fixable=not self.fix,
        )
        return before.status, before.base

    def _hub_id(self, match: Match, name: str, written: uuid.UUID | None, key: str, *, quote: str) -> None:
        if written is not None or self._edit(match.id, key, str(match.id), quote=quote):
            return
        self._add(
            Code.NO_HUB_ID,
            match.id,
            f"{name} has no `{key}:`",
            "`upkeep sync --fix` writes it." if not self.fix else f"Write `{key}: {match.id}`.",
            "warning",
            key=key,
            fixable=not self.fix,
        )

    def _edit(self, row: uuid.UUID, key: str, value: str, *, quote: str = "") -> bool:
        """Plan to write a value; False where that is not allowed or not possible."""
        path, block = self.blocks[row]
        made = edit.setting(block, key, value, quote=quote) if self.fix and path not in self.read_only else None
        if made is not None:
            self.edits.setdefault(path, []).append(made)
        return made is not None

    def _ask(self, row: uuid.UUID, name: str, kind: InterventionKind, question: str, said: str = "") -> None:
        number = intervention_id(row, kind, question)
        known = self.hub.interventions.get(number)
        answered = kind == "question" and known is not None and known.state == "answered"
        state: InterventionState = "answered" if answered else "open"
        self.asked[number] = Intervention(number, row, name, kind, question, state, said)

    def _add(
        self,
        code: Code,
        row: uuid.UUID,
        message: str,
        fix: str,
        severity: Severity = "error",
        *,
        key: str = "id",
        fixable: bool = False,
    ) -> None:
        path, block = self.blocks[row]
        name = block.text("id") or ""
        self.findings.append(
            Finding(
                code=code,
                severity=severity,
                file=path,
                line=block.line_of(key),
                message=message,
                fix=fix,
                fixable=fixable,
                subject=name,
            )
        )
