"""Letting an agent settle one stop of a rebase, and proving that it did no more than that.

What belongs here: its work folder and what it may read, the rounds in which it gets our findings back, and the rules
that its work has to pass: no conflict markers, only the files in conflict touched, an answer for each of them. What
does not: what it is told (`briefing.py`), the gates and what happens with the result (`judgement.py`).

The folder is the tree as the rebase stopped, without a `.git`: git never runs on files that an agent could write, and
what is taken from it are the bytes of the files in conflict and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upkeep.agents import folders
from upkeep.agents.asking import read_answer, strict_schema
from upkeep.agents.base import AgentResult, AgentTask, Usage
from upkeep.agents.harvest import Harvest, harvest, snapshot
from upkeep.database.events import EventType
from upkeep.errors import AgentError, UpkeepError
from upkeep.forks import attributes, briefing
from upkeep.forks.briefing import Brief, Settlement
from upkeep.forks.desk import Desk
from upkeep.forks.quarantine import Quarantine
from upkeep.forks.records import ConflictingPatch
from upkeep.forks.stops import Settled, Side, Sides, Stop
from upkeep.forks.verify import shown

CORRECTIONS = 2
"""How often the agent gets its findings back."""

_MARKER = re.compile(rb"^([<>|=])\1{2,}(?:[ \t].*)?$")
_SURE_MARKER = re.compile(rb"^(?:<{7}|>{7}|\|{7}|={7})(?:[ \t].*)?$")


class Unsettled(UpkeepError):
    """A conflict that no agent settled; `details` hold what it said."""

    code = "forks.unsettled"


@dataclass(frozen=True)
class Taken:
    """What came of one stop: the contents by path (None: deleted) and the agent's own words."""

    stop: Stop
    contents: Mapping[str, bytes | None]
    settlement: Settlement


@dataclass
class Settling:
    """`stops.Settle` by the fork's agent. `conflicts` are what verification found, by patch, for its report to the
    agent. What it did is in `taken`, what it cost in `usage`."""

    desk: Desk
    quarantine: Quarantine
    conflicts: Mapping[str, ConflictingPatch]
    upstream: tuple[str | None, str]
    taken: list[Taken] = field(default_factory=list)
    usage: Usage | None = None
    seconds: float = 0.0
    transcript: str | None = None
    unsafe: bool = False

    def __call__(self, stop: Stop) -> Settled:
        """Raises Unsettled, and AgentError and its children."""
        if not stop.by_content:
            kinds = ", ".join(stop.types) or "an unknown kind"
            raise Unsettled(
                f"patch {stop.patch.number} conflicts in a way that no agent decides about ({kinds})",
                remedy="Settle it by hand: the commands of the report stop at it.",
            )
        with self._folder(stop) as folder:
            _lay_out(self.quarantine, stop, folder, self._report(stop), self.upstream)
            taken = self._rounds(stop, folder)
        self.taken.append(taken)
        return self._settled(taken)

    def _rounds(self, stop: Stop, folder: Path) -> Taken:
        work = folder / "work"
        before = snapshot(work)
        laid_out = {each.path: (work / each.path).read_bytes() for each in stop.sides if (work / each.path).is_file()}
        findings: list[str] = []
        for _ in range(CORRECTIONS + 1):
            settlement = self._ask(stop, folder, findings)
            if not settlement.settled:
                raise Unsettled(
                    f"agent {self.desk.agent.name} leaves patch {stop.patch.number} to a person",
                    remedy="Settle it by hand: the commands of the report stop at it.",
                    said=settlement.reason[:2000],
                )
            taken = harvest(work, before, allow_prefix="")
            contents = {each.path: taken.changes.get(each.path, laid_out.get(each.path)) for each in stop.sides}
            findings = [
                *_touched(self.quarantine, stop, taken),
                *_left(self.quarantine, stop, contents, laid_out),
                *_unnamed(stop, contents, laid_out, settlement),
            ]
            if not findings:
                return Taken(stop, contents, settlement)
        found = "; ".join(findings[:3])
        raise Unsettled(
            f"what agent {self.desk.agent.name} made of patch {stop.patch.number} was refused: {found}",
            remedy=f"Settle it by hand, or look into its transcript {self.transcript}.",
            findings=findings[:20],
        )

    def _ask(self, stop: Stop, folder: Path, findings: list[str]) -> Settlement:
        desk = self.desk
        desk.check()
        brief = Brief(
            fork=desk.name,
            number=stop.patch.number,
            subject=stop.patch.commit.subject,
            paths=[shown(each.path) for each in stop.sides],
            kinds={shown(each.path): _kind(each) for each in stop.sides},
            context=folder / "context",
            findings=findings,
        )
        task = AgentTask(
            subject=desk.subject,
            work=folder / "work",
            reads={"context": folder / "context"},
            prompt=briefing.prompt(brief),
            answer_schema=strict_schema(Settlement),
            log_dir=desk.home / "runs" / "forks" / desk.name / desk.run_id / "agent" / str(stop.patch.number),
        )
        try:
            result = desk.agent.run(task)
        except AgentError as error:
            self._account_failed(error)
            raise
        self._account(result)
        again = "the next run asks it again."
        return read_answer(result, Settlement, agent=desk.agent.name, again=again)

    def _account(self, result: AgentResult) -> None:
        self._count(result.usage, result.seconds, str(result.transcript) if result.transcript else None)
        self.unsafe = self.unsafe or result.sandbox not in ("", "upkeep")

    def _account_failed(self, error: AgentError) -> None:
        """What failed was paid for too."""
        if "usage" in error.details:
            usage = Usage.model_validate(error.details["usage"])
            self._count(usage, float(error.details.get("seconds", 0.0)), error.details.get("transcript"))

    def _count(self, usage: Usage, seconds: float, transcript: str | None) -> None:
        self.usage = usage if self.usage is None else self.usage + usage
        self.seconds += seconds
        self.transcript = transcript or self.transcript
        self.desk.note(EventType.AGENT_ENDED, seconds=round(seconds, 3), **usage.model_dump())

    def _settled(self, taken: Taken) -> Settled:
        files: dict[str, Side | None] = {}
        for path, content in taken.contents.items():
            if content is None:
                files[path] = None
                continue
            listed = self.quarantine.git("ls-tree", "-z", "--full-tree", taken.stop.tree, "--", path).text
            mode = listed[:6] if listed.startswith("100") else "100644"
            files[path] = Side(mode, self.quarantine.write("blob", content))
        return Settled(files, dict.fromkeys(files, f"what {self.desk.agent.name} proposed"))

    def _report(self, stop: Stop) -> dict[str, Any]:
        known = self.conflicts.get(stop.patch.sha)
        return {
            "patch": {
                "number": stop.patch.number,
                "commit": stop.patch.sha,
                "author": stop.patch.commit.author_name,
                "message": stop.patch.commit.text,
            },
            "files": [{"path": shown(each.path), "conflict": _kind(each)} for each in stop.sides],
            "types": list(stop.types),
            "broken_by": known.broken_by.model_dump(mode="json") if known and known.broken_by else None,
        }

    @contextmanager
    def _folder(self, stop: Stop) -> Iterator[Path]:
        folder = work_folder(self.desk) / str(stop.patch.number)
        folders.remove(folder)
        folder.mkdir(parents=True)
        try:
            yield folder.resolve()
        finally:
            folders.remove(folder)


def work_folder(desk: Desk) -> Path:
    """Where agents work on this fork; emptied by the next run after a kill."""
    return desk.folder / "agent"


def _kind(sides: Sides) -> str:
    if sides.ours is None:
        return "upstream deleted it, the patch changes it"
    if sides.theirs is None:
        return "upstream changed it, the patch deletes it"
    return "both added it" if sides.base is None else "both changed it"


def _lay_out(
    quarantine: Quarantine, stop: Stop, folder: Path, report: dict[str, Any], upstream: tuple[str | None, str]
) -> None:
    """The tree to work in, and the context to read."""
    quarantine.export(stop.tree, folder / "work")
    for each in stop.sides:
        file = folder / "work" / each.path
        if file.is_file() and not file.is_symlink():
            # Only plain files are taken from the agent; the mode is known.
            file.chmod(0o644)
    context = folder / "context"
    context.mkdir()
    (context / "conflict.json").write_text(json.dumps(report, indent=1))
    assert stop.patch.parent is not None
    (context / "patch.diff").write_bytes(_diff(quarantine, stop.patch.parent.sha, stop.patch.sha))
    base, onto = upstream
    if base is not None:
        (context / "upstream.diff").write_bytes(_diff(quarantine, base, onto, [each.path for each in stop.sides]))
    for name in ("base", "ours", "theirs"):
        for each in stop.sides:
            side: Side | None = getattr(each, name)
            if side is not None:
                file = context / name / each.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(quarantine.blob(side.sha))


def _diff(quarantine: Quarantine, before: str, after: str, paths: Iterable[str] = ()) -> bytes:
    flags = ["-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "--end-of-options"]
    return quarantine.git("diff-tree", *flags, before, after, "--", *paths).stdout


def _touched(quarantine: Quarantine, stop: Stop, taken: Harvest) -> list[str]:
    """What else was changed. Files that the repository ignores are what a build leaves, and go with the folder."""
    ours = {each.path for each in stop.sides}
    others = [path for path in taken.changes if path not in ours]
    others += [refusal.path for refusal in taken.refused if refusal.path not in {*ours, "."}]
    ignored = attributes.ignored(quarantine, stop.tree, others)
    words = "is no file in conflict and was changed: undo that"
    findings = [f"{shown(path)} {words}" for path in others if path not in ignored]
    return findings + [f"{each.path}: {each.message}" for each in taken.refused if each.path in {*ours, "."}]


def _left(
    quarantine: Quarantine, stop: Stop, contents: Mapping[str, bytes | None], laid_out: Mapping[str, bytes]
) -> Iterator[str]:
    """Files in which conflict markers are left."""
    for each in stop.sides:
        content = contents[each.path]
        if content is None:
            continue
        sides = [quarantine.blob(side.sha) for side in (each.base, each.ours, each.theirs) if side is not None]
        if (line := marker_left(content, laid_out.get(each.path, b""), sides)) is not None:
            yield f"{shown(each.path)}:{line}: a conflict marker is left"


def marker_left(content: bytes, laid_out: bytes, sides: Iterable[bytes]) -> int | None:
    """The first line of `content`, from 1, that is a conflict marker: one that the rebase wrote into `laid_out`,
    however long markers are here (gitattributes(5), "conflict-marker-size"), or one of git's usual form. A line that a
    side of the conflict had itself, such as the underline of a heading, is none."""
    own = {line for side in sides for line in _lines(side)}
    planted = {line for line in _lines(laid_out) if _MARKER.match(line)} - own
    for number, line in enumerate(_lines(content), 1):
        if line in planted or (line not in own and _SURE_MARKER.match(line)):
            return number
    return None


def _lines(text: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in text.split(b"\n")]


def _unnamed(
    stop: Stop, contents: Mapping[str, bytes | None], laid_out: Mapping[str, bytes], settlement: Settlement
) -> Iterator[str]:
    """Files about which the answer says nothing, or something else than the files do."""
    said = {decision.path: decision.decision for decision in settlement.files}
    for each in stop.sides:
        path, content = shown(each.path), contents[each.path]
        decision = said.get(path)
        if decision is None:
            yield f"the answer does not say what was done about {path}"
        elif (decision == "deleted") != (content is None):
            yield f"the answer says that {path} was {decision}, and that is not so"
        elif content is not None and content == laid_out.get(each.path) and decision != "kept":
            yield f"the answer says that {path} was {decision}, and it is as it was"
