"""Bringing a commit onto the disk: plain files, linked work trees, and the working copies of people.

What belongs here: writing outside of the object store, carefully. What does not: reading objects (`upkeep/git.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from upkeep.errors import GitError, RepositoryNotReady
from upkeep.plumbing.command import run_git
from upkeep.plumbing.transfer import fetch

# Code points that HFS+ leaves out when it compares names: `.g\u200cit` is `.git` there (git's own list, CVE-2014-9390).
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_IN_PROGRESS = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}


def is_unsafe(path: str) -> bool:
    """Whether a path from a tree must not be written: it leaves the folder, or some file system takes a part of it
    for `.git`."""
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        return True
    # NTFS takes a backslash for a separator, ends a name at a colon, and drops blanks and dots at its end.
    parts = (part.translate(_IGNORED) for part in path.replace("\\", "/").split("/"))
    names = (unicodedata.normalize("NFC", part).casefold().split(":")[0].rstrip(" .") for part in parts)
    return any(name in (".git", "git~1") for name in names)


def _stays_inside(path: str, target: str) -> bool:
    if target.startswith("/") or "\0" in target or not target:
        return False
    depth = len(PurePosixPath(path).parts) - 1
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return False
    return True


def export(
    entries: Sequence[tuple[str, str, str]],
    blobs: Callable[[Iterable[str]], Iterator[tuple[str, bytes]]],
    destination: Path,
) -> list[str]:
    """Write (mode, sha, path) entries below `destination`; return the paths that were left out."""
    unsafe = next((path for _, _, path in entries if is_unsafe(path)), None)
    if unsafe is not None:
        raise GitError(
            f"the tree holds a path that must not be written: {unsafe!r}", code="git.unsafe_path", path=unsafe
        )
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise GitError(f"{destination} is not empty", code="git.not_empty", path=str(destination))
    files = [entry for entry in entries if entry[0].startswith("100")]
    links = [entry for entry in entries if entry[0] == "120000"]
    skipped = [path for mode, _, path in entries if mode == "160000"]
    made: set[Path] = set()
    for (mode, _, path), (_, content) in zip(files, blobs(sha for _, sha, _ in files), strict=True):
        file = destination / path
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        # Nothing is followed and nothing replaced: a tree may hold twins on a file system without case.
        descriptor = os.open(file, _NEW_FILE, 0o755 if mode == "100755" else 0o644)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
    # Links come last: while files are written there is none that a path could lead through.
    for (_, _, path), (_, content) in zip(links, blobs(sha for _, sha, _ in links), strict=True):
        target = content.decode(errors="surrogateescape")
        if not _stays_inside(path, target):
            skipped.append(path)
            continue
        (destination / path).parent.mkdir(parents=True, exist_ok=True)
        (destination / path).symlink_to(target)
    return sorted(skipped)


@contextlib.contextmanager
def worktree(git_dir: Path, rev: str, folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    parent = Path(tempfile.mkdtemp(prefix="upkeep-tree-", dir=folder))
    path = parent / "tree"
    # What a kill left: entries whose folder is gone.
    run_git(["worktree", "prune"], git_dir=git_dir)
    try:
        arguments = ["worktree", "add", "--quiet", "--detach", "--force", str(path), rev]
        run_git(arguments, git_dir=git_dir, personal=True)
        yield path
    finally:
        shutil.rmtree(parent, ignore_errors=True)
        run_git(["worktree", "prune"], git_dir=git_dir)


def followed(path: Path, branch: str) -> tuple[str, str]:
    """URL and branch of the remote that `branch` of a working copy follows, as `update_working_copy` would fetch it."""

    def git(*arguments: str, accept: Sequence[int] = (0,)) -> str:
        return run_git(arguments, cwd=path, personal=True, accept=accept).text.rstrip("\n")

    remote, remote_branch = _remote_of(path, branch, git)
    url = git("remote", "get-url", remote)
    relative = "://" not in url and not url.startswith("/") and (path / url).is_dir()
    return str((path / url).resolve()) if relative else url, remote_branch


def update_working_copy(
    git_dir: Path, path: Path, branch: str, config: Mapping[str, str], env: Mapping[str, str], deadline: float
) -> str:
    def git(*arguments: str, accept: Sequence[int] = (0,)) -> str:
        done = run_git(arguments, cwd=path, personal=True, accept=accept)
        return done.text.rstrip("\n") if done.returncode == 0 else ""

    _refuse_busy(git_dir, path, git)
    remote, remote_branch = _remote_of(path, branch, git)
    tracking = f"refs/remotes/{remote}/{remote_branch}"
    refspec = f"+refs/heads/{remote_branch}:{tracking}"
    shallow = git("rev-parse", "--is-shallow-repository") == "true"
    fetch(git_dir, remote, [refspec], config, env, deadline, cwd=path, unshallow=shallow)
    head = git("rev-parse", "--verify", f"{tracking}^{{commit}}")
    _check_out(path, branch, tracking, git)
    local = git("rev-parse", "--verify", "HEAD")
    if local == head or run_git(["merge-base", "--is-ancestor", head, local], cwd=path, accept=(0, 1)).returncode == 0:
        return head
    if run_git(["merge-base", "--is-ancestor", local, head], cwd=path, accept=(0, 1)).returncode != 0:
        raise _not_ready(
            path,
            "git.diverged",
            f"{branch} has commits that {remote}/{remote_branch} has not, and the other way round",
            f"Rebase or push them: `git -C {path} pull --rebase`.",
            local=local,
            remote_head=head,
        )
    git("merge", "--quiet", "--ff-only", "--no-verify-signatures", head)
    return head


def _not_ready(path: Path, code: str, what: str, remedy: str, **details: str) -> RepositoryNotReady:
    return RepositoryNotReady(f"{path}: {what}", code=code, remedy=remedy, path=str(path), **details)


def _refuse_busy(git_dir: Path, path: Path, git: Callable[..., str]) -> None:
    if git("rev-parse", "--is-bare-repository") == "true":
        raise _not_ready(path, "git.bare", "a bare repository has no working copy", "Name a checkout, or use `url`.")
    for file, name in _IN_PROGRESS.items():
        if (git_dir / file).exists():
            remedy = f"Finish or abort it: `git -C {path} status` says how."
            raise _not_ready(path, "git.in_progress", f"a {name} is in progress", remedy, operation=name)
    changed = git("status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=untracked")
    if changed:
        names = [entry[3:] for entry in changed.split("\0") if entry]
        raise _not_ready(
            path,
            "git.dirty",
            f"{len(names)} changed file(s) that are not committed, the first is {names[0]}",
            f"Commit or stash them: `git -C {path} stash`.",
            first=names[0],
        )


def _remote_of(path: Path, branch: str, git: Callable[..., str]) -> tuple[str, str]:
    """The remote and its branch that `branch` follows; where nothing is set, the only remote or `origin`."""
    remotes = git("remote").split()
    remote = git("config", "--get", f"branch.{branch}.remote", accept=(0, 1))
    merge = git("config", "--get", f"branch.{branch}.merge", accept=(0, 1)).removeprefix("refs/heads/")
    if remote in remotes:
        return remote, merge or branch
    if len(remotes) == 1 or "origin" in remotes:
        return ("origin" if "origin" in remotes else remotes[0]), branch
    if not remotes:
        what, remedy = "it has no remote to pull from", f"Add one: `git -C {path} remote add origin URL`."
    else:
        what = f"{branch} follows no remote, and there are several: {', '.join(remotes)}"
        remedy = f"Set one: `git -C {path} branch --set-upstream-to=REMOTE/{branch} {branch}`."
    raise _not_ready(path, "git.no_remote", what, remedy)


def _check_out(path: Path, branch: str, tracking: str, git: Callable[..., str]) -> None:
    current = git("symbolic-ref", "--quiet", "--short", "HEAD", accept=(0, 1))
    if current == branch:
        return
    if not current and not git("for-each-ref", "--count=1", "--contains=HEAD", "--format=x"):
        remedy = f"Keep them: `git -C {path} branch NAME`. Then run again."
        raise _not_ready(path, "git.detached", "HEAD is detached and holds commits that no branch has", remedy)
    exists = git("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", accept=(0, 1))
    try:
        if exists:
            git("checkout", "--quiet", branch, "--")
        else:
            git("checkout", "--quiet", "--track", "-b", branch, tracking)
    except GitError as error:
        words = str(error.details.get("words", ""))
        elsewhere = "already checked out" in words or "already used by worktree" in words
        code = "git.checked_out_elsewhere" if elsewhere else "git.checkout_refused"
        remedy = f"See `git -C {path} worktree list`." if elsewhere else f"Try `git -C {path} checkout {branch}`."
        raise _not_ready(path, code, f"{branch} cannot be checked out: {words.strip()}", remedy) from error
