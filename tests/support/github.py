"""GitHub for tests: the real gh, pointed at a fake GitHub over gh's `http_unix_socket` setting.

What belongs here: the fixture and what persons do on GitHub. What does not: the REST semantics (`github_server.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.github_http import serve
from tests.support.github_server import Fault, GitHubServer, HostedRepository, Request
from tests.support.repositories import RepoBuilder
from tests.support.tools import tool
from upkeep.forges.github import GitHubForge

TOKEN = "ghp_canaryTokenOfTheTests0123456789abcd"
BOT = "upkeep-bot"
SECOND = timedelta(seconds=1)


class GitHub:
    """One GitHub with one account for Upkeep (`BOT`, whose token is `TOKEN`).

    `env` makes any gh in a child process talk to it; it holds the token, as gh's own login would.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gh = tool("gh")
        self.server = GitHubServer()
        self.server.tokens[TOKEN] = BOT
        self.socket = folder / "socket"
        self.config = folder / "gh"
        self.configuration = {"GH_CONFIG_DIR": str(self.config)}
        self.env = {**self.configuration, "GH_TOKEN": TOKEN}
        subprocess.run(
            [self.gh, "config", "set", "http_unix_socket", str(self.socket)],
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **self.configuration},
            check=True,
            capture_output=True,
            timeout=60,
        )

    @property
    def requests(self) -> list[Request]:
        """Every request so far, oldest first; faults that struck before it took effect included."""
        return self.server.requests

    def repo(self, name: str, source: RepoBuilder) -> Hosted:
        """Host a bare copy of `source` as `owner/name`."""
        copy = source.bare_clone(self.folder / "repositories" / f"{name}.git")
        self.server.repositories[name] = HostedRepository(name, copy.path)
        return Hosted(self.server, self.server.repositories[name], copy)

    def forge(self, name: str = "github", **settings: Any) -> GitHubForge:
        settings = {"token": SecretStr(TOKEN), "gh": self.gh, "environment": self.configuration} | settings
        return GitHubForge(name, **settings)

    def fault(self, route: str, **what: Any) -> Fault:
        """Let requests whose `METHOD /path` contains a match of `route` go wrong, once unless `times` says more."""
        fault = Fault(route, **what)
        self.server.faults.append(fault)
        return fault


class Hosted:
    """One hosted repository: its git side (`bare`) and what persons do to its pull requests."""

    def __init__(self, server: GitHubServer, record: HostedRepository, bare: RepoBuilder) -> None:
        self.server = server
        self.record = record
        self.bare = bare
        self.name = record.full_name
        self.url = bare.url

    @property
    def pulls(self) -> dict[int, Any]:
        return self.record.pulls

    def opens(self, branch: str, *, base: str = "main", title: str = "Title", body: str = "", login: str = BOT) -> int:
        """A pull request that is just there; returns its number."""
        data = {"head": branch, "base": base, "title": title, "body": body}
        return int(self.server.create_pull(self.record, body=data, login=login)["number"])

    def closes(self, number: int) -> None:
        self.server.clock += SECOND
        self.server.update_pull(self.record, str(number), body={"state": "closed"}, login="ada")

    def reopens(self, number: int) -> None:
        self.server.clock += SECOND
        self.server.update_pull(self.record, str(number), body={"state": "open"}, login="ada")

    def comments(self, number: int, text: str = "Hm.", *, login: str = "ada", kind: str = "User") -> None:
        self.server.clock += SECOND
        self.server.users[login] = kind
        self.server.create_comment(self.record, str(number), body={"body": text}, login=login)

    def reviews(self, number: int, *, login: str = "ada", state: str = "COMMENTED") -> None:
        self.server.clock += SECOND
        pull = self.pulls[number]
        review = {"id": len(pull.reviews) + 1, "user": self.server.user(login), "state": state}
        pull.reviews.append(review)
        pull.updated_at = self.server.clock

    def merges(self, number: int) -> str:
        """Squash-merge, which drops the trailers of the branch's commits; returns the new commit of the base."""
        self.server.clock += SECOND
        pull = self.pulls[number]
        self.server.freeze(self.record, pull)
        tree = self.bare.git("rev-parse", f"{pull.last_head_sha}^{{tree}}")
        message = f"{pull.title} (#{number})"
        commit = self.bare.git("commit-tree", tree, "-p", pull.last_base_sha, "-m", message)
        self.bare.git("update-ref", f"refs/heads/{pull.base}", commit, pull.last_base_sha)
        pull.state, pull.merge_commit_sha = "closed", commit
        pull.merged_at = pull.closed_at = pull.updated_at = self.server.clock
        return commit


@contextmanager
def running_github() -> Iterator[GitHub]:
    """A GitHub of one's own. The folder is short because a socket's path may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="github-"))
    try:
        hub = GitHub(folder)
        stop = serve(hub.server, hub.socket)
        try:
            yield hub
        finally:
            stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def github() -> Iterator[GitHub]:
    with running_github() as hub:
        yield hub
