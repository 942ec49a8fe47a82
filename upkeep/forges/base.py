"""What Upkeep asks of a forge, whoever runs it.

What belongs here: the records (pull request) and the protocol that each forge implements in one module of its own.
What does not: the order in which a publish happens (`upkeep/publish.py`), and git itself (`upkeep/git.py`): a forge
only says which URL to push to and which credentials git shall use.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict


class PullRequest(BaseModel):
    """A pull request as the forge tells it. Times are UTC. `merged` is a state of its own, `closed` is without."""

    model_config = ConfigDict(frozen=True)

    forge: str
    repo: str
    number: int
    url: str
    state: Literal["open", "closed", "merged"]
    title: str
    body: str
    head_branch: str
    head_sha: str
    base_branch: str
    author: str = ""
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merge_commit_sha: str | None = None


class Forge(Protocol):
    """One forge with its settings. Every method is one call where the forge allows it.

    `calls` counts the requests that were sent since the forge was opened, repeated ones included.

    All methods raise ForgeUnavailable (transient; the outcome of a write was unknown, was looked up, and is still
    unknown), RateLimited (`details["seconds"]`: how long to wait), AuthenticationFailed or ForgeError.
    """

    name: str
    kind: str

    @property
    def calls(self) -> int: ...

    def pull_requests(
        self,
        repo: str,
        *,
        branch_prefix: str = "",
        state: Literal["open", "all"] = "all",
        since: datetime | None = None,
    ) -> list[PullRequest]:
        """All pull requests of `repo` whose head branch is in the repository itself and starts with `branch_prefix`,
        newest first, all pages (GitHub: 100 to a page, one call each, counted over everybody's pull requests).

        `since`: those created before it may be left out, which saves pages on a repository with a long past
        (`upkeep.publish.horizon` says from where nothing that still matters is missed)."""
        ...

    def pull_request(self, repo: str, number: int) -> PullRequest:
        """Read one. Raises ForgeError (code `forge.not_found`) where there is none."""
        ...

    def create_pull_request(self, repo: str, *, head: str, base: str, title: str, body: str) -> PullRequest:
        """Create it, or adopt the open one that exists for `head` already. Never creates a second one."""
        ...

    def close_pull_request(self, repo: str, number: int, *, note: str, body: str | None = None) -> PullRequest:
        """Close it and put `note` at the top of its body, where a reader sees it first. `body` is its body as last
        seen: without it, it is read first (one call more). Closing a closed one with its note there is no error."""
        ...

    def touched_by_person(self, pull_request: PullRequest, *, since: datetime | None = None) -> bool:
        """Whether a person reviewed it, commented on it or opened it again. Commits are judged by git, not here.

        Upkeep does none of these, so whatever is not by a bot account is a person's, even under the account
        that Upkeep uses. `since` is the `updated_at` that was read back when we last changed it: where the forge has
        recorded no change after that, the answer is False without a call."""
        ...

    def branch_url(self, repo: str, branch: str) -> str:
        """Where a person sees the branch."""
        ...

    def commit_url(self, repo: str, sha: str) -> str:
        """Where a person sees the commit."""
        ...

    def git_config(self) -> Mapping[str, str]:
        """git configuration (`-c key=value`) that lets git authenticate against this forge, never holding a secret."""
        ...

    def git_environment(self) -> Mapping[str, str]:
        """Environment that the credential helper of `git_config` needs. May hold a secret: for the child only."""
        ...
