"""The state that a run starts from: every SHA that matters, read before anything else.

What belongs here: reading it, and refusing what a person has to settle first. What does not: deciding about it later
again: what is verified, gated and pushed starts from these SHAs, and the lease is one of them.

What is rebased is the remote trunk. Objects are fetched by address and without a destination, so that in a person's
repository no ref moves, not even a remote-tracking one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from upkeep.errors import BranchGone, GitError, RemoteUnavailable, RepositoryNotReady, UpkeepError
from upkeep.forks import graphite
from upkeep.forks.graphite import Tracked
from upkeep.forks.ownership import newest_version
from upkeep.forks.place import Place, Worktree
from upkeep.forks.records import Record
from upkeep.git import Repository
from upkeep.plumbing.command import NETWORK_SECONDS, display_url, run_git, separate_credentials
from upkeep.settings.forks import Fork

BACKUP_PREFIX = "refs/upkeep/backup/"
_OURS = "refs/upkeep/seen/"
_TRIES = 3
_LINE = re.compile(r"([0-9a-f]{40})\t(\S+)")


StackKind = Literal["graphite", "plain", "none"]
"""Who restacks the branches on trunk."""


class Snapshot(Record):
    """SHAs by what they are. `trunk`, `mirror`, `next_branches` and `backups` (by run) are the remote's, `local_…` are
    the repository's here; None: there is no such branch. `tags` is the upstream tag that the version comes from, where
    it comes from one. `checked_out` is where trunk is checked out.

    `stack` holds the fork's own branches here, `remote_stack` those of them that the remote has. `stack_kind` says who
    restacks them, `tracked` what Graphite knows of them, each after its parent, `stack_note` what a person should know,
    and `stack_problem` why they cannot be restacked. `…_branch` are the branches' names.
    """

    taken_at: datetime
    fork_url: str
    upstream_url: str
    trunk_branch: str = ""
    mirror_branch: str = ""
    upstream_branch: str = ""
    trunk: str
    mirror: str | None
    upstream: str
    next_branches: dict[str, str] = Field(default_factory=dict)
    local_trunk: str | None = None
    local_mirror: str | None = None
    stack: dict[str, str] = Field(default_factory=dict)
    remote_stack: dict[str, str] = Field(default_factory=dict)
    stack_kind: StackKind = "none"
    tracked: dict[str, Tracked] = Field(default_factory=dict)
    stack_note: str = ""
    stack_problem: str = ""
    backups: dict[str, str] = Field(default_factory=dict)
    tags: tuple[str, ...] = ()
    checked_out: str | None = None

    @property
    def shas(self) -> dict[str, str]:
        """What a lock shows to people."""
        values = {
            "trunk": self.trunk,
            "mirror": self.mirror,
            "upstream": self.upstream,
            "local_trunk": self.local_trunk,
        }
        return {name: sha for name, sha in values.items() if sha is not None}


def backup_ref(trunk: str, run_id: str) -> str:
    return f"{BACKUP_PREFIX}{trunk}/{run_id}"


def take(place: Place) -> Snapshot:
    """Look at remotes and repository, fetch what is missing, and return the snapshot.

    Raises RepositoryNotReady (`forks.local_commits`, `forks.dirty`, `forks.in_progress`), BranchGone,
    RemoteUnavailable. Nothing has moved then.
    """
    refuse_busy(place)
    branches = _branches(place)
    for _ in range(_TRIES):
        snapshot = _look(place, branches)
        try:
            _fetch(place, snapshot)
        except BranchGone:
            continue  # It was there a moment ago: look again, and say so if it is really gone.
        if _complete(place, snapshot):
            _refuse_local_commits(place, snapshot)
            return snapshot
    raise RemoteUnavailable(
        f"the remotes of {place.name} kept moving while they were read, {_TRIES} times",
        remedy="Run again in a moment.",
    )


def refuse_busy(place: Place) -> None:
    """Raise RepositoryNotReady where a person is in the middle of something that the run would get in the way of."""
    trunk = place.fork.trunk
    if place.repository.is_shallow:
        raise RepositoryNotReady(
            f"the history in {place.repository.path} is shallow: what lies before its edge is unknown",
            code="git.shallow",
            remedy=f"Fetch the rest: `git -C {place.repository.path} fetch --unshallow`.",
        )
    for number, worktree in enumerate(place.worktrees()):
        has_trunk = worktree.branch == trunk
        about_trunk = has_trunk or worktree.operation_on == trunk
        if worktree.operation and (about_trunk or (number == 0 and worktree.operation == "rebase")):
            raise RepositoryNotReady(
                f"a {worktree.operation} is in progress in {worktree.path}",
                code="forks.in_progress",
                remedy=f"Finish or abort it: `git -C {worktree.path} status` says how. Nothing was touched.",
                path=str(worktree.path),
                operation=worktree.operation,
            )
        if has_trunk and (changed := place.dirty(worktree)):
            raise RepositoryNotReady(
                f"{trunk} is checked out in {worktree.path} with {len(changed)} changed file(s), such as {changed[0]}",
                code="forks.dirty",
                remedy=f"Commit or stash them: `git -C {worktree.path} stash`. Nothing was touched.",
                path=str(worktree.path),
                first=changed[0],
            )


def trunk_worktree(place: Place) -> Worktree | None:
    return next((each for each in place.worktrees() if each.branch == place.fork.trunk), None)


@dataclass(frozen=True)
class _Branches:
    """Who restacks here, and what Graphite knows."""

    kind: StackKind
    tracked: Mapping[str, Tracked] = field(default_factory=dict)
    note: str = ""
    problem: str = ""


def _branches(place: Place) -> _Branches:
    wanted = place.fork.stack
    if wanted in ("plain", "none"):
        return _Branches("plain" if wanted == "plain" else "none")
    if place.own or not graphite.initialised(place):
        init = f"`gt init --trunk {place.fork.trunk}`"
        problem = f"Graphite is not initialised in {place.repository.path}: {init} does that."
        return _Branches("none") if wanted == "auto" else _Branches("graphite", problem=problem)
    if graphite.installed() is None and wanted == "auto":
        return _Branches(
            "none", note="Graphite is initialised here, but `gt` is not installed: branches are left alone."
        )
    try:
        stacks = graphite.look(place)
    except UpkeepError as error:
        return _Branches("graphite", problem=f"{error.message}. {error.remedy}")
    lost = ", ".join(f"`gt track {name}`" for name in stacks.diverged)
    note = f"Git moved branches that Graphite has lost since: {lost} sets that right." if lost else ""
    if not stacks.is_trunk:
        known = ", ".join(stacks.trunks) or "none"
        other = f"Graphite's trunk here is {known}, not {place.fork.trunk}: its branches are left alone."
        return _Branches("none", note=other) if wanted == "auto" else _Branches("graphite", problem=other)
    return _Branches("graphite", stacks.tracked, note)


def _look(place: Place, branches: _Branches) -> Snapshot:
    fork = place.fork
    theirs = _ls_remote(place, place.fork_url, ["refs/heads/*", f"{BACKUP_PREFIX}{fork.trunk}/*"])
    wanted = [f"refs/heads/{branch}" for branch in (fork.upstream_branch, *fork.next_branches)]
    upstream = _ls_remote(place, place.upstream_url, [*wanted, *(["refs/tags/*"] if _wants_tags(place) else [])])
    trunk = _required(theirs, fork.trunk, place.fork_url)
    head = _required(upstream, fork.upstream_branch, place.upstream_url)
    local = {} if place.own else place.repository.refs("refs/heads/")
    known = local or {ref: sha for ref, sha in theirs.items() if ref.startswith("refs/heads/")}
    named = {ref.removeprefix("refs/heads/"): sha for ref, sha in known.items()}
    stack = {branch: sha for branch, sha in named.items() if _in_stack(fork, branch, branches)}
    prefix = f"{BACKUP_PREFIX}{fork.trunk}/"
    found = None if place.own else trunk_worktree(place)
    return Snapshot(
        taken_at=datetime.now(UTC),
        fork_url=display_url(place.fork_url),
        upstream_url=display_url(place.upstream_url),
        trunk_branch=fork.trunk,
        mirror_branch=fork.mirror_branch,
        upstream_branch=fork.upstream_branch,
        trunk=trunk,
        mirror=theirs.get(f"refs/heads/{fork.mirror_branch}"),
        upstream=head,
        next_branches={
            branch: upstream[ref] for branch in fork.next_branches if (ref := f"refs/heads/{branch}") in upstream
        },
        local_trunk=local.get(f"refs/heads/{fork.trunk}"),
        local_mirror=local.get(f"refs/heads/{fork.mirror_branch}"),
        stack=stack,
        remote_stack={branch: theirs[ref] for branch in stack if (ref := f"refs/heads/{branch}") in theirs},
        stack_kind=branches.kind,
        tracked=dict(branches.tracked),
        stack_note=branches.note,
        stack_problem=branches.problem,
        backups={ref.removeprefix(prefix): sha for ref, sha in theirs.items() if ref.startswith(prefix)},
        tags=_newest_tag(place, [ref.removeprefix("refs/tags/") for ref in upstream if ref.startswith("refs/tags/")]),
        checked_out=None if found is None else str(found.path),
    )


def _in_stack(fork: Fork, branch: str, branches: _Branches) -> bool:
    if branch in (fork.trunk, fork.mirror_branch) or branches.kind == "none":
        return False
    if branches.kind == "graphite":
        return branch in branches.tracked
    return any(fnmatchcase(branch, pattern) for pattern in fork.stack_branches)


def _wants_tags(place: Place) -> bool:
    return place.fork.version is not None and place.fork.version.source == "tag"


def _newest_tag(place: Place, tags: Sequence[str]) -> tuple[str, ...]:
    """The tag that names the newest version: an upstream may have thousands, and a report shows the one that counts."""
    if place.fork.version is None:
        return ()
    pattern = place.fork.version.tag or "(.+)"
    newest = newest_version(tags, pattern)
    return tuple(tag for tag in tags if newest and (match := re.fullmatch(pattern, tag)) and match[1] == newest)[:1]


def _required(refs: dict[str, str], branch: str, url: str) -> str:
    sha = refs.get(f"refs/heads/{branch}")
    if sha is None:
        raise BranchGone(
            f"{display_url(url)} has no branch {branch}",
            remedy="Set the branch that exists in upkeep.yaml, or restore it on the remote.",
            remote=display_url(url),
            branch=branch,
        )
    return sha


def _ls_remote(place: Place, url: str, patterns: Sequence[str]) -> dict[str, str]:
    address, login = separate_credentials(url)
    done = run_git(
        ["ls-remote", "--quiet", "--refs", "--end-of-options", address, *patterns],
        config={**place.config, **login},
        env=place.env,
        personal=True,
        deadline=NETWORK_SECONDS,
        remote=url,
    )
    found = {match[2]: match[1] for match in _LINE.finditer(done.text)}
    # A pattern matches the end of a name as well.
    prefixes = tuple(pattern.rstrip("*") for pattern in patterns)
    return {ref: sha for ref, sha in found.items() if ref.startswith(prefixes)}


def _fetch(place: Place, snapshot: Snapshot) -> None:
    fork = place.fork
    branches = [fork.trunk, *([fork.mirror_branch] if snapshot.mirror else []), *snapshot.remote_stack]
    for side, url, names in (
        ("fork", place.fork_url, branches),
        ("upstream", place.upstream_url, [fork.upstream_branch, *snapshot.next_branches]),
    ):
        # In our own mirror a ref keeps what was fetched, so that the next fetch has something to start from.
        target = f":{_OURS}{side}/" if place.own else ""
        refspecs = [f"+refs/heads/{name}{target}{name}" if target else f"refs/heads/{name}" for name in names]
        place.repository.fetch(url, refspecs, config=place.config, env=place.env)


def _complete(place: Place, snapshot: Snapshot) -> bool:
    """Whether all that the snapshot names was fetched; a branch may have been rewritten between look and fetch."""
    wanted = [snapshot.trunk, snapshot.mirror, snapshot.upstream, *snapshot.next_branches.values()]
    return all(has(place.repository, sha) for sha in [*wanted, *snapshot.remote_stack.values()] if sha)


def has(repository: Repository, sha: str) -> bool:
    """Whether the repository holds a commit."""
    return repository.resolve(sha) is not None


def settled(place: Place, snapshot: Snapshot, local: str) -> bool:
    """Whether the remote holds everything that a local trunk at `local` has: in trunk, or in the backup of a trunk that
    a run replaced. The second is what a run that was killed after its push leaves, and what other machines see."""
    if place.repository.is_ancestor(local, snapshot.trunk):
        return True
    backups = [sha for sha in snapshot.backups.values() if has(place.repository, sha)]
    return local in snapshot.backups.values() or any(place.repository.is_ancestor(local, sha) for sha in backups)


def _refuse_local_commits(place: Place, snapshot: Snapshot) -> None:
    local = snapshot.local_trunk
    if local is None or settled(place, snapshot, local):
        return
    try:
        count = place.repository.count(snapshot.trunk, local)
    except GitError:
        count = 0
    trunk, path = place.fork.trunk, place.repository.path
    raise RepositoryNotReady(
        f"{trunk} in {path} has {count} commit(s) that {snapshot.fork_url} has not",
        code="forks.local_commits",
        remedy=f"Push them (`git -C {path} push {place.fork.remotes.fork} {trunk}`), or put them on a branch of their "
        f"own and set {trunk} back. Nothing was touched.",
        local=local,
        remote=snapshot.trunk,
    )
