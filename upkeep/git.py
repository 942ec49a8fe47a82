"""One git repository: reading, writing, exchanging.

What belongs here: records and the class that everything above works with. What does not: how git is run and what its
errors mean (`plumbing/command.py`), the steps of what takes several (`objects.py`, `transfer.py`, `checkout.py` beside
it), asking many remotes at once (`heads.py`), and the order of a publish (`publish.py`).

Paths are `str`; bytes in them that are no UTF-8 survive as surrogates (PEP 383). Revisions are whatever git takes; SHAs
are full and lower-case. Times are UTC.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from upkeep.errors import GitError, RepositoryNotReady
from upkeep.plumbing import checkout, objects, transfer
from upkeep.plumbing.command import LOCAL_SECONDS, NETWORK_SECONDS, gitpython, run_git
from upkeep.process import Completed

AUTHOR = "Upkeep <upkeep@localhost>"
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

_RENAMES = ("-M", "-l2000")
_COMMIT_FORMAT = "%x00".join(
    ["%H", "%P", "%T", "%an", "%ae", "%cn", "%ce", "%at", "%ct", "%s", "%(trailers:only,unfold,separator=%x1e)", "%B"]
)
_COMMIT_FIELDS = 12


@dataclass(frozen=True)
class Commit:
    """A commit as it is recorded (no mailmap). `trailers` are those that git itself sees, by key as it is written."""

    sha: str
    parents: tuple[str, ...]
    tree: str
    author_name: str
    author_email: str
    committer_name: str
    committer_email: str
    authored_at: datetime
    committed_at: datetime
    subject: str
    message: str
    trailers: dict[str, list[str]]


class TreeEntry(NamedTuple):
    """A file, link (`120000`) or submodule (`160000`, type `commit`) in a tree. `mode` is octal text."""

    mode: str
    type: str
    sha: str
    path: str


@dataclass(frozen=True)
class Change:
    """One path that differs. `status` is git's letter (A, M, D, T, R); `old_path` equals `path` unless it is a rename.
    The SHA of a side that does not exist is all zeros, its mode `000000`."""

    status: str
    old_path: str
    path: str
    old_sha: str
    sha: str
    old_mode: str
    mode: str


class Repository:
    """A repository on this machine, bare or a working copy. Methods raise GitError where git refuses; what they ask of
    a remote raises RemoteUnavailable where it does not answer, and GitError with code `git.authentication`."""

    def __init__(self, path: Path, git_dir: Path, *, bare: bool) -> None:
        self.path = path
        self.git_dir = git_dir
        self.bare = bare

    # Making and opening

    @classmethod
    def open(cls, path: Path) -> Repository:
        """Open what is at `path` itself; parents are not searched. Raises RepositoryNotReady
        (`git.not_a_repository`)."""
        import git

        try:
            repo = gitpython()(path, expand_vars=False)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise RepositoryNotReady(
                f"{path} is no git repository",
                code="git.not_a_repository",
                remedy="Check the path in upkeep.yaml, or clone the repository there.",
                path=str(path),
            ) from error
        with contextlib.closing(repo):
            return cls(Path(path), Path(repo.git_dir), bare=bool(repo.bare))

    @classmethod
    def init_bare(cls, path: Path, *, branch: str = "main") -> Repository:
        """Make an empty bare repository, or open the one that is there."""
        if not (path / "HEAD").exists():
            path.mkdir(parents=True, exist_ok=True)
            run_git(["init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", "."], cwd=path)
        return cls.open(path)

    @classmethod
    def mirror(
        cls,
        url: str,
        path: Path,
        *,
        branches: Sequence[str],
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = NETWORK_SECONDS,
    ) -> Repository:
        """Bring our own bare mirror of `branches` up to date (as `refs/heads/…`), making it where there is none.

        Safe to call from several processes: one works, the others wait. A mirror that was begun and not finished is
        never used. Its history is whole afterwards. Raises BranchGone, RemoteUnavailable, RepositoryNotReady.
        """
        transfer.mirror(url, path, branches, config or {}, env or {}, deadline)
        return cls.open(path)

    # Reading

    def _git(self, *arguments: str, data: bytes | None = None, accept: Sequence[int] = (0,)) -> Completed:
        return run_git(arguments, git_dir=self.git_dir, data=data, accept=accept)

    def resolve(self, rev: str) -> str | None:
        """The SHA of the commit that `rev` names (tags are followed), or None where there is none."""
        done = self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}", accept=(0, 1, 128)
        )
        return done.text.strip() or None if done.returncode == 0 else None

    def commit(self, sha: str) -> Commit:
        """Read one commit. Its parents are the true ones in a shallow repository too."""
        commit = self._log("--no-walk", "--end-of-options", sha)[0]
        if commit.sha not in self._shallow_boundary():
            return commit
        lines = self._git("cat-file", "commit", commit.sha).text.partition("\n\n")[0].splitlines()
        parents = tuple(line.removeprefix("parent ") for line in lines if line.startswith("parent "))
        return Commit(**{**commit.__dict__, "parents": parents})

    def commits(self, base: str | None, head: str, *, limit: int | None = None) -> list[Commit]:
        """The commits that `head` has and `base` has not, newest first, children before parents. Without `base`: all.

        Raises GitError (`git.shallow`) when the walk meets the edge of a shallow history.
        """
        count = [] if limit is None else [f"--max-count={limit}"]
        found = self._log("--topo-order", *count, "--end-of-options", head, *([f"^{base}"] if base else []))
        self._refuse_boundary(commit.sha for commit in found)
        return found

    def count(self, base: str | None, head: str) -> int:
        """How many commits `commits(base, head)` would give."""
        if self.is_shallow:
            return len(self.commits(base, head))
        arguments = ["rev-list", "--count", "--end-of-options", head, *([f"^{base}"] if base else [])]
        return int(self._git(*arguments).text)

    def _log(self, *arguments: str) -> list[Commit]:
        flags = ["--no-show-signature", "--no-notes", "--no-mailmap", "--no-color", "--no-decorate", "-z"]
        text = self._git("log", *flags, f"--format=tformat:{_COMMIT_FORMAT}", *arguments).text
        fields = text.split("\0")[:-1]
        return [_commit(fields[at : at + _COMMIT_FIELDS]) for at in range(0, len(fields), _COMMIT_FIELDS)]

    def merge_base(self, a: str, b: str) -> str | None:
        """The best common ancestor, or None where the two have no history in common."""
        done = self._git("merge-base", "--end-of-options", a, b, accept=(0, 1))
        if done.returncode == 1:
            self._refuse_shallow()
            return None
        return done.text.split("\n", 1)[0]

    def is_ancestor(self, a: str, b: str) -> bool:
        """Whether `b` contains `a` (a commit contains itself)."""
        done = self._git("merge-base", "--is-ancestor", "--end-of-options", a, b, accept=(0, 1))
        if done.returncode == 1:
            self._refuse_shallow()
        return done.returncode == 0

    @property
    def is_shallow(self) -> bool:
        return bool(self._shallow_boundary())

    def _shallow_boundary(self) -> frozenset[str]:
        # In a linked worktree the file is in the common folder.
        common = self.git_dir / "commondir"
        folder = self.git_dir / common.read_text().strip() if common.is_file() else self.git_dir
        file = folder / "shallow"
        return frozenset(file.read_text().split()) if file.is_file() else frozenset()

    def _refuse_boundary(self, shas: Iterable[str]) -> None:
        if not self._shallow_boundary().isdisjoint(shas):
            self._refuse_shallow()

    def _refuse_shallow(self) -> None:
        if self.is_shallow:
            raise GitError(
                f"the history in {self.path} is shallow: what lies before its edge is unknown",
                code="git.shallow",
                remedy="Fetch the rest: `git fetch --unshallow`.",
                path=str(self.path),
            )

    def tree(self, rev: str, prefix: str = "") -> list[TreeEntry]:
        """All files, links and submodules of a commit or tree at or below `prefix`, sorted as git sorts them."""
        prefix = prefix.strip("/")
        arguments = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", rev, *([prefix] if prefix else [])]
        entries = []
        for line in self._git(*arguments).text.split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, kind, sha = meta.split(" ")
            if not prefix or path == prefix or path.startswith(f"{prefix}/"):
                entries.append(TreeEntry(mode, kind, sha, path))
        return entries

    def blobs(self, shas: Iterable[str], *, deadline: float = LOCAL_SECONDS) -> Iterator[tuple[str, bytes]]:
        """Yield (sha, content) in the order asked, one blob in memory at a time. Raises GitError (`git.missing_object`)
        for one that is not there."""
        return objects.blobs(self.git_dir, shas, deadline)

    def read(self, rev: str, path: str) -> bytes | None:
        """The content of one file (of a link: its target), or None where the commit has no file there."""
        done = self._git("cat-file", "blob", f"{rev}:{path}", accept=(0, 128))
        if done.returncode == 0:
            return done.stdout
        if self._git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{tree}}", accept=(0, 1, 128)
        ).text:
            return None
        raise GitError(f"there is no commit {rev} in {self.path}", code="git.unknown_revision", revision=rev)

    def read_folder(self, rev: str, prefix: str) -> dict[str, bytes]:
        """All regular files below `prefix`, by their path relative to it. Links and submodules are left out."""
        prefix = prefix.strip("/")
        files = [entry for entry in self.tree(rev, prefix) if entry.mode.startswith("100") and entry.path != prefix]
        contents = dict(self.blobs({entry.sha: None for entry in files}))
        return {entry.path[len(prefix) + 1 if prefix else 0 :]: contents[entry.sha] for entry in files}

    def changes(self, a: str, b: str, prefix: str = "") -> list[Change]:
        """What differs between two commits or trees (`EMPTY_TREE` for nothing), renames found."""
        arguments = ["diff-tree", "-r", "-z", "--raw", "--no-abbrev", *_RENAMES, "--end-of-options", a, b]
        fields = iter(self._git(*arguments, *_below(prefix)).text.split("\0")[:-1])
        found = []
        for meta in fields:
            old_mode, mode, old_sha, sha, status = meta.removeprefix(":").split(" ")
            old_path = next(fields)
            path = next(fields) if status[0] in "RC" else old_path
            found.append(Change(status[0], old_path, path, old_sha, sha, old_mode, mode))
        return found

    def patch(self, a: str, b: str, prefix: str = "") -> bytes:
        """The difference as `git apply` takes it, binary files included. No program of anybody's has a hand in it."""
        flags = ["--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/"]
        arguments = ["diff-tree", "-r", "-p", "--binary", "--full-index", *_RENAMES, *flags, "--end-of-options", a, b]
        return self._git(*arguments, *_below(prefix)).stdout

    def stat(self, a: str, b: str) -> tuple[int, int, int]:
        """How many files differ, and how many lines were added and deleted (binary files count no lines)."""
        arguments = ["diff-tree", "-r", "--shortstat", "--no-ext-diff", "--no-textconv", *_RENAMES]
        line = self._git(*arguments, "--end-of-options", a, b).text
        numbers = [re.search(rf"(\d+) {word}", line) for word in ("file", "insertion", "deletion")]
        files, added, deleted = (int(number[1]) if number else 0 for number in numbers)
        return files, added, deleted

    # Writing

    def write_blob(self, data: bytes) -> str:
        return self._git("hash-object", "-w", "--stdin", "--no-filters", data=data).text.strip()

    def tree_with(self, base: str, changes: Mapping[str, bytes | None]) -> str:
        """Write the tree of `base` (commit or tree) with some files set or (None) removed; return its SHA.

        A file keeps the mode that it has in `base`; a new one is 100644, and so is one that was a link. Raises GitError
        (`git.unsafe_path`) for a path that must not be written (`..`, `.git`).
        """
        modes = {entry.path: entry.mode for entry in self.tree(base)} if changes else {}
        return objects.tree_with(self.git_dir, base, changes, modes)

    def commit_tree(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        *,
        trailers: Mapping[str, str] | None = None,
        author: str = AUTHOR,
        when: datetime | None = None,
    ) -> str:
        """Write a commit and return its SHA; no ref moves. `author` is `Name <address>`, and the committer as well."""
        for key, value in (trailers or {}).items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", key) or re.search(r"[\r\n\0]", value):
                raise GitError(f"{key!r} is no trailer", code="git.bad_trailer")
        name, _, address = author.removesuffix(">").partition(" <")
        date = f"@{int((when or datetime.now(UTC)).timestamp())} +0000"
        identity = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", name), ("EMAIL", address), ("DATE", date))
        }
        text = message.strip() + "\n"
        if trailers:
            text += "\n" + "".join(f"{key}: {value}\n" for key, value in trailers.items())
        arguments = ["commit-tree", tree, *(part for parent in parents for part in ("-p", parent)), "-F", "-"]
        data = text.encode(errors="surrogateescape")
        return run_git(arguments, git_dir=self.git_dir, env=identity, data=data).text.strip()

    def set_ref(self, ref: str, sha: str, expect: str | None) -> None:
        """Move a ref from `expect` to `sha` in one step. None: it must not exist. One that is at `sha` already is well.
        Raises GitError (`git.ref_moved`, details `expected` and `actual`)."""
        done = self._git("update-ref", "--no-deref", ref, sha, expect or objects.NONE, accept=(0, 128))
        actual = None if done.returncode == 0 else self.refs(ref).get(ref)
        if done.returncode != 0 and actual != sha:
            raise GitError(
                f"{ref} is not where it was expected: {done.error_text.strip()}",
                code="git.ref_moved",
                expected=expect,
                actual=actual,
            )

    def delete_ref(self, ref: str) -> None:
        """Delete a ref; one that does not exist is well."""
        self._git("update-ref", "--no-deref", "-d", ref)

    def refs(self, prefix: str = "") -> dict[str, str]:
        """Refs at or below `prefix` (`refs/heads/`) and the commits they name, annotated tags followed."""
        lines = self._git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", prefix.rstrip("/")).text
        parts = (line.split(" ") for line in lines.splitlines())
        return {name: peeled or sha for name, sha, peeled in parts}

    # Exchanging

    def fetch(
        self,
        remote: str,
        refspecs: Sequence[str],
        *,
        depth: int | None = None,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = NETWORK_SECONDS,
    ) -> None:
        """Fetch from a remote's name or a URL; tags come only by refspec. Raises BranchGone, RemoteUnavailable."""
        transfer.fetch(self.git_dir, remote, refspecs, config or {}, env or {}, deadline, cwd=self.path, depth=depth)

    def unshallow(
        self,
        remote: str,
        *,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = NETWORK_SECONDS,
    ) -> None:
        """Fetch the whole history behind a shallow edge; nothing to do where there is none. Raises GitError
        (`git.shallow`) when the remote itself has no more."""
        if self.is_shallow:
            transfer.fetch(self.git_dir, remote, [], config or {}, env or {}, deadline, cwd=self.path, unshallow=True)
            self._refuse_shallow()

    def push(
        self,
        url: str,
        sha: str,
        branch: str,
        *,
        expect: str | None,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = NETWORK_SECONDS,
    ) -> None:
        """Put `sha` on a branch that is at `expect` now (None: that does not exist). Pushing what is there is success.

        Raises PushRefused (`git.lease_refused` with details `expected` and `actual`; `git.push_rejected` with the
        server's `words`), RemoteUnavailable (whether the push happened is then unknown: look it up), GitError
        (`git.authentication`).
        """
        transfer.push(self.git_dir, url, sha, branch, expect, config or {}, env or {}, deadline)

    @staticmethod
    def remote_heads(
        url: str,
        refs: Sequence[str],
        *,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = 60.0,
    ) -> dict[str, str]:
        """Ask a remote for some refs by their full names; those that it has, with their SHA. Needs no repository."""
        return transfer.remote_heads(url, refs, config or {}, env or {}, deadline)

    # Checking out

    def export(self, rev: str, destination: Path, *, prefix: str = "") -> list[str]:
        """Write the files of a commit (those below `prefix`, without it) into an empty or new folder; no `.git`.

        Contents are the blobs as they are: no filter, no end-of-line conversion. Links that stay inside are made; the
        paths of other links and of submodules are returned. Raises GitError (`git.unsafe_path`) for a tree that would
        write elsewhere or into a `.git`.
        """
        prefix = prefix.strip("/")
        cut = len(prefix) + 1 if prefix else 0
        entries = [
            (entry.mode, entry.sha, entry.path[cut:]) for entry in self.tree(rev, prefix) if entry.path != prefix
        ]
        return checkout.export(entries, self.blobs, destination)

    @contextlib.contextmanager
    def worktree(self, rev: str, *, folder: Path | None = None) -> Iterator[Path]:
        """A linked work tree at `rev` (detached) below `folder`, removed at the end. Hooks do not run, filters do."""
        with checkout.worktree(self.git_dir, rev, folder) as path:
            yield path

    @staticmethod
    def update_working_copy(
        path: Path,
        branch: str,
        *,
        config: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: float = NETWORK_SECONDS,
    ) -> str:
        """Check out `branch` in a person's working copy, pull it fast-forward only, and return the remote's head.

        Nothing of theirs is lost: each thing in the way is a RepositoryNotReady with a code of its own (`git.dirty`,
        `git.diverged`, `git.no_remote`, `git.detached`, `git.in_progress`, `git.checked_out_elsewhere`) and a remedy.
        Commits of theirs that are not pushed stay, and are not in the answer. Raises BranchGone, RemoteUnavailable.
        """
        return checkout.update_working_copy(
            Repository.open(path).git_dir, path, branch, config or {}, env or {}, deadline
        )

    @staticmethod
    def followed(path: Path, branch: str) -> tuple[str, str]:
        """URL and branch of the remote that `branch` of a person's working copy follows. Asks no remote. Raises
        RepositoryNotReady (`git.not_a_repository`, `git.no_remote`)."""
        return checkout.followed(Repository.open(path).path, branch)


def _below(prefix: str) -> list[str]:
    return ["--", prefix.strip("/")] if prefix.strip("/") else []


def _moment(seconds: str) -> datetime:
    # Dates in commits are free text in the end: out of range is not worth failing for.
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _commit(fields: Sequence[str]) -> Commit:
    sha, parents, tree, author, address, committer, committer_address, authored, committed, subject, block, body = (
        fields
    )
    trailers: dict[str, list[str]] = {}
    for line in block.split("\x1e"):
        key, separator, value = line.partition(": ")
        if separator:
            trailers.setdefault(key.strip(), []).append(value.strip())
    return Commit(
        sha=sha.strip(),
        parents=tuple(parents.split()),
        tree=tree,
        author_name=author,
        author_email=address,
        committer_name=committer,
        committer_email=committer_address,
        authored_at=_moment(authored),
        committed_at=_moment(committed),
        subject=subject,
        message=body,
        trailers=trailers,
    )
