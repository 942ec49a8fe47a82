"""Real git repositories for tests, with fixed identities and dates, so that the same steps give the same SHAs.

What belongs here: building repositories and looking into them without the code under test. What does not: serving them
(`git_server.py`), and anything that knows a system's content.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

FIRST_COMMIT_AT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
STEP = timedelta(minutes=1)
PERSON = "Ada Person <ada@example.com>"

MakeRepository = Callable[..., "RepoBuilder"]


class RepoBuilder:
    """One repository and the branch that is checked out in it.

    `commit` takes the files to write (`None` deletes) and returns the SHA. Every commit is one minute later.
    Nothing of the machine's own git configuration is read.
    """

    def __init__(self, path: Path, *, branch: str = "main", create: bool = True) -> None:
        self.path = path
        self.clock = FIRST_COMMIT_AT
        if create:
            path.mkdir(parents=True, exist_ok=True)
            self.git("init", "-q", f"--initial-branch={branch}")

    @property
    def url(self) -> str:
        return self.path.resolve().as_uri()

    def git(self, *arguments: str, data: bytes | None = None, author: str = PERSON) -> str:
        """Run git here and return its stripped output; a failure fails the test with git's own words."""
        return self.git_bytes(*arguments, data=data, author=author).decode(errors="surrogateescape").strip()

    def git_bytes(self, *arguments: str, data: bytes | None = None, author: str = PERSON) -> bytes:
        name, _, address = author.removesuffix(">").partition(" <")
        date = self.clock.isoformat()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": address,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": address,
            "GIT_COMMITTER_DATE": date,
        }
        done = subprocess.run(
            ["git", "-C", str(self.path), "-c", "gc.auto=0", "-c", "protocol.file.allow=always", *arguments],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def commit(
        self, changes: Mapping[str, str | bytes | None] | None = None, message: str = "Change", *, author: str = PERSON
    ) -> str:
        """Write (`str` as UTF-8, `bytes` as they are), delete (`None`) or keep files, commit all, return the SHA."""
        for name, content in (changes or {}).items():
            file = self.path / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.clock += STEP
        self.git("add", "--all", "--force")
        self.git("commit", "-q", "--allow-empty", "--no-verify", "--cleanup=verbatim", "-m", message, author=author)
        return self.head()

    def commit_tree_of(self, source: Path, message: str = "Add files", *, into: str = "") -> str:
        """Copy a folder's files into the repository (below `into`) and commit them."""
        shutil.copytree(source, self.path / into, dirs_exist_ok=True)
        return self.commit({}, message)

    def head(self, rev: str = "HEAD") -> str:
        return self.git("rev-parse", "--verify", f"{rev}^{{commit}}")

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Create or move a branch without checking it out."""
        self.git("branch", "--force", name, at)

    def switch(self, name: str, at: str | None = None) -> None:
        """Check a branch out; with `at` it is created (or moved) there first."""
        if at is None:
            self.git("switch", "-q", name)
        else:
            self.git("switch", "-q", "--force-create", name, at)

    def merge(self, name: str, message: str = "Merge") -> str:
        self.clock += STEP
        self.git("merge", "-q", "--no-ff", "-m", message, name)
        return self.head()

    def reset(self, rev: str) -> None:
        """Move the current branch: the way to rewrite history."""
        self.git("reset", "-q", "--hard", rev)

    def read(self, rev: str, path: str) -> bytes:
        return self.git_bytes("cat-file", "blob", f"{rev}:{path}")

    def files(self, rev: str = "HEAD") -> list[str]:
        names = self.git_bytes("ls-tree", "-r", "-z", "--name-only", rev)
        return [os.fsdecode(name) for name in names.split(b"\0") if name]

    def refs(self, prefix: str = "refs/heads/") -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", prefix).splitlines()
        return dict(line.split(" ") for line in lines)

    def message(self, rev: str = "HEAD") -> str:
        return self.git("log", "-1", "--format=%B", rev)

    def bare_clone(self, path: Path) -> RepoBuilder:
        """A bare copy with the same branches, to push to: what a forge holds."""
        self.git("clone", "-q", "--bare", "--no-hardlinks", str(self.path), str(path))
        clone = RepoBuilder(path, create=False)
        clone.git("remote", "remove", "origin")
        clone.clock = self.clock
        return clone

    def clone(self, path: Path, *, branch: str = "main") -> RepoBuilder:
        """A working copy whose `origin` is this repository: what a person has on disk."""
        self.git("clone", "-q", "--no-hardlinks", "--branch", branch, str(self.path), str(path))
        clone = RepoBuilder(path, create=False)
        clone.clock = self.clock
        return clone


@pytest.fixture
def make_repository(tmp_path: Path) -> MakeRepository:
    """A function `(name="repository", *, branch="main") -> RepoBuilder` for an empty repository under `tmp_path`."""

    def make(name: str = "repository", *, branch: str = "main") -> RepoBuilder:
        return RepoBuilder(tmp_path / name, branch=branch)

    return make
