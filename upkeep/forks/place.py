"""Where a fork lives: its repository on this machine, the addresses of its remotes, and who has what checked out.

What belongs here: opening it and looking at it. What does not: what the SHAs mean together (`snapshot.py`), and moving
anything (`apply.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from upkeep.errors import ConfigError, RepositoryNotReady
from upkeep.forks.rawcommit import Committer
from upkeep.git import AUTHOR, Repository
from upkeep.plumbing.command import run_git
from upkeep.settings.forks import Fork

# `host:path` (git-fetch(1), "GIT URLS"): a colon before the first slash.
_SCP_LIKE = re.compile(r"[^/]+:")
_IN_PROGRESS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


@dataclass(frozen=True)
class Worktree:
    """One checkout of the repository. `branch` is a short name, None where HEAD is detached. `operation` is what a
    person has in progress there, and `operation_on` the branch that a rebase in progress will move."""

    path: Path
    branch: str | None
    head: str | None
    operation: str | None
    operation_on: str | None


@dataclass(frozen=True)
class Place:
    """`own`: the repository is our own mirror, whose refs we may move as we like. `config` and `env` let git reach the
    fork's forge."""

    name: str
    fork: Fork
    repository: Repository
    fork_url: str
    push_url: str
    upstream_url: str
    own: bool
    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        return run_git(arguments, cwd=cwd or self.repository.path, personal=True).text

    def worktrees(self) -> list[Worktree]:
        """All checkouts of the repository that exist, its main one first. Our own mirror has none."""
        found = []
        for block in self.git("worktree", "list", "--porcelain", "-z").split("\0\0"):
            fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
            path = Path(fields.get("worktree", ""))
            if fields and "bare" not in fields and path.is_dir():
                found.append(_look(path, fields))
        return found

    def dirty(self, worktree: Worktree) -> list[str]:
        """Tracked files that differ from what is committed. Nothing is written, not even a refreshed index."""
        flags = ["--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=untracked", "--no-renames"]
        return [entry[3:] for entry in self.git("status", *flags, cwd=worktree.path).split("\0") if entry]


def open_place(
    name: str,
    fork: Fork,
    home: Path,
    *,
    config: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Place:
    """Open a fork: the working copy at its `path`, or our own mirror of its `url` below `home` (made where there is
    none; `remotes.upstream` is then an address).

    Raises RepositoryNotReady (`git.not_a_repository`, `forks.no_remote`), ConfigError (`forks.no_place`).
    """
    reach = {"config": config or {}, "env": env or {}}
    if fork.path is not None:
        repository = Repository.open(fork.path)
        fork_url, upstream_url = (_address(repository, each) for each in (fork.remotes.fork, fork.remotes.upstream))
        push_url = _address(repository, fork.remotes.fork, "--push")
        return Place(name, fork, repository, fork_url, push_url, upstream_url, own=False, **reach)
    if fork.url is None or not _is_address(fork.remotes.upstream):
        raise ConfigError(
            f"fork {name} has no place: give `path`, or `url` and the address of its upstream in `remotes.upstream`",
            code="forks.no_place",
            remedy="With `path` the remotes are names in that working copy; without it they are addresses.",
        )
    repository = Repository.init_bare(home / "forks" / name / "mirror.git", branch=fork.trunk)
    return Place(name, fork, repository, fork.url, fork.url, fork.remotes.upstream, own=True, **reach)


def committer_of(repository: Repository, when: datetime | None = None) -> Committer:
    """Who rebases: the person whose machine this is (`user.name`, `user.email`), or Upkeep where nobody is set."""
    values = [
        run_git(["config", "--get", key], cwd=repository.path, personal=True, accept=(0, 1)).text.strip()
        for key in ("user.name", "user.email")
    ]
    own_name, _, own_address = AUTHOR.removesuffix(">").partition(" <")
    name, address = values if all(values) else (own_name, own_address)
    # What git takes out of an identity (ident.c `strbuf_addstr_without_crud`).
    name, address = (re.sub(r"[<>\n]", "", value).strip(" .,:;\"\\'") for value in (name, address))
    return Committer(name, address, (when or datetime.now(UTC)).replace(microsecond=0))


def _look(path: Path, fields: Mapping[str, str]) -> Worktree:
    git_dir = Path(run_git(["rev-parse", "--absolute-git-dir"], cwd=path, personal=True).text.rstrip("\n"))
    operation = next((name for file, name in _IN_PROGRESS.items() if (git_dir / file).exists()), None)
    names = [git_dir / folder / "head-name" for folder in ("rebase-merge", "rebase-apply")]
    on = next((file.read_text().strip().removeprefix("refs/heads/") for file in names if file.is_file()), None)
    branch = fields.get("branch", "").removeprefix("refs/heads/") or None
    return Worktree(path, branch, fields.get("HEAD"), operation, on)


def _address(repository: Repository, remote: str, *flags: str) -> str:
    """The address of a remote, as git would use it. One that is a relative path counts from the repository."""
    arguments = ["remote", "get-url", *flags, remote]
    done = run_git(arguments, cwd=repository.path, personal=True, accept=(0, 2, 128))
    url = done.text.rstrip("\n")
    if done.returncode != 0 or not url:
        raise RepositoryNotReady(
            f"{repository.path} has no remote {remote!r}",
            code="forks.no_remote",
            remedy=f"Add it: `git -C {repository.path} remote add {remote} URL`, or set `remotes` in upkeep.yaml.",
            remote=remote,
        )
    return url if _is_address(url) or url.startswith("/") else str((repository.path / url).resolve())


def _is_address(value: str) -> bool:
    return "://" in value or value.startswith("/") or _SCP_LIKE.match(value) is not None
