"""Whether a watch wants a run, and in plain words why nothing happened.

What belongs here: polling all upstreams at once, the decision of the sensor (pure), the explanation for people. What
does not: starting runs (`sensors/`), what a run does (`service.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from upkeep.config import Settings
from upkeep.content.desk import upstream_branch
from upkeep.database import events, state
from upkeep.database.events import Reason
from upkeep.database.locks import holder_of
from upkeep.database.server import Database
from upkeep.database.state import WatchState
from upkeep.errors import UpkeepError
from upkeep.forges.registry import credentials_for
from upkeep.heads import HeadRequest, HeadResult, poll


@dataclass(frozen=True)
class Wanted:
    """Whether a run is wanted for a head, as which attempt (from 1), and why or why not."""

    run: bool
    attempt: int
    reason: str
    code: str = ""


def wanted(settings: Settings, name: str, sha: str, known: WatchState, now: datetime) -> Wanted:
    """Compare the head with what was recorded. Level-triggered: asked again, it answers again.

    What was recorded is what was seen, nothing more: whether there is anything to do is decided inside the run.
    """
    failed = known.attempts_at(sha)
    if sha == known.last_processed_commit:
        return Wanted(False, failed, f"head {sha[:12]} was processed: {known.reason or 'done'}", Reason.HEAD_PROCESSED)
    limit = settings.watches[name].attempts
    if failed >= limit:
        reason = (
            f"head {sha[:12]} was given up after {failed} attempts, until it moves or `upkeep update {name} --retry`"
        )
        return Wanted(False, failed, reason, Reason.ATTEMPTS_EXHAUSTED)
    due = known.next_attempt_at(sha)
    if due is not None and due > now:
        wait = _span(due - now)
        return Wanted(
            False, failed, f"attempt {failed} at head {sha[:12]} failed; the next in {wait}", Reason.BACKING_OFF
        )
    return Wanted(True, failed + 1, f"head {sha[:12]} is new" if not failed else f"attempt {failed + 1} at {sha[:12]}")


def poll_heads(settings: Settings, *, deadline: float) -> dict[str, HeadResult]:
    """Heads of all watched branches, by watch, within `deadline` seconds. One that fails or hangs costs the others
    nothing; one that was not reached in time is missing."""
    results: dict[str, HeadResult] = {}
    requests = []
    for name, watch in settings.watches.items():
        started = time.monotonic()
        try:
            url, branch = upstream_branch(watch)
            config, env = credentials_for(settings, url)
        except UpkeepError as error:
            results[name] = HeadResult(None, error, time.monotonic() - started)
            continue
        requests.append(HeadRequest(name, url, branch, config, env))
    return results | poll(requests, deadline=deadline)


class Explanation(BaseModel):
    """Why nothing happened (or what will): `code` of the closed list of reasons or of an error, `lines` for people."""

    model_config = ConfigDict(frozen=True)

    watch: str
    code: str
    lines: tuple[str, ...]
    upstream_head: str | None = None
    last_processed_commit: str | None = None


def explain(settings: Settings, name: str, database: Database) -> Explanation:
    """Look at everything that decides about a watch: upstream head now, state, attempts, lock, last runs.

    Raises ConfigError for an unknown watch, StateCorrupt.
    """
    watch = settings.watch(name)
    with database.session() as session:
        known = state.read_watch(session, name)
        history = events.of_subject(session, "content", f"watch:{name}", limit=200)
    one = settings.model_copy(update={"watches": {name: watch}})
    head = poll_heads(one, deadline=20).get(name)
    lines: list[str] = []
    code = ""
    if head is None or head.sha is None:
        error = head.error if head is not None else None
        code = error.reason if isinstance(error, UpkeepError) else Reason.UPSTREAM_UNAVAILABLE
        lines.append(
            f"The upstream's branch {watch.upstream.branch} could not be read: {error or 'no answer in time'}."
        )
        if isinstance(error, UpkeepError) and error.remedy:
            lines.append(error.remedy)
    else:
        verdict = wanted(settings, name, head.sha, known, datetime.now(UTC))
        code = verdict.code or "run_wanted"
        lines.append(f"The upstream's branch {watch.upstream.branch} is at {head.sha[:12]} now.")
        lines.append(f"A run is wanted: {verdict.reason}." if verdict.run else f"No run is wanted: {verdict.reason}.")
    lines += _state_lines(known)
    if (holder := holder_of(database, f"watch:{name}")) is not None:
        lines.append(f"The watch is locked: {holder.words}.")
    lines += _history_lines(history)
    if code == "run_wanted":
        lines.append(f"If no run starts: is `upkeep up` running? `upkeep update {name}` does it now.")
    return Explanation(
        watch=name,
        code=code,
        lines=tuple(lines),
        upstream_head=head.sha if head else None,
        last_processed_commit=known.last_processed_commit,
    )


def _state_lines(known: WatchState) -> list[str]:
    if known.last_run_at is None and not known.attempts:
        return ["No run of this watch is recorded yet."]
    lines = []
    if known.last_run_at is not None:
        ago = _span(datetime.now(UTC) - known.last_run_at)
        said = f"The last finished run, {ago} ago, ended as {known.last_run_status}"
        lines.append(said + (f" ({known.reason})." if known.reason else "."))
    if known.last_pr_url:
        lines.append(f"Its newest pull request: {known.last_pr_url}")
    lines += [
        f"Head {head[:12]}: {attempt.count} attempts, the last {_span(datetime.now(UTC) - attempt.last_at)} ago."
        for head, attempt in known.attempts.items()
    ]
    return lines


def _history_lines(history: list[events.Event]) -> list[str]:
    """The newest runs, newest first, by how they ended."""
    ended = [event for event in history if event.type in (events.EventType.RUN_ENDED, events.EventType.RUN_SKIPPED)]
    lines = []
    for event in ended[:5]:
        outcome, reason = event.summary.get("outcome", "?"), event.summary.get("reason")
        lines.append(f"Run at {event.at:%Y-%m-%d %H:%M:%S} UTC: {outcome}" + (f", {reason}" if reason else ""))
    return lines


def _span(length: timedelta) -> str:
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
