"""Merging into a branch of a bare repository, as a forge's merge button does: no work tree, one compare-and-swap.

What belongs here: the three strategies on git's objects. What does not: pull requests (`local.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from upkeep.errors import ForgeError, GitError
from upkeep.git import Commit, Repository
from upkeep.plumbing.command import run_git

Strategy = Literal["merge", "squash", "rebase"]

ATTEMPTS = 3
"""Somebody may push to the base in the moment between reading it and moving it."""

_GRAFT = "Upkeep <upkeep@localhost>"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MergeRequest:
    """`by` is `Name <address>`, the committer of what is made. `message` is that of a merge or squash commit."""

    base_branch: str
    head_sha: str
    strategy: Strategy
    message: str
    by: str


def merge(repository: Repository, request: MergeRequest) -> str:
    """Bring the head into the base branch and return the base's commit that has it. A head that the base contains
    already, or whose changes it has, moves nothing.

    Raises ForgeError `forge.merge_conflict` (details `files`), or `forge.not_found` where the base branch is gone.
    """
    ref = f"refs/heads/{request.base_branch}"
    for attempt in range(1, ATTEMPTS + 1):
        base = repository.refs(ref).get(ref)
        if base is None:
            raise ForgeError(f"there is no branch {request.base_branch}", code="forge.not_found")
        result = _merged(repository, request, base)
        try:
            repository.set_ref(ref, result, base)
        except GitError as error:
            if error.reason != "git.ref_moved" or attempt == ATTEMPTS:
                raise
            continue
        return result
    raise AssertionError("unreachable: the last attempt returns or raises")


def _merged(repository: Repository, request: MergeRequest, base: str) -> str:
    head = request.head_sha
    if repository.is_ancestor(head, base):
        return base
    if request.strategy == "rebase":
        return _rebased(repository, base, head)
    tree = _merged_tree(repository, base, head)
    if tree == repository.commit(base).tree:
        return base
    parents = [base, head] if request.strategy == "merge" else [base]
    return repository.commit_tree(tree, parents, request.message, author=request.by)


def _rebased(repository: Repository, base: str, head: str) -> str:
    """The head's own commits, merges left out, on top of the base; those that change nothing there are dropped."""
    onto = base
    for commit in reversed(repository.commits(base, head)):
        if len(commit.parents) != 1:
            continue
        tree = _picked_tree(repository, onto, commit)
        if tree != repository.commit(onto).tree:
            author = f"{commit.author_name} <{commit.author_email}>"
            onto = repository.commit_tree(tree, [onto], commit.message, author=author, when=commit.authored_at)
    return onto


def _picked_tree(repository: Repository, onto: str, commit: Commit) -> str:
    """The tree of `onto` with the change of one commit. `merge-tree` takes a merge base of one's own choice only since
    git 2.40: two grafts whose one parent holds the old tree tell every version what the base is."""

    def graft(tree: str, *parents: str) -> str:
        return repository.commit_tree(tree, parents, "graft", author=_GRAFT, when=_EPOCH)

    old = graft(repository.commit(commit.parents[0]).tree)
    return _merged_tree(repository, graft(repository.commit(onto).tree, old), graft(commit.tree, old), shown=commit.sha)


def _merged_tree(repository: Repository, ours: str, theirs: str, *, shown: str = "") -> str:
    """Merge two commits and return the tree. Needs git 2.38."""
    arguments = ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs]
    done = run_git(arguments, git_dir=repository.git_dir, accept=(0, 1))
    tree, *conflicts = done.text.rstrip("\0").split("\0")
    if done.returncode == 1:
        raise ForgeError(
            f"{(shown or theirs)[:12]} conflicts with the base branch in {', '.join(conflicts[:5])}",
            code="forge.merge_conflict",
            remedy="Merge the base branch into the head branch, settle the conflicts there, and merge again.",
            files=conflicts,
        )
    return tree
