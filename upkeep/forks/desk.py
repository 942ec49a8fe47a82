"""The desk that one rebase works at: its fork, the repository, gates, forge and agent, lock and open run, and the draft
of its report.

What belongs here: what the steps of a run share, and noting each of them. What does not: the steps (`service.py`), and
what any of these things does.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from upkeep.agents.turns import Turn, at_once, in_turn
from upkeep.config import Settings
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.errors import DatabaseError, UpkeepError
from upkeep.forges.registry import credentials_for, open_forge
from upkeep.forks.lock import FolderLock
from upkeep.forks.place import Place, open_place
from upkeep.forks.records import Verification
from upkeep.forks.report import Draft, Gate, Report
from upkeep.forks.snapshot import Snapshot
from upkeep.runs import Run
from upkeep.settings.forks import Fork

if TYPE_CHECKING:
    from upkeep.agents.base import Agent
    from upkeep.forges.base import Forge

_log = logging.getLogger(__name__)


Locks = contextlib.AbstractContextManager[None]
"""What a run is held under: see `service.opened`."""


class GateFailed(UpkeepError):
    """A gate said no, or could not say anything. Nothing was pushed."""

    code = "forks.gate_failed"


class Gates(Protocol):
    """Runs a fork's gates on the verified tip. Returns the tip that passed, which has our fixes on it, and what ran.
    Raises GateFailed after it has put its gates into the draft."""

    def __call__(self, desk: Desk, snapshot: Snapshot, verification: Verification) -> tuple[str, tuple[Gate, ...]]: ...


def nothing() -> None:
    """The default of `Desk.may`."""


def unheard(words: str) -> None:
    """The default of `Desk.say`."""


@dataclass
class Desk:
    """Everything one rebase works with.

    `gates` None: they are left out (--skip-gates). `may` is asked before everything that leaves or moves, and raises
    where we must not go on; `say` hears of each step; `turn` lets an agent work. `pauses` are seconds between the tries
    of a step that the network fails. `database`, `run` (the database's lock, the events) and `held` (the folder lock)
    are there while the run is open, see `service.opened`. `error` is the first one that a step met, `report` what was
    written.
    """

    name: str
    settings: Settings
    run_id: str
    draft: Draft
    gates: Gates | None = None
    verify_only: bool = False
    may: Callable[[], None] = nothing
    say: Callable[[str], None] = unheard
    turn: Turn = at_once
    pauses: tuple[float, ...] = (2.0, 15.0)
    database: Database | None = None
    run: Run | None = None
    held: FolderLock | None = None
    error: BaseException | None = None
    report: Report | None = None

    @property
    def fork(self) -> Fork:
        return self.settings.forks[self.name]

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def subject(self) -> str:
        """What the lock and the events call this fork."""
        return f"fork:{self.name}"

    @property
    def folder(self) -> Path:
        """The fork's own state folder."""
        return self.home / "forks" / self.name

    @property
    def trees(self) -> Path:
        """Where temporary worktrees of this fork lie."""
        return self.folder / "trees"

    @property
    def graphite_mark(self) -> Path:
        """What `gt` was begun with, while it works."""
        return self.folder / "graphite.json"

    @cached_property
    def place(self) -> Place:
        """Its repository and remotes. Opened on first use: they may be missing, and that ends in a report too."""
        return place_of(self.settings, self.name)

    @cached_property
    def forge(self) -> Forge:
        """Where the fork's pull requests are. Needs the open run."""
        assert self.database is not None
        return open_forge(self.fork.forge, self.settings, self.database)

    @cached_property
    def agent(self) -> Agent:
        """Whom `on_conflict: agent` asks, within the budgets of this run. Needs the open run."""
        from upkeep.agents.budget import Purse
        from upkeep.agents.registry import open_agent

        assert self.database is not None
        purse = Purse(SecretStr(self.database.url), self.run_id, self.settings.budgets)
        return in_turn(open_agent(self.fork.agent, self.settings.agents[self.fork.agent], purse=purse), self.turn)

    def check(self) -> None:
        """Raise LockLost or RunCancelled unless the run may go on."""
        if self.held is not None:
            self.held.check()
        if self.run is not None:
            self.run.lock.check()
        self.may()

    @contextlib.contextmanager
    def step(self, name: str, command: str = "") -> Iterator[None]:
        """One step: timed in the report and in the events. The first error of a run is what it ended with."""
        started = time.monotonic()
        self.say(name)
        try:
            with self.draft.step(name, command):
                yield
        except BaseException as error:
            self.error = self.error or error
            raise
        self.note(EventType.STEP_ENDED, step=name, seconds=round(time.monotonic() - started, 3))

    def again(self) -> None:
        """Forget the error of a step that is tried once more."""
        self.error = None
        self.draft.stopped_at = None

    def note(self, type: EventType, **summary: object) -> None:
        """Record an event of this run. Whether it may go on without a database is for the lock's check to say."""
        if self.run is None:
            return
        try:
            self.run.event(type, **summary)
        except DatabaseError as error:
            _log.warning("%s of run %s could not be recorded: %s", type, self.run_id, error)


def place_of(settings: Settings, name: str) -> Place:
    """A fork's repository and remotes, with what lets git reach them. Raises as `open_place`."""
    fork = settings.forks[name]
    if fork.url is None:
        # In a working copy the person's own configuration lets git in.
        return open_place(name, fork, settings.home)
    own, upstream = (credentials_for(settings, url) for url in (fork.url, fork.remotes.upstream))
    config, env = {**upstream[0], **own[0]}, {**upstream[1], **own[1]}
    return open_place(name, fork, settings.home, config=config, env=env)
