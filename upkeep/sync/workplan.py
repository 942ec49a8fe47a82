"""What a workplan file says: typed values out of its blocks, and findings where they make no sense.

What belongs here: the keys of front matter and task blocks, which are required, and what their values may be. What does
not: finding the blocks (`document.py`), ids against the hub and other files (`identity.py`), and merging (`plan.py`).

A value that makes no sense is a finding and counts as not given; the rest of the block is read all the same.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from upkeep.sync.block import Block, Field
from upkeep.sync.document import Document, TaskBlock
from upkeep.sync.findings import Code, Finding, Severity
from upkeep.sync.records import PRIORITIES, TASK_STATUSES, WORKPLAN_STATUSES

WORKSTREAM_ID = "state_hub_workstream_id"
TASK_ID = "state_hub_task_id"
MAX_TEXT = 2000
"""Characters of a title or question that the hub keeps."""


@dataclass(frozen=True, slots=True)
class FileTask:
    """A task as its block says. `status` "" : none that is known. `hub_id` None: none is written, or (`hub_id_valid`
    False) none that is a UUID."""

    block: Block
    id: str
    title: str
    status: str
    hub_id: uuid.UUID | None
    hub_id_valid: bool
    updated: str
    priority: str
    needs_human: bool
    question: str
    depends_on: tuple[str, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Workplan:
    """A workplan as its file says."""

    document: Document
    block: Block
    id: str
    title: str
    domain: str
    status: str
    hub_id: uuid.UUID | None
    hub_id_valid: bool
    updated: str
    tasks: tuple[FileTask, ...]

    @property
    def path(self) -> str:
        return self.document.path


def read(document: Document, names: Sequence[str]) -> tuple[Workplan | None, list[Finding]]:
    """Read one document of the repository that has these names (slug, and the forge's). None: it is no workplan of
    this repository, and the findings say why; a file of another `type` is none and has no findings."""
    reading = _Reading(document.path)
    front = document.front
    if front is None:
        return None, list(document.findings)
    if front.text("type") not in (None, "workplan"):
        return None, []
    reading.findings += document.findings
    identity = reading.required(front, "id", Code.FRONT_MATTER)
    if (repo := front.text("repo")) is not None and repo.casefold() not in {name.casefold() for name in names}:
        reading.add(
            Code.FOREIGN,
            front.line_of("repo"),
            f"the workplan says that it is of the repository {repo!r}, and this is {names[0]!r}",
            f"Write `repo: {names[0]}`, or move the file to {repo}.",
            subject=identity or "",
        )
        return None, reading.findings
    if identity is None:
        return None, reading.findings
    reading.subject = identity
    hub_id, valid = reading.hub_id(front, WORKSTREAM_ID)
    plan = Workplan(
        document=document,
        block=front,
        id=identity,
        title=_short(reading.required(front, "title", Code.FRONT_MATTER) or identity),
        domain=front.text("domain") or "",
        status=reading.status(front, WORKPLAN_STATUSES, Code.FRONT_MATTER),
        hub_id=hub_id,
        hub_id_valid=valid,
        updated=reading.dates(front),
        tasks=tuple(
            task for number, found in enumerate(document.tasks) if (task := reading.task(found, number, identity))
        ),
    )
    return plan, reading.findings


def moment(written: str) -> datetime | None:
    """A date or a time as ISO 8601 writes it; None: it is neither. A date is its first second, a time without a zone is
    UTC."""
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        return None
    return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)


def hub_ids(document: Document) -> set[uuid.UUID]:
    """All ids of the hub that a file names, right or wrong."""
    blocks = [*([document.front] if document.front else []), *(task.block for task in document.tasks)]
    found = set()
    for block in blocks:
        for key in (WORKSTREAM_ID, TASK_ID):
            with contextlib.suppress(ValueError):
                found.add(uuid.UUID(block.text(key) or ""))
    return found


class _Reading:
    def __init__(self, path: str) -> None:
        self.path = path
        self.subject = ""
        self.findings: list[Finding] = []

    def add(
        self, code: Code, line: int, message: str, fix: str, severity: Severity = "error", subject: str = ""
    ) -> None:
        self.findings.append(
            Finding(
                code=code,
                severity=severity,
                file=self.path,
                line=line,
                message=message,
                fix=fix,
                subject=subject or self.subject,
            )
        )

    def required(self, block: Block, key: str, code: Code) -> str | None:
        if (value := self._text(block, key, code)) is not None:
            return value
        if key not in block.fields or block.fields[key].empty:
            self.add(code, block.line_of(key), f"`{key}:` is missing or empty", f"Write `{key}:` and its value.")
        return None

    def _text(self, block: Block, key: str, code: Code) -> str | None:
        field = block.fields.get(key)
        if field is not None and field.value is None and not field.empty:
            self.add(code, field.line, f"`{key}:` holds a list or a mapping", f"Write one text after `{key}:`.")
        return block.text(key)

    def status(self, block: Block, known: Sequence[str], code: Code) -> str:
        value = self.required(block, "status", code)
        if value is None or value in known:
            return value or ""
        self.add(
            Code.STATUS, block.line_of("status"), f"there is no status {value!r}", f"Write one of: {', '.join(known)}."
        )
        return ""

    def hub_id(self, block: Block, key: str) -> tuple[uuid.UUID | None, bool]:
        field = block.fields.get(key)
        if field is None or field.empty:
            return None, True
        written = (field.value or "").strip()
        try:
            parsed = uuid.UUID(written)
        except ValueError:
            parsed = None
        if parsed is None or len(written) != 36:
            self.add(
                Code.HUB_ID,
                field.line,
                f"`{key}:` is no id of the hub: {_short(written, 60) or 'a list or a mapping'!r}",
                f"Restore the id (git log tells), or write `{key}: null` and run `upkeep sync --fix`.",
            )
            return None, False
        return parsed, True

    def dates(self, block: Block) -> str:
        """`updated`, where it is a date or a time."""
        moments = {}
        for key in ("created", "updated"):
            if (written := block.text(key)) is None:
                continue
            if (read := moment(written)) is None:
                self.add(
                    Code.DATES, block.line_of(key), f"`{key}:` is no date: {_short(written, 60)!r}", "Write YYYY-MM-DD."
                )
            moments[key] = read
        created, updated = moments.get("created"), moments.get("updated")
        if created and updated and updated < created:
            self.add(
                Code.DATES,
                block.line_of("updated"),
                "`updated:` is before `created:`",
                "Correct the one that is wrong.",
                "warning",
            )
        return (block.text("updated") or "") if updated else ""

    def task(self, found: TaskBlock, position: int, workplan: str) -> FileTask | None:
        block = found.block
        self.subject = workplan
        if (identity := self.required(block, "id", Code.TASK_BLOCK)) is None:
            return None
        self.subject = identity
        hub_id, valid = self.hub_id(block, TASK_ID)
        needs_human = self._flag(block, "needs_human")
        question = self._text(block, "question", Code.TASK_BLOCK) or ""
        title = _short(self._text(block, "title", Code.TASK_BLOCK) or found.heading or identity)
        if needs_human and not question:
            self.add(
                Code.DETAIL,
                block.line_of("needs_human"),
                "the task needs a human and asks nothing",
                "Write `question:` and what is to be decided.",
                "warning",
            )
        task = FileTask(
            block=block,
            id=identity,
            title=title,
            status=self.status(block, TASK_STATUSES, Code.TASK_BLOCK),
            hub_id=hub_id,
            hub_id_valid=valid,
            updated=self.dates(block),
            priority=self._priority(block),
            needs_human=needs_human,
            question=_short(question or title) if needs_human else "",
            depends_on=self._list(block, "depends_on"),
            position=position,
        )
        self.subject = workplan
        return task

    def _priority(self, block: Block) -> str:
        value = (self._text(block, "priority", Code.TASK_BLOCK) or "").casefold()
        if value and value not in PRIORITIES:
            self.add(
                Code.DETAIL,
                block.line_of("priority"),
                f"there is no priority {_short(value, 60)!r}; the task comes last",
                f"Write one of: {', '.join(PRIORITIES)}.",
                "warning",
            )
            return ""
        return value

    def _flag(self, block: Block, key: str) -> bool:
        value = (self._text(block, key, Code.TASK_BLOCK) or "false").casefold()
        if value not in ("true", "false"):
            self.add(Code.TASK_BLOCK, block.line_of(key), f"`{key}:` is neither true nor false", "Write true or false.")
        return value == "true"

    def _list(self, block: Block, key: str) -> tuple[str, ...]:
        field: Field | None = block.fields.get(key)
        if field is None or field.empty:
            return ()
        if field.items is None and field.value is None:
            self.add(Code.TASK_BLOCK, field.line, f"`{key}:` is no list of ids", f"Write `{key}: [ID, ID]`.")
            return ()
        items = field.items if field.items is not None else (field.value or "",)
        return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def _short(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
