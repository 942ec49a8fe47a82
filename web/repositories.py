"""Managed repositories over HTTP: the registry, what each should work on, what its last sync found.

What belongs here: requests and representations. What does not: the registry's rules (`upkeep/sync/registry.py`), what
to work on (`dispatch.py`).

What stands in upkeep.yaml is changed there: to change it here is a conflict. Only a goal may be set for it, which comes
before the file's, as `upkeep goals set` does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from upkeep.errors import ConfigError
from upkeep.settings.base import Name
from upkeep.sync import ages, recorded, registry
from upkeep.sync import dispatch as work
from upkeep.sync import goals as purposes
from upkeep.sync.ages import Band
from upkeep.sync.dispatch import Dispatch
from upkeep.sync.findings import Finding, Severity
from upkeep.sync.goals import ActiveGoal
from upkeep.sync.registry import EVERY_STATE, Managed, Source, State
from web import etags
from web.described import ETAG, UNCHANGED, headers, reading, writing
from web.etags import IfNoneMatch
from web.guards import who
from web.hub import Hub, hub_of
from web.problems import Refused

router = APIRouter(prefix="/repos", tags=["repositories"])

PAGE = 100
LARGEST_PAGE = 500
MOST_FINDINGS = 1000

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=500)]
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=2000)]
Folder = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f\x7f]*$", max_length=4000)]
_PART = r"\.?[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]*"
Pattern = Annotated[str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$", max_length=200)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=20, examples=[["workplans/*.md"]])]

# One that was ignored without ever being registered is listed by its name on the forge.
Listed = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,200}$")]
Slug = Annotated[Name, InPath(description="The repository's slug.", examples=["the-custodian"])]
IfMatch = Annotated[str | None, Header(description="Change it only if this is still its ETag.")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RepositoryGoal(_Model):
    """What a repository is for."""

    title: Annotated[Words, Field(min_length=1, examples=["Every repository is synced within two seconds"])]
    description: Words = ""


class Repository(_Model):
    """A repository of the registry. `source`: upkeep.yaml (`configuration`), or a command or this API (`command`).
    `age`: fresh under 1 h, ageing to 24 h, stale after that or never. `last_attempt_reason`: why the last sync did not
    succeed; null where it did. Times are UTC."""

    slug: str = Field(examples=["the-custodian"])
    path: str = Field(examples=["/home/ada/src/the-custodian"])
    forge: str | None
    repo: str | None = Field(examples=["coulomb/the-custodian"])
    remote: str | None
    domain: str = Field(examples=["custodian"])
    goal: RepositoryGoal | None
    workplans: list[str] = Field(examples=[["workplans/*.md"]])
    fix: bool
    source: Source
    state: State
    note: str | None
    age: Band
    last_state_synced_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_reason: str | None


class Page(_Model):
    """`next`: where the following ones are; null on the last page. `total`: how many there are on all pages."""

    repositories: list[Repository]
    total: int
    next: str | None = Field(examples=["/repos/?limit=100&after=the-custodian"])


class NewRepository(_Model):
    """A repository to manage. `path`: its working tree on the hub's machine. `slug`: by default the name of that
    folder. `fix`: hook and schedule may write ids into its workplan files."""

    path: Folder = Field(examples=["/home/ada/src/the-custodian"])
    slug: Name | None = Field(default=None, examples=["the-custodian"])
    domain: Line = Field(default="", examples=["custodian"])
    forge: Name | None = Field(default=None, examples=["here"])
    repo: Line | None = Field(default=None, examples=["coulomb/the-custodian"])
    workplans: Patterns = ["workplans/*.md"]
    fix: bool = False
    goal: RepositoryGoal | None = None


class Change(_Model):
    """What to change; what is left out stays as it is (RFC 7396). `state`: `ignored` stops managing it, `managed`
    begins again. `goal`: null takes away the one that was set by command or here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fix": True}, {"state": "ignored", "note": "archived"}]})

    # Made by factories, so that the document names no defaults: there are none.
    path: Folder = Field(default_factory=str)
    domain: Line = Field(default_factory=str)
    forge: Name | None = Field(default_factory=lambda: None)
    repo: Line | None = Field(default_factory=lambda: None)
    workplans: Patterns = Field(default_factory=list)
    fix: bool = Field(default_factory=bool)
    state: Literal["managed", "ignored"] = Field(default_factory=lambda: "managed")
    note: Line | None = Field(default_factory=lambda: None)
    goal: RepositoryGoal | None = Field(default_factory=lambda: None)


class Findings(_Model):
    """What the last sync found: `findings` from the `offset`th on. `total`: how many there are of these severities."""

    repo_slug: str
    last_attempt_at: datetime | None
    last_attempt_reason: str | None
    total: int
    findings: list[Finding]


def json_only(request: Request) -> None:
    """FastAPI would take another type for an empty body. A page of another site cannot send JSON here unasked."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/merge-patch+json"):
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "the body has to be JSON",
            code="web.media_type",
            remedy="Send `Content-Type: application/json`.",
        )


_CREATED = headers({"Location": "Where it is.", "ETag": "The tag of this representation."})
_LINK = headers({"Link": 'The next page, as `rel="next"` (RFC 8288); absent on the last one.'})


@router.get("/", responses={200: _LINK, **reading()})
def list_repositories(
    request: Request,
    response: Response,
    state: Annotated[list[State] | None, Query(description="Of these states. Default: managed.")] = None,
    after: Annotated[Listed | None, Query(description="Only those after this slug.")] = None,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="At most so many.")] = PAGE,
) -> Page:
    """The registry by slug, a page at a time. `next` and the header `Link` lead to the next page."""
    states: tuple[State, ...] = tuple(dict.fromkeys(state)) if state else ("managed",)
    with hub_of(request).session() as session:
        found = registry.every(session, states=states, after=after or "", limit=limit + 1)
        total = registry.count(session, states=states)
        goals = purposes.active_of(session, [one.slug for one in found])
    following = None
    if len(found) > limit:
        found = found[:limit]
        asked: list[tuple[str, Any]] = [("state", each) for each in state or ()]
        following = "/repos/?" + urlencode([*asked, ("limit", limit), ("after", found[-1].slug)])
        response.headers["Link"] = f'<{following}>; rel="next"'
    now = datetime.now(UTC)
    shown = [represent(one, goals.get(one.slug), now) for one in found]
    return Page(repositories=shown, total=total, next=following)


@router.post(
    "/",
    status_code=HTTPStatus.CREATED,
    response_model=Repository,
    responses={201: _CREATED, **writing()},
    dependencies=[Depends(json_only)],
)
def register_repository(request: Request, new: NewRepository) -> Response:
    """Manage a repository, as `upkeep repos register` does. Nothing is synced yet: the hook, the next check or
    `upkeep sync` does that."""
    hub = hub_of(request)
    with hub.session() as session:
        _require_forge(hub, new.forge)
        one = registry.register(
            session,
            Path(new.path),
            slug=new.slug,
            forge=new.forge,
            repo=new.repo,
            domain=new.domain,
            workplans=tuple(new.workplans),
            fix=new.fix,
            new=True,
            by=who(request),
        )
        if new.goal is not None:
            purposes.put(session, one.slug, new.goal.title, new.goal.description, by=who(request))
        goal = purposes.active(session, one.slug)
    return _shown(one, goal, status=HTTPStatus.CREATED, Location=f"/repos/{one.slug}/")


@router.get("/{slug}/", response_model=Repository, responses={200: ETAG, 304: UNCHANGED, **reading(404)})
def show_repository(request: Request, slug: Slug, if_none_match: IfNoneMatch = None) -> Response:
    """One repository, whatever its state."""
    with hub_of(request).session() as session:
        one = registry.find(session, slug, states=EVERY_STATE)
        goal = purposes.active(session, slug)
    return _shown(one, goal, if_none_match=if_none_match)


@router.patch(
    "/{slug}/",
    response_model=Repository,
    responses={200: ETAG, **writing(404, 412)},
    dependencies=[Depends(json_only)],
)
def change_repository(request: Request, slug: Slug, change: Change, if_match: IfMatch = None) -> Response:
    """Change a registration. With `If-Match` only where nobody changed it meanwhile (a sync counts: it moves the
    times)."""
    asked = change.model_dump(include=change.model_fields_set)
    goal_asked, by = asked.pop("goal", ...), who(request)
    hub = hub_of(request)
    with hub.session() as session:
        before = registry.find(session, slug, states=EVERY_STATE)
    _require_forge(hub, change.forge)
    # A disk may not answer: nothing is held while it is asked.
    looked = registry.look(before, asked)
    with hub.session() as session:
        one = registry.find(session, slug, states=EVERY_STATE, locked=True)
        goal = purposes.active(session, slug)
        if not etags.match(if_match, etags.of(_body(one, goal))):
            raise Refused(
                HTTPStatus.PRECONDITION_FAILED,
                f"{slug} was changed meanwhile",
                code="web.changed",
                remedy="GET it again, and send the change with its new ETag.",
            )
        if asked:
            registry.change(session, one, {**asked, **looked}, by=by)
        if goal_asked is None:
            purposes.retire(session, slug, by=by)
        elif change.goal is not None:
            purposes.put(session, slug, change.goal.title, change.goal.description, by=by)
        after = registry.find(session, slug, states=EVERY_STATE)
        goal = purposes.active(session, slug)
    return _shown(after, goal)


@router.get("/{slug}/dispatch", response_model=Dispatch, responses={200: ETAG, 304: UNCHANGED, **reading(404)})
def repository_dispatch(request: Request, slug: Slug, if_none_match: IfNoneMatch = None) -> Response:
    """What a managed repository should work on now; the same answer as `upkeep dispatch` and the MCP tool
    `get_repo_dispatch` give."""
    with hub_of(request).session() as session:
        answer = work.dispatch(session, slug)
    return etags.tagged(answer.model_dump_json().encode(), if_none_match)


@router.get("/{slug}/findings", responses=reading(404))
def repository_findings(
    request: Request,
    slug: Slug,
    severity: Annotated[list[Severity] | None, Query(description="Of these severities. Default: all.")] = None,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Leave out so many.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_FINDINGS, description="At most so many.")] = 200,
) -> Findings:
    """What the last sync of a repository found, by file and line. docs/sync.md explains each code."""
    with hub_of(request).session() as session:
        one = registry.find(session, slug, states=EVERY_STATE)
        found = recorded.last_findings(session, slug)
    chosen = [finding for finding in found if not severity or finding.severity in severity]
    return Findings(
        repo_slug=slug,
        last_attempt_at=one.last_attempt_at,
        last_attempt_reason=one.last_attempt_reason,
        total=len(chosen),
        findings=chosen[offset : offset + limit],
    )


def _require_forge(hub: Hub, name: str | None) -> None:
    try:
        if name is not None:
            hub.settings.forge(name)
    except ConfigError as error:
        raise Refused(HTTPStatus.CONFLICT, error.message, code=error.reason, remedy=error.remedy) from error


def represent(one: Managed, goal: ActiveGoal | None, now: datetime) -> Repository:
    names = ("slug", "forge", "repo", "remote", "domain", "fix", "source", "state", "note")
    times = ("last_state_synced_at", "last_attempt_at")
    return Repository(
        **{name: getattr(one, name) for name in (*names, *times)},
        path=str(one.path),
        goal=RepositoryGoal.model_construct(title=goal.title, description=goal.description) if goal else None,
        workplans=list(one.workplans),
        age=ages.band(one.last_state_synced_at, now),
        last_attempt_reason=one.last_attempt_reason,
    )


def _body(one: Managed, goal: ActiveGoal | None) -> bytes:
    return represent(one, goal, datetime.now(UTC)).model_dump_json().encode()


def _shown(
    one: Managed,
    goal: ActiveGoal | None,
    *,
    status: int = HTTPStatus.OK,
    if_none_match: str | None = None,
    **more: str,
) -> Response:
    answer = etags.tagged(_body(one, goal), if_none_match)
    answer.headers.update(more)
    if answer.status_code == HTTPStatus.OK:
        answer.status_code = status
    return answer
