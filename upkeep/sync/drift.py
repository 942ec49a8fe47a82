"""Whether a repository still is as it was last synced: one cheap look.

What belongs here: comparing files and head with what was recorded, state first and content only where that differs, and
a thread to do it in. What does not: what follows from it (`survey.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upkeep.errors import ConfigError, RepositoryNotReady
from upkeep.sync.recorded import Known
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
    """Compare the working tree at `path` with what was last synced. Uncommitted edits count too."""
    try:
        tree = WorkingTree.open(path)
    except RepositoryNotReady as error:
        return Look(unreachable=error.message, remedy=error.remedy)
    busy = tree.busy(wait=0)
    try:
        listing = tree.files(patterns)
    except ConfigError as error:
        # A pattern that leads out: the sync says it.
        return Look(error.message, busy=busy)
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


@dataclass(frozen=True)
class Target:
    """A repository to look at."""

    path: Path
    patterns: Sequence[str]
    known: Known


LookAt = Callable[[Path, Sequence[str], Known], Look]


class Looker:
    """Looks from a thread of its own: a disk that does not answer (a network share whose server is gone) holds system
    calls for ever, and would hold all repositories that come after it.

    The thread of such a look cannot be ended. It is left behind, and as long as it hangs its path is not looked at
    again by this process.
    """

    _stuck: dict[Path, threading.Thread] = {}  # noqa: RUF012 - of the process: its threads outlive a Looker

    def __init__(self, look: LookAt = look, *, seconds: float = LOOK_SECONDS) -> None:
        self._look = look
        self._seconds = seconds

    def __call__(self, targets: Sequence[Target]) -> Generator[Look, None, None]:
        """One look for each, in their order; an error of a look is raised. The thread works ahead of whoever asks, so a
        look costs no change of threads."""
        done = 0
        while done < len(targets):
            worker = _Worker(self._at, targets[done:])
            try:
                for answer in worker.answers(self._seconds):
                    done += 1
                    yield answer
            finally:
                worker.leave()
            if done < len(targets):
                stuck = targets[done].path
                self._stuck[stuck] = worker.thread
                done += 1
                yield _unanswered(stuck)

    def _at(self, target: Target) -> Look:
        hanging = self._stuck.get(target.path)
        if hanging is not None and hanging.is_alive():
            return _unanswered(target.path)
        return self._look(target.path, target.patterns, target.known)


def _unanswered(path: Path) -> Look:
    return Look(
        unreachable=f"the disk of {path} does not answer",
        remedy="Look whether its server is there (`df` hangs, too), or unmount it.",
    )


class _Worker:
    """Looks at targets one after the other, until it is told to leave."""

    def __init__(self, look: Callable[[Target], Look], targets: Sequence[Target]) -> None:
        self._look = look
        self._targets = targets
        self._answers: queue.SimpleQueue[Look | BaseException] = queue.SimpleQueue()
        self._left = threading.Event()
        self.thread = threading.Thread(target=self._work, name="drift", daemon=True)
        self.thread.start()

    def answers(self, seconds: float) -> Iterator[Look]:
        """As they come; ends where one takes longer than `seconds`."""
        for _ in self._targets:
            try:
                answer = self._answers.get(timeout=seconds)
            except queue.Empty:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def leave(self) -> None:
        self._left.set()

    def _work(self) -> None:
        for target in self._targets:
            if self._left.is_set():
                return
            try:
                self._answers.put(self._look(target))
            except BaseException as error:  # noqa: BLE001 - raised again by the one who asked
                self._answers.put(error)
                return
