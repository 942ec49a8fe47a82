"""The branches on trunk: what restacking each of them on a new trunk comes to, and bringing it about.

What belongs here: which commits are a branch's own, carrying them over in memory, and moving what goes. What does not:
talking to Graphite (`graphite.py`), and how commits are picked (`engine.py`).

A branch's own commits are those that no trunk has: not the new one, and none that it may stand on: the trunk that the
snapshot saw, the local one, those that earlier runs replaced (their backups). Once they are carried over, the branch is
moved from where the snapshot saw it and from nowhere else.

    plain      each on its own; a branch that stands on another one comes out on top of it again, because the same
               commits on the same trunk are the same commits
    graphite   all branches above one on trunk go, or none of them is touched; `gt` then makes the commits, and what it
               made is held against what was verified
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from upkeep.errors import GitError, RemoteUnavailable, UpkeepError
from upkeep.forks import graphite, ownership, pushing
from upkeep.forks.moving import move_branch
from upkeep.forks.place import Place
from upkeep.forks.pushing import Update
from upkeep.forks.quarantine import Quarantine, quarantine
from upkeep.forks.rawcommit import Committer
from upkeep.forks.records import ConflictingPatch
from upkeep.forks.report import Restack, Restacked
from upkeep.forks.snapshot import Snapshot, has
from upkeep.forks.stack import read_stack
from upkeep.forks.verify import carry

NOTHING_THERE = "No branch stands on trunk: there was nothing to restack."


@dataclass(frozen=True)
class Bench:
    """What restacking works with. `onto` is the new trunk, `may` is asked before everything that moves, worktrees may
    lie in `scratch`, and `mark` is where `graphite.restack` notes what it began."""

    place: Place
    snapshot: Snapshot
    onto: str
    committer: Committer
    may: Callable[[], None]
    scratch: Path
    mark: Path

    @cached_property
    def trunks(self) -> tuple[str, ...]:
        """Every trunk that a branch may stand on."""
        seen = [self.onto, self.snapshot.trunk, self.snapshot.local_trunk, *self.snapshot.backups.values()]
        return tuple(dict.fromkeys(sha for sha in seen if sha and has(self.place.repository, sha)))


@dataclass(frozen=True)
class Carried:
    """What one branch becomes. `tip` None: a patch conflicts. `emptied`: it had commits of its own, and trunk has them
    all by now. `on_trunk`: it stands on a trunk, and not beside it."""

    branch: str
    before: str
    tip: str | None
    tree: str
    emptied: bool
    on_trunk: bool
    conflicts: tuple[ConflictingPatch, ...] = ()


def restack(bench: Bench, *, push: bool) -> Restacked:
    """Restack what the snapshot saw. Raises LockLost and RunCancelled from `may`; whatever else goes wrong is in the
    result."""
    snapshot = bench.snapshot
    common = Restacked(kind=snapshot.stack_kind, note=snapshot.stack_note, problem=snapshot.stack_problem)
    if snapshot.stack_problem or snapshot.stack_kind == "none":
        return common
    if bench.place.own and not push:
        note = "A fork by url has no branches here: with `push_stack: true` those on the remote are restacked."
        return common.model_copy(update={"note": note})
    if not snapshot.stack:
        return common.model_copy(update={"note": " ".join(filter(None, (snapshot.stack_note, NOTHING_THERE)))})
    done: list[Restack] = []
    problem = ""
    try:
        # What was done before an error is kept.
        done.extend(_graphite(bench) if snapshot.stack_kind == "graphite" else _plain(bench, push=push))
    except (GitError, graphite.GraphiteError) as error:
        problem = error.message
    return common.model_copy(update={"branches": tuple(done), "problem": problem})


def carry_over(
    bench: Bench, quarantine: Quarantine, branch: str, *, onto: str, trunks: Sequence[str], head: str
) -> Carried:
    """Carry a branch's own commits over to `onto`, inside the quarantine. Raises GitError."""

    def listed(*without: str) -> set[str]:
        lines = "".join(f"{line}\n" for line in (head, *(f"^{sha}" for sha in without)))
        return set(quarantine.git("rev-list", "--stdin", data=lines.encode()).text.split())

    beyond_upstream = listed(bench.snapshot.upstream)
    own = listed(*trunks)
    theirs = beyond_upstream - own
    stack = read_stack(quarantine, onto, head, own=lambda commit: commit.sha in theirs or ownership.is_own(commit))
    stack = replace(stack, merges=tuple(sha for sha in stack.merges if sha not in theirs))
    carried = carry(quarantine, stack, bench.committer, scratch=bench.scratch)
    result = carried.result
    trunk_is_upstream = bench.place.repository.is_ancestor(bench.snapshot.trunk, bench.snapshot.upstream)
    return Carried(
        branch=branch,
        before=head,
        tip=result.tip if result.clean else None,
        tree=result.tree,
        emptied=bool(own) and result.clean and not result.kept,
        on_trunk=bool(theirs) or trunk_is_upstream,
        conflicts=carried.conflicts,
    )


def _plain(bench: Bench, *, push: bool) -> Iterator[Restack]:
    with quarantine(bench.place.repository) as place:
        planned = [
            carry_over(bench, place, branch, onto=bench.onto, trunks=bench.trunks, head=head)
            for branch, head in bench.snapshot.stack.items()
        ]
        for each in planned:
            if each.on_trunk and each.tip is not None:
                place.keep(each.tip, [bench.onto, each.before])
    for each in planned:
        yield _settled(each) or _moved(bench, each, str(each.tip), push=push)


def _settled(planned: Carried) -> Restack | None:
    """The result of a branch that is not moved; None: it is."""
    same = {"branch": planned.branch, "before": planned.before}
    if not planned.on_trunk:
        return Restack(**same, result="left", note="It does not stand on trunk.")
    if planned.tip is None:
        return Restack(**same, result="conflict", conflicts=planned.conflicts)
    if planned.emptied:
        return Restack(**same, result="left", note="All that it had is in trunk by now; it can be deleted.")
    return None


def _moved(bench: Bench, planned: Carried, tip: str, *, push: bool) -> Restack:
    """Push one branch, where it is to be pushed, and only then move it here."""
    outcome = Restack(
        branch=planned.branch,
        before=planned.before,
        after=tip,
        result="unchanged" if tip == planned.before else "restacked",
    )
    if push:
        outcome = _pushed(bench, outcome, tip)
    if outcome.result != "restacked" or bench.place.own:
        return outcome
    bench.may()
    if why := move_branch(bench.place, planned.branch, planned.before, tip):
        return outcome.model_copy(update={"result": "failed", "after": None, "note": f"It stays where it is: {why}."})
    return outcome


def _pushed(bench: Bench, outcome: Restack, tip: str) -> Restack:
    remote = bench.snapshot.remote_stack.get(outcome.branch)
    if remote == tip:
        return outcome
    if remote is None:
        return outcome.model_copy(update={"note": "It was not pushed: the remote has no such branch."})
    if lost := _only_there(bench, remote, outcome.before):
        note = f"The remote has {lost} commit(s) of it that are not here: pull first. Nothing was moved."
        return outcome.model_copy(update={"result": "failed", "after": None, "note": note})
    bench.may()
    try:
        pushing.push(bench.place, [Update(f"refs/heads/{outcome.branch}", tip, remote)])
    except (GitError, RemoteUnavailable) as error:
        return outcome.model_copy(update={"result": "failed", "after": None, "note": error.message})
    return outcome.model_copy(update={"pushed": True})


def _only_there(bench: Bench, remote: str, local: str) -> int:
    """How many commits a push would lose: patches of the remote's branch that neither ours nor a trunk has."""
    arguments = ["--count", "--left-only", "--cherry-pick", "--no-merges", f"{remote}...{local}"]
    return int(bench.place.git("rev-list", *arguments, *(f"^{sha}" for sha in bench.trunks)))


def _graphite(bench: Bench) -> Iterator[Restack]:
    with quarantine(bench.place.repository) as place:
        planned = _planned(bench, place)
    stopped = ""
    for root in [name for name, known in bench.snapshot.tracked.items() if known.parent == bench.place.fork.trunk]:
        if root not in bench.snapshot.stack:
            continue
        above = _above(bench.snapshot, root)
        refused = _refused(bench, [planned.get(name) for name in above], above, stopped)
        if refused is not None:
            yield from refused
            continue
        bench.may()
        results = list(_by_gt(bench, root, [planned[name] for name in above]))
        stopped = next((each.note for each in results if each.result == "failed"), "")
        yield from results


def _planned(bench: Bench, place: Quarantine) -> dict[str, Carried]:
    """Every branch on the new tip of its parent. What stands on one that conflicts is not tried."""
    planned: dict[str, Carried] = {}
    tips = {bench.place.fork.trunk: bench.onto}
    for name, known in bench.snapshot.tracked.items():
        head, onto = bench.snapshot.stack.get(name), tips.get(known.parent)
        if head is None or onto is None:
            continue
        trunks = (*bench.trunks, *([known.base] if has(bench.place.repository, known.base) else []))
        planned[name] = carry_over(bench, place, name, onto=onto, trunks=trunks, head=head)
        if planned[name].tip is not None:
            tips[name] = str(planned[name].tip)
    return planned


def _above(snapshot: Snapshot, root: str) -> list[str]:
    """A branch and all that stand on it, each after its parent."""
    found = [root]
    found += [name for name, known in snapshot.tracked.items() if known.parent in found and name in snapshot.stack]
    return list(dict.fromkeys(found))


def _refused(
    bench: Bench, planned: Sequence[Carried | None], names: Sequence[str], stopped: str
) -> list[Restack] | None:
    """The results of branches that `gt` is not let near; None: it is."""
    bad = [each for each in planned if each is not None and each.tip is None]
    now = bench.place.repository.refs("refs/heads/")
    heads = bench.snapshot.stack
    moved = [name for name in names if now.get(f"refs/heads/{name}") != heads[name]]
    why = ""
    if bad:
        why = f"{bad[0].branch}, below or beside it in the same stack, conflicts."
    elif stopped:
        why = "Another stack failed before it."
    elif moved:
        why = f"{moved[0]} moved meanwhile."
    elif all(each is not None and each.tip == each.before for each in planned):
        return [Restack(branch=name, before=heads[name], after=heads[name], result="unchanged") for name in names]
    elif obstacle := graphite.position(bench.place).obstacle:
        why = f"Graphite works in the checkout, and {obstacle}."
    if not why:
        return None
    conflicts = {each.branch: each.conflicts for each in bad}
    return [
        Restack(branch=name, before=heads[name], result="conflict", conflicts=conflicts[name])
        if name in conflicts
        else Restack(branch=name, before=heads[name], result="left" if bad else "failed", note=why)
        for name in names
    ]


def _by_gt(bench: Bench, root: str, planned: Sequence[Carried]) -> Iterator[Restack]:
    """Have `gt` restack one stack, and hold what it made against what was verified."""
    surprise = ""
    try:
        graphite.restack(bench.place, root, bench.mark)
    except UpkeepError as error:
        surprise = f"{error.message}. {error.remedy}"
    now = bench.place.repository.refs("refs/heads/")
    try:
        after, marked = graphite.look(bench.place), graphite.marked(bench.place)
    except UpkeepError as error:
        yield from (_failed(each, surprise or error.message, now) for each in planned)
        return
    drifted = graphite.drift(bench.snapshot.tracked, after.tracked, [each.branch for each in planned])
    for each in planned:
        head = now.get(f"refs/heads/{each.branch}")
        if each.branch in drifted:
            yield _failed(each, f"Its parent drifted: {drifted[each.branch]}.", now)
        elif head is None or _tree(bench, head) != each.tree:
            yield _failed(each, surprise or f"gt made {head}, which is not what was verified.", now)
        elif each.branch in marked | after.behind:
            yield _failed(each, surprise or "gt left it behind its parent: `gt restack`.", now)
        elif surprise:
            yield _failed(each, surprise, now)
        else:
            result = "unchanged" if head == each.before else "restacked"
            yield Restack(branch=each.branch, before=each.before, after=head, result=result)


def _failed(planned: Carried, note: str, now: dict[str, str]) -> Restack:
    head = now.get(f"refs/heads/{planned.branch}")
    moved = head if head != planned.before else None
    return Restack(branch=planned.branch, before=planned.before, after=moved, result="failed", note=note)


def _tree(bench: Bench, commit: str) -> str:
    return bench.place.repository.commit(commit).tree
