"""A small Gitea: what Upkeep relies on of its REST API (v1, as of 1.23), over real repositories.

What belongs here: state and routes. What does not: HTTP, git and faults on the wire (`gitea_http.py`), whether what is
said is what the vendor describes (`gitea_contract.py`), fixtures and persons (`gitea.py`).

As the real one does: `limit` is clamped without a word, `Link` carries the server's own idea of its address, a renamed
repository answers its old path with 307, the head of a pull request whose branch is gone has a `ref` of its own, the
timeline has neither count nor `Link`, an organisation's count includes repositories that the account may not see, and a
second pull request for the same branches is a 409. Fields that Go's encoder writes as `null` are left out, because the
description knows no null; `nulls` puts them in.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

FIRST_MOMENT = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
ROOT_URL = "https://gitea.example/"
"""What the server believes to be its address: another one than where tests reach it."""

VERSION = "1.23.0"
READ, WRITE = "read", "write"

Json = Any
Query = Mapping[str, str]


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.payload = {"message": message, "url": f"{ROOT_URL}api/swagger"}


@dataclass(frozen=True)
class Request:
    """A request to the API. `target` is path and query as they came; `status` 0: a fault ate it."""

    method: str
    path: str
    query: Query
    body: Json
    status: int = 0
    target: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Topic:
    """An issue, or a pull request where `head` is set. `timeline` holds events, comments and reviews alike."""

    number: int
    title: str
    body: str
    author: str
    created_at: datetime
    updated_at: datetime
    head: str = ""
    base: str = ""
    head_sha: str = ""
    base_sha: str = ""
    from_fork: int = 0
    state: str = "open"
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merge_commit_sha: str | None = None
    labels: list[int] = field(default_factory=list)
    timeline: list[Json] = field(default_factory=list)
    reviews: list[Json] = field(default_factory=list)


@dataclass
class HostedRepository:
    """A repository on the fake. `path` is None where nobody looks at its git side. `hidden_from` are logins that may
    not see it, `readers` those that may not write."""

    id: int
    full_name: str
    path: Path | None = None
    description: str = ""
    language: str = "Python"
    size: int = 12
    private: bool = False
    archived: bool = False
    fork: bool = False
    mirror: bool = False
    created_at: datetime = FIRST_MOMENT
    updated_at: datetime = FIRST_MOMENT
    topics: dict[int, Topic] = field(default_factory=dict)
    labels: dict[int, Json] = field(default_factory=dict)
    readers: set[str] = field(default_factory=set)
    hidden_from: set[str] = field(default_factory=set)

    @property
    def owner(self) -> str:
        return self.full_name.split("/")[0]

    @property
    def pulls(self) -> dict[int, Topic]:
        return {number: topic for number, topic in self.topics.items() if topic.head}

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "safe.bareRepository=all", "--git-dir", str(self.path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def branches(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/heads/").splitlines()
        return dict(line.split(" ") for line in lines)


class GiteaServer:
    """State and routes. `clock` moves a second with every request, so that times are distinct and repeatable.

    `before`: called with each request before it is served, for what happens in the middle of something. `same_page`:
    whatever page is asked for, the first one is given.
    """

    def __init__(self) -> None:
        self.repositories: dict[int, HostedRepository] = {}
        self.redirects: dict[str, int] = {}
        self.organizations: set[str] = set()
        self.users: dict[str, int] = {}
        self.tokens: dict[str, str] = {}
        self.scopes: dict[str, Mapping[str, str]] = {}
        self.requests: list[Request] = []
        self.max_response_items = 50
        self.same_page = False
        self.nulls = False
        self.before: Callable[[Request], None] = lambda request: None
        self.clock = FIRST_MOMENT
        self.lock = threading.RLock()

    # What a request does --------------------------------------------------------------------------------------------

    REPO = r"/repos/([^/]+/[^/]+)"
    ROUTES: ClassVar[list[tuple[str, str, str, str]]] = [
        ("GET", r"/version", "get_version", ""),
        ("GET", r"/settings/api", "get_settings", ""),
        ("GET", r"/user", "get_user", "user"),
        ("GET", r"/user/repos", "list_own_repositories", "user"),
        ("GET", r"/orgs/([^/]+)/repos", "list_organization_repositories", "organization"),
        ("GET", r"/repositories/(\d+)", "get_repository_by_id", "repository"),
        ("GET", REPO, "get_repository", "repository"),
        ("GET", REPO + r"/branches", "list_branches", "repository"),
        ("GET", REPO + r"/branches/([^/]+)", "get_branch", "repository"),
        ("GET", REPO + r"/pulls", "list_pulls", "repository"),
        ("POST", REPO + r"/pulls", "create_pull", "repository"),
        ("GET", REPO + r"/pulls/(\d+)", "get_pull", "repository"),
        ("PATCH", REPO + r"/pulls/(\d+)", "edit_pull", "repository"),
        ("GET", REPO + r"/pulls/(\d+)/reviews", "list_reviews", "repository"),
        ("GET", REPO + r"/labels", "list_labels", "issue"),
        ("POST", REPO + r"/labels", "create_label", "issue"),
        ("GET", REPO + r"/issues", "list_issues", "issue"),
        ("POST", REPO + r"/issues", "create_issue", "issue"),
        ("GET", REPO + r"/issues/(\d+)", "get_issue", "issue"),
        ("PATCH", REPO + r"/issues/(\d+)", "edit_issue", "issue"),
        ("GET", REPO + r"/issues/(\d+)/timeline", "list_timeline", "issue"),
        ("GET", REPO + r"/issues/(\d+)/comments", "list_comments", "issue"),
        ("POST", REPO + r"/issues/(\d+)/comments", "create_comment", "issue"),
        ("GET", REPO + r"/issues/(\d+)/labels", "list_issue_labels", "issue"),
        ("POST", REPO + r"/issues/(\d+)/labels", "add_issue_labels", "issue"),
    ]

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Json]:
        """Serve one request to `/api/v1…`: `(status, headers, JSON)`."""
        parts = urlsplit(target)
        path, query = parts.path, dict(parse_qsl(parts.query))
        payload = json.loads(body) if body else None
        with self.lock:
            self.before(Request(method, path, query, payload, target=target))
            self.clock += timedelta(seconds=1)
            try:
                status, extra, result = self.route(method, path, query, payload, headers)
            except Refusal as refusal:
                status, extra, result = refusal.status, refusal.headers, refusal.payload
            self.requests.append(Request(method, path, query, payload, status, target))
        return status, extra, result

    def route(
        self, method: str, path: str, query: Query, body: Json, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], Json]:
        for verb, pattern, name, scope in self.ROUTES:
            match = re.fullmatch(pattern, path.removeprefix("/api/v1"))
            if match is None or verb != method:
                continue
            login = self.login(headers, scope, WRITE if method != "GET" else READ)
            arguments: list[Any] = [unquote(part) for part in match.groups()]
            if pattern.startswith(self.REPO):
                arguments[0] = self.visible(arguments[0], login, path, query, write=method != "GET")
            result = getattr(self, name)(*arguments, query=query, body=body, login=login)
            if isinstance(result, tuple):
                return result
            created = method == "PATCH" or (method == "POST" and name != "add_issue_labels")
            return (201 if created else 200), {}, result
        raise Refusal(404, "The target couldn't be found.")

    def login(self, headers: Mapping[str, str], scope: str, level: str) -> str:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not token:
            if scope and level == WRITE:
                raise Refusal(401, "token is required")
            return ""
        if scheme.lower() not in {"token", "bearer"} or token not in self.tokens:
            raise Refusal(401, "invalid username, password or token")
        granted = self.scopes.get(token)
        if scope and granted is not None and granted.get(scope) not in ({WRITE} if level == WRITE else {READ, WRITE}):
            raise Refusal(403, f"token does not have at least one of required scope(s): [{level}:{scope}]")
        return self.tokens[token]

    def visible(self, full_name: str, login: str, path: str, query: Query, *, write: bool) -> HostedRepository:
        found = self.named(full_name)
        if found is None and full_name.lower() in self.redirects:
            there = self.repositories[self.redirects[full_name.lower()]]
            location = path.replace(full_name, there.full_name, 1) + (f"?{urlencode(query)}" if query else "")
            raise Refusal(307, "", {"Location": location})
        if found is None or not self.sees(login, found):
            raise Refusal(404, "The target couldn't be found.")
        if write and login in found.readers:
            raise Refusal(403, "user should have a permission to write to a repo")
        if write and found.archived:
            raise Refusal(423, f"{found.full_name} is archived")
        return found

    def named(self, full_name: str) -> HostedRepository | None:
        """Names are compared without regard to case."""
        every = self.repositories.values()
        return next((one for one in every if one.full_name.lower() == full_name.lower()), None)

    def sees(self, login: str, repository: HostedRepository) -> bool:
        return login not in repository.hidden_from and (bool(login) or not repository.private)

    def page(
        self, query: Query, path: str, rows: list[Json], total: int | None = None
    ) -> tuple[int, dict[str, str], Json]:
        """One page of `rows`, in which None stands for what is counted and then left out."""
        total = len(rows) if total is None else total
        size = self.page_size(query)
        number = 1 if self.same_page else max(int(query.get("page", 1)), 1)
        last = max((total + size - 1) // size, 1)
        links = {"next": number + 1, "last": last} if number < last else {}
        links |= {"first": 1, "prev": number - 1} if number > 1 else {}
        here = f"{ROOT_URL.rstrip('/')}/api/v1{path}"
        shown = [f'<{here}?{urlencode({**query, "page": at})}>; rel="{name}"' for name, at in links.items()]
        headers = {"X-Total-Count": str(total)} | ({"Link": ",".join(shown)} if shown else {})
        return 200, headers, [row for row in rows[(number - 1) * size : number * size] if row is not None]

    def page_size(self, query: Query) -> int:
        asked = int(query.get("limit", 0))
        return min(asked, self.max_response_items) if asked > 0 else min(30, self.max_response_items)

    # The server and its repositories ---------------------------------------------------------------------------------

    def get_version(self, **_: Any) -> Json:
        return {"version": VERSION}

    def get_settings(self, **_: Any) -> Json:
        return {
            "max_response_items": self.max_response_items,
            "default_paging_num": 30,
            "default_git_trees_per_page": 1000,
            "default_max_blob_size": 10485760,
        }

    def get_user(self, *, login: str, **_: Any) -> Json:
        if not login:
            raise Refusal(401, "token is required")
        return self.user(login)

    def list_own_repositories(self, *, query: Query, login: str, **_: Any) -> Json:
        if not login:
            raise Refusal(401, "token is required")
        rows = [self.repository(one) for one in self.of_owner(login)]
        return self.page(query, "/user/repos", rows)

    def list_organization_repositories(self, name: str, *, query: Query, login: str, **_: Any) -> Json:
        """Counted are all of them; those that the account may not see are then left out of their pages."""
        if name.lower() not in self.organizations:
            raise Refusal(404, f"org redirect does not exist [name: {name}]")
        mine = [one for one in self.of_owner(name) if login or not one.private]
        rows = [self.repository(one) if self.sees(login, one) else None for one in mine]
        return self.page(query, f"/orgs/{name}/repos", rows)

    def of_owner(self, name: str) -> list[HostedRepository]:
        mine = [one for one in self.repositories.values() if one.owner.lower() == name.lower()]
        return sorted(mine, key=lambda one: one.id)

    def get_repository_by_id(self, number: str, *, login: str, **_: Any) -> Json:
        found = self.repositories.get(int(number))
        if found is None or not self.sees(login, found):
            raise Refusal(404, "The target couldn't be found.")
        return self.repository(found)

    def get_repository(self, repository: HostedRepository, **_: Any) -> Json:
        return self.repository(repository)

    def list_branches(self, repository: HostedRepository, *, query: Query, **_: Any) -> Json:
        rows = [self.branch(name, sha) for name, sha in repository.branches().items()]
        return self.page(query, f"/repos/{repository.full_name}/branches", rows)

    def get_branch(self, repository: HostedRepository, name: str, **_: Any) -> Json:
        sha = repository.branches().get(name)
        if sha is None:
            raise Refusal(404, f"branch does not exist [repo_id: {repository.id} name: {name}]")
        return self.branch(name, sha)

    # Pull requests ---------------------------------------------------------------------------------------------------

    def list_pulls(self, repository: HostedRepository, *, query: Query, **_: Any) -> Json:
        state = query.get("state", "open")
        pulls = [pull for pull in repository.pulls.values() if state in ("all", pull.state)]
        pulls.sort(key=lambda pull: (pull.created_at, pull.number), reverse=True)
        tips = repository.branches()
        rows = [self.pull(repository, pull, tips) for pull in pulls]
        return self.page(query, f"/repos/{repository.full_name}/pulls", rows)

    def create_pull(self, repository: HostedRepository, *, body: Json, login: str, **_: Any) -> Json:
        head, base = body["head"], body["base"]
        if head == base:
            raise Refusal(422, "Invalid PullRequest: There are no changes between the head and the base")
        tips = repository.branches()
        for branch in (base, head):
            if branch not in tips:
                raise Refusal(404, f"branch does not exist [{branch}]")
        for pull in repository.pulls.values():
            if pull.state == "open" and (pull.head, pull.base) == (head, base):
                raise Refusal(
                    409,
                    f"pull request already exists for these targets [id: {pull.number}, issue_id: {pull.number}, "
                    f"head_branch: {head}, base_branch: {base}]",
                )
        pull = self.open_topic(repository, body, login)
        pull.head, pull.base = head, base
        self.follow(repository, pull, tips)
        self.cross_reference(repository, pull)
        return self.pull(repository, pull)

    def open_topic(self, repository: HostedRepository, body: Json, login: str) -> Topic:
        number = max([*repository.topics, 0]) + 1
        topic = Topic(number, body["title"][:255], body.get("body", ""), login, self.clock, self.clock)
        repository.topics[number] = topic
        return topic

    def get_pull(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return self.pull(repository, self.topic(repository, number, pull=True))

    def edit_pull(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        pull = self.topic(repository, number, pull=True)
        if "state" in body and pull.merged_at:
            raise Refusal(412, "cannot change state of this pull request, it was already merged")
        self.edit(repository, pull, body, login)
        return self.pull(repository, pull)

    def edit(self, repository: HostedRepository, topic: Topic, body: Json, login: str) -> None:
        topic.title, topic.body = body.get("title") or topic.title, body.get("body", topic.body)
        topic.updated_at = self.clock
        if body.get("state", topic.state) != topic.state:
            topic.state = body["state"]
            topic.closed_at = self.clock if topic.state == "closed" else None
            self.happens(topic, "close" if topic.closed_at else "reopen", login)
        self.cross_reference(repository, topic)

    def list_reviews(self, repository: HostedRepository, number: str, *, query: Query, **_: Any) -> Json:
        reviews = self.topic(repository, number, pull=True).reviews
        return self.page(query, f"/repos/{repository.full_name}/pulls/{number}/reviews", reviews)

    # Issues, comments, labels ----------------------------------------------------------------------------------------

    def list_issues(self, repository: HostedRepository, *, query: Query, **_: Any) -> Json:
        state, kind = query.get("state", "open"), query.get("type", "")
        wanted = {name for name in query.get("labels", "").split(",") if name}
        rows = [
            self.issue(repository, topic)
            for topic in reversed(repository.topics.values())
            if state in ("all", topic.state)
            and kind in ("", "pulls" if topic.head else "issues")
            and wanted <= {repository.labels[at]["name"] for at in topic.labels}
        ]
        return self.page(query, f"/repos/{repository.full_name}/issues", rows)

    def create_issue(self, repository: HostedRepository, *, body: Json, login: str, **_: Any) -> Json:
        return self.issue(repository, self.open_topic(repository, body, login))

    def get_issue(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return self.issue(repository, self.topic(repository, number))

    def edit_issue(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        topic = self.topic(repository, number)
        self.edit(repository, topic, body, login)
        return self.issue(repository, topic)

    def list_timeline(self, repository: HostedRepository, number: str, *, query: Query, **_: Any) -> Json:
        """Comments on code are taken out after the page was cut; the count is that of the page."""
        size, at = self.page_size(query), int(query.get("page", 1))
        cut = self.topic(repository, number).timeline[(at - 1) * size : at * size]
        shown = [row for row in cut if row["type"] != "code"]
        return 200, {"X-Total-Count": str(len(shown))}, (shown or (None if self.nulls else []))

    def list_comments(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        rows = [row for row in self.topic(repository, number).timeline if row["type"] == "comment"]
        names = ("id", "user", "body", "created_at", "updated_at", "html_url")
        shown = [{name: row[name] for name in names} for row in rows]
        return 200, {"X-Total-Count": str(len(shown))}, shown

    def create_comment(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        row = self.happens(self.topic(repository, number), "comment", login, body["body"])
        return {name: row[name] for name in ("id", "user", "body", "created_at", "updated_at", "html_url")}

    def list_labels(self, repository: HostedRepository, *, query: Query, **_: Any) -> Json:
        return self.page(query, f"/repos/{repository.full_name}/labels", list(repository.labels.values()))

    def create_label(self, repository: HostedRepository, *, body: Json, **_: Any) -> Json:
        number = max([*repository.labels, 0]) + 1
        given = {"name": body["name"], "color": body["color"].lstrip("#"), "description": body.get("description", "")}
        url = f"{ROOT_URL}api/v1/repos/{repository.full_name}/labels/{number}"
        repository.labels[number] = {"id": number, **given, "exclusive": False, "is_archived": False, "url": url}
        return repository.labels[number]

    def list_issue_labels(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return [repository.labels[at] for at in self.topic(repository, number).labels]

    def add_issue_labels(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        topic = self.topic(repository, number)
        for at in body["labels"]:
            if at in repository.labels and at not in topic.labels:
                topic.labels.append(at)
                self.happens(topic, "label", login)
        return self.list_issue_labels(repository, number)

    # What is recorded ------------------------------------------------------------------------------------------------

    def topic(self, repository: HostedRepository, number: str, *, pull: bool = False) -> Topic:
        found = repository.topics.get(int(number))
        if found is None or (pull and not found.head):
            raise Refusal(404, "The target couldn't be found.")
        return found

    def happens(self, topic: Topic, kind: str, login: str, text: str = "") -> Json:
        """An event on the timeline: every one counts as an update."""
        topic.updated_at = self.clock
        row = {
            "id": len(topic.timeline) + 1,
            "type": kind,
            "user": self.user(login),
            "body": text,
            "created_at": stamp(self.clock),
            "updated_at": stamp(self.clock),
            "html_url": f"{ROOT_URL}comment-{len(topic.timeline) + 1}",
        }
        topic.timeline.append(row)
        return row

    def cross_reference(self, repository: HostedRepository, topic: Topic) -> None:
        """A mention (`#1`, `!1`, or a link with the full path) is an event of the topic that is mentioned."""
        here = re.escape(f"/{repository.full_name}")
        mentions = (
            rf"(?<![\[\w&])[#!](\d+)\b|(?<=\()(?:{re.escape(ROOT_URL.rstrip('/'))})?{here}/(?:pulls|issues)/(\d+)"
        )
        for found in re.finditer(mentions, topic.body):
            other = repository.topics.get(int(found[1] or found[2]))
            if other is not None and other is not topic:
                self.happens(other, "pull_ref" if topic.head else "issue_ref", topic.author)

    def pushed(self, repository: HostedRepository, login: str) -> None:
        """After a push: pull requests follow their branches, and those whose branch is gone are closed."""
        tips = repository.branches()
        for pull in repository.pulls.values():
            if pull.state != "open" or pull.from_fork:
                continue
            if pull.head not in tips:
                self.edit(repository, pull, {"state": "closed"}, login)
            elif tips[pull.head] != pull.head_sha:
                self.follow(repository, pull, tips)
                self.happens(pull, "pull_push", login)
        repository.updated_at = self.clock

    def follow(self, repository: HostedRepository, pull: Topic, tips: Mapping[str, str]) -> None:
        """The SHAs of an open pull request are those of its branches, and its own ref keeps the head."""
        pull.base_sha = tips.get(pull.base, pull.base_sha)
        if tips.get(pull.head, pull.head_sha) != pull.head_sha:
            pull.head_sha = tips[pull.head]
            repository.git("update-ref", f"refs/pull/{pull.number}/head", pull.head_sha)

    def rename(self, repository: HostedRepository, full_name: str) -> None:
        """Rename or transfer: the id stays, the old path leads to the new one."""
        self.redirects[repository.full_name.lower()] = repository.id
        if repository.path is not None:
            new = repository.path.parents[1] / f"{full_name}.git"
            new.parent.mkdir(parents=True, exist_ok=True)
            repository.path.rename(new)
            # Tests look at the old place.
            repository.path.symlink_to(new)
            repository.path = new
        repository.full_name = full_name

    # How it is shown -------------------------------------------------------------------------------------------------

    def user(self, login: str) -> Json:
        return {
            "id": self.users.setdefault(login, len(self.users) + 1),
            "login": login,
            "login_name": "",
            "source_id": 0,
            "full_name": login.title(),
            "email": f"{login}@noreply.gitea.example",
            "avatar_url": f"{ROOT_URL}avatars/{login}",
            "html_url": ROOT_URL + login,
            "language": "",
            "is_admin": False,
            "created": stamp(FIRST_MOMENT),
            "visibility": "public",
        }

    def repository(self, one: HostedRepository) -> Json:
        web = ROOT_URL + one.full_name
        return {
            "id": one.id,
            "owner": self.user(one.owner),
            "name": one.full_name.split("/")[1],
            "full_name": one.full_name,
            "description": one.description,
            "empty": False,
            "private": one.private,
            "fork": one.fork,
            "template": False,
            "mirror": one.mirror,
            "size": one.size,
            "language": one.language,
            "languages_url": f"{ROOT_URL}api/v1/repos/{one.full_name}/languages",
            "html_url": web,
            "url": f"{ROOT_URL}api/v1/repos/{one.full_name}",
            "link": "",
            "ssh_url": f"git@gitea.example:{one.full_name}.git",
            "clone_url": f"{web}.git",
            "original_url": "",
            "website": "",
            "stars_count": 0,
            "forks_count": 0,
            "watchers_count": 1,
            "open_issues_count": 0,
            "open_pr_counter": 0,
            "release_counter": 0,
            "default_branch": "main",
            "archived": one.archived,
            "created_at": stamp(one.created_at),
            "updated_at": stamp(one.updated_at),
            "archived_at": "1970-01-01T00:00:00Z",
            "permissions": {"admin": False, "push": True, "pull": True},
            "has_issues": True,
            "has_wiki": False,
            "has_pull_requests": True,
            "has_projects": False,
            "has_releases": True,
            "has_packages": False,
            "has_actions": False,
            "ignore_whitespace_conflicts": False,
            "allow_merge_commits": True,
            "allow_rebase": True,
            "allow_rebase_explicit": True,
            "allow_squash_merge": True,
            "default_merge_style": "merge",
            "avatar_url": "",
            "internal": False,
            "mirror_interval": "8h0m0s" if one.mirror else "",
            "mirror_updated": stamp(one.updated_at) if one.mirror else "0001-01-01T00:00:00Z",
            "object_format_name": "sha1",
            "topics": [],
            "licenses": [],
        }

    def branch(self, name: str, sha: str) -> Json:
        return {
            "name": name,
            "commit": {"id": sha, "message": "", "url": f"{ROOT_URL}commit/{sha}"},
            "protected": False,
        }

    def topic_fields(self, repository: HostedRepository, topic: Topic) -> Json:
        times = {"created_at": topic.created_at, "updated_at": topic.updated_at, "closed_at": topic.closed_at}
        kind = "pulls" if topic.head else "issues"
        fields = {
            "id": repository.id * 1000 + topic.number,
            "url": f"{ROOT_URL}api/v1/repos/{repository.full_name}/{kind}/{topic.number}",
            "html_url": f"{ROOT_URL}{repository.full_name}/{kind}/{topic.number}",
            "number": topic.number,
            "user": self.user(topic.author),
            "title": topic.title,
            "body": topic.body,
            "labels": [repository.labels[at] for at in topic.labels],
            "state": topic.state,
            "is_locked": False,
            "comments": sum(row["type"] == "comment" for row in topic.timeline),
            "pin_order": 0,
        }
        return fields | {name: stamp(moment) for name, moment in times.items() if moment or self.nulls}

    def issue(self, repository: HostedRepository, topic: Topic) -> Json:
        owner, name = repository.full_name.split("/")
        meta = {"id": repository.id, "name": name, "owner": owner, "full_name": repository.full_name}
        return {**self.topic_fields(repository, topic), "ref": "", "assets": [], "repository": meta}

    def pull(self, repository: HostedRepository, pull: Topic, tips: Mapping[str, str] | None = None) -> Json:
        tips = repository.branches() if tips is None else tips
        if pull.state == "open" and not pull.from_fork:
            self.follow(repository, pull, tips)
        whole = self.repository(repository)
        fields = {
            **self.topic_fields(repository, pull),
            "draft": False,
            "review_comments": 0,
            "diff_url": f"{ROOT_URL}{repository.full_name}/pulls/{pull.number}.diff",
            "patch_url": f"{ROOT_URL}{repository.full_name}/pulls/{pull.number}.patch",
            "mergeable": pull.state == "open",
            "merged": pull.merged_at is not None,
            "allow_maintainer_edit": False,
            "merge_base": pull.base_sha,
            "head": {
                "label": pull.head,
                "ref": pull.head if pull.head in tips else f"refs/pull/{pull.number}/head",
                "sha": pull.head_sha,
                "repo_id": pull.from_fork or repository.id,
                **({} if pull.from_fork else {"repo": whole}),
            },
            "base": {
                "label": pull.base,
                "ref": pull.base,
                "sha": pull.base_sha,
                "repo_id": repository.id,
                "repo": whole,
            },
        }
        if pull.merged_at:
            fields |= {"merged_at": stamp(pull.merged_at), "merge_commit_sha": pull.merge_commit_sha}
        elif self.nulls:
            fields |= dict.fromkeys(("merged_at", "merge_commit_sha", "merged_by", "assignee", "assignees", "due_date"))
        return fields


def stamp(moment: datetime | None) -> str | None:
    """Gitea writes times with the offset of its own zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
