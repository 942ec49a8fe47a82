"""Calling for judgement where a patch does not go: `on_conflict: agent`.

What belongs here: when the agent is asked, what its work has to pass, and what becomes of it. What does not: one
conflict (`settling.py`), the pull request (`proposal.py`).

Whatever comes of it, trunk is not moved and the run ends with exit code 10: a person decides. What the agent made is
remembered before anything else is done with it, so that a run that was killed proposes the same without paying twice. A
conflict that a person declined to have settled so is not asked about again, nor one at which the agent has failed three
times; a proposal that still waits for its person is not made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from upkeep.agents import folders
from upkeep.agents.base import Usage
from upkeep.database.events import EventType
from upkeep.database.server import Database
from upkeep.errors import AgentError, BudgetExhausted, LockError, RunCancelled, UpkeepError
from upkeep.forks import delta, memory, proposal, verify
from upkeep.forks.desk import Desk, GateFailed
from upkeep.forks.memory import Memory, Resolution
from upkeep.forks.place import committer_of
from upkeep.forks.proposal import GatesSaid
from upkeep.forks.quarantine import Quarantine, quarantine
from upkeep.forks.records import Judgement, JudgementState, Verification
from upkeep.forks.settling import Settling, Taken, Unsettled, work_folder
from upkeep.forks.snapshot import Snapshot
from upkeep.forks.stack import read_commits
from upkeep.forks.stops import Settled, Sides, Stop
from upkeep.forks.verify import shown
from upkeep.guardrails.patch import FileChange
from upkeep.guardrails.report import refuse_unless_passed

ATTEMPTS = 3
"""How often an agent is asked about the very same conflict before it is left to a person."""


class Declined(UpkeepError):
    """A person, or what was tried before, says no."""

    code = "forks.declined"


def judged(desk: Desk, snapshot: Snapshot, verification: Verification) -> Judgement | None:
    """Have the conflicts settled and propose that, where the configuration asks for it; None: it does not.

    Raises LockError and RunCancelled. All else that goes wrong is in the Judgement: the run ends as it would have.
    """
    if not verification.conflicts or desk.fork.on_conflict != "agent" or desk.verify_only or desk.database is None:
        return None
    if verification.escalated:
        desk.draft.note("The agent was not asked: upstream changed paths that a person wants to see first.")
        return None
    with desk.step("judge", f"agent {desk.fork.agent}"):
        session = _Session(desk, snapshot, verification, desk.database)
        try:
            result = session.run()
        except (LockError, RunCancelled):
            raise
        except Declined as error:
            result = session.result("declined", error.message, url=error.details.get("url"))
        except UpkeepError as error:
            result = session.result(
                "failed", f"{error.message}. {error.remedy}".strip(), said=error.details.get("said")
            )
        desk.draft.put(judgement=result)
        return result


@dataclass
class _Session:
    desk: Desk
    snapshot: Snapshot
    verification: Verification
    database: Database
    settling: Settling | None = None

    def run(self) -> Judgement:
        desk = self.desk
        folders.remove(work_folder(desk))
        known = memory.known(self.database, desk.name)
        with quarantine(desk.place.repository) as place:
            remembered = Memory(place, known, frozenset({"accepted", "proposed"}))
            self.settling = settling = Settling(
                desk,
                place,
                {each.sha: each for each in self.verification.conflicts},
                (self.verification.base, self.verification.onto),
            )
            chain = _Chain(self, remembered, settling, {each.key: each for each in known})
            rebased = self._rebased(place, chain)
            waiting = [each for each in remembered.used if each.state == "proposed"]
            if not settling.taken and waiting and all(each.number is not None for each in waiting):
                url = waiting[0].url
                return self.result(
                    "waiting", f"What agent {waiting[0].agent} proposed waits for a person: {url}", url=url
                )
            place.keep(str(rebased.tip), [self.snapshot.upstream, self.snapshot.trunk])
            range_diff = verify.range_diff(place, rebased)
            changes = _changes(place, settling.taken, waiting)
        return self._proposed(rebased, [*waiting, *chain.made], changes, range_diff)

    def _rebased(self, place: Quarantine, chain: _Chain) -> Verification:
        """The rebase with every conflict settled. Raises what `chain` raises where one is not."""
        return verify.verify(
            place,
            self.snapshot.upstream,
            self.snapshot.trunk,
            committer_of(self.desk.place.repository, self._moment(place)),
            version=self.desk.fork.version,
            tags=self.snapshot.tags,
            scratch=self.desk.trees,
            settle=chain,
        )

    def _proposed(
        self, rebased: Verification, made: list[Resolution], changes: list[FileChange], range_diff: str
    ) -> Judgement:
        """Gate what was settled, review it, and bring it to the forge."""
        desk, settling = self.desk, self.settling
        assert settling is not None
        try:
            tip, gates = self._gated(rebased, str(rebased.tip))
            what = proposal.proposed(
                desk,
                self.verification,
                rebased,
                tip,
                settling.taken,
                gates=gates,
                unsafe=settling.unsafe,
                range_diff=range_diff,
            )
            refuse_unless_passed(proposal.checked(desk, what, changes))
        except UpkeepError as error:
            if not isinstance(error, (LockError, RunCancelled)):
                memory.refuse(self.database, desk.name, made)
            raise
        pull_request = proposal.send(desk, self.snapshot, what)
        memory.note_proposal(self.database, desk.name, made, tip=tip, number=pull_request.number, url=pull_request.url)
        proposal.supersede(desk, pull_request)
        desk.note(EventType.PR_CREATED, url=pull_request.url)
        message = f"Agent {desk.agent.name} settled the conflicts; a person decides: {pull_request.url}"
        return self.result("proposed", message, url=pull_request.url, what=what)

    def _moment(self, place: Quarantine) -> datetime:
        """The proposal's date: of what caused it, so that the same resolutions are the same commits."""
        commits = read_commits(place, [self.snapshot.upstream, self.snapshot.trunk])
        return datetime.fromtimestamp(max(each.committed_seconds for each in commits.values()), UTC)

    def _gated(self, rebased: Verification, tip: str) -> tuple[str, GatesSaid]:
        """Run the gates on the proposal. Raises GateFailed."""
        desk = self.desk
        if not desk.fork.gates:
            return tip, "none"
        if desk.gates is None:
            desk.draft.override("--skip-gates")
            return tip, "skipped"
        try:
            passed, ran = desk.gates(desk, self.snapshot, rebased)
        except GateFailed as error:
            raise GateFailed(
                f"the gates failed on what agent {desk.agent.name} made: {error.message}", remedy=error.remedy
            ) from error
        desk.draft.put(gates=ran)
        return passed, "passed"

    def result(
        self,
        state: JudgementState,
        message: str,
        *,
        url: str | None = None,
        said: str | None = None,
        what: proposal.Proposed | None = None,
    ) -> Judgement:
        settling = self.settling
        usage = (settling.usage if settling else None) or Usage(engine="")
        return Judgement(
            state=state,
            message=message,
            said=said or "",
            agent=self.desk.fork.agent,
            url=url,
            branch=None if what is None else what.branch,
            tip=None if what is None else what.tip,
            settled=() if what is None else what.settled,
            requests=usage.requests,
            cost_usd=None if usage.unpriced else usage.cost_usd,
            seconds=round(settling.seconds, 3) if settling else 0.0,
            transcript=settling.transcript if settling else None,
        )


@dataclass
class _Chain:
    """`stops.Settle`: what is remembered, else the agent, unless something stands against asking it."""

    session: _Session
    remembered: Memory
    settling: Settling
    rows_by_key: Mapping[tuple[str, str, str, str], Resolution]
    made: list[Resolution] = field(default_factory=list)

    def __call__(self, stop: Stop) -> Settled:
        settled = self.remembered(stop)
        if settled is not None:
            return settled
        self._refuse_known(stop)
        desk, database = self.session.desk, self.session.database
        try:
            settled = self.settling(stop)
        except UpkeepError as error:
            if _counts(error):
                memory.note_failure(database, desk.name, stop, desk.fork.agent)
            raise
        for row in self._rows(self.settling.taken[-1]):
            memory.put(database, desk.name, row)
            self.made.append(row)
        return settled

    def _rows(self, taken: Taken) -> list[Resolution]:
        """What is remembered of one stop that the agent settled."""
        found = []
        for sides in taken.stop.sides:
            base, ours, theirs = sides.key
            content = taken.contents[sides.path]
            mode = None if content is None else _mode(sides)
            found.append(
                Resolution(
                    path=shown(sides.path),
                    base=base,
                    ours=ours,
                    theirs=theirs,
                    mode=mode,
                    content=content,
                    ours_content=None if sides.ours is None else self.settling.quarantine.blob(sides.ours.sha),
                    patch=delta.key_of(
                        taken.stop.patch.commit.author_name,
                        taken.stop.patch.commit.authored_at,
                        taken.stop.patch.commit.subject,
                    ),
                    agent=self.session.desk.fork.agent,
                )
            )
        return found

    def _refuse_known(self, stop: Stop) -> None:
        for sides in stop.sides:
            row = self.rows_by_key.get((shown(sides.path), *sides.key))
            if row is not None and row.state == "declined":
                what = f"what agent {row.agent} made of patch {stop.patch.number}"
                raise Declined(f"A person declined {what}: {row.url}", url=row.url)
            if row is not None and row.state == "failed" and row.attempts >= ATTEMPTS:
                what = f"this conflict of patch {stop.patch.number}"
                raise Declined(f"Agent {row.agent} failed {row.attempts} times at {what} and is not asked again")


def _counts(error: UpkeepError) -> bool:
    """Whether a failure says something about the conflict, and not about the day."""
    if isinstance(error, BudgetExhausted) or error.transient or error.details.get("retryable"):
        return False
    return isinstance(error, (Unsettled, AgentError))


def _mode(sides: Sides) -> str:
    """The mode after a three-way merge of modes."""
    base, ours, theirs = (side.mode if side else None for side in (sides.base, sides.ours, sides.theirs))
    return str(theirs if ours == base and theirs is not None else ours or theirs)


def _changes(place: Quarantine, taken: list[Taken], remembered: list[Resolution]) -> list[FileChange]:
    """The files that were settled, against all sides of their conflicts as one text."""
    found: dict[str, FileChange] = {}
    for each in taken:
        for sides in each.stop.sides:
            old = b"\n".join(
                place.blob(side.sha) for side in (sides.base, sides.ours, sides.theirs) if side is not None
            )
            found[sides.path] = FileChange(path=shown(sides.path), old=old, new=each.contents[sides.path])
    for row in remembered:
        found.setdefault(row.path, FileChange(path=row.path, old=row.ours_content, new=row.content))
    return list(found.values())
