"""Moving refs of the person's repository: each only from where it was seen, and a clean checkout comes along.

What belongs here: moving one ref or one checkout, and saying why not. What does not: which refs (`apply.py`,
`branches.py`).
"""

from __future__ import annotations

from upkeep.errors import GitError
from upkeep.forks.place import Place, Worktree
from upkeep.plumbing.command import run_git


def set_ref(place: Place, ref: str, sha: str, before: str) -> bool:
    """Move a ref that is nowhere checked out; False: it is not where it was seen."""
    try:
        place.repository.set_ref(ref, sha, before)
    except GitError:
        return False
    return True


def move_checkout(worktree: Worktree, before: str, sha: str) -> str:
    """Move the branch that is checked out, with index and files; return why not, or nothing. What is not committed is
    never lost: git refuses where a file of the person's would be overwritten."""
    if worktree.head != before:
        return f"{worktree.path} is at {worktree.head} by now"
    try:
        run_git(["reset", "--quiet", "--keep", sha], cwd=worktree.path, personal=True)
    except GitError as error:
        return words_of(error)
    return ""


def move_branch(place: Place, branch: str, before: str, sha: str) -> str:
    """Move a branch, checked out or not; return why not, or nothing."""
    checkout = next((each for each in place.worktrees() if branch in (each.branch, each.operation_on)), None)
    if checkout is None:
        return "" if set_ref(place, f"refs/heads/{branch}", sha, before) else "it moved meanwhile"
    if checkout.operation:
        return f"a {checkout.operation} is in progress in {checkout.path}"
    if changed := place.dirty(checkout):
        return f"it is checked out in {checkout.path} with {len(changed)} changed file(s), such as {changed[0]}"
    return move_checkout(checkout, before, sha)


def words_of(error: GitError) -> str:
    """The first line of what git said."""
    return str(error.details.get("words", error.message)).strip().splitlines()[0]
