"""Pushing several refs of a fork at once, each with the SHA that it was seen at.

What belongs here: one push and the reading of its answer (git-push(1), "OUTPUT"). What does not: what is pushed and in
which order (`apply.py`).

A lease names the SHA that was read before anything was verified. One without a SHA, or read again just before the push,
protects nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from upkeep.errors import GitError, PushRefused, RemoteUnavailable
from upkeep.forks.place import Place
from upkeep.git import Repository
from upkeep.plumbing.command import NETWORK_SECONDS, display_url, run_git, separate_credentials

_NOT_ATOMIC = re.compile(r"does not support --atomic")
_MOVED = re.compile(
    r"stale info|fetch first|non-fast-forward|cannot lock ref|incorrect old value|reference already exists"
    r"|failed to update ref|already exists"
)


@dataclass(frozen=True)
class Update:
    """One ref that is to be at `sha`. `expect` is where it was seen; None: it must not be there."""

    ref: str
    sha: str
    expect: str | None

    @property
    def lease(self) -> str:
        return f"--force-with-lease={self.ref}:{self.expect or ''}"


class NotAtomic(GitError):
    """The server cannot take several refs as one."""

    code = "forks.not_atomic"


def push(place: Place, updates: Sequence[Update]) -> None:
    """Push all of `updates` or none. A push whose answer was lost but which happened is success.

    Raises PushRefused (`git.lease_refused` with `ref`, `expected` and `actual`; `git.push_rejected` with the server's
    `words`), NotAtomic, RemoteUnavailable (with `outcome` unknown), GitError (`git.authentication`).
    """
    address, login = separate_credentials(place.push_url)
    config = {**place.config, **login, "push.followTags": "false", "push.pushOption": ""}
    atomic = ["--atomic"] if len(updates) > 1 else []
    flags = ["--porcelain", "--no-verify", "--no-recurse-submodules", "--no-signed", "--no-thin"]
    arguments = ["push", *flags, *atomic, *(each.lease for each in updates), "--end-of-options", address]
    try:
        run_git(
            [*arguments, *(f"{each.sha}:{each.ref}" for each in updates)],
            git_dir=place.repository.git_dir,
            config=config,
            env=place.env,
            personal=True,
            deadline=NETWORK_SECONDS,
            remote=place.push_url,
        )
    except GitError as error:
        words = str(error.details.get("words", ""))
        if _NOT_ATOMIC.search(words):
            raise NotAtomic(f"{display_url(place.push_url)} cannot take several refs as one") from error
        if _happened(place, updates):
            return
        # A lease that is refused before anything was sent ends the connection: words alone look like an outage.
        refusal = _refusal(place, updates, str(error.details.get("answer", "")), words)
        if refusal is not None:
            raise refusal from error
        if isinstance(error, RemoteUnavailable):
            error.details["outcome"] = "unknown"
        raise


def _seen(place: Place, updates: Sequence[Update]) -> dict[str, str]:
    refs = [each.ref for each in updates]
    return Repository.remote_heads(place.push_url, refs, config=place.config, env=place.env)


def _happened(place: Place, updates: Sequence[Update]) -> bool:
    """Whether the remote has all of it: an answer may be lost, and a request that is sent again is refused then."""
    try:
        seen = _seen(place, updates)
    except GitError:
        return False
    return all(seen.get(each.ref) == each.sha for each in updates)


def _refusal(place: Place, updates: Sequence[Update], answer: str, said: str) -> PushRefused | None:
    """What the status lines say: `!`, `<from>:<to>` and `[rejected] (<reason>)`, with tabs between them."""
    rows = [line.split("\t") for line in answer.splitlines() if line.startswith("!\t")]
    reasons = {row[1].rpartition(":")[2]: row[2] for row in rows if len(row) == 3}
    if not reasons:
        return None
    where = display_url(place.push_url)
    seen = _seen(place, updates)
    for each in updates:
        # With --atomic the others are refused because of one; what was not expected is what counts.
        actual = seen.get(each.ref)
        if actual != each.expect and (_MOVED.search(reasons.get(each.ref, "")) or actual != each.sha):
            return PushRefused(
                f"{each.ref} on {where} is not where it was: expected {each.expect or 'nothing'}, found {actual}",
                code="git.lease_refused",
                remedy="Somebody moved it meanwhile; nothing was overwritten. Run again: the new state then counts.",
                remote=where,
                ref=each.ref,
                expected=each.expect,
                actual=actual,
            )
    words = "\n".join(line[8:].rstrip() for line in said.splitlines() if line.startswith("remote: ")).strip()
    ref, reason = next(((ref, why) for ref, why in reasons.items() if "atomic" not in why), next(iter(reasons.items())))
    return PushRefused(
        f"{where} refused {ref}: {reason}" + (f": {words.splitlines()[-1]}" if words else ""),
        code="git.push_rejected",
        remedy="See what the server said: a protected branch, a refused force push or a hook has to allow it.",
        remote=where,
        ref=ref,
        expected=next((each.expect for each in updates if each.ref == ref), None),
        actual=seen.get(ref),
        words=words,
        reason=reason,
    )
