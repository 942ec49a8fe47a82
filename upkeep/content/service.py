"""The updater's procedures, one a step: observe, plan, settle, write, publish; and recovering state from the forge.

What belongs here: the order of things and what is recorded about them. What does not: the decisions (`ranges.py`,
`watching.py`), the writing (`writing.py`), the texts (`proposal.py`), the way out (`upkeep/publish.py`).

Whoever calls a procedure frames it with `desk.run.step`, so that it is timed and its error ends the run.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from upkeep import publish as publishing
from upkeep.config import Settings
from upkeep.content import evidence, proposal, ranges
from upkeep.content.desk import Desk, UpstreamHistory, open_desk
from upkeep.content.folder import EVIDENCE
from upkeep.content.horizon import begin_of_list, remember
from upkeep.content.ranges import BRANCH_PREFIX, Proposed, RangePlan
from upkeep.content.records import ChangeSet, CommitLine, GeneratedContent, PublishedUpdate, UpstreamHead
from upkeep.content.upstream import Upstream
from upkeep.content.writing import Writer
from upkeep.database import events, state
from upkeep.database.events import EventType, Outcome, Reason
from upkeep.database.server import Database
from upkeep.errors import ContentInvalid
from upkeep.forges.base import PullRequest
from upkeep.guardrails.report import refuse_unless_passed
from upkeep.runs import open_run

_COMMITS_KEPT = 50


def observe(desk: Desk) -> UpstreamHead:
    """Bring the upstream up to date and look at its head.

    Raises RepositoryNotReady, BranchGone, RemoteUnavailable; state stays untouched.
    """
    sha = desk.fetch_upstream()
    commit = desk.upstream.commit(sha)
    with desk.database.session() as session:
        known = state.read_watch(session, desk.name)
    return UpstreamHead(
        watch=desk.name,
        branch=desk.watch.upstream.branch,
        sha=sha,
        subject=commit.subject,
        committed_at=commit.committed_at,
        previous=known.last_processed_commit,
    )


def plan(desk: Desk, head: UpstreamHead) -> ChangeSet:
    """Decide what `head` asks for, from what the forge and the target's base branch say."""
    base_sha = desk.fetch_target()
    recorded = _described(desk, base_sha)
    since = begin_of_list(desk, head.sha, recorded)
    listed = desk.forge.pull_requests(desk.watch.target.repo, branch_prefix=BRANCH_PREFIX, since=since)
    desk.listing.put(listed)
    ours = [each for each in listed if _is_ours(desk, each)]
    remember(desk, ours, since, recorded)
    proposed = [_judge(desk, each, base_sha) for each in ours]
    decided = ranges.decide(
        head.sha,
        recorded=recorded,
        begin_after=_begin_after(desk),
        proposed=proposed,
        history=UpstreamHistory(desk.upstream),
    )
    change_set = _change_set(desk, head.sha, base_sha, decided)
    return _weigh(desk, change_set)


def _begin_after(desk: Desk) -> str | None:
    """The configured commit in full, so that it can be compared; as configured where the upstream does not have it."""
    given = desk.watch.begin_after
    return None if given is None else desk.upstream.resolve(f"{given}^{{commit}}") or given


def _is_ours(desk: Desk, pull_request: PullRequest) -> bool:
    """Several watches may share a dashboard. A person may have deleted the mark from the body: then the upstream's own
    history tells whose head it is."""
    watch = proposal.watch_of(pull_request.body)
    if watch is not None:
        return watch == desk.name
    return UpstreamHistory(desk.upstream).exists(pull_request.head_branch.removeprefix(BRANCH_PREFIX))


def _judge(desk: Desk, pull_request: PullRequest, base_sha: str) -> Proposed:
    superseded = pull_request.state == "closed" and publishing.superseded_by(pull_request) is not None
    if pull_request.state != "open":
        return Proposed(pull_request, superseded=superseded)
    touched = _foreign_commits(desk, pull_request, base_sha) or desk.forge.touched_by_person(
        pull_request, since=_read_back_at(desk, pull_request)
    )
    return Proposed(pull_request, touched=touched, describes=_described(desk, pull_request.head_sha))


def _foreign_commits(desk: Desk, pull_request: PullRequest, base_sha: str) -> bool:
    """Whether a commit of the branch is not one of ours: ours carry `Update-Id`. A head that we could not fetch yet is
    somebody's push of this very moment."""
    if desk.target.resolve(f"{pull_request.head_sha}^{{commit}}") is None:
        return True
    fork_point = desk.target.merge_base(base_sha, pull_request.head_sha)
    commits = desk.target.commits(fork_point, pull_request.head_sha)
    return not all(publishing.is_ours(commit) for commit in commits)


def _read_back_at(desk: Desk, pull_request: PullRequest) -> datetime | None:
    """When the forge had last changed the pull request as we left it: nothing later means that nobody touched it."""
    with desk.database.session() as session:
        for event in events.of_subject(session, "content", desk.subject, limit=200):
            if (
                event.type in (EventType.PR_CREATED, EventType.PR_ADOPTED)
                and event.summary.get("url") == pull_request.url
            ):
                seen = event.summary.get("updated_at")
                return datetime.fromisoformat(seen) if seen else None
    return None


def _described(desk: Desk, sha: str) -> str | None:
    """The upstream commit that the content at a commit of the target records of itself."""
    data = desk.target.read(sha, f"{desk.watch.content}/{EVIDENCE}")
    return None if data is None else evidence.read(data).commit


def _change_set(desk: Desk, head: str, base_sha: str, decided: RangePlan) -> ChangeSet:
    upstream = desk.upstream
    commits: Sequence[CommitLine] = ()
    count = files = 0
    if decided.decision == "update" and decided.base is not None:
        commits = [
            CommitLine(sha=each.sha, subject=each.subject, author=each.author_name, committed_at=each.committed_at)
            for each in upstream.commits(decided.base, head, limit=_COMMITS_KEPT)
        ]
        count = upstream.count(decided.base, head)
    if decided.decision == "update" and decided.described is not None:
        files = len(upstream.changes(decided.described, head))
    return ChangeSet(
        watch=desk.name,
        decision=decided.decision,
        reason=decided.reason,
        kind=decided.kind,
        base=decided.base,
        described=decided.described,
        head=head,
        commit_count=count,
        commits=tuple(commits),
        files_changed=files,
        base_branch_sha=base_sha,
        start_sha=decided.stacked_on.pull_request.head_sha if decided.stacked_on else base_sha,
        stacked_on=decided.stacked_on.pull_request if decided.stacked_on else None,
        supersedes=tuple(each.pull_request for each in decided.supersedes),
        pull_request=decided.pull_request,
    )


def _weigh(desk: Desk, change_set: ChangeSet) -> ChangeSet:
    """Whether an update that is due is given up, or not relevant."""
    if change_set.decision != "update":
        return change_set
    if not (desk.dry_run or desk.retry):
        with desk.database.session() as session:
            tried = state.read_watch(session, desk.name).attempts_at(change_set.head)
        if tried >= desk.watch.attempts:
            reason = f"{tried} attempts at head {change_set.head[:12]} failed; it is tried again when the head moves, "
            reason += f"or by `upkeep update {desk.name} --retry`"
            return change_set.model_copy(update={"decision": "given_up", "reason": reason})
    # A model may see what the scan cannot; the offline agent knows nothing else.
    relevance = desk.watch.relevance or ("any" if desk.agent.writes_with_model else "calls")
    if relevance == "calls" and change_set.kind != "bootstrap" and Upstream(desk, change_set).delta.empty:
        reason = "no analytics call was added, moved, changed or removed"
        return change_set.model_copy(update={"decision": "irrelevant", "reason": reason})
    return change_set


_SETTLED: dict[ranges.Decision, tuple[Outcome, Reason]] = {
    "nothing_new": (Outcome.NOTHING_NEW, Reason.EMPTY_RANGE),
    "exists": (Outcome.NOTHING_NEW, Reason.PULL_REQUEST_OPEN),
    "declined": (Outcome.SKIPPED, Reason.PULL_REQUEST_DECLINED),
    "irrelevant": (Outcome.SKIPPED, Reason.NOT_RELEVANT),
    "given_up": (Outcome.SKIPPED, Reason.ATTEMPTS_EXHAUSTED),
}


def settle(desk: Desk, change_set: ChangeSet, content: GeneratedContent | None = None) -> None:
    """Record that there is nothing to publish, and why. With `content`: its author found nothing to change.

    A head that was given up stays unprocessed. Old pull requests that a crash left open are closed now.
    """
    outcome, reason = (Outcome.NOTHING_NEW, Reason.NO_CHANGE) if content else _SETTLED[change_set.decision]
    if change_set.pull_request is not None and change_set.pull_request.state == "merged":
        reason = Reason.PULL_REQUEST_MERGED
    if not desk.dry_run and change_set.decision != "given_up":
        _close_leftovers(desk, change_set)
        with desk.database.session() as session:
            _write_state(desk, session, change_set.head, outcome, reason, change_set.pull_request)
    desk.run.finish(outcome, reason, head=change_set.head, base=change_set.base)


def write(desk: Desk, change_set: ChangeSet) -> GeneratedContent:
    """Have the content written and proven. Content that is invalid or refused is returned too: checks stop it.

    Raises AgentError and its children.
    """
    if not desk.dry_run:
        with desk.database.session() as session:
            _count_attempt(desk, session, change_set.head)
    return Writer(desk, change_set).write()


def _count_attempt(desk: Desk, session: Session, head: str) -> None:
    """Counted before anything is spent, so that a killed run counts too; a finished head forgets its attempts."""
    known = state.read_watch(session, desk.name)
    if desk.retry:
        known = known.without_attempts(head)
    desk.run.lock.fence(session)
    state.write_watch(session, known.with_attempt(head, "started"), run_id=desk.run.run_id)


def publish(desk: Desk, change_set: ChangeSet, content: GeneratedContent) -> PublishedUpdate:
    """Bring the content to the forge as one pull request, then record state. Content that did not change is settled.

    Raises ContentInvalid and GuardrailRefused: nothing leaves that a check has not passed, whoever calls. Raises what
    `upkeep.publish.publish` raises.
    """
    refuse_unfit(content)
    branch = BRANCH_PREFIX + change_set.head
    if content.tree is None:
        settle(desk, change_set, content)
        return PublishedUpdate(watch=desk.name, head=change_set.head, outcome="no_change", branch=branch)
    proposed = _proposal(desk, change_set, content, branch, content.tree)
    if desk.dry_run:
        desk.run.finish(Outcome.DONE, Reason.DRY_RUN)
        return PublishedUpdate(
            watch=desk.name,
            head=change_set.head,
            outcome="dry_run",
            branch=branch,
            title=proposed.title,
            body=proposed.body,
        )
    published = publishing.publish(
        desk.target, desk.forge, desk.run.lock, proposed, listed=desk.listing.take(), before=desk.before
    )
    desk.before("state")
    _record(desk, change_set, content, published)
    return PublishedUpdate(
        watch=desk.name,
        head=change_set.head,
        outcome=published.outcome,
        pull_request=published.pull_request,
        branch=branch,
        commit=published.commit,
        title=proposed.title,
        body=proposed.body,
        superseded=published.superseded,
        forge_calls=desk.forge.calls,
    )


def refuse_unfit(content: GeneratedContent) -> None:
    """Raises ContentInvalid, GuardrailRefused where a check did not let `content` pass."""
    if not content.report.valid:
        raise ContentInvalid(
            f"the content for {content.head[:12]} has {len(content.report.errors)} errors; the first: "
            f"{content.report.errors[0].message}",
            remedy="Read the validation report; nothing was published.",
        )
    refuse_unless_passed(content.guardrails)


def _proposal(
    desk: Desk, change_set: ChangeSet, content: GeneratedContent, branch: str, tree: str
) -> publishing.Proposal:
    target = desk.watch.target
    return publishing.Proposal(
        repo=target.repo,
        url=target.url,
        base_branch=target.base,
        branch=branch,
        tree=tree,
        parents=(change_set.start_sha,),
        title=proposal.title(change_set, content),
        body=proposal.body(desk.name, change_set, content, desk.web),
        message=proposal.message(change_set, content),
        trailers=proposal.trailers(desk.name, change_set),
        at=desk.upstream.commit(change_set.head).committed_at,
        supersedes=change_set.supersedes,
    )


_PUBLISHED: dict[publishing.Outcome, tuple[Outcome, Reason]] = {
    "created": (Outcome.DONE, Reason.CREATED),
    "adopted": (Outcome.DONE, Reason.ADOPTED),
    "merged": (Outcome.NOTHING_NEW, Reason.PULL_REQUEST_MERGED),
    "declined": (Outcome.SKIPPED, Reason.PULL_REQUEST_DECLINED),
    "nothing": (Outcome.NOTHING_NEW, Reason.NO_CHANGE),
}
"""The last three: a person was quicker, at the very moment of publishing."""


def _record(desk: Desk, change_set: ChangeSet, content: GeneratedContent, published: publishing.Publication) -> None:
    """State and events in one transaction, after the forge has it all."""
    pull_request = published.pull_request
    made = {"created": EventType.PR_CREATED, "adopted": EventType.PR_ADOPTED}.get(published.outcome)
    outcome, reason = _PUBLISHED[published.outcome]
    with desk.database.session() as session:
        if made is not None and pull_request is not None:
            updated_at = pull_request.updated_at.isoformat()
            _event(desk, session, made, url=pull_request.url, updated_at=updated_at)
        for each in published.superseded:
            _event(desk, session, EventType.PR_SUPERSEDED, url=each.url)
        _write_state(desk, session, change_set.head, outcome, reason, pull_request)
    desk.run.finish(
        outcome,
        reason,
        head=change_set.head,
        base=change_set.base,
        pr_url=pull_request.url if pull_request else None,
        counts=proposal.counts(content.delta),
    )


def _event(desk: Desk, session: Session, type: EventType, **summary: Any) -> None:
    run = desk.run
    events.record(session, system=run.system, subject=run.subject, type=type, run_id=run.run_id, **summary)


def _write_state(
    desk: Desk, session: Session, head: str, outcome: Outcome, reason: str, pull_request: PullRequest | None
) -> None:
    """`head` was seen and is done with. Nothing else is decided by this."""
    desk.run.lock.fence(session)
    known = state.read_watch(session, desk.name).without_attempts(head)
    changed = {
        "last_processed_commit": head,
        "last_run_at": datetime.now(UTC),
        "last_run_status": outcome,
        "reason": reason,
        "last_pr_url": pull_request.url if pull_request else known.last_pr_url,
    }
    state.write_watch(session, known.model_copy(update=changed), run_id=desk.run.run_id)


def _close_leftovers(desk: Desk, change_set: ChangeSet) -> None:
    """What a crash between "created" and "closed the old ones" left open."""
    by = change_set.pull_request
    if change_set.decision == "exists" and by is not None and by.state == "open":
        publishing.close_superseded(desk.forge, desk.run.lock, by, change_set.supersedes, before=desk.before)


def rebuild_state(settings: Settings, name: str, database: Database) -> state.WatchState:
    """Read the state of a watch back from the forge, its commits' trailers and the content, and record it.

    Needs no readable state, and takes the watch's lock. Raises LockError, ForgeError, RemoteUnavailable.
    """
    run_id = str(uuid.uuid4())
    with open_run(database, system="content", subject=f"watch:{name}", run_id=run_id, trigger="cli") as run:
        desk = open_desk(settings, name, database=database, run=run)
        with run.step("rebuild"):
            base_sha = desk.fetch_target()
            listed = desk.forge.pull_requests(desk.watch.target.repo, branch_prefix=BRANCH_PREFIX)
            ours = [each for each in listed if proposal.watch_of(each.body) in (name, None)]
            found = publishing.recover(ours, desk.target, recorded=_described(desk, base_sha))
            pull_request = found.pull_request
            rebuilt = state.WatchState(
                watch=name,
                last_processed_commit=found.last_processed_commit,
                last_run_at=pull_request.updated_at if pull_request else None,
                last_run_status=Outcome.DONE if pull_request else None,
                last_pr_url=pull_request.url if pull_request else None,
                reason=f"rebuilt from: {found.source}",
            )
            with database.session() as session:
                run.lock.fence(session)
                state.write_watch(session, rebuilt, run_id=run_id, event=EventType.STATE_REBUILT)
        run.finish(Outcome.DONE, Reason.STATE_REBUILT)
    return rebuilt
