"""Whether a watch wants a run, and in plain words why nothing happened.

What belongs here: polling all upstreams at once, the decision of the sensor (pure), the explanation for people. What
does not: starting runs (`sensors/`), what a run does (`service.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from upkeep.config import Settings
from upkeep.content.desk import upstream_branch
from upkeep.database import events, state
from upkeep.database.events import Outcome, Reason
from upkeep.database.locks import here, holder_of, proven_dead
from upkeep.database.server import Database
from upkeep.database.state import WatchState
from upkeep.errors import LockError, UpkeepError
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


def last_run(session: Session, known: WatchState) -> WatchState:
    """The state with time, outcome and reason of the last run that ended, however it ended: the state itself is written
    only by runs that were done with a head. Of a state that was rebuilt after the events were lost, what it holds."""
    ended = events.last_end(session, "content", f"watch:{known.watch}")
    if ended is None or (known.last_run_at is not None and known.last_run_at > ended.at):
        return known
    outcome = Outcome(ended.summary.get("outcome", Outcome.SKIPPED))
    said = {"last_run_at": ended.at, "last_run_status": outcome, "reason": ended.summary.get("reason")}
    return known.model_copy(update=said)


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
        ended = last_run(session, known)
        history = events.of_subject(session, "content", f"watch:{name}", limit=200)
    one = settings.model_copy(update={"watches": {name: watch}})
    head = poll_heads(one, deadline=20).get(name)
    holder = holder_of(database, f"watch:{name}")
    killed = holder is not None and proven_dead(holder, here())
    if head is None or head.sha is None:
        code, lines = _unread(watch.upstream.branch, head)
    else:
        verdict = wanted(settings, name, head.sha, known, datetime.now(UTC))
        lines = [f"The upstream's branch {watch.upstream.branch} is at {head.sha[:12]} now."]
        if holder is not None and not killed and verdict.code != Reason.HEAD_PROCESSED:
            # Its attempt counts from its begin on, and has not failed.
            code = LockError.code
            lines.append("A run works on the watch now.")
        else:
            code = verdict.code or "run_wanted"
            lines.append(f"{'A' if verdict.run else 'No'} run is wanted: {verdict.reason}.")
    if holder is not None and killed:
        lines.append(f"A run was killed: {holder.words}. Its lock is free: the next run takes it over.")
    elif holder is not None:
        lines.append(f"The watch is locked: {holder.words}.")
    lines += [*_state_lines(ended), *_history_lines(history)]
    if code == "run_wanted":
        lines.append(f"If no run starts: is `upkeep up` running? `upkeep update {name}` does it now.")
    return Explanation(
        watch=name,
        code=code,
        lines=tuple(lines),
        upstream_head=head.sha if head else None,
        last_processed_commit=known.last_processed_commit,
    )


def _unread(branch: str, head: HeadResult | None) -> tuple[str, list[str]]:
    """Code and lines for a branch whose head could not be read."""
    error = head.error if head is not None else None
    lines = [f"The upstream's branch {branch} could not be read: {error or 'no answer in time'}."]
    if not isinstance(error, UpkeepError):
        return Reason.UPSTREAM_UNAVAILABLE, lines
    return error.reason, [*lines, error.remedy] if error.remedy else lines


def _state_lines(known: WatchState) -> list[str]:
    if known.last_run_at is None and not known.attempts:
        return ["No run of this watch is recorded yet."]
    lines = []
    if known.last_run_at is not None:
        ago = _span(datetime.now(UTC) - known.last_run_at)
        said = f"The last run ended {ago} ago as {known.last_run_status}"
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
