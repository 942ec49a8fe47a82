"""What Upkeep asks of a forge, whoever runs it.

What belongs here: the records (pull request, label, issue, comment) and the protocol that each forge implements in one
module of its own. What does not: the order in which a publish happens (`upkeep/publish.py`), and git itself
(`upkeep/git.py`): a forge only says which URL to push to and which credentials git shall use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Label(BaseModel):
    """A label as it is made where the repository lacks it; one that is there keeps its colour and description.

    `color` is six hexadecimal digits without `#`. `description` has at most 100 characters (GitHub's limit)."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1, max_length=50)
    color: str = Field(default="ededed", pattern="^[0-9a-f]{6}$")
    description: str = Field(default="", max_length=100)


class PullRequest(BaseModel):
    """A pull request as the forge tells it. Times are UTC. `merged` is a state of its own, `closed` is without.

    `relative_url` leads to it from text on the same repository, where that is not `../pull/NUMBER`."""

    model_config = ConfigDict(frozen=True)

    forge: str
    repo: str
    number: int
    url: str
    relative_url: str = ""
    state: Literal["open", "closed", "merged"]
    title: str
    body: str
    head_branch: str
    head_sha: str
    base_branch: str
    author: str = ""
    labels: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merge_commit_sha: str | None = None


class Issue(BaseModel):
    """An issue as the forge tells it. Times are UTC."""

    model_config = ConfigDict(frozen=True)

    forge: str
    repo: str
    number: int
    url: str
    state: Literal["open", "closed"]
    title: str
    body: str
    author: str = ""
    labels: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None


class Comment(BaseModel):
    """A comment on an issue or a pull request."""

    model_config = ConfigDict(frozen=True)

    id: int
    author: str
    body: str
    created_at: datetime


class ForgeRepository(BaseModel):
    """A repository as the forge's list tells it. Times are UTC.

    `id` stays when it is renamed or transferred. `size_kib`: what the forge says of its git folder. `pushed_at`: the
    last push, or where the forge does not tell that (Gitea) the last change of any kind. `addresses`: where git finds
    it."""

    model_config = ConfigDict(frozen=True)

    forge: str
    id: int
    full_name: str
    url: str
    addresses: tuple[str, ...] = ()
    description: str = ""
    size_kib: int = 0
    language: str = ""
    created_at: datetime | None = None
    pushed_at: datetime | None = None
    private: bool = False
    archived: bool = False
    fork: bool = False
    mirror: bool = False


class Listing(BaseModel):
    """All repositories of the organisations and the account that a forge was asked for, each once, by id.

    Complete means proven: every page was read, none came twice, and their number is what the forge counts. `gaps` says
    in words what is missing otherwise; what is listed exists all the same."""

    model_config = ConfigDict(frozen=True)

    forge: str
    repositories: tuple[ForgeRepository, ...]
    gaps: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.gaps


class Lister(Protocol):
    """A forge that lists repositories. Raises what `Forge` raises: a page that cannot be read is an error."""

    def list_repositories(
        self, organizations: Sequence[str], *, own: bool, progress: Callable[[int, int], None]
    ) -> Listing:
        """Those of the organisations, and with `own` of the account itself. `progress` is told how many of how many
        are read."""
        ...

    def find_repository(self, *, id: int | None = None, name: str = "") -> ForgeRepository | None:
        """One repository by its id or by a name that it has or had; None where there is none."""
        ...


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

    def create_pull_request(
        self, repo: str, *, head: str, base: str, title: str, body: str, labels: Sequence[Label] = ()
    ) -> PullRequest:
        """Create it, or adopt the open one that exists from `head` to `base` already. Never creates a second one.

        Without labels it is one call. With some, those that it lacks are added as `add_labels` does; a crash before
        that leaves it without, so whoever finds an unlabelled one of theirs calls `add_labels`."""
        ...

    def edit_pull_request(
        self, repo: str, number: int, *, title: str | None = None, body: str | None = None
    ) -> PullRequest:
        """Put title and body in place, in any state; None leaves what is there. A body is cut to what fits."""
        ...

    def reopen_pull_request(self, repo: str, number: int) -> PullRequest:
        """Open a closed one again; an open one is no error. Only for a long-lived pull request of ours: what a person
        closed otherwise stays closed.

        Raises ForgeError `forge.cannot_reopen` where it is merged, its branch is gone, another one is open for the
        same branches, or (GitHub) the head branch no longer descends from what it was when it was closed."""
        ...

    def add_labels(self, repo: str, number: int, labels: Sequence[Label]) -> tuple[str, ...]:
        """Add labels, making first those that the repository does not have. Returns all names that it has then. Names
        are compared without regard to case; adding one that is there changes nothing."""
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
