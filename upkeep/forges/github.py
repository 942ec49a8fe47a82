"""GitHub, through the real `gh`: REST only, because `gh pr` needs GraphQL and some tokens and servers lack it.

What belongs here: pull requests as GitHub keeps them, and how git authenticates. What does not: how a request is sent
(`gh.py`) and the order of a publish (`upkeep/publish.py`).

An update costs four calls: list, create, read back, close the superseded one. Closing is one PATCH that also puts the
pointer on top of the body: a comment would be one call more.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from pydantic import SecretStr

from upkeep.errors import ConfigError, ForgeError
from upkeep.forges import github_repositories
from upkeep.forges.base import ForgeRepository, Label, Listing, PullRequest
from upkeep.forges.gh import PAGE_SIZE, GhApi, Response
from upkeep.forges.text import fit, on_top

# Events of the timeline (one call for comments and reviews together). Upkeep causes none of them.
_TOUCHES = frozenset({"commented", "reviewed", "line-commented", "commit-commented", "reopened"})

_REPO = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class GitHubForge:
    """github.com or a GitHub Enterprise Server. Without `token`, gh's own login on this machine is used.

    `deadline` and `attempt_seconds` bound one operation and one request; both and `environment` go to `GhApi`.
    """

    kind = "github"

    def __init__(
        self,
        name: str,
        *,
        host: str = "github.com",
        token: SecretStr | None = None,
        gh: str = "gh",
        environment: Mapping[str, str] | None = None,
        deadline: float = 60.0,
        attempt_seconds: float = 20.0,
        **seams: Callable[..., Any],
    ) -> None:
        self.name = name
        self.host = host
        self._api = GhApi(
            host,
            token,
            gh=gh,
            environment=environment,
            deadline=deadline,
            attempt_seconds=attempt_seconds,
            **seams,
        )

    @property
    def calls(self) -> int:
        return self._api.calls

    def pull_requests(
        self,
        repo: str,
        *,
        branch_prefix: str = "",
        state: Literal["open", "all"] = "all",
        since: datetime | None = None,
    ) -> list[PullRequest]:
        found: dict[int, PullRequest] = {}
        query = {"state": state, "sort": "created", "direction": "desc"}
        for page in self._api.pages(f"{_path(repo)}/pulls", **query):
            # A pull request opened between two pages moves the rest down: the same one may come twice.
            found |= {row["number"]: self._record(repo, row) for row in page.body if _is_own(repo, row, branch_prefix)}
            if since is not None and page.body and _moment(page.body[-1]["created_at"]) < since:
                break
        return sorted(found.values(), key=lambda pull_request: pull_request.number, reverse=True)

    def pull_request(self, repo: str, number: int) -> PullRequest:
        return self._record(repo, self._api.get(f"{_path(repo)}/pulls/{number}").body)

    def create_pull_request(
        self, repo: str, *, head: str, base: str, title: str, body: str, labels: Sequence[Label] = ()
    ) -> PullRequest:
        made = self._create(repo, head=head, base=base, title=title, body=body)
        if not labels:
            return made
        missing = [label for label in labels if label.name.lower() not in map(str.lower, made.labels)]
        names = self.add_labels(repo, made.number, missing) if missing else made.labels
        return made.model_copy(update={"labels": names})

    def _create(self, repo: str, *, head: str, base: str, title: str, body: str) -> PullRequest:
        def sent_before() -> PullRequest | None:
            """The open one for the branches; or one that a person closed at once, told by its text."""
            known = self._of_branch(repo, head, base)
            return next((one for one in known if one.state == "open" or _same_text(one, title, body)), None)

        payload = {"head": head, "base": base, "title": title, "body": body}
        try:
            answer = self._api.write("POST", f"{_path(repo)}/pulls", payload, sent_before)
        except ForgeError as error:
            if error.reason == "forge.invalid" and "already exists" in error.message:
                existing = next((one for one in self._of_branch(repo, head, base) if one.state == "open"), None)
                if existing is not None:
                    return existing
            raise
        return answer if isinstance(answer, PullRequest) else self._record(repo, answer.body)

    def close_pull_request(self, repo: str, number: int, *, note: str, body: str | None = None) -> PullRequest:
        path = f"{_path(repo)}/pulls/{number}"
        text = on_top(note, self.pull_request(repo, number).body if body is None else body)

        def closed_before() -> Response | None:
            seen = self._api.get(path)
            return seen if seen.body["state"] == "closed" and (seen.body["body"] or "").startswith(note) else None

        answer = self._api.write("PATCH", path, {"state": "closed", "body": fit(text)}, closed_before)
        return self._record(repo, answer.body)

    def edit_pull_request(
        self, repo: str, number: int, *, title: str | None = None, body: str | None = None
    ) -> PullRequest:
        path = f"{_path(repo)}/pulls/{number}"
        wanted = {"title": title, "body": None if body is None else fit(body)}
        payload = {key: text for key, text in wanted.items() if text is not None}

        def edited_before() -> Response | None:
            seen = self._api.get(path)
            return seen if all(_words(seen.body[key]) == _words(text) for key, text in payload.items()) else None

        return self._record(repo, self._api.write("PATCH", path, payload, edited_before).body)

    def reopen_pull_request(self, repo: str, number: int) -> PullRequest:
        path = f"{_path(repo)}/pulls/{number}"

        def opened_before() -> Response | None:
            seen = self._api.get(path)
            return seen if seen.body["state"] == "open" else None

        try:
            return self._record(repo, self._api.write("PATCH", path, {"state": "open"}, opened_before).body)
        except ForgeError as error:
            if error.reason != "forge.invalid":
                raise
            raise ForgeError(
                f"pull request #{number} cannot be opened again: {error.message}",
                code="forge.cannot_reopen",
                remedy="GitHub opens none again whose branch was deleted or rewritten since: make a new one.",
            ) from error

    def add_labels(self, repo: str, number: int, labels: Sequence[Label]) -> tuple[str, ...]:
        for label in labels:
            self._ensure_label(repo, label)
        path = f"{_path(repo)}/issues/{number}/labels"
        wanted = {label.name.lower() for label in labels}

        def added_before() -> Response | None:
            seen = self._api.get(path, per_page=PAGE_SIZE)
            return seen if wanted <= {row["name"].lower() for row in seen.body} else None

        answer = self._api.write("POST", path, {"labels": [label.name for label in labels]}, added_before)
        return _label_names(answer.body)

    def _ensure_label(self, repo: str, label: Label) -> None:
        """Make it; the answer that it exists is as good. A label that somebody made keeps how it looks."""
        one = f"{_path(repo)}/labels/{quote(label.name, safe='')}"

        def made_before() -> Response | None:
            try:
                return self._api.get(one)
            except ForgeError as error:
                if error.reason != "forge.not_found":
                    raise
                return None

        try:
            self._api.write("POST", f"{_path(repo)}/labels", label.model_dump(), made_before)
        except ForgeError as error:
            if error.reason != "forge.invalid" or "already_exists" not in error.message:
                raise

    def touched_by_person(self, pull_request: PullRequest, *, since: datetime | None = None) -> bool:
        if since is not None and pull_request.updated_at <= since:
            return False
        timeline = f"{_path(pull_request.repo)}/issues/{pull_request.number}/timeline"
        return any(
            row.get("event") in _TOUCHES and (row.get("user") or row.get("actor") or {}).get("type") != "Bot"
            for page in self._api.pages(timeline)
            for row in page.body
        )

    def list_repositories(
        self,
        organizations: Sequence[str],
        *,
        own: bool,
        progress: Callable[[int, int], None] = lambda read, total: None,
    ) -> Listing:
        return github_repositories.list_repositories(self.name, self._api, organizations, own=own, progress=progress)

    def find_repository(self, *, id: int | None = None, name: str = "") -> ForgeRepository | None:
        return github_repositories.find_repository(self.name, self._api, id=id, name=name)

    def branch_url(self, repo: str, branch: str) -> str:
        return f"https://{self.host}/{repo}/tree/{quote(branch)}"

    def commit_url(self, repo: str, sha: str) -> str:
        return f"https://{self.host}/{repo}/commit/{sha}"

    def git_config(self) -> Mapping[str, str]:
        """Only gh answers for credentials: the empty helper clears every other one, those of the machine included, so
        that none is asked, and none stores what gh gave."""
        gh = shutil.which(self._api.gh) or self._api.gh
        return {
            "credential.helper": "",
            f"credential.https://{self.host}.helper": f"!{shlex.quote(gh)} auth git-credential",
        }

    def git_environment(self) -> Mapping[str, str]:
        return self._api.credentials()

    def _of_branch(self, repo: str, branch: str, base: str) -> list[PullRequest]:
        query = {"head": f"{repo.partition('/')[0]}:{branch}", "base": base, "state": "all"}
        answer = self._api.get(f"{_path(repo)}/pulls", **query, per_page=PAGE_SIZE)
        return [self._record(repo, row) for row in answer.body if _is_own(repo, row, branch)]

    def _record(self, repo: str, row: Mapping[str, Any]) -> PullRequest:
        merged = row.get("merged_at") is not None
        return PullRequest(
            forge=self.name,
            repo=repo,
            number=row["number"],
            url=row["html_url"],
            state="merged" if merged else row["state"],
            title=row["title"],
            body=row.get("body") or "",
            head_branch=row["head"]["ref"],
            head_sha=row["head"]["sha"],
            base_branch=row["base"]["ref"],
            author=(row.get("user") or {}).get("login", ""),
            labels=_label_names(row.get("labels") or ()),
            created_at=_moment(row["created_at"]),
            updated_at=_moment(row["updated_at"]),
            closed_at=row.get("closed_at"),
            merged_at=row.get("merged_at"),
            merge_commit_sha=row.get("merge_commit_sha") if merged else None,
        )


def _path(repo: str) -> str:
    if not _REPO.fullmatch(repo):
        raise ConfigError(f"{repo!r} is no GitHub repository", code="config.repo", remedy="Write it as owner/name.")
    return f"repos/{repo}"


def _is_own(repo: str, row: Mapping[str, Any], prefix: str) -> bool:
    """A pull request from a fork may carry our branch's name; a fork that was deleted is null. Neither is ours."""
    home = str((row["head"].get("repo") or {}).get("full_name", ""))
    return home.lower() == repo.lower() and str(row["head"]["ref"]).startswith(prefix)


def _same_text(one: PullRequest, title: str, body: str) -> bool:
    return (_words(one.title), _words(one.body)) == (_words(title), _words(body))


def _words(text: str | None) -> list[str]:
    """What GitHub keeps of a text for certain: it trims, and may change line ends."""
    return (text or "").split()


def _label_names(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(row["name"] for row in rows)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
