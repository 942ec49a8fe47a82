"""The report of one run: one model, written as `report.json` and `summary.md`, whatever happened.

What belongs here: the model, its JSON Schema, filling it step by step, and the files. What does not: the parts
(`records.py`, `snapshot.py`, `apply.py`), the summary's words (`summary.py`), and how a run ended (`outcomes.py`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from upkeep.errors import UpkeepError
from upkeep.forks.apply import Applied
from upkeep.forks.lock import Takeover
from upkeep.forks.outcomes import Outcome, exit_code
from upkeep.forks.records import Behind, ConflictingPatch, Judgement, Outlook, Record, Verification
from upkeep.forks.snapshot import Snapshot, StackKind

SCHEMA_NAME = "rebase-report.schema.json"
VERSION = 1


class Command(Record):
    """Something that was done, with what a person would type to see or do the same."""

    step: str
    command: str
    seconds: float


class Gate(Record):
    """One gate on one tree. `baseline`: run on the old trunk, to tell what was red before. `cached`: not run again."""

    command: str
    tree: str
    result: Literal["passed", "failed", "timed_out", "changed_files", "skipped"]
    seconds: float = 0.0
    log: str | None = None
    cached: bool = False
    baseline: bool = False
    fixed: str | None = Field(default=None, description="Our commit that holds what the gate changed.")


class Gated(Record):
    """What the gates said of a verified tip. `tip` is what may be pushed: `verified`, or that with a commit of ours on
    it that holds what gates changed. None: a gate failed, `failure` says which and why."""

    verified: str
    tip: str | None
    gates: tuple[Gate, ...] = ()
    failure: str = ""


class Restack(Record):
    """One branch on top of trunk. `failed`: it should have been restacked, and `note` says what was in the way. `left`:
    there is nothing to restack, and `note` says why."""

    branch: str
    before: str
    after: str | None = None
    result: Literal["restacked", "unchanged", "conflict", "failed", "left"]
    pushed: bool = False
    conflicts: tuple[ConflictingPatch, ...] = ()
    note: str = ""


class Restacked(Record):
    """What became of the branches on trunk. `kind` says who restacks here, `note` what concerns all of them, and
    `problem` what kept us from restacking any."""

    kind: StackKind
    branches: tuple[Restack, ...] = ()
    note: str = ""
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is left for a person."""
        return not self.problem and not any(each.result in ("conflict", "failed") for each in self.branches)


class Report(Record):
    """One run. `stopped_at` is the step at which it ended early. `next_actions` are sentences for a person."""

    schema_version: int = VERSION
    fork: str
    run_id: str
    trigger: str
    verify_only: bool = False
    started: datetime
    ended: datetime
    seconds: float
    outcome: Outcome
    exit_code: int
    stopped_at: str | None = None
    error: dict[str, Any] | None = None
    overrides: tuple[str, ...] = Field(default=(), description="Flags that waived a rule: --force, --skip-gates.")
    lock: str | None = Field(
        default=None, description="Who held the fork's lock for this run: process, host, since when."
    )
    takeover: Takeover | None = None
    snapshot: Snapshot | None = None
    verification: Verification | None = None
    judgement: Judgement | None = None
    range_diff: str = Field(default="", description="How the kept patches changed by being moved; git-range-diff(1).")
    gates: tuple[Gate, ...] = ()
    applied: Applied | None = None
    behind: Behind | None = Field(default=None, description="How far trunk is behind upstream after the run.")
    restored: str | None = Field(default=None, description="The run whose backup was put back.")
    stack: Restacked | None = Field(default=None, description="What became of the branches on trunk.")
    warnings: tuple[Outlook, ...] = Field(default=(), description="Next branches that would break a patch.")
    delta_pull_request: str | None = Field(default=None, description="Address of the pull request that shows the fork.")
    commands: tuple[Command, ...] = ()
    notes: tuple[str, ...] = ()
    next_actions: tuple[str, ...] = ()


class Draft:
    """A report while the run goes on. `step` names where it is; `finish` makes the report."""

    def __init__(self, fork: str, run_id: str, *, trigger: str, verify_only: bool = False) -> None:
        self.fork = fork
        self.run_id = run_id
        self.started = datetime.now(UTC)
        self._began = time.monotonic()
        self._fixed: dict[str, Any] = {"trigger": trigger, "verify_only": verify_only}
        self._commands: list[Command] = []
        self.stopped_at: str | None = None
        self.parts: dict[str, Any] = {}

    def put(self, **parts: Any) -> None:
        """Set fields of the report: `snapshot`, `verification`, `gates`, `applied` and so on."""
        self.parts.update(parts)

    def override(self, flag: str) -> None:
        """Note a flag that waived a rule."""
        self.put(overrides=(*self.parts.get("overrides", ()), flag))

    def note(self, text: str) -> None:
        """Add a sentence for people. Commands in it stand between backticks."""
        self.put(notes=(*self.parts.get("notes", ()), text))

    @contextmanager
    def step(self, name: str, command: str = "") -> Iterator[None]:
        """Time a step; an error inside it marks where the run stopped."""
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.stopped_at = self.stopped_at or name
            raise
        finally:
            seconds = round(time.monotonic() - started, 3)
            self._commands.append(Command(step=name, command=command or name, seconds=seconds))

    def finish(self, outcome: Outcome, error: BaseException | None = None) -> Report:
        record = None
        if isinstance(error, UpkeepError):
            record = error.as_record()
        elif error is not None and not isinstance(error, Exception):
            # Ctrl-C, SystemExit, an interrupt of the orchestrator: whatever its name is, somebody stopped the run.
            words = "the run was interrupted: by Ctrl-C, by a signal, or in the UI"
            record = {"code": "interrupted", "message": words, "remedy": "Nothing is lost: run it again."}
        elif error is not None:
            record = {"code": "unexpected", "message": f"{type(error).__name__}: {error}", "remedy": ""}
        return Report(
            fork=self.fork,
            run_id=self.run_id,
            started=self.started,
            ended=datetime.now(UTC),
            seconds=round(time.monotonic() - self._began, 3),
            outcome=outcome,
            exit_code=exit_code(outcome),
            stopped_at=self.stopped_at,
            error=record,
            commands=tuple(self._commands),
            **{**self._fixed, **self.parts},
        )


def folder_of(home: Path, report: Report) -> Path:
    return home / "reports" / "rebase" / report.fork / f"{report.started:%Y-%m-%d}" / report.run_id


def write(home: Path, report: Report, summary: str) -> Path:
    """Write `report.json`, `summary.md` and, above all runs, the schema; return the folder. Each file is there whole or
    not at all."""
    folder = folder_of(home, report)
    folder.mkdir(parents=True, exist_ok=True)
    published = home / "reports" / "rebase" / SCHEMA_NAME
    _replace(published, json.dumps(schema(), indent=2) + "\n")
    reference = os.path.relpath(published, folder)
    document = {"$schema": reference, **report.model_dump(mode="json")}
    _replace(folder / "report.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    _replace(folder / "summary.md", summary)
    return folder


def read(file: Path) -> Report:
    """Read a `report.json`."""
    document = json.loads(file.read_text())
    document.pop("$schema", None)
    return Report.model_validate(document)


def schema() -> dict[str, Any]:
    """The JSON Schema of `report.json` (draft 2020-12)."""
    document = Report.model_json_schema(mode="serialization")
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "Report of a fork rebase"
    document["properties"]["$schema"] = {"type": "string"}
    return document


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.{os.getpid()}.new")
    # A path that is no UTF-8 is shown with its bytes escaped.
    new.write_text(text, encoding="utf-8", errors="backslashreplace")
    new.replace(file)
