"""The validator: every rule over one content folder, as one report.

What belongs here: the table of rules, the comparison with a base, and the honest list of what was checked. What does
not: rules (`rules/`), reading a folder (`folder.py`), and printing (`cli/validate.py`).

Pure and deterministic: files in, report out. It never raises on what files hold, and one broken file never hides what
is wrong in another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from upkeep.content.folder import EVIDENCE, Content
from upkeep.content.mermaid import MermaidChecker, MermaidUnavailable, Verdict
from upkeep.content.report import Finding, ValidationReport
from upkeep.content.rules import catalogue, diagrams, events, evidence, files
from upkeep.content.rules.base import Context, Hit, Rule

if TYPE_CHECKING:
    from upkeep.content.evidence import Source

RULES: tuple[Rule, ...] = (
    Rule("missing_file", "error", "A file that the dashboard needs is missing", files.missing_file),
    Rule("unreadable_file", "error", "An entry of the folder cannot be read", files.unreadable_file),
    Rule("link_leaves_folder", "error", "A symbolic link leads out of the folder", files.link_leaves_folder),
    Rule("not_utf8", "error", "A file is not UTF-8", files.not_utf8),
    Rule("invalid_json", "error", "A file is not JSON", files.invalid_json),
    Rule("duplicate_key", "error", "An object has a key twice", files.duplicate_key),
    Rule("control_character", "error", "A control, bidirectional or invisible character", files.control_character),
    Rule("byte_order_mark", "warning", "A file begins with a byte order mark", files.byte_order_mark),
    Rule("invalid_catalogue_shape", "error", "flows.json has another shape", catalogue.invalid_catalogue_shape),
    Rule("invalid_slug_map_shape", "error", "flow-slug-map.json has another shape", catalogue.invalid_slug_map_shape),
    Rule("unknown_flow_key", "error", "A folder is mapped to a key that flows.json lacks", catalogue.unknown_flow_key),
    Rule("duplicate_mapping", "warning", "Two folders stand for one catalogue key", catalogue.duplicate_mapping),
    Rule("invalid_flow_dir", "error", "What should be a flow's folder is none", catalogue.invalid_flow_dir),
    Rule("missing_flow_dir", "error", "A catalogue key has no folder", catalogue.missing_flow_dir),
    Rule("missing_events_json", "error", "A flow's folder has no events.json", catalogue.missing_events_json),
    Rule("unlisted_flow", "warning", "A folder has events and no catalogue key", catalogue.unlisted_flow),
    Rule(
        "incomplete_catalogue_entry",
        "warning",
        "A catalogue entry lacks something",
        catalogue.incomplete_catalogue_entry,
    ),
    Rule("invalid_unassigned_shape", "error", "unassigned.json has another shape", catalogue.invalid_unassigned_shape),
    Rule("assigned_and_unassigned", "warning", "An unassigned event is in a flow", catalogue.assigned_and_unassigned),
    Rule("invalid_events_json_shape", "error", "An events.json has another shape", events.invalid_events_json_shape),
    Rule("missing_flowId", "error", "A flow has no flowId", events.missing_flow_id),
    Rule("missing_flowName", "error", "A flow has no flowName", events.missing_flow_name),
    Rule("missing_events", "warning", "A flow has no events", events.missing_events),
    Rule("missing_event_name", "error", "An event has no name", events.missing_event_name),
    Rule("event_name_tidied", "error", "A name changed only in case or blanks", events.event_name_tidied),
    Rule("unknown_stage_event", "error", "A stage names an unknown event", events.unknown_stage_event),
    Rule("unexpected_shape", "warning", "An optional part has another shape", events.unexpected_shape),
    Rule("missing_description", "warning", "A flow or its events have no description", events.missing_description),
    Rule("undefined_property", "warning", "Events use properties that are not defined", events.undefined_property),
    Rule("repeated_name", "warning", "An event stands twice at the same component and stage", events.repeated_name),
    Rule("unknown_key", "warning", "A key that the format does not have", events.unknown_key),
    Rule("missing_diagrams", "warning", "A flow has no flow-diagrams.md", diagrams.missing_diagrams),
    Rule("invalid_mermaid", "error", "Mermaid refuses a diagram", diagrams.invalid_mermaid),
    Rule("unchecked_diagram", "warning", "A diagram's nodes could not be checked", diagrams.unchecked_diagram),
    Rule("unclosed_fence", "warning", "A Mermaid block is not closed", diagrams.unclosed_fence),
    Rule("unknown_event_node", "error", "An event node's label is no event of its flow", diagrams.unknown_event_node),
    Rule("event_in_no_diagram", "warning", "Events are in no diagram", diagrams.event_in_no_diagram),
    Rule("unknown_directive_target", "error", "A directive leads nowhere", diagrams.unknown_directive_target),
    Rule("malformed_directive", "warning", "A directive is not understood", diagrams.malformed_directive),
    Rule(
        "directive_without_diagram",
        "warning",
        "A directive's heading has no diagram",
        diagrams.directive_without_diagram,
    ),
    Rule("unknown_node", "warning", "A directive or class names an unknown node", diagrams.unknown_node),
    Rule("no_main_heading", "warning", "No heading has Main or Funnel", diagrams.no_main_heading),
    Rule("invalid_evidence_shape", "error", "_evidence.json has another shape", evidence.invalid_evidence_shape),
    Rule("evidence_not_in_commit", "error", "Evidence is not in its commit", evidence.evidence_not_in_commit),
    Rule("stale_evidence", "warning", "Evidence of an event that is not documented", evidence.stale_evidence),
)

NEVER_EXISTING = frozenset({"evidence_not_in_commit", "event_name_tidied", "link_leaves_folder"})
"""Errors that a base cannot excuse: evidence holds for one commit alone, names are compared with the base itself, and a
link can lead elsewhere today."""

_ALWAYS_RUN = ("files", "json", "catalogue", "events", "diagrams", "flowchart")
_LOCATE_EACH = 8
"""Places that are looked up one by one in a file; for more, its whole tree is read once."""


def validate(
    files: Mapping[str, bytes],
    *,
    base: Mapping[str, bytes] | None = None,
    evidence: Source | None = None,
    mermaid: MermaidChecker | None = None,
) -> ValidationReport:
    """Check a content folder, given as paths and bytes (`folder.read_folder`, or a git revision).

    `base` is the folder before the change: an error that it has too, in an entry that did not change, becomes a warning
    marked `existing`. `evidence` gives the upstream's texts at the commit of _evidence.json by path (None: no such text
    file). `mermaid` is Mermaid's own parser; what it could not judge is in `checks_unavailable`, never passed.
    """
    content = Content(files)
    run, unavailable = list(_ALWAYS_RUN), dict[str, str]()
    verdicts = _ask(content, mermaid, run, unavailable)
    if base is not None:
        run.append("base")
    if EVIDENCE in files:
        if evidence is not None:
            run.append("evidence")
        else:
            unavailable["evidence"] = "The upstream's source was not given: `upkeep update` compares with it."
    before = Content(base) if base is not None else None
    context = Context(content, base=before, evidence=evidence, verdicts=verdicts)
    hits = [(rule, hit) for rule in RULES for hit in rule.find(context)]
    findings = _findings(content, hits, _Existing(before) if before is not None else None)
    return ValidationReport.model_construct(
        findings=tuple(findings),
        checks_run=tuple(run),
        checks_unavailable=unavailable,
        flows=len(content.flows),
        events=sum(len(flow.named_objects) for flow in content.flows.values()),
        names=len(content.names),
        diagrams=sum(len(flow.diagrams.blocks) for flow in content.flows.values() if flow.diagrams is not None),
    )


def _ask(
    content: Content, mermaid: MermaidChecker | None, run: list[str], unavailable: dict[str, str]
) -> dict[str, Verdict] | None:
    """Return Mermaid's verdicts by block text, None where it gave none; say which in `run` or `unavailable`."""
    if mermaid is None:
        unavailable["mermaid"] = "Mermaid's own parser was not asked (--node yes asks it)."
        return None
    texts = [
        block.text for flow in content.flows.values() if flow.diagrams is not None for block in flow.diagrams.blocks
    ]
    try:
        verdicts = dict(zip(texts, mermaid.check(texts), strict=True))
    except MermaidUnavailable as error:
        unavailable["mermaid"] = f"{error.message}. {error.remedy}"
        return None
    run.append("mermaid")
    return verdicts


class _Existing:
    """The errors of the base, each of which excuses one of the same code, file and entry."""

    def __init__(self, base: Content) -> None:
        context = Context(base)
        errors = [rule for rule in RULES if rule.severity == "error" and rule.code not in NEVER_EXISTING]
        self._left = Counter((rule.code, hit.file, hit.entry) for rule in errors for hit in rule.find(context))
        # Mermaid's verdict is a function of the text alone: a block that stands in the base had it there too.
        self._blocks = {
            (flow.diagrams_file.path, block.text)
            for flow in base.flows.values()
            if flow.diagrams is not None and flow.diagrams_file is not None
            for block in flow.diagrams.blocks
        }

    def excuses(self, rule: Rule, hit: Hit) -> bool:
        if rule.severity != "error" or rule.code in NEVER_EXISTING:
            return False
        if rule.code == "invalid_mermaid":
            return (hit.file, hit.entry) in self._blocks
        key = (rule.code, hit.file, hit.entry)
        if self._left[key] <= 0:
            return False
        self._left[key] -= 1
        return True


def _findings(content: Content, hits: list[tuple[Rule, Hit]], existing: _Existing | None) -> list[Finding]:
    """Give every hit its place and severity, and sort them."""
    by_file: dict[str, int] = defaultdict(int)
    for _, hit in hits:
        by_file[hit.file] += hit.line is None and hit.pointer is not None
    findings = []
    for rule, hit in hits:
        line, column = hit.line, hit.column
        file = content.json_files.get(hit.file)
        if line is None and hit.pointer is not None and file is not None and file.readable:
            many = by_file[hit.file] > _LOCATE_EACH
            line, column = file.document.position(hit.pointer) if many else file.position(hit.pointer)
        known = existing is not None and existing.excuses(rule, hit)
        findings.append(
            Finding.model_construct(
                code=rule.code,
                severity="warning" if known else rule.severity,
                file=_printable(hit.file),
                line=line,
                column=column,
                pointer=_printable(hit.pointer or ""),
                message=hit.message,
                existing=known,
            )
        )
    return sorted(findings, key=_order)


def _order(finding: Finding) -> tuple[str, int, str, int, str, str]:
    return finding.file, finding.line or 0, finding.code, finding.column or 0, finding.pointer, finding.message


def _printable(text: str) -> str:
    """Return a path or pointer in which nothing is unprintable: PostgreSQL and terminals refuse what files can hold."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
