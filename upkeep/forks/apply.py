"""Applying what was verified: mirror, then trunk together with its backup, then what is local.

What belongs here: the order, and what is done about each thing that moved meanwhile. What does not: rebasing. The
rebase is never run a second time; the SHA that is pushed is the SHA that was verified and gated.

    mirror   fast-forward only, with a lease
    trunk    with the lease of the snapshot, in one atomic push with a backup ref of the old tip; where the server has
             no atomic push, the backup goes first
    local    refs of the person's repository, each only from where it was seen; a clean checkout of trunk comes along

Each step is idempotent: what is done already is not done again, so a run that was killed anywhere is finished by the
next. A local trunk that the killed run left behind is in the backup, which makes it ours to move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from upkeep.errors import GitError, PushRefused, RepositoryNotReady
from upkeep.forks import pushing
from upkeep.forks.moving import move_checkout, set_ref, words_of
from upkeep.forks.place import Place, Worktree
from upkeep.forks.pushing import NotAtomic, Update
from upkeep.forks.records import Record
from upkeep.forks.snapshot import Snapshot, backup_ref, refuse_busy, settled, trunk_worktree
from upkeep.plumbing.command import run_git

LocalState = Literal["moved", "unchanged", "absent", "left"]


class Moved(Record):
    """One ref: where it was, and where it is now."""

    ref: str
    before: str | None
    after: str


class Applied(Record):
    """What was moved. `local_trunk` is `left` where a person moved it meanwhile, and `notes` then say why."""

    pushed: tuple[Moved, ...] = ()
    local: tuple[Moved, ...] = ()
    backup: str | None = None
    local_trunk: LocalState = "absent"
    notes: tuple[str, ...] = ()


def refuse_diverged_mirror(place: Place, snapshot: Snapshot) -> None:
    """Raise PushRefused (`forks.mirror_diverged`) where the mirror branch has commits that upstream has not."""
    if snapshot.mirror is None or place.repository.is_ancestor(snapshot.mirror, snapshot.upstream):
        return
    branch = place.fork.mirror_branch
    raise PushRefused(
        f"{branch} on {snapshot.fork_url} is at {snapshot.mirror}, which is not in upstream's {snapshot.upstream}",
        code="forks.mirror_diverged",
        remedy=f"{branch} is only ever moved forward. `git log {snapshot.upstream}..{snapshot.mirror}` shows it."
        f" Move that to {place.fork.trunk}, and set {branch} to upstream by hand.",
        expected=snapshot.upstream,
        actual=snapshot.mirror,
    )


def apply(
    place: Place,
    snapshot: Snapshot,
    tip: str,
    run_id: str,
    *,
    may: Callable[[], None],
    seen: Callable[[Applied], None] = lambda _: None,
    mirror: bool = True,
) -> Applied:
    """Make `tip` the trunk. Its objects must be in the repository (`Quarantine.keep`).

    `may` is asked before every push and every local move, and raises where we must not go on (lock lost, cancelled).
    `seen` is told after every push what has happened so far: what an error ends has a report as well.
    Raises PushRefused and RemoteUnavailable before anything local has moved, RepositoryNotReady where a person began
    something in the repository meanwhile: before the first push, nothing has moved then.
    """
    if mirror:
        refuse_diverged_mirror(place, snapshot)
    refuse_busy(place)
    pushed: list[Moved] = []
    mirror_ref, trunk_ref = (f"refs/heads/{name}" for name in (place.fork.mirror_branch, place.fork.trunk))
    if mirror and snapshot.mirror != snapshot.upstream:
        may()
        pushing.push(place, [Update(mirror_ref, snapshot.upstream, snapshot.mirror)])
        pushed.append(Moved(ref=mirror_ref, before=snapshot.mirror, after=snapshot.upstream))
        seen(Applied(pushed=tuple(pushed)))
    backup = None
    if tip != snapshot.trunk:
        may()
        name = _backup_name(snapshot, run_id)
        backup, there = backup_ref(place.fork.trunk, name), snapshot.backups.get(name)
        trunk = Update(trunk_ref, tip, snapshot.trunk)
        _push_with_backup(place, trunk, Update(backup, snapshot.trunk, there), may)
        pushed.append(Moved(ref=trunk_ref, before=snapshot.trunk, after=tip))
        pushed.append(Moved(ref=backup, before=there, after=snapshot.trunk))
        seen(Applied(pushed=tuple(pushed), backup=backup))
    may()
    local, state, notes = _move_local(place, snapshot, tip, mirror=mirror)
    return Applied(pushed=tuple(pushed), local=tuple(local), backup=backup, local_trunk=state, notes=tuple(notes))


def restore(
    place: Place,
    snapshot: Snapshot,
    run: str,
    run_id: str,
    *,
    may: Callable[[], None],
    seen: Callable[[Applied], None] = lambda _: None,
) -> Applied:
    """Put trunk back to what it was before `run`, from that run's backup, under the same lease rule.

    What trunk is now is backed up under `run_id`. Raises GitError (`forks.no_backup`) and as `apply`.
    """
    sha = snapshot.backups.get(run)
    if sha is None:
        known = ", ".join(sorted(snapshot.backups)[-5:]) or "none"
        raise GitError(
            f"{snapshot.fork_url} has no backup of {place.fork.trunk} from run {run}",
            code="forks.no_backup",
            remedy=f"Backups there: {known}.",
        )
    address = [backup_ref(place.fork.trunk, run)]
    place.repository.fetch(place.fork_url, address, config=place.config, env=place.env)
    return apply(place, snapshot, sha, run_id, may=may, seen=seen, mirror=False)


def _backup_name(snapshot: Snapshot, run_id: str) -> str:
    """The run's own name, unless that holds another trunk: a run may be repeated under its name after it had pushed."""
    number, name = 1, run_id
    while snapshot.backups.get(name, snapshot.trunk) != snapshot.trunk:
        number += 1
        name = f"{run_id}.{number}"
    return name


def _push_with_backup(place: Place, trunk: Update, backup: Update, may: Callable[[], None]) -> None:
    try:
        pushing.push(place, [trunk, backup])
    except NotAtomic:
        pushing.push(place, [backup])
        may()
        pushing.push(place, [trunk])


def _move_local(
    place: Place, snapshot: Snapshot, tip: str, *, mirror: bool
) -> tuple[list[Moved], LocalState, list[str]]:
    if place.own:
        return [], "absent", []
    moved: list[Moved] = []
    notes: list[str] = []
    fork = place.fork
    refs = place.repository.refs("refs")
    tracking = [(f"refs/remotes/{fork.remotes.fork}/{fork.trunk}", tip)]
    if mirror:
        tracking.append((f"refs/remotes/{fork.remotes.fork}/{fork.mirror_branch}", snapshot.upstream))
    for ref, sha in tracking:
        # As a push by name would have done.
        if ref in refs and refs[ref] != sha and set_ref(place, ref, sha, refs[ref]):
            moved.append(Moved(ref=ref, before=refs[ref], after=sha))
    state = _move_trunk(place, snapshot, tip, moved, notes)
    if mirror:
        _move_mirror(place, snapshot, moved, notes)
    return moved, state, notes


def _move_trunk(place: Place, snapshot: Snapshot, tip: str, moved: list[Moved], notes: list[str]) -> LocalState:
    trunk, ref = place.fork.trunk, f"refs/heads/{place.fork.trunk}"
    now = place.repository.refs(ref).get(ref)
    if snapshot.local_trunk is None and now is None:
        return "absent"
    if now == tip:
        return "unchanged"
    seen = snapshot.local_trunk
    why = ""
    if now != seen or now is None or not settled(place, snapshot, now):
        why = f"it moved from {seen} to {now} meanwhile"
    elif (found := trunk_worktree(place)) is not None:
        why = _move_checkout(place, found, now, tip)
    elif not set_ref(place, ref, tip, now):
        why = "it moved meanwhile"
    if why:
        notes.append(
            f"The remote {trunk} is at {tip}, the local one was left alone: {why}. To follow by hand: "
            f"`git -C {place.repository.path} rebase --onto {tip} {snapshot.trunk} {trunk}`."
        )
        return "left"
    moved.append(Moved(ref=ref, before=now, after=tip))
    return "moved"


def _move_checkout(place: Place, worktree: Worktree, before: str, tip: str) -> str:
    """Move a checked-out trunk with its files; return why not, or nothing."""
    try:
        refuse_busy(place)
    except RepositoryNotReady as error:
        return error.message
    return move_checkout(worktree, before, tip)


def _move_mirror(place: Place, snapshot: Snapshot, moved: list[Moved], notes: list[str]) -> None:
    """Bring the local mirror branch forward where nothing is in the way; it is a convenience, and never an error."""
    branch, ref, sha = place.fork.mirror_branch, f"refs/heads/{place.fork.mirror_branch}", snapshot.upstream
    now = place.repository.refs(ref).get(ref)
    if now is None or now == sha:
        return
    why = ""
    checkout = next((each for each in place.worktrees() if each.branch == branch), None)
    if not place.repository.is_ancestor(now, sha):
        why = "it has commits that upstream has not"
    elif checkout is not None and (place.dirty(checkout) or checkout.operation):
        why = f"it is checked out in {checkout.path} with changes"
    elif checkout is not None:
        why = _fast_forward(checkout, sha)
    elif not set_ref(place, ref, sha, now):
        why = "it moved meanwhile"
    if why:
        notes.append(f"The local {branch} was left alone: {why}.")
    else:
        moved.append(Moved(ref=ref, before=now, after=sha))


def _fast_forward(checkout: Worktree, sha: str) -> str:
    try:
        run_git(["merge", "--quiet", "--ff-only", "--no-verify-signatures", sha], cwd=checkout.path, personal=True)
    except GitError as error:
        return words_of(error)
    return ""
