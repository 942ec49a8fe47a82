"""What a pull request of the updater says: title, body, commit message.

What belongs here: templates over typed records. What does not: deciding anything, and anything an agent wrote that is
not escaped: its words pass through `forges/text.py`, its claims stand beside what was computed from the content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from upkeep.content.claims import differences
from upkeep.content.compare import ContentDelta, FlowDelta
from upkeep.content.records import ChangeSet, GeneratedContent
from upkeep.content.report import Finding
from upkeep.forges import text
from upkeep.guardrails.report import Check
from upkeep.publish import link

_MARK = re.compile(r"<!-- upkeep:update (\S+) -->")
_FLOWS_SHOWN = 60
_EVENTS_SHOWN = (25, 10, 4, 0)
"""How much of each list is shown: the first that lets the body fit, the block for machines included."""
_COMMITS_SHOWN = 20
_FINDINGS_SHOWN = 20
_LISTED = 10


@dataclass(frozen=True)
class Web:
    """Where people see the upstream; None: nowhere that we know of, so SHAs stand without links."""

    upstream: str | None = None

    def commit(self, sha: str) -> str:
        return f"[`{sha[:12]}`]({self.upstream}/commit/{sha})" if self.upstream else f"`{sha[:12]}`"

    def range(self, base: str | None, head: str) -> str:
        if base is None:
            return self.commit(head)
        shown = f"`{base[:12]}..{head[:12]}`"
        return f"[{shown}]({self.upstream}/compare/{base}...{head})" if self.upstream else shown


def web_of(url: str | None, configured: str | None) -> Web:
    """Links from the configured page, else from an upstream URL over HTTPS without credentials in it."""
    if configured:
        return Web(configured.rstrip("/"))
    if url and re.fullmatch(r"https://[^@\s]+", url):
        return Web(url.rstrip("/").removesuffix(".git"))
    return Web()


def update_id(watch: str, change_set: ChangeSet) -> str:
    """The same for every attempt at the same update, so that a repeated run finds what an earlier one left."""
    parts = (watch, change_set.base or "bootstrap", change_set.head, change_set.start_sha)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def trailers(watch: str, change_set: ChangeSet) -> dict[str, str]:
    """The commit's trailers, from which lost state is recovered."""
    return {
        "Upstream-Base": change_set.base or "none",
        "Upstream-Head": change_set.head,
        "Update-Id": update_id(watch, change_set),
    }


def watch_of(pull_request_body: str) -> str | None:
    """The watch that wrote this body; None where the mark is gone."""
    found = _MARK.search(pull_request_body)
    return found[1] if found else None


def title(change_set: ChangeSet, content: GeneratedContent) -> str:
    """One line: what happened, in numbers, and the head it happened for."""
    return text.title(f"Update analytics docs: {_counts(content.delta)} (upstream {change_set.head[:12]})")


def message(change_set: ChangeSet, content: GeneratedContent) -> str:
    """Subject and body of the commit, without trailers. Nothing in it was written by a model."""
    commits = _plural(change_set.commit_count, "commit")
    return (
        f"Update analytics docs for upstream {change_set.head[:12]}\n\n"
        f"{_counts(content.delta)[0].upper()}{_counts(content.delta)[1:]}.\n"
        f"Covers {commits} up to {change_set.head}.\n"
    )


def body(watch: str, change_set: ChangeSet, content: GeneratedContent, web: Web) -> str:
    """The whole body, shortened to what a forge takes: lists first, so that the block for machines stays whole."""
    for most in _EVENTS_SHOWN:
        written = _body(watch, change_set, content, web, most)
        if text.size(written) <= text.BODY_LIMIT:
            return written
    return text.fit(written)


def _body(watch: str, change_set: ChangeSet, content: GeneratedContent, web: Web, most: int) -> str:
    parts = [
        f"<!-- upkeep:update {watch} -->",
        _opening(watch, change_set, web),
        *_notes(change_set, content),
        "## What changed",
        _table(content.delta),
        *_details(content.delta, most),
        *_unassigned(content, most),
        *_undocumented(content, most),
        "## What the author says",
        _author(content),
        "## Checks",
        _checks(content),
        *_findings(content),
        *_commits(change_set, web),
        _machines(watch, change_set, content, most),
    ]
    return "\n\n".join(part for part in parts if part)


def _opening(watch: str, change_set: ChangeSet, web: Web) -> str:
    commits = _plural(change_set.commit_count, "upstream commit")
    covers = {
        "bootstrap": f"the whole tree at {web.commit(change_set.head)}",
        "range": f"{commits}, {web.range(change_set.base, change_set.head)}",
        "rewritten": f"upstream after a rewrite, {web.range(change_set.base, change_set.head)}",
    }[change_set.kind]
    return f"Upkeep's watch {text.code(watch)} covers {covers}."


def _notes(change_set: ChangeSet, content: GeneratedContent) -> list[str]:
    notes = []
    if change_set.kind != "range":
        notes.append(f"> **Note:** {text.inline(change_set.reason)}.")
    if change_set.stacked_on is not None:
        number = link(change_set.stacked_on)
        notes.append(
            f"> **Builds on {number}**, which a person edited: this branch starts from it and keeps every edit."
        )
    if change_set.supersedes:
        numbers = ", ".join(link(each) for each in change_set.supersedes)
        notes.append(f"> **Supersedes {numbers}**: their range is covered here.")
    if content.unsafe_no_sandbox:
        notes.append("> **Warning:** the agent ran without our sandbox (`unsafe_no_sandbox: true`).")
    return notes


def _table(delta: ContentDelta) -> str:
    if not delta.flows:
        return "No flow changed."
    head = "| flow | | added | changed | renamed | removed | properties | diagrams |\n"
    head += "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    rows = []
    for flow in delta.flows[:_FLOWS_SHOWN]:
        cells = [f"{text.inline(flow.name)} ({text.code(flow.slug, in_table=True)})", flow.status]
        lists = (flow.events_added, flow.events_changed, flow.events_renamed, flow.events_removed, flow.properties)
        cells += [str(len(each)) for each in (*lists, flow.diagrams)]
        rows.append(f"| {' | '.join(cells)} |")
    rows += _more(len(delta.flows) - _FLOWS_SHOWN, "| and {} more flows |")
    return "\n".join([head, *rows])


def _details(delta: ContentDelta, most: int) -> list[str]:
    if not most:
        return ["Too much to list here event by event: the diff has it."]
    return [block for flow in delta.flows[:_FLOWS_SHOWN] if (block := _flow(flow, most))]


def _flow(flow: FlowDelta, most: int) -> str:
    told = {each.event for each in flow.properties}
    lines = [f"- added {text.code(name)}" for name in flow.events_added]
    lines += [f"- renamed {text.code(each.before)} to {text.code(each.after)}" for each in flow.events_renamed]
    lines += [f"- removed {text.code(name)}" for name in flow.events_removed]
    lines += [
        f"- changed {text.code(each.name)}: {', '.join(text.code(field) for field in each.fields)}"
        for each in flow.events_changed
        if each.name not in told or each.fields != ("properties",)
    ]
    lines += _properties(flow, most)
    lines += [f"- diagram {text.inline(each.title or 'without heading')} {each.status}" for each in flow.diagrams]
    if not lines:
        return ""
    shown = [*lines[:most], *_more(len(lines) - most, "- and {} more")]
    return "\n".join([f"**{text.inline(flow.name)}**", "", *shown])


def _properties(flow: FlowDelta, most: int) -> Iterable[str]:
    """One line a change, however many events it happened to: an app gives a property to all of a screen at once."""
    alike: dict[str, list[str]] = {}
    for each in flow.properties:
        said = [f"+{text.code(name)}" for name in each.added] + [f"−{text.code(name)}" for name in each.removed]
        said += [f"~{text.code(name)}" for name in each.changed]
        alike.setdefault(" ".join(said), []).append(each.event)
    for change, events in alike.items():
        if len(events) == 1:
            yield f"- properties of {text.code(events[0])}: {change}"
            continue
        names = [*(text.code(name) for name in events[:most]), *_more(len(events) - most, "and {} more")]
        yield f"- properties of {len(events)} events: {change}: {', '.join(names)}"


def _unassigned(content: GeneratedContent, most: int) -> list[str]:
    reasons = {each.name: each.reason for each in content.summary.unassigned}
    names = list(dict.fromkeys([*content.delta.unassigned_added, *reasons]))
    if not names:
        return []
    lines = [f"- {text.code(name)}: {text.inline(reasons.get(name, 'no reason given'))}" for name in names]
    shown = [*lines[:most], *_more(len(lines) - most, "- and {} more")]
    return ["## Unassigned", "\n".join(["Events that no flow was sure for; a person has to place them:", "", *shown])]


def _undocumented(content: GeneratedContent, most: int) -> list[str]:
    """What the author left out of what the scan found: a later update sees changes alone, and would not bring it up."""
    waiting = {*content.delta.unassigned_added, *(each.name for each in content.summary.unassigned)}
    names = [name for name in content.coverage.undocumented if name not in waiting] if content.coverage else []
    if not names:
        return []
    lines = [f"- {text.code(name)}" for name in names]
    shown = [*lines[:most], *_more(len(lines) - most, "- and {} more")]
    return ["## Not documented", "\n".join(["Event names in the source that no flow documents:", "", *shown])]


def _author(content: GeneratedContent) -> str:
    who = f"agent {text.code(content.agent)} (engine `{content.engine}`"
    who += f", model {text.code(content.model)})" if content.model else ", no model)"
    said = text.prose(content.summary.summary or "It said nothing beside the change itself.")
    quoted = "\n".join(f"> {line}".rstrip() for line in said.splitlines())
    lines = [f"In the words of {who}; not checked by anything:", "", quoted]
    if content.summary.doubts:
        doubts = [f"- {text.inline(doubt, limit=600)}" for doubt in content.summary.doubts[:_FINDINGS_SHOWN]]
        lines += ["", "Its doubts:", "", *doubts]
    if differs := _differences(content):
        lines += ["", "Its own lists differ from the change:", "", *differs]
    return "\n".join(lines)


def _differences(content: GeneratedContent) -> list[str]:
    found = differences(content.summary, content.delta)
    lines = []
    for events, words in (
        (found.claimed_added, "said to be added, and not in the change"),
        (found.claimed_removed, "said to be removed, and still there or never there"),
        (found.unsaid_added, "added, and not said"),
        (found.unsaid_removed, "removed, and not said"),
    ):
        if events:
            names = ", ".join(f"{text.code(name)} ({text.code(flow)})" for flow, name in events[:_LISTED])
            lines.append(f"- {words}: {names}{''.join(_more(len(events) - _LISTED, ' and {} more'))}")
    return lines


def _checks(content: GeneratedContent) -> str:
    report, usage = content.report, content.usage
    own = _own_findings(content)
    errors = sum(finding.severity == "error" for finding in own)
    validation = f"{_plural(errors, 'error')}, {_plural(len(own) - errors, 'warning')}"
    others = len(report.findings) - len(own)
    validation += f" ({others} more were there before or are in files that this does not touch)" if others else ""
    rows = [("validation", validation)]
    # Only by name: the reasons hold paths of the machine that Upkeep runs on.
    rows += [(f"not checked: {name}", "could not run where Upkeep runs") for name in report.checks_unavailable]
    rows.append(("coverage", _coverage(content)))
    rows += [(f"safety: {check.name}", _safety(check)) for check in content.guardrails.checks]
    rows.append(
        ("size", f"{_plural(len(content.files), 'file')}, +{content.lines_added} −{content.lines_deleted} lines")
    )
    rows.append(("agent", f"{_plural(content.tries, 'try', 'tries')}, {content.seconds:.1f} s, {_usage(content)}"))
    if usage.basis != "none" and usage.alarm:
        rows.append(("usage", usage.alarm))
    rows.append(("instructions", text.inline(content.instructions)))
    return "\n".join(["| check | result |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _safety(check: Check) -> str:
    said = "passed" if not check.errors else _plural(check.errors, "finding")
    said += f", {_plural(check.warnings, 'warning')}" if check.warnings else ""
    return f"{said}: {text.inline(check.note)}" if check.note else said


def _coverage(content: GeneratedContent) -> str:
    coverage = content.coverage
    if coverage is None:
        return "not measured: the watch has no `scan`"
    share = f" ({coverage.share:.0%})" if coverage.share is not None else ""
    return (
        f"{coverage.names_documented} of {coverage.names_found} event names found in the source are documented{share}; "
        f"{len(coverage.not_found)} documented, not found; {len(coverage.unresolved)} calls without a static name"
    )


def _usage(content: GeneratedContent) -> str:
    usage = content.usage
    if usage.basis == "none":
        return "no model, no cost"
    cost = "at a price that is not known" if usage.unpriced else f"${usage.cost_usd:.4f}"
    return f"{usage.tokens:,} tokens in {_plural(usage.requests, 'request')}, {cost}"


def _findings(content: GeneratedContent) -> list[str]:
    findings = [*_own_findings(content), *content.evidence_findings]
    if not findings:
        return []
    lines = [
        f"- {finding.severity} {text.code(finding.code)} in {text.code(finding.file)}"
        f"{f' line {finding.line}' if finding.line else ''}: {text.inline(finding.message)}"
        for finding in findings[:_FINDINGS_SHOWN]
    ]
    lines += _more(len(findings) - _FINDINGS_SHOWN, "- and {} more (`upkeep validate` lists all)")
    return [_folded(f"{_plural(len(findings), 'finding')} of the checks", "\n".join(lines))]


def _own_findings(content: GeneratedContent) -> list[Finding]:
    """What this change has to answer for: all errors, and the warnings in files that it touches."""
    touched = {"", *content.delta.files}
    return [
        finding
        for finding in content.report.findings
        if not finding.existing and (finding.severity == "error" or finding.file in touched)
    ]


def _commits(change_set: ChangeSet, web: Web) -> list[str]:
    if not change_set.commits:
        return []
    lines = [
        f"- {web.commit(commit.sha)} {text.inline(commit.subject)} ({text.inline(commit.author)})"
        for commit in change_set.commits[:_COMMITS_SHOWN]
    ]
    lines += _more(change_set.commit_count - len(lines), "- and {} earlier ones")
    return [_folded(f"{_plural(change_set.commit_count, 'upstream commit')}", "\n".join(lines))]


def machine_record(watch: str, change_set: ChangeSet, content: GeneratedContent, most: int) -> dict[str, Any]:
    """The same for machines. Lists are capped at `most` items; `counts` holds the true numbers."""
    delta = content.delta
    return {
        "upkeep": 1,
        "watch": watch,
        "update_id": update_id(watch, change_set),
        "upstream": {
            "kind": change_set.kind,
            "base": change_set.base,
            "head": change_set.head,
            "commits": change_set.commit_count,
        },
        "counts": counts(delta),
        "flows": {
            flow.slug: {
                "status": flow.status,
                "added": flow.events_added[:most],
                "changed": [each.name for each in flow.events_changed[:most]],
                "renamed": {each.before: each.after for each in flow.events_renamed[:most]},
                "removed": flow.events_removed[:most],
            }
            for flow in delta.flows[:_FLOWS_SHOWN]
        },
        "unassigned": delta.unassigned_added[:most],
        "validation": {"errors": len(content.report.errors), "warnings": len(content.report.warnings)},
        "checks_run": content.report.checks_run,
        "checks_unavailable": sorted(content.report.checks_unavailable),
        "coverage": None if content.coverage is None else content.coverage.share,
        "guardrails": {
            "passed": content.guardrails.passed,
            "checks": [check.name for check in content.guardrails.checks],
        },
        "agent": {"name": content.agent, "tries": content.tries, "seconds": round(content.seconds, 2)},
        "usage": content.usage.model_dump(mode="json"),
    }


def _machines(watch: str, change_set: ChangeSet, content: GeneratedContent, most: int) -> str:
    return _folded("The same for machines", text.json_block(machine_record(watch, change_set, content, most)))


def counts(delta: ContentDelta) -> dict[str, int]:
    """The change in numbers, for machines, events and metrics."""
    return {
        "flows_added": len(delta.flows_added),
        "flows_changed": len(delta.flows_changed),
        "flows_removed": len(delta.flows_removed),
        "events_added": delta.events_added,
        "events_changed": delta.events_changed,
        "events_renamed": delta.events_renamed,
        "events_removed": delta.events_removed,
        "properties_changed": delta.properties_changed,
        "unassigned_added": len(delta.unassigned_added),
    }


def _counts(delta: ContentDelta) -> str:
    """`2 events added, 1 renamed in 3 flows`: the title's numbers, zeroes left out."""
    said: list[str] = []
    for number, what in (
        (delta.events_added, "added"),
        (delta.events_changed, "changed"),
        (delta.events_renamed, "renamed"),
        (delta.events_removed, "removed"),
    ):
        if number:
            said.append(f"{number} {what}" if said else f"{_plural(number, 'event')} {what}")
    if not said:
        said = [f"{_plural(len(delta.unassigned_added), 'event')} unassigned"] if delta.unassigned_added else []
    flows = len(delta.flows)
    if not said:
        return f"{_plural(flows, 'flow')} touched" if flows else "catalogue touched"
    return ", ".join(said) + (f" in {_plural(flows, 'flow')}" if flows else "")


def _folded(summary: str, inner: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{inner}\n\n</details>"


def _plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _more(left: int, form: str) -> Iterable[str]:
    return [form.format(left)] if left > 0 else []
