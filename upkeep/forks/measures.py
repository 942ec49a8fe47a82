"""How big a fork is and how far behind: numbers to plot, and to be warned by.

What belongs here: measuring them in a repository. What does not: rebasing, and what is said about them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from upkeep.forks.records import Behind, Size
from upkeep.git import Repository
from upkeep.plumbing.command import run_git
from upkeep.process import Completed

Git = Callable[..., Completed]
"""`(*arguments)`: runs one git command in a repository or a quarantine."""


def size(git: Git, upstream: str, tip: str) -> Size:
    """What `tip` carries on top of `upstream`: the difference of the two trees."""
    arguments = ["diff-tree", "-r", "-z", "--numstat", "--no-renames", "--end-of-options", upstream, tip]
    rows = [row.split("\t")[:2] for row in git(*arguments).text.split("\0")[:-1]]
    added, deleted = (sum(int(row[at]) for row in rows if row[at] != "-") for at in (0, 1))
    return Size(files=len(rows), lines_added=added, lines_deleted=deleted)


def in_repository(repository: Repository) -> Git:
    """Run git commands in a repository."""
    return lambda *arguments: run_git(arguments, git_dir=repository.git_dir)


def behind(git: Git, upstream: str, trunk: str) -> Behind:
    """How far `trunk` is behind `upstream`. Raises GitError where one of them is not there."""

    def listed(*flags: str) -> str:
        return git("rev-list", *flags, "--end-of-options", upstream, f"^{trunk}").text

    commits = int(listed("--count"))
    lines = listed("--first-parent", "--timestamp", "--reverse").splitlines() if commits else []
    since = datetime.fromtimestamp(int(lines[0].split()[0]), UTC) if lines else None
    return Behind(commits=commits, since=since)
