"""A small GitHub on a unix socket: the REST semantics of pull requests that Upkeep relies on, over real repositories.

What belongs here: state, routes, and which faults strike. What does not: HTTP (`github_http.py`), fixtures and the way
gh is pointed here (`github.py`).
Where the fake is stricter than GitHub it is on purpose: a call without the pinned `X-GitHub-Api-Version` is refused.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

API_VERSION = "2022-11-28"
FIRST_MOMENT = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
BODY_LIMIT = 65_536

Json = Any
Query = Mapping[str, str]


class Refusal(Exception):
    """An answer that is an error: status and the JSON that goes with it."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.payload = {"message": message, **({"errors": list(errors)} if errors else {})}


@dataclass
class Fault:
    """What goes wrong with requests whose `METHOD /path` matches `route` (searched), `times` times.

    `after`: the request takes effect first. `drop`: the connection is closed without an answer. `delay`: seconds.
    """

    route: str
    status: int = 500
    times: int = 1
    after: bool = False
    drop: bool = False
    delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "Server Error"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Query
    body: Json
    status: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Pull:
    number: int
    title: str
    body: str | None
    head: str
    base: str
    author: str
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    closed_at: datetime | None = None
    merged_at: datetime | None = None
    merge_commit_sha: str | None = None
    last_head_sha: str = ""
    last_base_sha: str = ""
    labels: list[str] = field(default_factory=list)
    comments: list[Json] = field(default_factory=list)
    reviews: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)


@dataclass
class HostedRepository:
    """A repository on the fake: bare git repository and pull requests. `readers` are logins that may not write."""

    full_name: str
    path: Path
    pulls: dict[int, Pull] = field(default_factory=dict)
    forks: list[Json] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)
    labels: dict[str, Json] = field(default_factory=dict)
    private: bool = False

    @property
    def owner(self) -> str:
        return self.full_name.split("/")[0]

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "safe.bareRepository=all", "--git-dir", str(self.path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def sha(self, branch: str) -> str | None:
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}") or None


class GitHubServer:
    """State and routes. `clock` moves a second with every request, so that times are distinct and repeatable.
    `strangers` are logins that see public repositories only."""

    def __init__(self) -> None:
        self.repositories: dict[str, HostedRepository] = {}
        self.tokens: dict[str, str] = {}
        self.users: dict[str, str] = {}
        self.strangers: set[str] = set()
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.rate_limit_remaining = 4999
        self.clock = FIRST_MOMENT
        self.lock = threading.Lock()

    # What a request does --------------------------------------------------------------------------------------------

    ROUTES: ClassVar[list[tuple[str, str, str]]] = [
        ("GET", r"/user", "get_user"),
        ("GET", r"/user/repos", "list_own_repositories"),
        ("GET", r"/orgs/([^/]+)", "get_organization"),
        ("GET", r"/orgs/([^/]+)/repos", "list_repositories"),
        ("GET", r"/repositories/(\d+)", "get_repository_by_id"),
        ("GET", r"/repos/([^/]+/[^/]+)", "get_repository"),
        ("GET", r"/repos/([^/]+/[^/]+)/pulls", "list_pulls"),
        ("POST", r"/repos/([^/]+/[^/]+)/pulls", "create_pull"),
        ("GET", r"/repos/([^/]+/[^/]+)/pulls/(\d+)", "get_pull"),
        ("PATCH", r"/repos/([^/]+/[^/]+)/pulls/(\d+)", "update_pull"),
        ("GET", r"/repos/([^/]+/[^/]+)/pulls/(\d+)/reviews", "list_reviews"),
        ("GET", r"/repos/([^/]+/[^/]+)/issues/(\d+)/timeline", "list_timeline"),
        ("GET", r"/repos/([^/]+/[^/]+)/issues/(\d+)/comments", "list_comments"),
        ("POST", r"/repos/([^/]+/[^/]+)/issues/(\d+)/comments", "create_comment"),
        ("GET", r"/repos/([^/]+/[^/]+)/labels/([^/]+)", "get_label"),
        ("POST", r"/repos/([^/]+/[^/]+)/labels", "create_label"),
        ("GET", r"/repos/([^/]+/[^/]+)/issues/(\d+)/labels", "list_labels"),
        ("POST", r"/repos/([^/]+/[^/]+)/issues/(\d+)/labels", "add_labels"),
    ]

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], Json]:
        """Serve one request: `(status, headers, JSON)`. Faults are the handler's business."""
        parts = urlsplit(target)
        path = parts.path.removeprefix("/api/v3")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        payload = json.loads(body) if body else None
        with self.lock:
            self.clock += timedelta(seconds=1)
            try:
                login = self.login(headers)
                status, extra, result = self.route(method, path, query, payload, login)
            except Refusal as refusal:
                status, extra, result = refusal.status, {}, refusal.payload
            self.requests.append(Request(method, path, query, payload, status))
        return status, {**self.rate_headers(), **extra}, result

    def login(self, headers: Mapping[str, str]) -> str:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme not in {"token", "Bearer"} or token not in self.tokens:
            raise Refusal(401, "Bad credentials")
        if headers.get("x-github-api-version") != API_VERSION:
            raise Refusal(400, f"the call does not pin X-GitHub-Api-Version {API_VERSION}")
        return self.tokens[token]

    def route(self, method: str, path: str, query: Query, body: Json, login: str) -> tuple[int, dict[str, str], Json]:
        for verb, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if match is None or verb != method:
                continue
            arguments: list[Any] = list(match.groups())
            if pattern.startswith("/repos/"):
                arguments[0] = self.visible(arguments[0], login, write=method != "GET")
            result = getattr(self, name)(*arguments, query=query, body=body, login=login)
            if isinstance(result, list) and method == "GET":
                return self.page(path, query, result)
            return (201 if method == "POST" else 200), {}, result
        raise Refusal(404, "Not Found")

    def rate_headers(self) -> dict[str, str]:
        reset = str(int(time.time()) + 1800)
        return {
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": str(self.rate_limit_remaining),
            "X-RateLimit-Reset": reset,
        }

    def visible(self, full_name: str, login: str, *, write: bool) -> HostedRepository:
        found = self.repositories.get(full_name)
        if found is None:
            raise Refusal(404, "Not Found")
        if write and login in found.readers:
            raise Refusal(403, "Resource not accessible by personal access token")
        return found

    def page(self, path: str, query: Query, rows: list[Json]) -> tuple[int, dict[str, str], Json]:
        size = min(int(query.get("per_page", 30)), 100)
        number = int(query.get("page", 1))
        shown = rows[(number - 1) * size : number * size]
        if number * size >= len(rows):
            return 200, {}, shown
        following = urlencode({**query, "page": number + 1})
        return 200, {"Link": f'<https://api.github.com{path}?{following}>; rel="next"'}, shown

    # Routes ---------------------------------------------------------------------------------------------------------

    def get_user(self, *, login: str, **_: Any) -> Json:
        return {**self.user(login), **self.counts(login, login)}

    def get_organization(self, name: str, *, login: str, **_: Any) -> Json:
        if not self.of_owner(name):
            raise Refusal(404, "Not Found")
        return {"login": name, **self.counts(name, login)}

    def counts(self, owner: str, login: str) -> Json:
        """Private repositories are counted for members only."""
        mine = self.of_owner(owner)
        private = sum(one.private for one in mine)
        told = {} if login in self.strangers else {"total_private_repos": private, "owned_private_repos": private}
        return {"public_repos": len(mine) - private, **told}

    def of_owner(self, name: str) -> list[HostedRepository]:
        return [one for one in self.repositories.values() if one.owner == name]

    def list_own_repositories(self, *, login: str, **_: Any) -> Json:
        return self.list_repositories(login, login=login)

    def list_repositories(self, name: str, *, login: str, **_: Any) -> Json:
        mine = [one for one in self.of_owner(name) if not one.private or login not in self.strangers]
        return [self.get_repository(one, login=login) for one in mine]

    def get_repository_by_id(self, number: str, *, login: str, **_: Any) -> Json:
        for one in self.repositories.values():
            if self.get_repository(one, login=login)["id"] == int(number):
                return self.get_repository(one, login=login)
        raise Refusal(404, "Not Found")

    def get_repository(self, repository: HostedRepository, *, login: str, **_: Any) -> Json:
        return {
            "id": 1000 + list(self.repositories.values()).index(repository),
            "full_name": repository.full_name,
            "html_url": f"https://github.com/{repository.full_name}",
            "clone_url": f"https://github.com/{repository.full_name}.git",
            "ssh_url": f"git@github.com:{repository.full_name}.git",
            "description": None,
            "language": None,
            "size": 12,
            "private": repository.private,
            "fork": False,
            "mirror_url": None,
            "created_at": stamp(FIRST_MOMENT),
            "pushed_at": stamp(FIRST_MOMENT),
            "default_branch": "main",
            "archived": False,
            "permissions": {"pull": True, "push": login not in repository.readers},
        }

    def list_pulls(self, repository: HostedRepository, *, query: Query, **_: Any) -> Json:
        state, head = query.get("state", "open"), query.get("head")
        rows = [
            pull
            for pull in repository.pulls.values()
            if state in ("all", pull.state)
            and (head is None or head == f"{repository.owner}:{pull.head}")
            and query.get("base", pull.base) == pull.base
        ]
        moment = "updated_at" if query.get("sort") == "updated" else "created_at"
        newest_first = query.get("direction", "desc" if query.get("sort", "created") == "created" else "asc") == "desc"
        rows.sort(key=lambda pull: (getattr(pull, moment), pull.number), reverse=newest_first)
        return [self.shown(repository, pull) for pull in rows] + (repository.forks if head is None else [])

    def create_pull(self, repository: HostedRepository, *, body: Json, login: str, **_: Any) -> Json:
        head, base = body["head"].removeprefix(f"{repository.owner}:"), body["base"]
        for name, branch in (("head", head), ("base", base)):
            if repository.sha(branch) is None:
                raise Refusal(422, "Validation Failed", {"resource": "PullRequest", "field": name, "code": "invalid"})
        self.check_text(body)
        if any(pull.head == head and pull.base == base and pull.state == "open" for pull in repository.pulls.values()):
            raise custom(f"A pull request already exists for {repository.owner}:{head}.")
        if not int(repository.git("rev-list", "--count", f"refs/heads/{base}..refs/heads/{head}")):
            raise custom(f"No commits between {base} and {head}")
        number = max([*repository.pulls, 0]) + 1
        pull = Pull(number, body["title"], body.get("body"), head, base, login, self.clock, self.clock)
        repository.pulls[number] = pull
        self.cross_reference(repository, pull)
        return self.shown(repository, pull)

    def get_pull(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return self.shown(repository, self.pull(repository, number))

    def update_pull(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        pull = self.pull(repository, number)
        self.check_text(body)
        texts = (body.get("title", pull.title), body.get("body", pull.body))
        if texts != (pull.title, pull.body):
            (pull.title, pull.body), pull.updated_at = texts, self.clock
        if body.get("state", pull.state) != pull.state:
            if body["state"] == "open":
                self.check_reopening(repository, pull)
            self.freeze(repository, pull)
            pull.state = body["state"]
            pull.closed_at = self.clock if pull.state == "closed" else None
            pull.updated_at = self.clock
            pull.events.append({"event": "closed" if pull.closed_at else "reopened", "actor": self.user(login)})
        self.cross_reference(repository, pull)
        return self.shown(repository, pull)

    def list_reviews(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return self.pull(repository, number).reviews

    def list_timeline(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        pull = self.pull(repository, number)
        comments = [{"event": "commented", "actor": row["user"], **row} for row in pull.comments]
        reviews = [{"event": "reviewed", **row} for row in pull.reviews]
        return [*pull.events, *comments, *reviews]

    def list_comments(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return self.pull(repository, number).comments

    def create_comment(self, repository: HostedRepository, number: str, *, body: Json, login: str, **_: Any) -> Json:
        pull = self.pull(repository, number)
        comment = {
            "id": len(pull.comments) + 1,
            "user": self.user(login),
            "body": body["body"],
            "created_at": stamp(self.clock),
        }
        pull.comments.append(comment)
        pull.updated_at = self.clock
        return comment

    def get_label(self, repository: HostedRepository, name: str, **_: Any) -> Json:
        if unquote(name).lower() not in repository.labels:
            raise Refusal(404, "Not Found")
        return repository.labels[unquote(name).lower()]

    def create_label(self, repository: HostedRepository, *, body: Json, **_: Any) -> Json:
        name = body["name"]
        if name.lower() in repository.labels:
            raise Refusal(422, "Validation Failed", {"resource": "Label", "code": "already_exists", "field": "name"})
        if not re.fullmatch("[0-9a-fA-F]{6}", body.get("color", "ededed")) or len(body.get("description", "")) > 100:
            raise Refusal(422, "Validation Failed", {"resource": "Label", "code": "invalid", "field": "color"})
        label = {"name": name, "color": body.get("color", "ededed"), "description": body.get("description")}
        return repository.labels.setdefault(name.lower(), label)

    def list_labels(self, repository: HostedRepository, number: str, **_: Any) -> Json:
        return [{"name": name} for name in self.pull(repository, number).labels]

    def add_labels(self, repository: HostedRepository, number: str, *, body: Json, **_: Any) -> Json:
        """Stricter than GitHub, which makes a label that is missing, grey and without a word."""
        pull = self.pull(repository, number)
        for name in body["labels"]:
            if name.lower() not in repository.labels:
                raise Refusal(422, "Validation Failed", {"resource": "Label", "field": "name", "code": "missing"})
            known = repository.labels[name.lower()]["name"]
            if known not in pull.labels:
                pull.labels.append(known)
                pull.events.append({"event": "labeled", "actor": self.user(pull.author)})
                pull.updated_at = self.clock
        return [{"name": name} for name in pull.labels]

    # Records --------------------------------------------------------------------------------------------------------

    def pull(self, repository: HostedRepository, number: str) -> Pull:
        if int(number) not in repository.pulls:
            raise Refusal(404, "Not Found")
        return repository.pulls[int(number)]

    def user(self, login: str) -> Json:
        return {"login": login, "type": self.users.get(login, "User")}

    def check_text(self, body: Json) -> None:
        if len(body.get("body") or "") > BODY_LIMIT:
            raise custom(f"body is too long (maximum is {BODY_LIMIT} characters)")

    def cross_reference(self, repository: HostedRepository, pull: Pull) -> None:
        """A mention of another pull request, as `#1` or by its address, counts as an update of that one. Text that
        is a link already is no mention."""
        mentions = rf"(?<![\[\w])#(\d+)|https://github\.com/{re.escape(repository.full_name)}/pull/(\d+)"
        for found in re.finditer(mentions, pull.body or ""):
            other = repository.pulls.get(int(found[1] or found[2]))
            if other is not None and other is not pull:
                other.events.append({"event": "cross-referenced", "actor": self.user(pull.author)})
                other.updated_at = self.clock

    def check_reopening(self, repository: HostedRepository, pull: Pull) -> None:
        """Opened again is only one whose branch still descends from what it was when it was closed."""
        tip, why = repository.sha(pull.head), None
        if pull.merged_at:
            why = "It is merged."
        elif tip is None:
            why = f"The {pull.head} branch has been deleted."
        elif repository.git("rev-list", "--count", pull.last_head_sha, "--not", tip) != "0":
            why = f"The {pull.head} branch was force-pushed or recreated."
        elif any(
            (one.head, one.base, one.state) == (pull.head, pull.base, "open") for one in repository.pulls.values()
        ):
            why = f"There is already an open pull request from {repository.owner}:{pull.head} to {pull.base}."
        if why is not None:
            error = {"resource": "PullRequest", "code": "custom", "field": "state"}
            raise Refusal(422, "Validation Failed", {**error, "message": f"state cannot be changed. {why}"})

    def freeze(self, repository: HostedRepository, pull: Pull) -> None:
        """A closed pull request keeps the SHAs that it had."""
        pull.last_head_sha = repository.sha(pull.head) or pull.last_head_sha
        pull.last_base_sha = repository.sha(pull.base) or pull.last_base_sha

    def shown(self, repository: HostedRepository, pull: Pull) -> Json:
        if pull.state == "open":
            self.freeze(repository, pull)
        place = {"full_name": repository.full_name, "owner": {"login": repository.owner}}
        return {
            "number": pull.number,
            "html_url": f"https://github.com/{repository.full_name}/pull/{pull.number}",
            "state": pull.state,
            "title": pull.title,
            "body": pull.body,
            "user": self.user(pull.author),
            "labels": [{"name": name} for name in pull.labels],
            "head": {
                "ref": pull.head,
                "sha": pull.last_head_sha,
                "label": f"{repository.owner}:{pull.head}",
                "repo": place,
            },
            "base": {"ref": pull.base, "sha": pull.last_base_sha, "repo": place},
            "created_at": stamp(pull.created_at),
            "updated_at": stamp(pull.updated_at),
            "closed_at": stamp(pull.closed_at),
            "merged_at": stamp(pull.merged_at),
            "merge_commit_sha": pull.merge_commit_sha,
        }

    def take_fault(self, route: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.route, route):
                    fault.times -= 1
                    return fault
        return None


def custom(message: str) -> Refusal:
    return Refusal(422, "Validation Failed", {"resource": "PullRequest", "code": "custom", "message": message})


def stamp(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
