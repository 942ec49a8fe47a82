"""GitHub's list of repositories, read whole and proven to be so.

What belongs here: reading the pages, and what makes them whole. What does not: how a request is sent (`gh.py`), and
what follows from the list (`upkeep/sync/inventory.py`).

GitHub counts nothing on a page. What proves a list is the account's own count of public and private repositories,
before and after; the private ones are told to members only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from upkeep.errors import ForgeError
from upkeep.forges.base import ForgeRepository, Listing
from upkeep.forges.gh import GhApi

SCANS = 3


def list_repositories(
    forge: str, api: GhApi, organizations: Sequence[str], *, own: bool, progress: Callable[[int, int], None]
) -> Listing:
    """As `Lister.list_repositories`."""
    places = {f"organisation {name}": (f"orgs/{quote(name, safe='')}", {"type": "all"}) for name in organizations}
    if own:
        places["the account itself"] = ("user", {"affiliation": "owner"})
    found: dict[int, ForgeRepository] = {}
    gaps: list[str] = []
    for place, (account, query) in places.items():
        rows, gap = _read_until_whole(api, account, query, progress)
        found |= {number: to_repository(forge, row) for number, row in rows.items()}
        gaps += [f"{place}: {gap}"] if gap else []
    return Listing(forge=forge, repositories=tuple(found[number] for number in sorted(found)), gaps=tuple(gaps))


def find_repository(forge: str, api: GhApi, *, id: int | None = None, name: str = "") -> ForgeRepository | None:
    """As `Lister.find_repository`. A renamed one is found by its old name too: gh follows GitHub's redirect."""
    path = f"repositories/{id}" if id is not None else f"repos/{quote(name)}"
    try:
        return to_repository(forge, api.get(path).body)
    except ForgeError as error:
        if error.reason == "forge.not_found":
            return None
        raise


def to_repository(forge: str, row: Mapping[str, Any]) -> ForgeRepository:
    return ForgeRepository(
        forge=forge,
        id=row["id"],
        full_name=row["full_name"],
        url=row["html_url"],
        addresses=tuple(row[key] for key in ("clone_url", "ssh_url") if row.get(key)),
        description=row.get("description") or "",
        size_kib=row.get("size") or 0,
        language=row.get("language") or "",
        created_at=_moment(row.get("created_at")),
        pushed_at=_moment(row.get("pushed_at")),
        private=bool(row.get("private")),
        archived=bool(row.get("archived")),
        fork=bool(row.get("fork")),
        mirror=bool(row.get("mirror_url")),
    )


def _read_until_whole(
    api: GhApi, account: str, query: Mapping[str, str], progress: Callable[[int, int], None]
) -> tuple[dict[int, dict[str, Any]], str]:
    """All rows that were seen, and what is missing in words; empty where nothing is."""
    seen: dict[int, dict[str, Any]] = {}
    counted = _count(api, account)
    for _ in range(SCANS):
        rows: dict[int, dict[str, Any]] = {}
        repeated = 0
        for page in api.pages(f"{account}/repos", sort="created", direction="asc", **query):
            repeated += sum(row["id"] in rows for row in page.body)
            rows |= {row["id"]: row for row in page.body}
            progress(len(rows), counted[0] or len(rows))
        seen |= rows
        before, counted = counted, _count(api, account)
        if not repeated and before == counted and len(rows) == counted[0] and counted[1]:
            return rows, ""
        if not counted[1] and not repeated and len(rows) >= counted[0]:
            return seen, "private repositories are counted for members only, so nothing proves the list"
    return seen, f"GitHub counts {counted[0]} and lists {len(rows)}, in {SCANS} scans"


def _count(api: GhApi, account: str) -> tuple[int, bool]:
    """How many repositories an account has, and whether that includes private ones."""
    body = api.get(account).body
    private = body.get("owned_private_repos", body.get("total_private_repos"))
    return int(body.get("public_repos") or 0) + int(private or 0), private is not None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
