"""From when on the forge's list of pull requests is read: pages that cannot matter any more are not asked for.

What belongs here: remembering how far back a list has to go, and when that must not be trusted. What does not: which
pull requests matter (`ranges.py`, `upkeep/publish.py`).

GitHub lists a hundred pull requests to a page, everybody's, and a page is a call: on a dashboard with a thousand behind
it every update would take ten. So a run leaves behind from when on the next one may begin: the oldest of ours that is
open, or the newest that was merged. What is older than a merged one was covered by it. All are listed where that may
not hold: the content on the base branch describes an older commit than it did then (a merge was reverted), or this very
head was proposed before (the upstream was set back and has returned). A pull request from before the horizon that a
person opens again is left to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from upkeep.content.desk import Desk, UpstreamHistory
from upkeep.database import events
from upkeep.database.events import EventType
from upkeep.forges.base import PullRequest
from upkeep.publish import horizon


def begin_of_list(desk: Desk, head: str, recorded: str | None) -> datetime | None:
    """Return from when on pull requests have to be listed for `head`; None: all.

    `recorded` is the upstream commit that the content on the base branch describes.
    """
    with desk.database.session() as session:
        if events.was_proposed(session, "content", desk.subject, head):
            return None
        known = events.newest_of(session, "content", desk.subject, EventType.PR_LISTED)
    if known is None or recorded is None:
        return None
    before = known.summary["recorded"]
    if before != recorded and not UpstreamHistory(desk.upstream).is_ancestor(before, recorded):
        return None
    return datetime.fromisoformat(known.summary["since"])


def remember(desk: Desk, ours: Sequence[PullRequest], began: datetime | None, recorded: str | None) -> None:
    """Leave behind what this run's list tells: `ours` are the pull requests of this watch from `began` on."""
    since = horizon(ours) or began
    if desk.dry_run or since is None or recorded is None or since == began:
        return
    with desk.database.session() as session:
        events.record(
            session,
            system=desk.run.system,
            subject=desk.subject,
            type=EventType.PR_LISTED,
            run_id=desk.run.run_id,
            since=since.isoformat(),
            recorded=recorded,
        )
