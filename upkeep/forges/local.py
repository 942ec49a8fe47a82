"""The embedded forge: bare repositories on this machine, pull requests are rows in our database.

What belongs here: the rules that a forge keeps (a head that moves, a branch that is gone, one open pull request for a
branch) and what persons do on it. What does not: how branches are merged (`bare.py`) and the command line
(`cli/pull_requests.py`).

The repository is the truth about branches. Whenever a pull request is looked at, its row follows: a head that moved is
noted, a head that the base contains is merged (somebody pushed it, or died between moving the base and noting it), and
one whose branch is gone is closed, as GitHub does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session

from upkeep.database.server import Database
from upkeep.database.tables import pull_requests as rows
from upkeep.errors import ForgeError, RepositoryNotReady
from upkeep.forges.bare import MergeRequest, Strategy, merge
from upkeep.forges.base import Label, PullRequest
from upkeep.forges.text import fit, on_top
from upkeep.git import Repository

OURSELVES = "upkeep"

NoteKind = Literal["comment", "review", "reopened", "closed", "merged"]
_TOUCHES = frozenset({"comment", "review", "reopened"})
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


class LocalForge:
    """Repositories lie at `<root>/<repo>.git`, or where `places` says (`repo` → path of a bare repository).

    Methods raise DatabaseUnavailable beside what the protocol says.
    """

    kind = "local"

    def __init__(self, name: str, database: Database, root: Path, places: Mapping[str, Path] | None = None) -> None:
        self.name = name
        self.root = root
        self.calls = 0
        self._database = database
        self._places = dict(places or {})

    # Repositories

    def place(self, repo: str) -> Path:
        """Where the bare repository lies, whether it is there or not."""
        if not _REPO.fullmatch(repo) or ".." in repo:
            raise ForgeError(f"{repo!r} is no name of a repository", code="forge.not_found")
        return self._places.get(repo, self.root / f"{repo}.git")

    def repository(self, repo: str) -> Repository:
        """Open it. Raises ForgeError `forge.not_found`, RepositoryNotReady `forge.not_bare`."""
        path = self.place(repo)
        if not path.exists():
            raise ForgeError(
                f"the local forge {self.name} has no repository {repo}: there is nothing at {path}",
                code="forge.not_found",
                remedy=f"Put a bare repository there: git clone --bare SOURCE {path}",
            )
        found = Repository.open(path)
        if not found.bare:
            raise RepositoryNotReady(
                f"{path} is a working copy; a forge needs a bare repository, which nobody has checked out",
                code="forge.not_bare",
                remedy=f"git clone --bare {path} {path}.git, and name that one.",
            )
        return found

    def repositories(self) -> list[str]:
        """Names of all that have pull requests."""
        query = sa.select(rows.c.repo).where(rows.c.forge == self.name).distinct().order_by(rows.c.repo)
        with self._database.session() as session:
            return list(session.scalars(query))

    # What the protocol asks

    def pull_requests(
        self,
        repo: str,
        *,
        branch_prefix: str = "",
        state: Literal["open", "all"] = "all",
        since: datetime | None = None,
    ) -> list[PullRequest]:
        self.calls += 1
        query = self._of(repo).order_by(rows.c.number.desc())
        if since is not None:
            query = query.where(rows.c.created_at >= since)
        with self._database.session() as session:
            found = self._followed(session, repo, session.execute(query.with_for_update()).all())
        return [one for one in found if one.head_branch.startswith(branch_prefix) and state in ("all", one.state)]

    def pull_request(self, repo: str, number: int) -> PullRequest:
        self.calls += 1
        with self._database.session() as session:
            return self._locked(session, repo, number)[0]

    def create_pull_request(
        self, repo: str, *, head: str, base: str, title: str, body: str, labels: Sequence[Label] = ()
    ) -> PullRequest:
        self.calls += 1
        refs = self.repository(repo).refs("refs/heads/")
        for branch in (head, base):
            if f"refs/heads/{branch}" not in refs:
                raise ForgeError(f"{repo} has no branch {branch}", code="forge.invalid")
        with self._database.session() as session:
            # Numbers and "is there one already" are decided by one at a time.
            key = sa.func.hashtextextended(f"upkeep:pull_requests:{self.name}:{repo}", 0)
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            existing = session.execute(self._open_between(repo, head, base)).all()
            for one in self._followed(session, repo, existing):
                if one.state == "open":
                    return self._labelled(session, one, labels)
            if self.repository(repo).is_ancestor(refs[f"refs/heads/{head}"], refs[f"refs/heads/{base}"]):
                raise ForgeError(f"no commits between {base} and {head}", code="forge.invalid")
            last = session.scalar(
                sa.select(sa.func.max(rows.c.number)).where(rows.c.forge == self.name, rows.c.repo == repo)
            )
            values = {
                "forge": self.name,
                "repo": repo,
                "number": (last or 0) + 1,
                "title": title,
                "body": fit(body),
                "head_branch": head,
                "head_sha": refs[f"refs/heads/{head}"],
                "base_branch": base,
                "state": "open",
                "author": OURSELVES,
                "labels": _with_labels((), labels),
            }
            return self._record(session.execute(sa.insert(rows).values(values).returning(rows)).one())

    def close_pull_request(self, repo: str, number: int, *, note: str, body: str | None = None) -> PullRequest:
        self.calls += 1
        with self._database.session() as session:
            current, _ = self._locked(session, repo, number)
            text = fit(on_top(note, current.body if body is None else body))
            if current.state != "open":
                return self._change(session, current, body=text)
            return self._change(session, current, body=text, state="closed", closed_at=sa.func.now())

    def edit_pull_request(
        self, repo: str, number: int, *, title: str | None = None, body: str | None = None
    ) -> PullRequest:
        self.calls += 1
        wanted = {"title": title, "body": None if body is None else fit(body)}
        with self._database.session() as session:
            current, _ = self._locked(session, repo, number)
            values = {key: text for key, text in wanted.items() if text not in (None, getattr(current, key))}
            return self._change(session, current, **values) if values else current

    def reopen_pull_request(self, repo: str, number: int) -> PullRequest:
        self.calls += 1
        with self._database.session() as session:
            current, notes = self._locked(session, repo, number)
            return self._reopened(session, current, notes)

    def add_labels(self, repo: str, number: int, labels: Sequence[Label]) -> tuple[str, ...]:
        self.calls += 1
        with self._database.session() as session:
            return self._labelled(session, self._locked(session, repo, number)[0], labels).labels

    def touched_by_person(self, pull_request: PullRequest, *, since: datetime | None = None) -> bool:
        if since is not None and pull_request.updated_at <= since:
            return False
        return any(note["kind"] in _TOUCHES for note in self.notes(pull_request.repo, pull_request.number))

    def branch_url(self, repo: str, branch: str) -> str:
        return f"{self.place(repo).as_uri()}#{branch}"

    def commit_url(self, repo: str, sha: str) -> str:
        return f"{self.place(repo).as_uri()}#{sha}"

    def git_config(self) -> Mapping[str, str]:
        return {}

    def git_environment(self) -> Mapping[str, str]:
        return {}

    # What persons do

    def notes(self, repo: str, number: int) -> list[dict[str, Any]]:
        """Comments, reviews and changes of state by persons, oldest first: `{kind, author, body, at}`."""
        self.calls += 1
        with self._database.session() as session:
            return self._locked(session, repo, number)[1]

    def comment(
        self, repo: str, number: int, *, by: str, body: str, kind: Literal["comment", "review"] = "comment"
    ) -> PullRequest:
        """A person comments on it, or reviews it."""
        with self._database.session() as session:
            current, notes = self._locked(session, repo, number)
            return self._change(session, current, notes=_noted(notes, kind, by, body))

    def close(self, repo: str, number: int, *, by: str) -> PullRequest:
        """A person closes it unmerged. Raises ForgeError `forge.not_open`."""
        with self._database.session() as session:
            current, notes = self._locked(session, repo, number)
            _require_open(current)
            notes = _noted(notes, "closed", by)
            return self._change(session, current, notes=notes, state="closed", closed_at=sa.func.now())

    def reopen(self, repo: str, number: int, *, by: str) -> PullRequest:
        """A person opens a closed one again. Raises ForgeError `forge.cannot_reopen` where it is merged, its branch is
        gone, or another one is open for the same branches."""
        with self._database.session() as session:
            current, notes = self._locked(session, repo, number)
            return self._reopened(session, current, _noted(notes, "reopened", by))

    def label(self, repo: str, number: int, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> PullRequest:
        """A person changes its labels. Removing one that it does not have is no error.

        Raises ForgeError `forge.invalid` for a name that is blank or longer than 50 characters."""
        for name in add:
            if not name.strip() or len(name) > 50:
                raise ForgeError(
                    f"{name!r} is no label",
                    code="forge.invalid",
                    remedy="A label has 1 to 50 characters, not all of them blanks.",
                )
        gone = {name.lower() for name in remove}
        with self._database.session() as session:
            current = self._locked(session, repo, number)[0]
            kept = [name for name in current.labels if name.lower() not in gone]
            return self._change(session, current, labels=_with_labels(kept, [Label(name=name) for name in add]))

    def merge(self, repo: str, number: int, *, by: str, strategy: Strategy = "merge") -> PullRequest:
        """A person merges it. One that is merged already is returned as it is.

        Raises ForgeError `forge.not_open`, `forge.merge_conflict`."""
        repository = self.repository(repo)
        with self._database.session() as session:
            current, notes = self._locked(session, repo, number)
            if current.state == "merged":
                return current
            _require_open(current)
            message = f"{current.title} (#{number})"
            if strategy == "merge":
                message = f"Merge pull request #{number} from {current.head_branch}\n\n{current.title}"
            request = MergeRequest(current.base_branch, current.head_sha, strategy, message, f"{by} <{by}@localhost>")
            commit = merge(repository, request)
            notes = _noted(notes, "merged", by)
            return self._change(session, current, notes=notes, **_merged(commit))

    # Rows

    def _of(self, repo: str) -> sa.Select[Any]:
        return sa.select(rows).where(rows.c.forge == self.name, rows.c.repo == repo)

    def _open_between(self, repo: str, head: str, base: str) -> sa.Select[Any]:
        return self._of(repo).where(rows.c.head_branch == head, rows.c.base_branch == base, rows.c.state == "open")

    def _reopened(self, session: Session, current: PullRequest, notes: list[dict[str, Any]]) -> PullRequest:
        if current.state == "open":
            return current
        others = session.execute(self._open_between(current.repo, current.head_branch, current.base_branch)).all()
        tip = self.repository(current.repo).resolve(f"refs/heads/{current.head_branch}")
        if current.state == "merged" or tip is None or others:
            why = "it is merged" if current.state == "merged" else "its branch is gone or has another one"
            raise ForgeError(
                f"pull request #{current.number} cannot be opened again: {why}", code="forge.cannot_reopen"
            )
        return self._change(session, current, notes=notes, state="open", closed_at=None, head_sha=tip)

    def _labelled(self, session: Session, current: PullRequest, labels: Sequence[Label]) -> PullRequest:
        names = _with_labels(current.labels, labels)
        return current if tuple(names) == current.labels else self._change(session, current, labels=names)

    def _locked(self, session: Session, repo: str, number: int) -> tuple[PullRequest, list[dict[str, Any]]]:
        """One pull request as it is now, and its notes; ours to change until the transaction ends."""
        found = session.execute(self._of(repo).where(rows.c.number == number).with_for_update()).one_or_none()
        if found is None:
            raise ForgeError(
                f"{repo} has no pull request #{number}",
                code="forge.not_found",
                remedy="`upkeep pr list --state all` shows those that there are.",
            )
        return self._followed(session, repo, [found])[0], list(found.notes)

    def _followed(self, session: Session, repo: str, found: list[Any] | Any) -> list[PullRequest]:
        """The rows as records, brought in line with the repository where they are open."""
        records = [self._record(row) for row in found]
        if not any(one.state == "open" for one in records):
            return records
        repository = self.repository(repo)
        refs = repository.refs("refs/heads/")
        return [self._follow(session, repository, refs, one) if one.state == "open" else one for one in records]

    def _follow(
        self, session: Session, repository: Repository, refs: Mapping[str, str], current: PullRequest
    ) -> PullRequest:
        head, base = (refs.get(f"refs/heads/{branch}") for branch in (current.head_branch, current.base_branch))
        known = head or repository.resolve(current.head_sha)
        if base is not None and known is not None and repository.is_ancestor(known, base):
            return self._change(session, current, head_sha=known, **_merged(base))
        if head is None or base is None:
            return self._change(session, current, state="closed", closed_at=sa.func.now())
        if head != current.head_sha:
            return self._change(session, current, head_sha=head)
        return current

    def _change(self, session: Session, current: PullRequest, **values: Any) -> PullRequest:
        changed = (
            sa.update(rows)
            .where(rows.c.forge == self.name, rows.c.repo == current.repo, rows.c.number == current.number)
            .values(**values, updated_at=sa.func.now())
            .returning(rows)
        )
        return self._record(session.execute(changed).one())

    def _record(self, row: Any) -> PullRequest:
        fields = {name: value for name, value in row._mapping.items() if name != "notes"}
        times = {name: value.astimezone(UTC) for name, value in fields.items() if isinstance(value, datetime)}
        url = f"{self.place(row.repo).as_uri()}#{row.number}"
        return PullRequest(**{**fields, **times, "url": url})


def local_path(url: str) -> Path | None:
    """The path that a `file://` URL or a plain absolute path names; None for any other URL."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    path = Path(url).expanduser()
    return path if path.is_absolute() else None


def _merged(commit: str) -> dict[str, Any]:
    now = sa.func.now()
    return {"state": "merged", "merged_at": now, "closed_at": now, "merge_commit_sha": commit}


def _with_labels(names: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """`names`, and those of `labels` that are not among them but for case."""
    there = {name.lower(): name for name in names}
    for label in labels:
        there.setdefault(label.name.lower(), label.name)
    return list(there.values())


def _noted(notes: list[dict[str, Any]], kind: NoteKind, by: str, body: str = "") -> list[dict[str, Any]]:
    return [*notes, {"kind": kind, "author": by, "body": body, "at": datetime.now(UTC).isoformat()}]


def _require_open(current: PullRequest) -> None:
    if current.state != "open":
        raise ForgeError(f"pull request #{current.number} is {current.state}", code="forge.not_open")
