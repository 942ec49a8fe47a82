"""Gitea's list of repositories, read whole and proven to be so.

What belongs here: reading all pages at once, and what makes a scan whole. What does not: how a request is sent
(`gitea_api.py`), and what follows from the list (`upkeep/sync/inventory.py`).

The server clamps `limit` without a word, so the size of a page comes from its settings and the number of pages from
`Link`. Nothing waits that need not: the first page asks for the most and comes along with the settings, and a page is
parsed here while threads already ask for the next ones. `X-Total-Count` of an organisation includes repositories that
the account may not see, which are then missing on their pages: such a scan is short the same way every time, and is
told as a gap instead of being repeated for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from upkeep.errors import ForgeError, ForgeUnavailable
from upkeep.forges.base import ForgeRepository, Listing
from upkeep.forges.gitea_api import PAGE_SIZE, GiteaApi, Response, half

_Value = TypeVar("_Value")

WORKERS = 8
"""Pages that are read at the same time."""

SCANS = 3

LARGEST_PAGE = 100
"""More to a page saves nothing and makes a page that fails dear."""


class Row(BaseModel):
    """What we read of Gitea's `Repository`; everything else in it is skipped while it is parsed."""

    id: int
    full_name: str
    html_url: str = ""
    clone_url: str = ""
    ssh_url: str = ""
    description: str | None = None
    size: int = 0
    language: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    private: bool = False
    archived: bool = False
    fork: bool = False
    mirror: bool = False


_ROWS: TypeAdapter[list[Row] | None] = TypeAdapter(list[Row] | None)
_ROW = TypeAdapter(Row)


@dataclass
class Scan:
    """One reading of a list: repositories by id, and what speaks against its being whole."""

    total: int | None = None
    rows: dict[int, ForgeRepository] = field(default_factory=dict)
    repeated: int = 0
    moved: bool = False

    def add(self, rows: Sequence[ForgeRepository]) -> None:
        for row in rows:
            self.repeated += row.id in self.rows
            self.rows[row.id] = row

    @property
    def missing(self) -> int:
        return (self.total or 0) - len(self.rows)

    @property
    def whole(self) -> bool:
        return self.total is not None and not (self.repeated or self.moved or self.missing)

    def is_like(self, other: Scan | None) -> bool:
        """Whether another scan was short in the same way, so that nothing moves and something is not shown."""
        steady = not (self.repeated or self.moved) and self.missing > 0
        return steady and other is not None and (self.total, self.rows.keys()) == (other.total, other.rows.keys())


def list_repositories(
    forge: str, api: GiteaApi, organizations: Sequence[str], *, own: bool, progress: Callable[[int, int], None]
) -> Listing:
    """As `Lister.list_repositories`."""
    paths = {f"organisation {name}": f"orgs/{quote(name, safe='')}/repos" for name in organizations}
    if own:
        paths["the account itself"] = "user/repos"
    rows: dict[int, ForgeRepository] = {}
    gaps: list[str] = []
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="inventory") as pool:
        size = pool.submit(_page_size, api)
        for place, path in paths.items():
            found, gap = _read_until_whole(_Pages(forge, api, path, size, pool), progress)
            rows |= found
            gaps += [f"{place}: {gap}"] if gap else []
    return Listing(forge=forge, repositories=tuple(rows[number] for number in sorted(rows)), gaps=tuple(gaps))


def find_repository(forge: str, api: GiteaApi, *, id: int | None = None, name: str = "") -> ForgeRepository | None:
    """As `Lister.find_repository`. A renamed one is found by its old name too: Gitea redirects."""
    path = f"repositories/{id}" if id is not None else f"repos/{quote(name)}"
    try:
        answer = api.get(path)
    except ForgeError as error:
        if error.reason == "forge.not_found":
            return None
        raise
    return to_repository(forge, _parsed(_ROW, answer))


def to_repository(forge: str, row: Row) -> ForgeRepository:
    return ForgeRepository(
        forge=forge,
        id=row.id,
        full_name=row.full_name,
        url=row.html_url,
        addresses=tuple(address for address in (row.clone_url, row.ssh_url) if address),
        description=row.description or "",
        size_kib=row.size,
        language=row.language or "",
        created_at=_utc(row.created_at),
        pushed_at=_utc(row.updated_at),
        private=row.private,
        archived=row.archived,
        fork=row.fork,
        mirror=row.mirror,
    )


def _page_size(api: GiteaApi) -> int:
    told = api.get("settings/api").body.get("max_response_items", PAGE_SIZE)
    return max(min(int(told), LARGEST_PAGE), 1)


_Page = tuple[Response, list[ForgeRepository]]


@dataclass(frozen=True)
class _Pages:
    """The pages of one list. `size`: how many repositories the server gives a page."""

    forge: str
    api: GiteaApi
    path: str
    size: Future[int]
    pool: ThreadPoolExecutor

    def first(self) -> _Page:
        return self.api.read(self.path, {"limit": LARGEST_PAGE, "page": 1}, self._parse)

    def others(self, last: int) -> Generator[_Page, None, None]:
        """The pages from the second to the last, in their order. They are parsed by whoever asks, while the threads of
        the pool wait for the server; half a page is read again."""
        coming = [self.pool.submit(self._fetch, number) for number in range(2, last + 1)]
        try:
            for number, page in enumerate(coming, 2):
                answer = page.result()
                try:
                    yield self._parse(answer)
                except ForgeUnavailable:
                    yield self.api.read(self.path, self._query(number), self._parse)
        finally:
            for page in coming:
                page.cancel()

    def _query(self, number: int) -> dict[str, str | int]:
        return {"limit": self.size.result(), "page": number}

    def _fetch(self, number: int) -> Response:
        return self.api.read(self.path, self._query(number), _unread)

    def _parse(self, answer: Response) -> _Page:
        return answer, [to_repository(self.forge, row) for row in _parsed(_ROWS, answer) or ()]


def _unread(answer: Response) -> Response:
    return answer


def _read_until_whole(pages: _Pages, progress: Callable[[int, int], None]) -> tuple[dict[int, ForgeRepository], str]:
    """All repositories that were seen, and what is missing in words; empty where nothing is."""
    seen: dict[int, ForgeRepository] = {}
    before: Scan | None = None
    for _ in range(SCANS):
        scan = _scan(pages, progress)
        if scan.whole:
            return scan.rows, ""
        seen |= scan.rows
        if scan.total is None:
            return seen, "the forge does not say how many there are (no X-Total-Count), so nothing proves the list"
        if scan.is_like(before):
            return seen, (
                f"the forge counts {scan.total} and shows {len(scan.rows)}: {scan.missing} are not visible to this "
                "account; give it read access to all of them"
            )
        before = scan
    return seen, f"the list changed or repeated itself in {SCANS} scans; take the inventory again"


def _scan(pages: _Pages, progress: Callable[[int, int], None]) -> Scan:
    """Read the first page, which tells how many there are, then all others at once."""
    first, rows = pages.first()
    last = first.page("last") or (1 if first.page("next") is None else 2)
    scan = Scan(total=first.total)
    with closing(pages.others(last)) as others:
        for number, (answer, found) in enumerate(chain([(first, rows)], others), 1):
            scan.add(found)
            scan.moved |= answer.total != scan.total or (answer.page("next") is None) != (number == last)
            progress(len(scan.rows), scan.total or len(scan.rows))
    return scan


def _parsed(adapter: TypeAdapter[_Value], answer: Response) -> _Value:
    """The JSON of an answer, parsed and judged in one go. Raises ForgeError `forge.unexpected`."""
    try:
        return adapter.validate_json(answer.content)
    except ValidationError as fault:
        error = fault.errors(include_url=False, include_input=False)[0]
        if error["type"] == "json_invalid":
            raise half(answer.what, len(answer.content)) from fault
        place = "/".join(map(str, error["loc"]))
        raise ForgeError(
            f"{answer.what} answered with something else than repositories: {place}: {error['msg']}",
            code="forge.unexpected",
            remedy="Check `url`; if it is a Gitea, its version may be one that this Upkeep does not know.",
        ) from fault


def _utc(moment: datetime | None) -> datetime | None:
    """Gitea writes the year 1 or 1970 where there is no time."""
    return moment.astimezone(UTC) if moment is not None and moment.year > 1970 else None
