"""The one way anything leaves: a commit with trailers on a branch of ours, a push with a lease, a pull request.

What belongs here: the order of these steps, what is done about what is there already, and what can be told about the
past from what was published. What does not: what a pull request says (each system's own template), and recording state
(the caller does, after `publish` returned).

Every step is idempotent, and a run that died at any boundary is repeated as it was:

    search      the pull requests of the branch, in every state
    commit      the same tree, parents, message and dates give the same SHA
    push        with an explicit lease: none there for a new branch, else the SHA of a commit that is ours
    create      "already exists" means adopt
    read_back   head, base and state must be ours
    close       each superseded one, with a pointer, now that the new one exists

What a person did stands: a branch with a person's commits is never pushed to, a pull request closed unmerged is never
made again, and one that a person touched since it was listed is not closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from upkeep.errors import ForgeError, PushRefused, RemoteUnavailable
from upkeep.forges.base import Forge, PullRequest
from upkeep.forges.text import fit
from upkeep.forges.text import title as one_line
from upkeep.git import AUTHOR, Commit, Repository

UPSTREAM_BASE = "Upstream-Base"
UPSTREAM_HEAD = "Upstream-Head"
UPDATE_ID = "Update-Id"

Step = Literal["search", "commit", "push", "create", "read_back", "close"]
Outcome = Literal["created", "adopted", "declined", "merged", "nothing"]

_SUPERSEDED = re.compile(r"<!-- upkeep:superseded-by=(\d+) -->")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Lock(Protocol):
    """The lock that the caller holds on the subject."""

    def check(self) -> None:
        """Raise LockLost unless we still hold it."""
        ...


@dataclass(frozen=True)
class Proposal:
    """What is to be proposed. `url` is where git pushes to, `tree` the whole tree of the commit, `parents` its parents
    (the first one is what the branch starts from). `at` dates the commit: take it from what caused the update, not from
    the clock, so that a repeated run makes the same commit. `supersedes` are open pull requests that this one covers,
    as they were listed."""

    repo: str
    url: str
    base_branch: str
    branch: str
    tree: str
    parents: tuple[str, ...]
    title: str
    body: str
    message: str
    trailers: Mapping[str, str]
    at: datetime
    supersedes: tuple[PullRequest, ...] = ()


@dataclass(frozen=True)
class Publication:
    """What came of it.

    `created`; `adopted`: there was an open one for the branch; `declined`: a person closed `pull_request` unmerged;
    `merged`: it is in already; `nothing`: the tree is the one that is there. `commit` is what the branch holds.
    `superseded` are those that we closed, `kept` those that we left open because a person touched them meanwhile.
    `calls` counts requests to the forge.
    """

    outcome: Outcome
    pull_request: PullRequest | None
    commit: str | None = None
    superseded: tuple[PullRequest, ...] = ()
    kept: tuple[PullRequest, ...] = ()
    calls: int = 0


@dataclass(frozen=True)
class RemoteBranch:
    """A branch on the remote: its tip, and those of its commits beyond what we start from that are not ours."""

    sha: str
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What to do about a branch. `expect` is the lease of the push: the SHA on the remote, None where there is none."""

    action: Literal["push", "adopt", "declined", "merged"]
    pull_request: PullRequest | None = None
    expect: str | None = None


def plan(branch: str, pull_requests: Iterable[PullRequest], remote: Callable[[], RemoteBranch | None]) -> Plan:
    """Decide from what is there. `remote` is asked only where no pull request settles it.

    Raises PushRefused `git.person_on_branch` where the branch holds commits that are not ours and no pull request.
    """
    ours = sorted((one for one in pull_requests if one.head_branch == branch), key=lambda one: -one.number)
    for state, action in (("open", "adopt"), ("merged", "merged"), ("closed", "declined")):
        for one in ours:
            if one.state == state and (state != "closed" or superseded_by(one) is None):
                return Plan(action, one)  # type: ignore[arg-type]
    there = remote()
    if there is None:
        return Plan("push")
    if there.foreign:
        raise PushRefused(
            f"the branch {branch} holds {len(there.foreign)} commits that Upkeep did not make",
            code="git.person_on_branch",
            remedy=f"Open a pull request for {branch}, or rename or delete the branch; then run the update again.",
            branch=branch,
            commits=list(there.foreign[:20]),
        )
    return Plan("push", expect=there.sha)


def superseded_by(pull_request: PullRequest) -> int | None:
    """The number of the pull request that we closed this one for. On an open one: we closed it, and a person has
    opened it again."""
    found = _SUPERSEDED.search(pull_request.body[:400])
    return int(found[1]) if found else None


def link(to: PullRequest) -> str:
    """A link to another pull request of the same repository, for the body of one. `#1` or the full address would count
    as activity on the other one, and we tell by activity whether somebody touched it."""
    return f"[#{to.number}]({to.relative_url or f'../pull/{to.number}'})"


def pointer(to: PullRequest) -> str:
    """The note on top of a superseded pull request, for people and for `superseded_by`."""
    return f"> **Superseded by {link(to)}**, which covers this range too. <!-- upkeep:superseded-by={to.number} -->"


def horizon(pull_requests: Sequence[PullRequest]) -> datetime | None:
    """From when on a later listing misses nothing that matters: the oldest that is open, or the newest that is merged
    if that is older. None: list all, because nothing was merged yet."""
    merged = [one.created_at for one in pull_requests if one.state == "merged"]
    opened = [one.created_at for one in pull_requests if one.state == "open"]
    return min([max(merged), *opened]) if merged else None


class _Remote:
    """The branch of one proposal on the remote, as git sees it."""

    def __init__(self, repository: Repository, forge: Forge, proposal: Proposal) -> None:
        self._repository = repository
        self._proposal = proposal
        self._config = forge.git_config()
        self._env = forge.git_environment()

    def tip(self) -> str | None:
        ref = f"refs/heads/{self._proposal.branch}"
        heads = self._repository.remote_heads(self._proposal.url, [ref], config=self._config, env=self._env)
        return heads.get(ref)

    def look(self) -> RemoteBranch | None:
        """What is on the branch. A tip of ours proves that nobody has added to it: what lies below is what that
        commit started from. Rebasing or amending changes the committer, so a commit that a person did that to is
        theirs."""
        tip = self.tip()
        if tip is None:
            return None
        repository, branch = self._repository, self._proposal.branch
        if repository.resolve(tip) is None:
            refspec = f"+refs/heads/{branch}:refs/upkeep/seen/{branch}"
            repository.fetch(self._proposal.url, [refspec], config=self._config, env=self._env)
        if is_ours(repository.commit(tip)):
            return RemoteBranch(tip)
        beyond = repository.commits(self._proposal.parents[0], tip, limit=100)
        return RemoteBranch(tip, tuple(one.sha for one in beyond if not is_ours(one)) or (tip,))

    def has_nothing_new(self) -> bool:
        return self._repository.commit(self._proposal.parents[0]).tree == self._proposal.tree

    def commit(self) -> str:
        proposal = self._proposal
        return self._repository.commit_tree(
            proposal.tree, proposal.parents, proposal.message, trailers=proposal.trailers, when=proposal.at
        )

    def push(self, commit: str, expect: str | None) -> None:
        """Push with the lease. When the connection is lost on the way, the remote says whether the push happened."""
        url, branch = self._proposal.url, self._proposal.branch
        try:
            self._repository.push(url, commit, branch, expect=expect, config=self._config, env=self._env)
        except RemoteUnavailable:
            if self.tip() != commit:
                raise


def is_ours(commit: Commit) -> bool:
    """Whether Upkeep made a commit and nobody has changed it since."""
    return f"{commit.committer_name} <{commit.committer_email}>" == AUTHOR and UPDATE_ID in commit.trailers


def publish(
    repository: Repository,
    forge: Forge,
    lock: Lock,
    proposal: Proposal,
    *,
    listed: Sequence[PullRequest] | None = None,
    before: Callable[[Step], None] = lambda step: None,
) -> Publication:
    """Bring a proposal to the forge, or find that it is there. The caller holds `lock`, and records state afterwards.

    `repository` holds `tree` and `parents`. `listed` are the pull requests as the caller listed them for this update
    (all states; at least those of the branch and of `supersedes`): without it they are listed here, which is one call
    more. Pass only what was listed moments ago, by this very run: a run that is repeated from here must list anew.
    `before` is called ahead of every step and stops the publish by raising.

    Raises PushRefused (lease, permission, or a person's commits on the branch), LockLost, ForgeError
    `forge.not_as_sent` where what is read back is not ours, and whatever forge, git and `before` raise.
    """
    first_call = forge.calls
    before("search")
    known = forge.pull_requests(proposal.repo) if listed is None else listed
    remote = _Remote(repository, forge, proposal)
    decided = plan(proposal.branch, known, remote.look)
    if listed is not None and decided.expect is not None:
        # An earlier attempt came as far as the push: what has become of it since the caller listed?
        decided = plan(proposal.branch, forge.pull_requests(proposal.repo), remote.look)
    if decided.action in ("declined", "merged"):
        return Publication(decided.action, decided.pull_request, calls=forge.calls - first_call)
    if decided.pull_request is None and remote.has_nothing_new():
        return Publication("nothing", None, calls=forge.calls - first_call)

    made, commit = decided.pull_request, None
    if made is None:
        commit = _push(remote, lock, decided.expect, before)
        made = _create(forge, lock, proposal, before)
    before("read_back")
    made, opened = _read_back(forge, made, proposal.supersedes)
    _verify(made, proposal, commit)
    if made.state != "open":
        # Somebody merged or closed it in the moment since.
        outcome: Outcome = "merged" if made.state == "merged" else "declined"
        return Publication(outcome, made, made.head_sha, calls=forge.calls - first_call)
    superseded, kept = close_superseded(forge, lock, made, proposal.supersedes, opened=opened, before=before)
    outcome = "adopted" if commit is None else "created"
    return Publication(outcome, made, made.head_sha, superseded, kept, forge.calls - first_call)


def close_superseded(
    forge: Forge,
    lock: Lock,
    by: PullRequest,
    supersedes: Sequence[PullRequest],
    *,
    opened: Mapping[int, PullRequest] | None = None,
    before: Callable[[Step], None] = lambda step: None,
) -> tuple[tuple[PullRequest, ...], tuple[PullRequest, ...]]:
    """Close what the open pull request `by` covers, and point to it. Returns those that were closed, and those that
    stay open because since they were listed (`supersedes`) a person committed to, reviewed, commented on or reopened
    them. `opened` are the open ones by number, if the caller has just read them.

    Also for a run that finds `by` made and its predecessors still open: the one before it died in between.
    """
    if supersedes and opened is None:
        opened = _open_beside(forge, by, supersedes)
    closed, kept = [], []
    for listed in supersedes:
        now = (opened or {}).get(listed.number)
        if now is None or now.number == by.number:
            continue
        reopened = superseded_by(now) is not None
        if reopened or now.head_sha != listed.head_sha or forge.touched_by_person(now, since=listed.updated_at):
            kept.append(now)
            continue
        before("close")
        lock.check()
        closed.append(forge.close_pull_request(by.repo, now.number, note=pointer(by), body=now.body))
    return tuple(closed), tuple(kept)


def _push(remote: _Remote, lock: Lock, expect: str | None, before: Callable[[Step], None]) -> str:
    before("commit")
    commit = remote.commit()
    before("push")
    lock.check()
    remote.push(commit, expect)
    return commit


def _create(forge: Forge, lock: Lock, proposal: Proposal, before: Callable[[Step], None]) -> PullRequest:
    before("create")
    lock.check()
    return forge.create_pull_request(
        proposal.repo,
        head=proposal.branch,
        base=proposal.base_branch,
        title=one_line(proposal.title),
        body=fit(proposal.body),
    )


def _read_back(
    forge: Forge, made: PullRequest, supersedes: Sequence[PullRequest]
) -> tuple[PullRequest, dict[int, PullRequest]]:
    """The pull request as it is now, and the open ones: where some are to be closed, one list tells both, and their
    bodies are the latest, so that closing them takes nothing back that a person wrote."""
    opened = _open_beside(forge, made, supersedes) if supersedes else {}
    return opened.get(made.number) or forge.pull_request(made.repo, made.number), opened


def _open_beside(forge: Forge, one: PullRequest, others: Sequence[PullRequest]) -> dict[int, PullRequest]:
    numbers = {one.number, *(other.number for other in others)}
    return {found.number: found for found in forge.pull_requests(one.repo, state="open") if found.number in numbers}


def _verify(made: PullRequest, proposal: Proposal, commit: str | None) -> None:
    """Raise ForgeError unless the pull request is what we sent. Of an adopted one (`commit` None) the head may have
    moved: a person may work on it."""
    wanted = {
        "head branch": (proposal.branch, made.head_branch),
        "base branch": (proposal.base_branch, made.base_branch),
    }
    if commit is not None:
        wanted["head commit"] = (commit, made.head_sha)
    differs = {what: values for what, values in wanted.items() if values[0] != values[1]}
    if differs:
        words = "; ".join(f"{what} is {there}, not {ours}" for what, (ours, there) in differs.items())
        raise ForgeError(
            f"pull request #{made.number} of {made.repo} is not as it was sent: {words}",
            code="forge.not_as_sent",
            remedy=f"Look at {made.url}: mend its branches, or close it, and run the update again.",
            differs={what: {"sent": ours, "found": there} for what, (ours, there) in differs.items()},
        )


@dataclass(frozen=True)
class Recovered:
    """What the forge and the content tell about the past. `source` says from where `last_processed_commit` is known."""

    last_processed_commit: str | None
    source: Literal["branch", "trailer", "content", "nothing"]
    pull_request: PullRequest | None


def recover(pull_requests: Iterable[PullRequest], repository: Repository, *, recorded: str | None) -> Recovered:
    """Rebuild what was processed last from the newest pull request: the SHA that its branch is named for, else the
    trailer of its newest commit that has one; without a pull request, `recorded`, which the content says of itself.

    The branch's name stands in the pull request for ever; commits can be squashed, amended and deleted with the branch.
    """
    newest = max(pull_requests, key=lambda one: one.number, default=None)
    if newest is None:
        return Recovered(recorded, "content" if recorded else "nothing", None)
    name = newest.head_branch.rpartition("/")[2]
    if _SHA.fullmatch(name):
        return Recovered(name, "branch", newest)
    if repository.resolve(newest.head_sha) is not None:
        for commit in repository.commits(None, newest.head_sha, limit=100):
            if UPSTREAM_HEAD in commit.trailers:
                return Recovered(commit.trailers[UPSTREAM_HEAD][-1], "trailer", newest)
    return Recovered(recorded, "content" if recorded else "nothing", newest)
