"""`upkeep update`: one update of one watch, now.

What belongs here: the command's arguments, what it prints, its exit code. What does not: the run
(`orchestration/execute.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from orchestration.execute import Update
    from upkeep.content.records import GeneratedContent
    from upkeep.content.report import Finding

FINDINGS_SHOWN = 20


def update(
    watch: Annotated[str, typer.Argument(help="A watch of upkeep.yaml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything except push, pull request, state.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try a head again that was given up.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take over a lock whose holder cannot be proven dead. Nothing else.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Bring one dashboard up to date with its upstream: one pull request, or the reason why there is none.

    Exit codes: 0 done or nothing new, 2 validation failed, 3 guardrail refused, 4 agent failed, 15 locked, 1 other.

    Example: `upkeep update my-app --dry-run`
    """
    from cli.output import emit_json
    from cli.startup import quick_imports
    from upkeep.config import load
    from upkeep.content.mermaid import start_spare

    settings = load()
    settings.watch(watch)
    start_spare()
    with quick_imports():
        from orchestration.execute import update as execute

    with _progress() as say:
        done = execute(
            settings,
            watch,
            dry_run=dry_run,
            retry=retry,
            force=force or os.environ.get("FORCE_STALE_LOCK") == "1",
            progress=say,
        )
    if json:
        emit_json(as_json(done, dry_run=dry_run))
    else:
        _print(done, dry_run=dry_run)
    raise typer.Exit(exit_code(done))


def exit_code(done: Update) -> int:
    """The contract of architecture.md, from the outcome."""
    from upkeep.database.events import Outcome

    codes = {
        Outcome.DONE: 0,
        Outcome.NOTHING_NEW: 0,
        Outcome.SKIPPED: 0,
        Outcome.VALIDATION_FAILED: 2,
        Outcome.GUARDRAIL_REFUSED: 3,
        Outcome.AGENT_FAILED: 4,
        Outcome.LOCKED: 15,
    }
    return codes.get(done.outcome, 1)


def as_json(done: Update, *, dry_run: bool) -> dict[str, Any]:
    """The result of a run in one object. Keys whose step was not reached are null."""
    change, content, published = done.change_set, done.content, done.published
    opened = (published and published.pull_request) or (change and change.pull_request)
    return {
        "watch": done.watch,
        "run_id": done.run_id,
        "outcome": str(done.outcome),
        "reason": done.reason,
        "message": _message(done),
        "error": _error(done),
        "dry_run": dry_run,
        "seconds": round(done.seconds, 3),
        "head": done.head.sha if done.head else None,
        "base": change.base if change else None,
        "commits": change.commit_count if change else None,
        "pull_request": opened.model_dump(mode="json", include={"number", "url", "state", "title"}) if opened else None,
        "branch": published.branch if published else None,
        "commit": published.commit if published else None,
        "changes": _changes(content) if content else None,
        "usage": content.usage.model_dump(mode="json") if content else None,
        "cost_usd": content.usage.cost_usd if content else None,
        "findings": [finding.model_dump(mode="json") for finding in _problems(content)] if content else None,
    }


def _changes(content: GeneratedContent) -> dict[str, int]:
    return {
        "files": len(content.files),
        "events_added": content.delta.events_added,
        "events_changed": content.delta.events_changed,
        "events_renamed": content.delta.events_renamed,
        "events_removed": content.delta.events_removed,
    }


def _problems(content: GeneratedContent) -> list[Finding]:
    """What stops a publish: errors of validation and of evidence."""
    return [each for each in (*content.report.errors, *content.evidence_findings) if each.severity == "error"]


def _message(done: Update) -> str:
    from upkeep.errors import UpkeepError

    if isinstance(done.error, UpkeepError):
        return done.error.message
    if done.content is not None and done.content.outcome == "no_change":
        return done.content.reason
    if done.change_set is not None and done.change_set.decision != "update":
        return done.change_set.reason
    return str(done.error) if done.error is not None else ""


def _error(done: Update) -> dict[str, Any] | None:
    from upkeep.errors import UpkeepError

    if isinstance(done.error, UpkeepError):
        return done.error.as_record()
    # Of a bug nobody wrote down what to do.
    remedy = f"This is a fault of Upkeep: report it with the log of run {done.run_id}. Nothing was done by halves."
    if done.error is not None:
        return {"code": done.reason, "message": f"{type(done.error).__name__}: {done.error}", "remedy": remedy}
    return {"code": done.reason, "message": done.trace, "remedy": remedy} if done.trace else None


def _print(done: Update, *, dry_run: bool) -> None:
    from cli.output import complain, say
    from upkeep.errors import UpkeepError

    if done.change_set is not None and done.head is not None:
        change = done.change_set
        print(f"upstream:     {done.head.branch} at {done.head.sha[:12]} {done.head.subject}".rstrip())
        if change.decision == "update":
            start = change.base[:12] if change.base else "the beginning"
            print(f"range:        {start}..{change.head[:12]}, {change.commit_count} commits ({change.kind})")
    if done.content is not None:
        _print_content(done.content)
    if done.published is not None:
        _print_published(done, dry_run=dry_run)
    if isinstance(done.error, UpkeepError):
        complain(done.error)
    elif (message := _message(done)) or done.published is None:
        print(f"{str(done.outcome).replace('_', ' ')}: {message or done.reason}")
    if done.trace:
        say(done.trace)
    print(f"took {done.seconds:.1f} s, run {done.run_id}; `upkeep explain {done.watch}` tells more")


def _print_content(content: GeneratedContent) -> None:
    delta, usage = content.delta, content.usage
    print(
        f"written:      {delta.events_added} events added, {delta.events_changed} changed, "
        f"{delta.events_renamed} renamed, {delta.events_removed} removed in {len(content.files)} files"
    )
    print(
        f"author:       {content.agent} {content.model}".rstrip()
        + f", {usage.tokens} tokens, "
        + ("price not known" if usage.unpriced else f"{usage.cost_usd:.4f} USD")
    )
    report = content.report
    print(f"validation:   {len(_problems(content))} errors, {len(report.warnings)} warnings")
    for finding in _problems(content)[:FINDINGS_SHOWN]:
        print(f"  {finding.file}{f':{finding.line}' if finding.line else ''}: {finding.code}: {finding.message}")
    if not content.guardrails.passed:
        print("guardrails:   refused")


def _print_published(done: Update, *, dry_run: bool) -> None:
    assert done.published is not None
    opened = done.published.pull_request
    if dry_run:
        print(f"dry run:      nothing was pushed; the branch would be {done.published.branch}\n")
        print(done.published.title)
        print(f"\n{done.published.body}")
    elif opened is not None:
        print(f"pull request: {opened.url} ({done.published.outcome})")
    for old in done.published.superseded:
        print(f"superseded:   {old.url}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A spinner with the present step on a terminal, plain lines with the time elsewhere; on stderr either way."""
    from cli.output import say, stderr

    console = stderr()
    if console.is_terminal:
        with console.status("starting") as status:
            yield status.update
        return
    started = time.monotonic()
    yield lambda line: say(f"[{time.monotonic() - started:5.1f} s] {line}")
