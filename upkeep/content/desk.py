"""The desk that one update works at: its watch, the two repositories, the forge, the agent, the open run.

What belongs here: opening these, and the few questions that several steps ask of them. What does not: the steps
(`service.py`), the agent's work folder (`writing.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from upkeep.agents.base import Agent
from upkeep.agents.budget import Purse
from upkeep.agents.registry import open_agent
from upkeep.config import Settings
from upkeep.content.mermaid import NodeMermaid
from upkeep.content.proposal import Web, web_of
from upkeep.content.ranges import BRANCH_PREFIX
from upkeep.database.server import Database
from upkeep.errors import BranchGone
from upkeep.forges.base import Forge, PullRequest
from upkeep.forges.registry import credentials_for, open_forge
from upkeep.git import Repository
from upkeep.runs import Run
from upkeep.settings.watches import Watch


def nothing(step: str) -> None:
    """The default of `Desk.before`."""


class Listing:
    """The pull requests as this run listed them, for one publish: a step that is executed again lists anew."""

    def __init__(self) -> None:
        self._listed: list[PullRequest] | None = None

    def put(self, listed: list[PullRequest]) -> None:
        self._listed = listed

    def take(self) -> list[PullRequest] | None:
        listed, self._listed = self._listed, None
        return listed


@dataclass(frozen=True)
class Desk:
    """Everything one update works with. `before(step)` is called ahead of every step that changes something outside; it
    raises RunCancelled where the run may not go on. With `dry_run` nothing is pushed, proposed or recorded as state."""

    name: str
    watch: Watch
    settings: Settings
    database: Database
    forge: Forge
    agent: Agent
    run: Run
    dry_run: bool = False
    retry: bool = False
    before: Callable[[str], None] = field(default=nothing)
    listing: Listing = field(default_factory=Listing)

    @property
    def subject(self) -> str:
        """What the lock and the events call this watch."""
        return f"watch:{self.name}"

    @cached_property
    def mermaid(self) -> NodeMermaid:
        """Mermaid's own parser, which is loading from the first mention on, and ends with the run."""
        checker = NodeMermaid()
        self.run.closing.callback(checker.close)
        checker.warm()
        return checker

    @cached_property
    def upstream(self) -> Repository:
        """The upstream's objects, as they were fetched last. Never fetches."""
        path = self.watch.upstream.path
        return Repository.open(path if path is not None else self._mirror("upstream"))

    @cached_property
    def target(self) -> Repository:
        """Our mirror of the target, as it was fetched last. Never fetches."""
        return Repository.open(self._mirror("target"))

    @property
    def web(self) -> Web:
        return web_of(self.watch.upstream.url, self.watch.upstream.web)

    @property
    def upstream_name(self) -> str:
        """What the evidence calls the upstream: its page, or its URL without credentials, or its folder's name."""
        if self.web.upstream is not None:
            return self.web.upstream
        url = self.watch.upstream.url
        if url is None:
            assert self.watch.upstream.path is not None
            return self.watch.upstream.path.name
        return re.sub(r"(?<=://)[^/@]*@", "", url).rstrip("/").removesuffix(".git").rpartition("/")[2]

    @property
    def folder(self) -> Path:
        """Where this run keeps what it works on; emptied at its end."""
        return self.settings.home / "work" / self.name / self.run.run_id

    @property
    def logs(self) -> Path:
        """Transcripts of this run. Kept."""
        return self.settings.home / "runs" / "content" / self.name / self.run.run_id

    @property
    def scan_cache(self) -> Path:
        return self.settings.home / "cache" / "scan" / self.name

    def _mirror(self, what: str) -> Path:
        return self.settings.home / "mirrors" / what / f"{self.name}.git"

    def fetch_upstream(self) -> str:
        """Bring the upstream up to date; return the branch's head.

        Raises RepositoryNotReady (a working copy that a person has to look at), BranchGone, RemoteUnavailable.
        """
        upstream = self.watch.upstream
        _ = self.mermaid  # what is fetched will be written about and judged, most likely
        if upstream.path is not None:
            return Repository.update_working_copy(upstream.path, upstream.branch)
        assert upstream.url is not None
        credentials = credentials_for(self.settings, upstream.url)
        mirror = Repository.mirror(
            upstream.url,
            self._mirror("upstream"),
            branches=[upstream.branch],
            config=credentials[0],
            env=credentials[1],
        )
        return head_of(mirror, upstream.branch, upstream.url)

    def fetch_target(self) -> str:
        """Bring our mirror of the target up to date, its base branch and our branches; return the base branch's SHA."""
        target = self.watch.target
        mirror = Repository.mirror(
            target.url,
            self._mirror("target"),
            branches=[target.base, BRANCH_PREFIX + "*"],
            config=self.forge.git_config(),
            env=self.forge.git_environment(),
        )
        return head_of(mirror, target.base, target.url)


def head_of(mirror: Repository, branch: str, url: str) -> str:
    """SHA of a branch of a mirror. Raises BranchGone."""
    sha = mirror.resolve(f"refs/heads/{branch}")
    if sha is None:
        raise BranchGone(
            f"{url} has no branch {branch}",
            remedy="Check the branch's name in upkeep.yaml; a branch that was renamed or deleted has to be named anew.",
        )
    return sha


def upstream_branch(watch: Watch) -> tuple[str, str]:
    """URL and branch where the upstream's head is asked for: as configured, or what the working copy follows.

    Raises RepositoryNotReady.
    """
    upstream = watch.upstream
    if upstream.url is not None:
        return upstream.url, upstream.branch
    assert upstream.path is not None
    return Repository.followed(upstream.path, upstream.branch)


@dataclass(frozen=True)
class UpstreamHistory:
    """`ranges.History` over a repository."""

    repository: Repository

    def exists(self, sha: str) -> bool:
        return self.repository.resolve(f"{sha}^{{commit}}") is not None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self.exists(ancestor) and self.exists(descendant) and self.repository.is_ancestor(ancestor, descendant)

    def merge_base(self, one: str, other: str) -> str | None:
        if not (self.exists(one) and self.exists(other)):
            return None
        return self.repository.merge_base(one, other)


def open_desk(
    settings: Settings,
    name: str,
    *,
    database: Database,
    run: Run,
    dry_run: bool = False,
    retry: bool = False,
    before: Callable[[str], None] = nothing,
) -> Desk:
    """Open the desk of a watch. Raises ConfigError for an unknown watch, forge or engine."""
    watch = settings.watch(name)
    purse = Purse(SecretStr(database.url), run.run_id, settings.budgets)
    return Desk(
        name=name,
        watch=watch,
        settings=settings,
        database=database,
        forge=open_forge(watch.target.forge, settings, database),
        agent=open_agent(watch.agent, settings.agents[watch.agent], purse=purse),
        run=run,
        dry_run=dry_run,
        retry=retry,
        before=before,
    )
