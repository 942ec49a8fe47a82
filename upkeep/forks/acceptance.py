"""What persons made of the resolutions that were proposed to them.

What belongs here: finding out, at the start of a run, and remembering it. What does not: proposing (`proposal.py`).

Accepted is what a person merged, as they merged it: where they changed a file before, theirs is the resolution.
Accepted is, too, what trunk has come to hold. Declined is what a person closed.
"""

from __future__ import annotations

from collections.abc import Sequence

from upkeep import publish
from upkeep.errors import ForgeError, GitError, LockError, RunCancelled, UpkeepError
from upkeep.forges.base import PullRequest
from upkeep.forks import delta, memory
from upkeep.forks.desk import Desk
from upkeep.forks.memory import Resolution
from upkeep.forks.snapshot import Snapshot
from upkeep.git import Commit, Repository

_FAR = 2_000
"""Commits below a merged head in which its patches are looked for."""


def learn(desk: Desk, snapshot: Snapshot) -> tuple[Resolution, ...]:
    """Look after every proposal that is open, and return all resolutions of the fork. One call a proposal, none where
    there is none; what goes wrong is a note in the report."""
    if desk.database is None:
        return ()
    known = memory.known(desk.database, desk.name)
    proposals = {(each.tip, each.number) for each in known if each.state == "proposed" and each.tip is not None}
    if not proposals:
        return known
    for tip, number in sorted(proposals, key=str):
        rows = [each for each in known if each.state == "proposed" and (each.tip, each.number) == (tip, number)]
        try:
            _look(desk, snapshot, str(tip), number, rows)
        except (LockError, RunCancelled):
            raise
        except UpkeepError as error:
            desk.draft.note(f"Whether a proposed resolution was accepted is not known: {error.message}.")
    return memory.known(desk.database, desk.name)


def _look(desk: Desk, snapshot: Snapshot, tip: str, number: int | None, rows: list[Resolution]) -> None:
    assert desk.database is not None
    repository = desk.place.repository
    if repository.resolve(tip) is not None and repository.is_ancestor(tip, snapshot.trunk):
        _accept(desk, rows, tip, snapshot.trunk)
        return
    if number is None:
        return
    try:
        found = desk.forge.pull_request(desk.fork.repo, number)
    except ForgeError as error:
        if error.reason != "forge.not_found":
            raise
        memory.forget(desk.database, desk.name, rows)
        return
    if found.state == "merged":
        _accept(desk, rows, tip, _merged_head(desk, found, tip))
    elif found.state == "closed" and publish.superseded_by(found) is not None:
        memory.forget(desk.database, desk.name, rows)
    elif found.state == "closed":
        for each in rows:
            memory.decide(desk.database, desk.name, each, "declined")


def _merged_head(desk: Desk, merged: PullRequest, tip: str) -> str:
    """What was merged, with its objects here. Raises GitError where they are not to be had."""
    repository, head = desk.place.repository, merged.head_sha
    if head == tip or repository.resolve(head) is not None:
        return head
    for branch in (merged.head_branch, merged.base_branch):
        try:
            repository.fetch(
                desk.place.fork_url, [f"refs/heads/{branch}"], config=desk.place.config, env=desk.place.env
            )
        except GitError:
            continue
        if repository.resolve(head) is not None:
            return head
    raise GitError(f"{merged.url} was merged with changes that are not to be had any more", code="git.missing_object")


def _accept(desk: Desk, rows: Sequence[Resolution], tip: str, head: str) -> None:
    """Remember the files as `head` has them."""
    assert desk.database is not None
    if head == tip:
        for each in rows:
            memory.decide(desk.database, desk.name, each, "accepted")
        return
    reading = _Reading(desk.place.repository, tip, head)
    for each in rows:
        memory.decide(desk.database, desk.name, each, "accepted", result=reading.of(each))
    if left := reading.elsewhere({each.path for each in rows}):
        shas = ", ".join(f"`{commit.sha[:12]}`" for commit in left[:10])
        desk.draft.note(
            f"A person put {len(left)} commit(s) on the proposal that was merged, and they change more than the files "
            f"in conflict ({shas}): these files were taken as they are there, the rest is not on trunk. "
            "`git cherry-pick` brings it."
        )


class _Reading:
    """A proposal that a person changed before they merged it. `added` are the commits that are no patch of ours."""

    def __init__(self, repository: Repository, tip: str, head: str) -> None:
        self._repository = repository
        self._head = head
        base = repository.merge_base(tip, head) or tip
        ours = {_key(commit) for commit in repository.commits(base, tip)}
        self.added = [commit for commit in repository.commits(base, head) if _key(commit) not in ours]
        self._by_patch = {_key(commit): commit.sha for commit in reversed(repository.commits(None, head, limit=_FAR))}

    def of(self, resolution: Resolution) -> tuple[str | None, bytes | None]:
        """Mode and content that the file has in the commit that the patch became there; with the commits on top that a
        person wrote, where no other patch comes in between."""
        at = self._by_patch.get(resolution.patch, self._head)
        added = {commit.sha for commit in self.added}
        touching = [
            commit.sha for commit in self._repository.commits(at, self._head) if self._changes(commit, resolution)
        ]
        if touching and added.issuperset(touching):
            at = self._head
        entry = next(
            (each for each in self._repository.tree(at, resolution.path) if each.path == resolution.path), None
        )
        return (None, None) if entry is None else (entry.mode, self._repository.read(at, resolution.path))

    def elsewhere(self, paths: set[str]) -> list[Commit]:
        """Commits of a person that change something else than `paths`."""
        return [
            commit
            for commit in self.added
            if commit.parents
            and any(each.path not in paths for each in self._repository.changes(commit.parents[0], commit.sha))
        ]

    def _changes(self, commit: Commit, resolution: Resolution) -> bool:
        path = resolution.path
        return bool(commit.parents) and bool(self._repository.changes(commit.parents[0], commit.sha, path))


def _key(commit: Commit) -> str:
    return delta.key_of(commit.author_name, commit.authored_at, commit.subject)
