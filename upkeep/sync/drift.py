"""Whether a repository still is as it was last synced: one cheap look.

What belongs here: comparing files and head with what was recorded, state first and content only where that differs, and
a thread to do it in. What does not: what follows from it (`survey.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from upkeep.errors import RepositoryNotReady
from upkeep.sync.registry import Known
from upkeep.sync.workingtree import Stamp, WorkingTree

LOOK_SECONDS = 10.0
"""How long one repository may take. A thousand files that only look different take two."""


@dataclass(frozen=True)
class Look:
    """`difference` None: nothing differs. `stamps`: newer ones of files that only look different (touched, or synced a
    moment after they were written); None: the recorded ones are still right. `unreachable`: why there is nothing to
    look at, with `remedy`. `busy`: what somebody has in progress there."""

    difference: str | None = None
    stamps: Mapping[str, Stamp] | None = None
    unreachable: str | None = None
    remedy: str = ""
    busy: str | None = None


def look(path: Path, patterns: Sequence[str], known: Known) -> Look:
    """Compare the working tree at `path` with what was last synced. Uncommitted edits count too. Raises ConfigError
    `config.bad_pattern`."""
    try:
        tree = WorkingTree.open(path)
    except RepositoryNotReady as error:
        return Look(unreachable=error.message, remedy=error.remedy)
    busy = tree.busy(wait=0)
    listing = tree.files(patterns)
    told = {(finding.file, finding.message) for finding in listing.findings}
    if told != known.unlisted:
        file, message = min(told ^ known.unlisted)
        return Look(f"{file}: {message}" if (file, message) in told else f"{file} can be looked at again", busy=busy)
    found = {place.path for place in listing.places}
    if found != known.files.keys():
        changed = min(found ^ known.files.keys())
        return Look(f"{changed} {'is new' if changed in found else 'is gone'}", busy=busy)
    if tree.head() != known.head:
        return Look("the head moved", busy=busy)
    stamps = dict(known.files)
    for place in listing.places:
        before = known.files[place.path]
        if before.fits(place.state):
            continue
        if before.size != place.state.st_size or (stamp := tree.stamp(place)).sha256 != before.sha256:
            return Look(f"{place.path} changed", busy=busy)
        stamps[place.path] = stamp
    return Look(None, stamps if stamps != known.files else None, busy=busy)


class Looker:
    """Looks from a thread of its own: a disk that does not answer (a network share whose server is gone) holds system
    calls for ever, and would hold all repositories that come after it.

    The thread of such a look cannot be ended. It is left behind, and as long as it hangs its path is not looked at
    again by this process.
    """

    _stuck: dict[Path, threading.Thread] = {}  # noqa: RUF012 - of the process: its threads outlive a Looker

    def __init__(
        self, look: Callable[[Path, Sequence[str], Known], Look] = look, *, seconds: float = LOOK_SECONDS
    ) -> None:
        self._look = look
        self._seconds = seconds
        self._worker: _Worker | None = None

    def __call__(self, path: Path, patterns: Sequence[str], known: Known) -> Look:
        hanging = self._stuck.get(path)
        if hanging is not None and hanging.is_alive():
            return self._unanswered(path)
        self._worker = self._worker or _Worker()
        try:
            return self._worker.ask(partial(self._look, path, patterns, known), self._seconds)
        except queue.Empty:
            self._stuck[path] = self._worker.thread
            self._worker = None
            return self._unanswered(path)

    def close(self) -> None:
        if self._worker is not None:
            self._worker.leave()
            self._worker = None

    def _unanswered(self, path: Path) -> Look:
        return Look(
            unreachable=f"the disk of {path} does not answer",
            remedy="Look whether its server is there (`df` hangs, too), or unmount it.",
        )


class _Worker:
    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], Look] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Look | BaseException] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="drift", daemon=True)
        self.thread.start()

    def ask(self, work: Callable[[], Look], seconds: float) -> Look:
        """Raises queue.Empty where there is no answer in time."""
        self._asked.put(work)
        answer = self._answers.get(timeout=seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def leave(self) -> None:
        """End the thread once it has nothing to do."""
        self._asked.put(None)

    def _work(self) -> None:
        while (work := self._asked.get()) is not None:
            try:
                self._answers.put(work())
            except BaseException as error:  # noqa: BLE001 - raised again by the one who asked
                self._answers.put(error)
