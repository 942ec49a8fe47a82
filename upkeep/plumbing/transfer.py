"""Exchanging with a remote: mirror, fetch, push, ask for heads.

What belongs here: everything that may wait for a network, each with a deadline. What does not: which remote and which
branch (the callers), and asking a thousand remotes at once (`upkeep/heads.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from upkeep.errors import BranchGone, GitError, PushRefused, RemoteUnavailable, RepositoryNotReady
from upkeep.plumbing.command import display_url, run_git, separate_credentials

# `--update-shallow`: without it a remote that is shallow itself has its branches left out, and git ends with 0.
_FETCH = (
    *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"),
    "--update-shallow",
)
# A fetch adds a pack and automatic gc is off: past so many, git's lookups slow down and they are joined.
_PACKS = 50
# git removes its lock files when it ends by itself; one this old in a mirror that we hold was left by a kill.
_STALE_LOCK_SECONDS = 600.0

_MISSING_REF = re.compile(r"couldn't find remote ref (\S+)|Remote branch (\S+) not found")
# What servers say when the branch moved between our look and their update.
_MOVED = re.compile(
    r"stale info|fetch first|non-fast-forward|cannot lock ref|incorrect old value|reference already exists"
    r"|failed to update ref|already exists"
)
_HEAD_LINE = re.compile(r"([0-9a-f]{40,64})\t(\S+)")


def fetch(
    git_dir: Path,
    remote: str,
    refspecs: Sequence[str],
    config: Mapping[str, str],
    env: Mapping[str, str],
    deadline: float,
    *,
    cwd: Path | None = None,
    depth: int | None = None,
    unshallow: bool = False,
) -> None:
    """Fetch into `git_dir`. A relative address counts from `cwd`, which is the work tree of a working copy."""
    address, login = separate_credentials(remote)
    flags = [*([f"--depth={depth}"] if depth is not None else []), *(["--unshallow"] if unshallow else [])]
    try:
        run_git(
            [*_FETCH, *flags, "--end-of-options", address, *refspecs],
            git_dir=git_dir,
            cwd=cwd,
            config={**config, **login},
            env=env,
            personal=True,
            deadline=deadline,
            remote=remote,
        )
    except GitError as error:
        gone = _MISSING_REF.search(str(error.details.get("words", "")))
        if gone is None:
            raise
        branch = (gone[1] or gone[2]).removeprefix("refs/heads/")
        raise BranchGone(
            f"{display_url(remote)} has no branch {branch}",
            remedy="Set the branch that exists in upkeep.yaml, or restore it on the remote.",
            remote=display_url(remote),
            branch=branch,
        ) from error


def mirror(
    url: str, path: Path, branches: Sequence[str], config: Mapping[str, str], env: Mapping[str, str], deadline: float
) -> None:
    """Make or update the bare mirror at `path`, alone among all processes of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    refspecs = [f"+refs/heads/{branch}:refs/heads/{branch}" for branch in branches]
    ends = time.monotonic() + deadline
    with _held(path.with_name(f"{path.name}.lock"), deadline):
        for leftover in path.parent.glob(f".{path.name}.*.new"):
            shutil.rmtree(leftover, ignore_errors=True)
        if (path / "HEAD").is_file():
            _update(path, url, refspecs, config, env, max(1.0, ends - time.monotonic()))
            return
        if path.exists():
            raise RepositoryNotReady(
                f"{path} is in the way: it is no git repository",
                code="git.not_a_repository",
                remedy="Move it away; the mirror is then made there.",
                path=str(path),
            )
        new = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
        try:
            first = f"--initial-branch={branches[0]}" if branches else "--initial-branch=main"
            run_git(["init", "--quiet", "--bare", first, "--template=", str(new)])
            _update(new, url, refspecs, config, env, max(1.0, ends - time.monotonic()))
            new.rename(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _update(
    git_dir: Path, url: str, refspecs: Sequence[str], config: Mapping[str, str], env: Mapping[str, str], deadline: float
) -> None:
    for lock in (git_dir / "packed-refs.lock", git_dir / "shallow.lock", *(git_dir / "refs").rglob("*.lock")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > _STALE_LOCK_SECONDS:
                lock.unlink()
    fetch(git_dir, url, refspecs, config, env, deadline)
    if (git_dir / "shallow").is_file():
        fetch(git_dir, url, refspecs, config, env, deadline, unshallow=True)
    if len(list((git_dir / "objects" / "pack").glob("*.pack"))) > _PACKS:
        run_git(["repack", "--quiet", "-d", "--geometric=2"], git_dir=git_dir)


@contextlib.contextmanager
def _held(file: Path, deadline: float) -> Iterator[None]:
    """Hold an exclusive lock that is gone when the process is."""
    give_up = time.monotonic() + deadline
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise RepositoryNotReady(
                        f"another process has been working on {file.with_suffix('')} for {deadline:.0f} s",
                        code="git.locked",
                        remedy="Wait for it, or see what holds the lock: `fuser` on the .lock file.",
                        path=str(file),
                    ) from None
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def push(
    git_dir: Path,
    url: str,
    sha: str,
    branch: str,
    expect: str | None,
    config: Mapping[str, str],
    env: Mapping[str, str],
    deadline: float,
) -> None:
    address, login = separate_credentials(url)
    ref = f"refs/heads/{branch}"
    try:
        run_git(
            [
                *("push", "--porcelain", "--no-verify", "--no-recurse-submodules", "--no-signed"),
                f"--force-with-lease={ref}:{expect or ''}",
                *("--end-of-options", address, f"{sha}:{ref}"),
            ],
            git_dir=git_dir,
            config={**config, **login, "push.followTags": "false", "push.pushOption": ""},
            env=env,
            personal=True,
            deadline=deadline,
            remote=url,
        )
    except RemoteUnavailable as error:
        error.details["outcome"] = "unknown"
        raise
    except GitError as error:
        # The status line of git-push(1): `!`, `<from>:<to>` and `[rejected] (<reason>)`, with tabs between them.
        lines = str(error.details.get("answer", "")).splitlines()
        reason = next((line.rpartition("\t")[2] for line in lines if line.startswith("!\t")), "")
        if not reason:
            raise
        actual = remote_heads(url, [ref], config, env, deadline).get(ref) if _MOVED.search(reason) else None
        # curl sends a request again when the connection ends without an answer: the first one did the work then, and
        # the second is refused.
        if actual != sha:
            raise _refusal(reason, str(error.details["words"]), url, branch, expect, actual) from error


def _refusal(reason: str, said: str, url: str, branch: str, expect: str | None, actual: str | None) -> PushRefused:
    words = "\n".join(part[8:] for part in said.splitlines() if part.startswith("remote: "))
    where = {"remote": display_url(url), "branch": branch}
    if _MOVED.search(reason):
        return PushRefused(
            f"{branch} on {where['remote']} is not where it was expected: somebody else moved it",
            code="git.lease_refused",
            remedy="Nothing was overwritten. Run again: the new state is then taken into account.",
            expected=expect,
            actual=actual,
            **where,
        )
    return PushRefused(
        f"{where['remote']} refused {branch}: {reason}"
        + (f": {words.strip().splitlines()[-1]}" if words.strip() else ""),
        code="git.push_rejected",
        remedy="See what the server said; a protected branch or a hook has to allow it.",
        words=words,
        reason=reason,
        **where,
    )


def remote_heads(
    url: str, refs: Sequence[str], config: Mapping[str, str], env: Mapping[str, str], deadline: float
) -> dict[str, str]:
    address, login = separate_credentials(url)
    done = run_git(
        ["ls-remote", "--quiet", "--end-of-options", address, *refs],
        config={**config, **login},
        env=env,
        personal=True,
        deadline=deadline,
        remote=url,
    )
    # A pattern matches the end of a name: `refs/heads/main` also `refs/heads/x/refs/heads/main`.
    found = {match[2]: match[1] for match in _HEAD_LINE.finditer(done.text)}
    return {ref: found[ref] for ref in refs if ref in found}
