"""The report for people, and what a person does next: Markdown from the one model.

What belongs here: words. What does not: facts; each is a field of the report (`report.py`).

Everything that somebody else wrote (subjects, paths, names, what servers say) is escaped: it is data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upkeep.forges.text import code, fenced, inline
from upkeep.forks.outcomes import Outcome
from upkeep.forks.records import ConflictingPatch
from upkeep.forks.report import Report

_RANGE_DIFF_LIMIT = 40_000

_HEADLINES = {
    Outcome.NO_CHANGE: "Nothing to do: trunk contains upstream and is what would be pushed",
    Outcome.VERIFIED: "Verified: the rebase is clean; nothing was moved",
    Outcome.REBASED: "Rebased and pushed",
    Outcome.RESTORED: "Trunk was put back",
    Outcome.NEEDS_HUMAN: "A person has to look; trunk was not moved",
    Outcome.LOCAL_FORBIDS: "The repository here forbids it; nothing was moved",
    Outcome.LOCAL_LEFT: "Pushed; the local trunk was left alone",
    Outcome.REMOTE_REFUSED: "The remote refused",
    Outcome.STACK_FAILED: "Trunk is done; restacking its branches failed",
    Outcome.GATES_FAILED: "A gate failed; nothing was pushed",
    Outcome.LOCKED: "Somebody else works on this fork",
    Outcome.CANCELLED: "Cancelled",
    Outcome.FAILED: "Failed",
}


def render(report: Report) -> str:
    """The report for people, as Markdown."""
    lines = [f"# {inline(report.fork)}: {headline(report)}", "", *_head(report)]
    if report.error:
        lines += ["", "## What stopped it", "", inline(str(report.error.get("message", "")))]
        for name in ("expected", "actual", "ref"):
            if report.error.get(name):
                lines.append(f"- {name}: {code(str(report.error[name]))}")
        if holder := report.error.get("holder"):
            lines += _holder(holder)
    if report.next_actions:
        lines += ["", "## Next", "", *(f"{number}. {text}" for number, text in enumerate(report.next_actions, 1))]
    lines += [*_shas(report), *_patches(report), *_gates(report), *_moves(report), *_restacks(report), *_rest(report)]
    return "\n".join(lines) + "\n"


def headline(report: Report) -> str:
    """How the run ended, in a few words."""
    if report.outcome is Outcome.NEEDS_HUMAN and report.verification and report.verification.conflicts:
        return "Patches conflict; trunk was not moved"
    return _HEADLINES[report.outcome]


def _head(report: Report) -> Iterator[str]:
    when = f"{report.started:%Y-%m-%d %H:%M} UTC"
    yield f"- Run {code(report.run_id)}, started by {inline(report.trigger)} at {when}"
    yield f"- Took {report.seconds:.1f} s; exit code {report.exit_code} ({report.outcome})"
    if report.stopped_at:
        yield f"- Stopped at: {inline(report.stopped_at)}"
    if report.lock:
        yield f"- Lock held by {inline(report.lock)}"
    for flag in report.overrides:
        yield f"- **Override: {inline(flag)}**"
    if report.takeover:
        forced = "by force" if report.takeover.forced else "its holder is dead"
        whose = report.takeover.holder.words if report.takeover.holder else "nobody knows whose it was"
        yield f"- **Lock taken over, {forced}**: {inline(whose)}; {inline(report.takeover.reason)}"
    if report.delta_pull_request:
        yield f"- Delta: <{report.delta_pull_request}>"


def _holder(holder: Mapping[str, Any]) -> Iterator[str]:
    """What a lock says of whoever holds it, beyond the message: the folder's (`lock.py`) or the database's."""
    if seen := holder.get("heartbeat") or holder.get("heartbeat_at"):
        yield f"- last sign of life: {inline(str(seen))}"
    for name, sha in (holder.get("snapshot") or {}).items():
        yield f"- started from {inline(str(name))}: {code(str(sha))}"


def _shas(report: Report) -> Iterator[str]:
    snapshot, verification = report.snapshot, report.verification
    if snapshot is None:
        return
    yield from ("", "## Before and after", "", "| | branch | before | after |", "| --- | --- | --- | --- |")
    after = {each.ref: each.after for each in (report.applied.pushed if report.applied else ())}
    for what, branch, before in (
        ("trunk", snapshot.trunk_branch, snapshot.trunk),
        ("mirror", snapshot.mirror_branch, snapshot.mirror),
    ):
        now = after.get(f"refs/heads/{branch}", before)
        yield f"| {what} | {code(branch, in_table=True)} | {code(before or 'none')} | {code(now or 'none')} |"
    yield f"| upstream | {code(snapshot.upstream_branch, in_table=True)} | {code(snapshot.upstream)} | |"
    if report.behind and report.behind.since:
        yield ""
        yield f"Trunk lacks {report.behind.commits} upstream commit(s), the oldest of {report.behind.since:%Y-%m-%d}."
    if verification is not None:
        yield ""
        yield (
            f"{verification.behind} upstream commit(s) are new to trunk; verified in {verification.seconds:.2f} s, "
            + ("in memory." if verification.method == "memory" else "by git in a worktree:")
        )
        yield from (f"- {inline(reason)}" for reason in verification.reasons)
        if verification.tip:
            yield f"- Verified tip: {code(verification.tip)}"
        if verification.version:
            made = (
                "used again"
                if verification.version.reused
                else "set"
                if verification.version.commit
                else "right already"
            )
            yield f"- Version {code(verification.version.version)} in {code(verification.version.file)}: {made}"


def _patches(report: Report) -> Iterator[str]:
    verification = report.verification
    if verification is None:
        return
    yield from _judgement(report)
    for conflict in verification.conflicts:
        yield from ("", *_conflict(conflict))
    if verification.escalated:
        yield from ("", "## Upstream changed what a person wants to see", "")
        yield from (f"- {code(path)}" for path in verification.escalated)
    if verification.dropped:
        yield from ("", "## Dropped", "")
        for each in verification.dropped:
            why = "upstream has it" if each.why == "upstream" else "nothing of it is left"
            name = f"{each.number}. {inline(each.subject)} ({code(each.sha[:12])})"
            yield f"- {name}: {why}: {code(each.proof or 'git says so')}"
    if verification.kept:
        # Where a patch conflicts nothing was made of the others: there is no commit to name.
        went = bool(verification.tip)
        yield from ("", f"## {'Kept' if went else 'Patches that go'}: {len(verification.kept)}", "")
        for kept in verification.kept:
            moved = f" is now {code(kept.new_sha[:12])}" if kept.new_sha != kept.sha else " did not move"
            yield f"- {kept.number}. {inline(kept.subject)} ({code(kept.sha[:12])}){moved if went else ''}"
            yield from (f"  - conflict in {code(file.path)} settled by {_ours(file.by)}" for file in kept.settled)
    if report.range_diff:
        yield from ("", "<details><summary>How the patches changed (range-diff)</summary>", "")
        yield from (fenced(report.range_diff, "diff", limit=_RANGE_DIFF_LIMIT), "", "</details>")


def _judgement(report: Report) -> Iterator[str]:
    found = report.judgement
    if found is None:
        return
    yield from ("", "## What the agent made of it", "", f"- **{found.state}**: {_ours(found.message)}")
    if found.said:
        yield f"- In its own words, which nothing checks: {inline(found.said, limit=2000)}"
    for patch in found.settled:
        yield f"- Patch {patch.number}: {', '.join(code(file.path) for file in patch.settled)}"
    if found.requests:
        cost = "a price that is not known" if found.cost_usd is None else f"${found.cost_usd:.2f}"
        yield f"- {found.requests} request(s), {cost}, {found.seconds:.0f} s"
    if found.transcript:
        yield f"- Transcript: {code(found.transcript)}"


def _conflict(conflict: ConflictingPatch, where: str = "") -> Iterator[str]:
    yield f"## {where}Patch {conflict.number} conflicts: {inline(conflict.subject)}"
    yield ""
    yield f"- {code(conflict.sha)} by {inline(conflict.author)}, {conflict.authored_at:%Y-%m-%d}"
    yield "- " + ", ".join(inline(kind) for kind in conflict.types)
    yield from (f"- {code(path)}" for path in conflict.conflicts)
    if conflict.after:
        yield f"- Touches the files of patch {', '.join(map(str, conflict.after))}, which conflicts too: begin there"
    if breaker := conflict.broken_by:
        yield (
            f"- Broken by {code(breaker.sha[:12])} {inline(breaker.subject)}, "
            f"{inline(breaker.author)}, {breaker.authored_at:%Y-%m-%d}"
        )
    yield from ("", fenced("\n".join(conflict.reproduce), "sh"))


def _gates(report: Report) -> Iterator[str]:
    if not report.gates:
        return
    yield from ("", "## Gates", "", "| gate | result | s | |", "| --- | --- | ---: | --- |")
    for gate in report.gates:
        remarks = [*(["old trunk"] if gate.baseline else []), *(["cached"] if gate.cached else [])]
        remarks += [f"changed files: our commit {code(gate.fixed[:12])}"] if gate.fixed else []
        yield f"| {code(gate.command, in_table=True)} | {gate.result} | {gate.seconds:.0f} | {', '.join(remarks)} |"


def _moves(report: Report) -> Iterator[str]:
    applied = report.applied
    if applied is None:
        return
    yield from ("", "## Moved", "")
    for where, moves in (("remote", applied.pushed), ("here", applied.local)):
        for move in moves:
            before = code(move.before or "nothing")
            yield f"- {where}: {code(move.ref)} from {before} to {code(move.after)}"
    yield from (f"- {_ours(note)}" for note in applied.notes)
    if applied.backup:
        yield f"- To put it back: {code(f'upkeep rebase {report.fork} --restore {report.run_id}')}"


def _restacks(report: Report) -> Iterator[str]:
    stack = report.stack
    if stack is None or (stack.kind == "none" and not stack.note):
        return
    yield from ("", "## Branches on trunk", "")
    yield from (_ours(text) for text in (stack.problem, stack.note) if text)
    for each in stack.branches:
        moved = f" from {code(each.before[:12])} to {code(each.after[:12])}" if each.after else ""
        pushed = ", pushed" if each.pushed else ""
        note = f": {_ours(each.note)}" if each.note else ""
        yield f"- {code(each.branch)}: {each.result}{moved}{pushed}{note}"
    for each in stack.branches:
        for conflict in each.conflicts:
            yield from ("", *_conflict(conflict, f"{code(each.branch)}: "))


def _rest(report: Report) -> Iterator[str]:
    for warning in report.warnings:
        numbers = ", ".join(f"{each.number} ({inline(each.subject)})" for each in warning.conflicts)
        yield from ("", f"**Patch {numbers} will break** when {code(warning.branch)} is merged upstream.")
    for note in report.notes:
        yield from ("", _ours(note))
    yield from ("", "## Steps", "", "| step | s |", "| --- | ---: |")
    yield from (f"| {inline(each.command)} | {each.seconds:.3f} |" for each in report.commands)


def next_actions(report: Report) -> Iterator[str]:
    """What a person does now, as Markdown. Only what the report can back."""
    if report.outcome in (Outcome.NO_CHANGE, Outcome.REBASED):
        return
    if report.outcome is Outcome.RESTORED:
        yield "The next run rebases again: mend what was wrong before that, or set `schedule: null` until you have."
    if report.error and report.error.get("remedy"):
        yield _ours(str(report.error["remedy"]))
    if report.outcome is Outcome.VERIFIED:
        yield f"Apply it: {code(f'upkeep rebase {report.fork}')}."
    verification = report.verification
    judgement = report.judgement
    if judgement and judgement.state in ("proposed", "waiting"):
        yield f"Review <{judgement.url}>: merge it to accept, close it to decline. The next run then goes on."
    for conflict in _first_of_each(verification.conflicts if verification else ()):
        yield f"Mend patch {conflict.number} ({inline(conflict.subject)}): the commands below stop at it."
    if verification and verification.conflicts:
        yield f"Push the mended stack to the fork's trunk, then run {code(f'upkeep rebase {report.fork}')} again."
    if verification and verification.escalated and not verification.unchanged:
        shows = code(f"git diff {verification.base} {verification.onto}")
        yield (
            f"Read what upstream changed in the paths below: {shows} in the fork's repository. If that is fine, take "
            "them out of `escalate` for one run, which then tests and pushes; else settle it on trunk first."
        )
    if report.applied:
        yield from map(_ours, report.applied.notes)
    yield from _stack_actions(report)


def _stack_actions(report: Report) -> Iterator[str]:
    stack = report.stack
    if stack is None or stack.complete:
        return
    if stack.problem:
        yield _ours(stack.problem)
    for each in stack.branches:
        if each.result == "conflict":
            yield f"Rebase {code(each.branch)} by hand: the commands below stop at its first patch that conflicts."
        elif each.result == "failed":
            yield f"Look at {code(each.branch)}: {_ours(each.note)}"


def _first_of_each(conflicts: Sequence[ConflictingPatch]) -> list[ConflictingPatch]:
    """Those that do not wait for another one to be mended."""
    return [conflict for conflict in conflicts if not conflict.after]


def _ours(text: str) -> str:
    """A sentence of our own, whose commands stand between backticks; names and paths in it may be anybody's."""
    parts = text.split("`")
    return "".join(code(part, limit=600) if at % 2 else _words(part) for at, part in enumerate(parts))


def _words(text: str) -> str:
    before, after = (" " if text[:1] == " " else ""), (" " if text[-1:] == " " and text.strip() else "")
    return f"{before}{inline(text, limit=2000)}{after}"
