"""Gitea over its REST API: pull requests, labels, issues, comments, branches, and how git authenticates.

What belongs here: what Gitea keeps and how it says so. What does not: how a request is sent (`gitea_api.py`), reading
the list of repositories (`gitea_repositories.py`), and the order of a publish (`upkeep/publish.py`).

Where Gitea differs from GitHub: the head's branch is its `label`, because `ref` turns into `refs/pull/N/head` once the
branch is gone; accounts are of one kind, so a comment by anybody but Gitea's own system users counts as a person's; an
existing pull request is a 409; times have whole seconds.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from upkeep.errors import ConfigError, ForgeError, ForgeUnavailable
from upkeep.forges import gitea_repositories
from upkeep.forges.base import Comment, ForgeRepository, Issue, Label, Listing, PullRequest
from upkeep.forges.gitea_api import PAGE_SIZE, GiteaApi, Response, incomplete
from upkeep.forges.text import fit, on_top

TITLE_LIMIT = 255
"""Characters of a title; Gitea would cut the rest off by itself."""

TOKEN_VARIABLE = "GITEA_TOKEN"
"""Where git's credential helper, a child of ours, finds the token."""

USER = "upkeep"
"""Any name will do where the password is a token."""

SCANS = 3
"""How often a list that changes while it is read is begun anew."""

# Events of the timeline. Upkeep causes none of them.
_TOUCHES = frozenset({"comment", "code", "review", "reopen", "dismiss_review"})
_REQUESTED = "REQUEST_REVIEW"
_REPO = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class GiteaForge:
    """One Gitea. `seams` go to `GiteaApi`: `deadline`, `attempt_seconds`, `sleep`, `jitter`."""

    kind = "gitea"

    def __init__(self, name: str, *, url: str, token: SecretStr | None = None, **seams: Any) -> None:
        self.name = name
        self.api = GiteaApi(url, token, **seams)
        self._token = token

    @property
    def calls(self) -> int:
        return self.api.calls

    # Pull requests

    def pull_requests(
        self,
        repo: str,
        *,
        branch_prefix: str = "",
        state: Literal["open", "all"] = "all",
        since: datetime | None = None,
    ) -> list[PullRequest]:
        for scan in range(1, SCANS + 1):
            try:
                own = [row for row in self._listed(repo, state, since) if _is_own(row, branch_prefix)]
            except ForgeUnavailable as error:
                if error.reason != "forge.incomplete" or scan == SCANS:
                    raise
                continue
            return sorted((self._record(repo, row) for row in own), key=lambda one: one.number, reverse=True)
        raise AssertionError("unreachable: the last scan returns or raises")

    def _listed(self, repo: str, state: str, since: datetime | None) -> list[dict[str, Any]]:
        """All rows, newest first. One that is opened between two pages moves the rest down (one comes twice), one that
        is closed moves them up (one is lost), which the count tells: ForgeUnavailable `forge.incomplete`."""
        found: dict[int, dict[str, Any]] = {}
        broken, first, last = 0, None, None
        for page in self.api.pages(f"{_path(repo)}/pulls", state=state):
            rows = [row for row in page.rows if row is not None]
            broken += len(page.rows) - len(rows)  # Gitea writes null for one that it cannot load
            found |= {row["number"]: row for row in rows}
            first, last = first if first is not None else page.total, page.total
            if since is not None and rows and _moment(rows[-1]["created_at"]) < since:
                return list(found.values())
        if last is not None and not first == last == len(found) + broken:
            raise incomplete(f"the pull requests of {repo} changed while they were read")
        return list(found.values())

    def pull_request(self, repo: str, number: int) -> PullRequest:
        return self._record(repo, self.api.get(f"{_path(repo)}/pulls/{number}").body)

    def create_pull_request(
        self, repo: str, *, head: str, base: str, title: str, body: str, labels: Sequence[Label] = ()
    ) -> PullRequest:
        made = self._create(repo, head=head, base=base, title=title, body=body)
        missing = [label for label in labels if label.name.lower() not in map(str.lower, made.labels)]
        if not missing:
            return made
        return made.model_copy(update={"labels": self.add_labels(repo, made.number, missing)})

    def _create(self, repo: str, *, head: str, base: str, title: str, body: str) -> PullRequest:
        def sent_before() -> PullRequest | None:
            """The open one for the branches; or one that a person closed at once, told by its text."""
            for one in self._of_branches(repo, head, base):
                if one.state == "open" or _words(one.title, one.body) == _words(title, body):
                    return one
            return None

        payload = {"head": head, "base": base, "title": title[:TITLE_LIMIT], "body": body}
        try:
            answer = self.api.write("POST", f"{_path(repo)}/pulls", payload, sent_before)
        except ForgeError as error:
            if error.reason == "forge.conflict":
                for one in self._of_branches(repo, head, base):
                    if one.state == "open":
                        return one
            raise
        return answer if isinstance(answer, PullRequest) else self._record(repo, answer.body)

    def _of_branches(self, repo: str, head: str, base: str) -> Iterator[PullRequest]:
        """Those from `head` to `base`, newest first, page by page: what is looked for stands on the first."""
        for page in self.api.pages(f"{_path(repo)}/pulls", state="all"):
            for row in page.rows:
                if _is_own(row, head) and row["head"]["label"] == head and row["base"]["ref"] == base:
                    yield self._record(repo, row)

    def close_pull_request(self, repo: str, number: int, *, note: str, body: str | None = None) -> PullRequest:
        text = on_top(note, self.pull_request(repo, number).body if body is None else body)
        return self._patch(
            repo,
            number,
            {"state": "closed", "body": fit(text)},
            lambda row: row["state"] == "closed" and (row["body"] or "").startswith(note),
        )

    def edit_pull_request(
        self, repo: str, number: int, *, title: str | None = None, body: str | None = None
    ) -> PullRequest:
        wanted = {"title": title, "body": None if body is None else fit(body)}
        payload = {key: text for key, text in wanted.items() if text is not None}
        return self._patch(
            repo, number, payload, lambda row: all(_words(row[key]) == _words(text) for key, text in payload.items())
        )

    def reopen_pull_request(self, repo: str, number: int) -> PullRequest:
        """Gitea itself would open one again whose branch is gone, or beside another one for the same branches."""
        current = self.pull_request(repo, number)
        if current.state == "open":
            return current
        why = ""
        if current.state == "merged":
            why = "it is merged"
        elif self.branch(repo, current.head_branch) is None:
            why = f"its branch {current.head_branch} is gone"
        elif any(one.state == "open" for one in self._of_branches(repo, current.head_branch, current.base_branch)):
            why = "another one is open for the same branches"
        if why:
            raise ForgeError(
                f"pull request #{number} cannot be opened again: {why}",
                code="forge.cannot_reopen",
                remedy="Make a new one.",
            )
        return self._patch(repo, number, {"state": "open"}, lambda row: row["state"] == "open")

    def _patch(
        self, repo: str, number: int, payload: Mapping[str, str], is_done: Callable[[dict[str, Any]], bool]
    ) -> PullRequest:
        path = f"{_path(repo)}/pulls/{number}"

        def done_before() -> Response | None:
            seen = self.api.get(path)
            return seen if is_done(seen.body) else None

        return self._record(repo, self.api.write("PATCH", path, payload, done_before).body)

    def touched_by_person(self, pull_request: PullRequest, *, since: datetime | None = None) -> bool:
        """The timeline has comments, reviews and reopenings, but neither a `Link` nor a count, and it leaves out
        comments on code after it has cut the pages, so that one may be empty before the last: what that hides, the
        reviews tell."""
        if since is not None and pull_request.updated_at <= since:
            return False
        path = _path(pull_request.repo)
        timeline = f"{path}/issues/{pull_request.number}/timeline"
        for number in itertools.count(1):
            rows = self.api.get(timeline, limit=PAGE_SIZE, page=number).rows
            if any(row["type"] in _TOUCHES and _is_person(row.get("user")) for row in rows):
                return True
            if not rows:
                break
        return any(
            row["state"] != _REQUESTED and _is_person(row.get("user"))
            for page in self.api.pages(f"{path}/pulls/{pull_request.number}/reviews")
            for row in page.rows
        )

    # Labels, issues, comments, branches

    def add_labels(self, repo: str, number: int, labels: Sequence[Label]) -> tuple[str, ...]:
        known = {row["name"].lower(): row["id"] for row in self._labels(repo)}
        ids = [known.get(label.name.lower()) or self._make_label(repo, label) for label in labels]
        path = f"{_path(repo)}/issues/{number}/labels"

        def added_before() -> Response | None:
            seen = self.api.get(path)
            return seen if set(ids) <= {row["id"] for row in seen.rows} else None

        answer = self.api.write("POST", path, {"labels": ids}, added_before)
        return tuple(row["name"] for row in answer.rows)

    def _labels(self, repo: str) -> list[dict[str, Any]]:
        return [row for page in self.api.pages(f"{_path(repo)}/labels") for row in page.rows]

    def _make_label(self, repo: str, label: Label) -> int:
        def made_before() -> int | None:
            return next((row["id"] for row in self._labels(repo) if row["name"] == label.name), None)

        payload = {"name": label.name, "color": f"#{label.color}", "description": label.description}
        answer = self.api.write("POST", f"{_path(repo)}/labels", payload, made_before)
        return answer if isinstance(answer, int) else int(answer.body["id"])

    def issues(
        self, repo: str, *, state: Literal["open", "closed", "all"] = "open", labels: Sequence[str] = ()
    ) -> list[Issue]:
        """Issues that are no pull requests, newest first; with `labels`, those that have all of them."""
        query = {"state": state, "type": "issues"} | ({"labels": ",".join(labels)} if labels else {})
        found: dict[int, Issue] = {}
        for page in self.api.pages(f"{_path(repo)}/issues", **query):
            found |= {row["number"]: self._issue(repo, row) for row in page.rows}
        return list(found.values())

    def issue(self, repo: str, number: int) -> Issue:
        return self._issue(repo, self.api.get(f"{_path(repo)}/issues/{number}").body)

    def create_issue(self, repo: str, *, title: str, body: str) -> Issue:
        """Create it. Where the outcome of sending it was unknown, one with this title and body is taken for it."""

        def made_before() -> Issue | None:
            seen = self.issues(repo, state="all")
            return next((one for one in seen if _words(one.title, one.body) == _words(title, body)), None)

        answer = self.api.write("POST", f"{_path(repo)}/issues", {"title": title, "body": fit(body)}, made_before)
        return answer if isinstance(answer, Issue) else self._issue(repo, answer.body)

    def close_issue(self, repo: str, number: int) -> Issue:
        path = f"{_path(repo)}/issues/{number}"

        def closed_before() -> Response | None:
            seen = self.api.get(path)
            return seen if seen.body["state"] == "closed" else None

        return self._issue(repo, self.api.write("PATCH", path, {"state": "closed"}, closed_before).body)

    def comments(self, repo: str, number: int) -> list[Comment]:
        """Comments on an issue or a pull request, oldest first."""
        return [_comment(row) for row in self.api.get(f"{_path(repo)}/issues/{number}/comments").rows]

    def comment(self, repo: str, number: int, body: str) -> Comment:
        """Add one. Where the outcome of sending it was unknown, a newest comment with this text is taken for it."""

        def made_before() -> Comment | None:
            newest = self.comments(repo, number)[-1:]
            return next((one for one in newest if _words(one.body) == _words(body)), None)

        path = f"{_path(repo)}/issues/{number}/comments"
        answer = self.api.write("POST", path, {"body": fit(body)}, made_before)
        return answer if isinstance(answer, Comment) else _comment(answer.body)

    def branches(self, repo: str) -> dict[str, str]:
        """SHA of every branch, by its name."""
        return {
            row["name"]: row["commit"]["id"] for page in self.api.pages(f"{_path(repo)}/branches") for row in page.rows
        }

    def branch(self, repo: str, name: str) -> str | None:
        """SHA of a branch; None where there is none."""
        try:
            return str(self.api.get(f"{_path(repo)}/branches/{quote(name, safe='')}").body["commit"]["id"])
        except ForgeError as error:
            if error.reason != "forge.not_found":
                raise
            return None

    # Repositories

    def list_repositories(
        self,
        organizations: Sequence[str],
        *,
        own: bool,
        progress: Callable[[int, int], None] = lambda read, total: None,
    ) -> Listing:
        return gitea_repositories.list_repositories(self.name, self.api, organizations, own=own, progress=progress)

    def find_repository(self, *, id: int | None = None, name: str = "") -> ForgeRepository | None:
        return gitea_repositories.find_repository(self.name, self.api, id=id, name=name)

    # Addresses and credentials

    def branch_url(self, repo: str, branch: str) -> str:
        return f"{self.api.web}/{repo}/src/branch/{quote(branch)}"

    def commit_url(self, repo: str, sha: str) -> str:
        return f"{self.api.web}/{repo}/commit/{sha}"

    def git_config(self) -> Mapping[str, str]:
        """A helper that says what is in its environment, for this origin alone; the empty one before it clears every
        other, so that none is asked, and none stores the token."""
        if self._token is None:
            return {}
        parts = urlsplit(self.api.web)
        says = f'test "$1" = get && printf "username=%s\\npassword=%s\\n" {shlex.quote(USER)} "${TOKEN_VARIABLE}"'
        return {
            "credential.helper": "",
            f"credential.{parts.scheme}://{parts.netloc}.helper": f"!f() {{ {says}; }}; f",
        }

    def git_environment(self) -> Mapping[str, str]:
        return {} if self._token is None else {TOKEN_VARIABLE: self._token.get_secret_value()}

    # Records

    def _record(self, repo: str, row: Mapping[str, Any]) -> PullRequest:
        merged = bool(row.get("merged"))
        return PullRequest(
            forge=self.name,
            repo=repo,
            number=row["number"],
            url=row["html_url"],
            # Gitea resolves it against the repository. The whole path would count as a mention.
            relative_url=f"pulls/{row['number']}",
            state="merged" if merged else row["state"],
            title=row["title"],
            body=row.get("body") or "",
            head_branch=row["head"]["label"],
            head_sha=row["head"]["sha"],
            base_branch=row["base"]["ref"],
            author=(row.get("user") or {}).get("login", ""),
            labels=tuple(label["name"] for label in row.get("labels") or ()),
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            closed_at=_moment_or_none(row.get("closed_at")),
            merged_at=_moment_or_none(row.get("merged_at")) if merged else None,
            merge_commit_sha=row.get("merge_commit_sha") if merged else None,
        )

    def _issue(self, repo: str, row: Mapping[str, Any]) -> Issue:
        return Issue(
            forge=self.name,
            repo=repo,
            number=row["number"],
            url=row["html_url"],
            state=row["state"],
            title=row["title"],
            body=row.get("body") or "",
            author=(row.get("user") or {}).get("login", ""),
            labels=tuple(label["name"] for label in row.get("labels") or ()),
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            closed_at=_moment_or_none(row.get("closed_at")),
        )


def _comment(row: Mapping[str, Any]) -> Comment:
    author = (row.get("user") or {}).get("login", "")
    return Comment(id=row["id"], author=author, body=row.get("body") or "", created_at=_moment(row["created_at"]))


def _path(repo: str) -> str:
    if not _REPO.fullmatch(repo) or ".." in repo.split("/"):
        raise ConfigError(f"{repo!r} is no Gitea repository", code="config.repo", remedy="Write it as owner/name.")
    return f"repos/{repo}"


def _is_own(row: Mapping[str, Any], prefix: str) -> bool:
    """A pull request from a fork may carry our branch's name; of a fork that was deleted the id is -1. Neither is ours.
    Ids, because the name may be one that the repository had before."""
    head = row["head"]
    return head["repo_id"] == row["base"]["repo_id"] and str(head["label"]).startswith(prefix)


def _is_person(user: Mapping[str, Any] | None) -> bool:
    """Gitea's own users (the ghost of a deleted account aside, which was a person) have ids below zero, such as -2 for
    its Actions."""
    return int((user or {}).get("id", 0)) >= -1


def _words(*texts: str | None) -> list[list[str]]:
    """What a text says, without the white space that a forge may change."""
    return [(text or "").split() for text in texts]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _moment_or_none(text: str | None) -> datetime | None:
    return _moment(text) if text else None
