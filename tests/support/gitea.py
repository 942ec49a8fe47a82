"""Gitea for tests: a fake one on loopback, what persons do on it, and the contract with the vendor held at the end.

What belongs here: the fixture and the persons. What does not: the REST semantics (`gitea_server.py`).
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.gitea_contract import contract, described
from tests.support.gitea_http import Fault, GiteaHttp
from tests.support.gitea_server import READ, WRITE, GiteaServer, HostedRepository, Request, Topic
from tests.support.repositories import RepoBuilder
from upkeep.forges.gitea import GiteaForge

TOKEN_VARIABLE = "GITEA_TOKEN"
TOKEN = "gitea_canaryTokenOfTheTests0123456789abcdef"
BOT = "upkeep-bot"
SCOPES = {"repository": WRITE, "issue": WRITE, "organization": READ, "user": READ}
"""What docs/gitea.md says that a token needs; the fake grants no more."""
SECOND = timedelta(seconds=1)


class Gitea:
    """One Gitea at `url` with one account for Upkeep (`BOT`, whose token is `TOKEN`)."""

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        self.folder = folder
        self.server = GiteaServer()
        self.server.tokens[TOKEN] = BOT
        self.server.scopes[TOKEN] = SCOPES
        self.http = GiteaHttp(self.server, folder, tls=tls)
        self.url = self.http.url
        self.env = {TOKEN_VARIABLE: TOKEN}

    @property
    def requests(self) -> list[Request]:
        """Every request to the API so far, oldest first; faults that struck before it took effect included."""
        return self.server.requests

    def repo(self, name: str, source: RepoBuilder) -> Hosted:
        """Host a bare copy of `source` as `owner/name`."""
        copy = source.bare_clone(self.folder / f"{name}.git")
        record = self.lists(name, path=copy.path)
        return Hosted(self.server, record, copy, f"{self.url}/{name}.git")

    def lists(self, name: str, **fields: Any) -> HostedRepository:
        """A repository of which only the record counts."""
        number = max([*self.server.repositories, 0]) + 1
        self.server.organizations.add(name.split("/")[0].lower())
        self.server.repositories[number] = HostedRepository(number, name, **fields)
        return self.server.repositories[number]

    def forge(self, name: str = "gitea", **settings: Any) -> GiteaForge:
        return GiteaForge(name, **{"url": self.url, "token": SecretStr(TOKEN)} | settings)

    def fault(self, route: str, **what: Any) -> Fault:
        """Let requests whose `METHOD /path` contains a match of `route` go wrong, once unless `times` says more."""
        fault = Fault(route, **what)
        self.http.faults.append(fault)
        return fault

    def violations(self) -> list[str]:
        """What went over the wire against the vendor's description, and tokens where none belongs. Without the
        description only the latter."""
        file = described()
        found = [] if file is None else [each for one in self.http.exchanges for each in contract(file).violations(one)]
        shown = (f"{one.request.target} {one.request.body}" for one in self.http.exchanges)
        leaks = [text for text in shown if any(token in text for token in self.server.tokens)]
        return found + [f"a token stands outside of the Authorization header: {text}" for text in leaks]


class Hosted:
    """One hosted repository: its git side (`bare`) and what persons do to its pull requests."""

    def __init__(self, server: GiteaServer, record: HostedRepository, bare: RepoBuilder, url: str) -> None:
        self.server = server
        self.record = record
        self.bare = bare
        self.url = url

    @property
    def pulls(self) -> dict[int, Topic]:
        return self.record.pulls

    def opens(self, branch: str, *, base: str = "main", title: str = "Title", body: str = "", login: str = BOT) -> int:
        """A pull request that is just there; returns its number."""
        self.server.clock += SECOND
        data = {"head": branch, "base": base, "title": title, "body": body}
        return int(self.server.create_pull(self.record, body=data, login=login)["number"])

    def closes(self, number: int) -> None:
        self._changes(number, {"state": "closed"})

    def reopens(self, number: int) -> None:
        self._changes(number, {"state": "open"})

    def _changes(self, number: int, body: dict[str, str]) -> None:
        self.server.clock += SECOND
        self.server.edit_pull(self.record, str(number), body=body, login="ada")

    def comments(self, number: int, text: str = "Hm.", *, login: str = "ada") -> None:
        self.server.clock += SECOND
        self.server.happens(self.record.topics[number], "comment", login, text)

    def comments_on_code(self, number: int, times: int = 1, *, login: str = "ada") -> None:
        """Comments on lines, and the review that they belong to."""
        for _ in range(times):
            self.server.clock += SECOND
            self.server.happens(self.record.topics[number], "code", login, "This line?")
        self._reviews(number, "COMMENT", login)

    def reviews(self, number: int, *, login: str = "ada", state: str = "APPROVED") -> None:
        self.server.clock += SECOND
        self.server.happens(self.record.topics[number], "review", login, "")
        self._reviews(number, state, login)

    def _reviews(self, number: int, state: str, login: str) -> None:
        topic = self.record.topics[number]
        review = {"id": len(topic.reviews) + 1, "user": self.server.user(login), "state": state, "body": ""}
        topic.reviews.append(review)

    def merges(self, number: int) -> str:
        """Squash-merge, which drops the trailers of the branch's commits; returns the new commit of the base."""
        self.server.clock += SECOND
        pull = self.record.topics[number]
        self.server.follow(self.record, pull, self.record.branches())
        tree = self.bare.git("rev-parse", f"{pull.head_sha}^{{tree}}")
        commit = self.bare.git("commit-tree", tree, "-p", pull.base_sha, "-m", f"{pull.title} (#{number})")
        self.bare.git("update-ref", f"refs/heads/{pull.base}", commit, pull.base_sha)
        pull.state, pull.merge_commit_sha = "closed", commit
        pull.merged_at = pull.closed_at = self.server.clock
        self.server.happens(pull, "merge_pull", "ada")
        return commit


@contextmanager
def running_gitea(tls: ssl.SSLContext | None = None) -> Iterator[Gitea]:
    """A Gitea of one's own, over TLS if a context is given."""
    with tempfile.TemporaryDirectory(prefix="gitea-") as folder:
        forge = Gitea(Path(folder), tls)
        try:
            yield forge
        finally:
            forge.http.close()


@pytest.fixture
def gitea() -> Iterator[Gitea]:
    """A running Gitea. When the test is over, all that went over the wire is as the vendor describes it."""
    with running_gitea() as forge:
        yield forge
        assert forge.violations() == []
