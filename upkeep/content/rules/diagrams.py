"""Rules about flow-diagrams.md: Mermaid accepts it, its nodes are events, its directives lead somewhere.

What belongs here: what one flow's diagrams say about that flow. What does not: the grammar (`flowchart/`) and asking
Mermaid (`mermaid.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from upkeep.content.diagrams import EVENT_CLASS, LEGEND_LABEL, DiagramFile, Directive, Heading, MermaidBlock
from upkeep.content.folder import DIAGRAMS, Flow
from upkeep.content.rules.base import Context, Hit, key_of, listed, shown
from upkeep.wording import counted

if TYPE_CHECKING:
    from upkeep.content.flowchart.model import FlowchartSyntaxError, Node

_MAIN = re.compile("main|funnel", re.IGNORECASE)
_MARKUP = re.compile(r"[`*_]")
MAX_ERRORS_A_DIAGRAM = 10
_STRUCTURE = re.compile(r"^\s*(?:subgraph|end|linkStyle|accDescr)\b")
_BRACKETS = frozenset("([{)]}|\"'")
_OTHER_TYPES = re.compile(
    r"(?:sequenceDiagram|classDiagram(?:-v2)?|stateDiagram(?:-v2)?|erDiagram|gantt|pie|journey|gitGraph:?|mindmap|"
    r"timeline|quadrantChart|requirement(?:Diagram)?|C4\w+|sankey(?:-beta)?|xychart(?:-beta)?|block(?:-beta)?|"
    r"packet(?:-beta)?|kanban|architecture(?:-beta)?|radar-beta|treemap(?:-beta)?|zenuml|info|swimlane-beta)\b"
)


def missing_diagrams(context: Context) -> Iterator[Hit]:
    for flow in context.flows:
        if flow.diagrams_file is None:
            yield Hit(_path(flow), f"The flow has no {DIAGRAMS}: none of its events is in a diagram.")


def invalid_mermaid(context: Context) -> Iterator[Hit]:
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            for line, column, what in _refusals(context, block):
                message = f"Mermaid cannot draw {_title(block)}: {what}"
                yield Hit(_path(flow), message, line=line, column=column, entry=block.text)


def _refusals(context: Context, block: MermaidBlock) -> list[tuple[int, int | None, str]]:
    """Return line, column and reason of what keeps a block from drawing. Mermaid's own verdict decides where there is
    one; our parser knows the place better."""
    verdict = context.verdicts.get(block.text) if context.verdicts is not None else None
    if verdict is not None and verdict.ok:
        return []
    if block.syntax_error is not None:
        errors = _all_syntax_errors(block.text, block.syntax_error)
        return [(block.line + e.line - 1, e.column, f"{e.message}.{_hint(e, block.text)}") for e in errors]
    if verdict is not None:
        reason = " ".join(verdict.message.split("Expecting")[0].split()) or "its parser refuses it"
        return [(block.line, None, reason if reason.endswith(".") else f"{reason}.")]
    if block.is_flowchart or _OTHER_TYPES.match(block.diagram_type):
        return []
    kind = shown(block.diagram_type) if block.diagram_type else "nothing"
    return [(block.line, None, f"it begins with {kind}, which is no kind of diagram.")]


def _all_syntax_errors(text: str, first: FlowchartSyntaxError) -> list[FlowchartSyntaxError]:
    """Return the errors of other lines too, as they show once the lines before are taken out: a person would rather
    mend all of them at once. Stops where taking out a line could itself be the cause."""
    from upkeep.content.flowchart.grammar import parse_flowchart
    from upkeep.content.flowchart.model import FlowchartSyntaxError

    errors = [first]
    lines = text.split("\n")
    while len(errors) < MAX_ERRORS_A_DIAGRAM and errors[-1].line > 1:
        wrong = lines[errors[-1].line - 1]
        if _STRUCTURE.search(wrong):
            break
        lines[errors[-1].line - 1] = " " * len(wrong)
        try:
            parse_flowchart("\n".join(lines))
        except FlowchartSyntaxError as error:
            if error.line <= errors[-1].line or _STRUCTURE.search(lines[error.line - 1]):
                break
            errors.append(error)
        else:
            break
    return errors


def _hint(error: FlowchartSyntaxError, text: str) -> str:
    char = text[error.offset : error.offset + 1]
    before = text[text.rfind("\n", 0, error.offset) + 1 : error.offset]
    if char in _BRACKETS and char and re.search(r"[(\[{|>]", before):
        return ' A label that holds brackets or quotes must stand in double quotes: ["…"], |"…"|.'
    return ""


def unchecked_diagram(context: Context) -> Iterator[Hit]:
    """Mermaid draws it and our parser does not follow: its nodes were not looked at."""
    if context.verdicts is None:
        return
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            verdict = context.verdicts.get(block.text)
            if block.syntax_error is not None and verdict is not None and verdict.ok:
                message = f"Mermaid draws {_title(block)}, but its nodes could not be checked: {block.syntax_error}."
                yield Hit(_path(flow), message, line=block.line + block.syntax_error.line - 1)


def unclosed_fence(context: Context) -> Iterator[Hit]:
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            if not block.closed:
                message = (
                    f"The fence of {_title(block)} is not closed: all that follows belongs to it. Add ``` below it."
                )
                yield Hit(_path(flow), message, line=block.line - 1)


def unknown_event_node(context: Context) -> Iterator[Hit]:
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            labels = block.sketch.labels_of(EVENT_CLASS) if block.sketch is not None else {}
            if flow.trimmed_names.issuperset(labels.values()):
                continue
            unknown = {name for name, label in labels.items() if not _is_known(label, flow)}
            for node in block.event_nodes() if unknown else ():
                if node.id in unknown:
                    line = block.line_of((node.labelled or node.uses[0]).start)
                    entry = key_of(node.id, node.label)
                    yield Hit(_path(flow), _unknown_event(context, flow, node), line=line, entry=entry)


def _is_known(label: str, flow: Flow) -> bool:
    if label in flow.trimmed_names:
        return True
    from upkeep.content.flowchart.model import label_title

    title = label_title(label)
    return title in flow.trimmed_names or title == LEGEND_LABEL


def _unknown_event(context: Context, flow: Flow, node: Node) -> str:
    if node.labelled is None:
        label = _label_elsewhere(flow, node.id) or "…"
        return (
            f"The event node `{node.id}` has no label in this diagram, so it shows its id and opens no event. Give it "
            f'one: {node.id}["{label}"].'
        )
    said = f"The event node `{node.id}` is labelled {shown(node.title)}, which is no event of {flow.slug}"
    grouped = _group_of(flow, node.title)
    if grouped is not None:
        return f"{said}: only its eventGroups ({grouped}) have it. Add it to `events`."
    elsewhere = context.flows_of.get(node.title, [])
    if elsewhere:
        return f"{said}, but of {listed(elsewhere, 3)}. Add it to `events` here, or show it as an external node."
    near = context.nearest(node.title, flow.names)
    return f"{said}. {f'Did you mean {shown(near)}?' if near else 'Add the event, or take the class `event` away.'}"


def _label_elsewhere(flow: Flow, node_id: str) -> str | None:
    """Return the event name that another diagram of the flow gives to the same node."""
    for block in flow.diagrams.blocks if flow.diagrams is not None else ():
        for node in block.event_nodes():
            if node.id == node_id and node.title in flow.trimmed_names:
                return shown(node.title).strip("“”")
    return None


def _group_of(flow: Flow, name: str) -> str | None:
    groups = flow.data.get("eventGroups")
    for key, group in (groups if isinstance(groups, dict) else {}).items():
        events = group.get("events") if isinstance(group, dict) else None
        if any(isinstance(item, dict) and item.get("name") == name for item in _items(events)):
            return str(key)
    return None


def event_in_no_diagram(context: Context) -> Iterator[Hit]:
    for flow, diagrams in _with_diagrams(context):
        sketches = [block.sketch for block in diagrams.blocks if block.sketch is not None]
        labels = set[str]().union(*[sketch.labels.values() for sketch in sketches])
        names = dict.fromkeys(item["name"] for _, item in flow.named_objects)
        if labels.issuperset(names):
            continue
        from upkeep.content.flowchart.model import label_title

        titles = {label_title(label) for label in labels}
        # What a diagram that does not parse shows is not known: a name that it mentions may well be in it.
        broken = [block.text for block in diagrams.blocks if block.sketch is None]
        absent = [
            name for name in names if name.strip() not in titles and not any(name.strip() in text for text in broken)
        ]
        if absent:
            number = f"{len(absent)} of {counted(len(names), 'event name')} {'is' if len(absent) == 1 else 'are'}"
            yield Hit(_path(flow), f"{number} in no diagram: {listed(absent)}.")


def unknown_directive_target(context: Context) -> Iterator[Hit]:
    for flow, diagrams, directive in _directives(context):
        if directive.kind == "title" and _heading(diagrams, directive) is None:
            near = context.nearest(directive.target, (heading.text for heading in diagrams.headings))
            hint = "Name a heading of this file, or use `flow:` for another flow."
            if near is not None:
                line = next(heading.line for heading in diagrams.headings if heading.text == near)
                hint = f"Did you mean {shown(near)} (line {line})?"
            message = f"`{directive.node}` leads to the heading {shown(directive.target)}, which is not here. {hint}"
            yield Hit(_path(flow), message, line=directive.line, entry=_entry(directive))
        elif directive.kind == "flow" and not _flow_exists(context, directive.target):
            near = context.nearest(directive.target, context.content.flows)
            hint = f"Did you mean {shown(near)}?" if near else "Name the folder of a flow."
            message = f"`{directive.node}` leads to the flow {shown(directive.target)}, which does not exist. {hint}"
            yield Hit(_path(flow), message, line=directive.line, entry=_entry(directive))


def malformed_directive(context: Context) -> Iterator[Hit]:
    for flow, _, directive in _directives(context):
        if directive.kind is None:
            message = (
                f"The directive {shown(directive.target)} is not understood. It must read `<node> -> title:<heading>` "
                "or `<node> -> flow:<slug>`."
            )
            yield Hit(_path(flow), message, line=directive.line)


def directive_without_diagram(context: Context) -> Iterator[Hit]:
    for flow, diagrams, directive in _directives(context):
        heading = _heading(diagrams, directive) if directive.kind == "title" else None
        if heading is not None and heading.text not in diagrams.titles:
            message = (
                f"`{directive.node}` leads to the heading {shown(heading.text)} (line {heading.line}), which has no "
                "diagram under it to switch to."
            )
            yield Hit(_path(flow), message, line=directive.line)


def unknown_node(context: Context) -> Iterator[Hit]:
    """A directive or a `class` statement that names a node which its diagram does not have: without effect."""
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            if block.sketch is None:
                continue
            nodes = block.sketch.labels
            for directive in block.directives:
                if directive.kind is not None and directive.node not in nodes:
                    message = f"The directive names the node `{directive.node}`, which {_title(block)} does not have."
                    yield Hit(_path(flow), message, line=directive.line)
            if all(nodes.keys() >= members for members in block.sketch.classes.values()) or block.flowchart is None:
                continue
            for statement in block.flowchart.class_statements:
                absent = [word.name for word in statement.members if word.name not in nodes]
                if absent:
                    message = (
                        f"`class … {statement.class_name}` names what {_title(block)} does not have: {listed(absent)}."
                    )
                    yield Hit(_path(flow), message, line=block.line_of(statement.start))


def no_main_heading(context: Context) -> Iterator[Hit]:
    for flow, diagrams in _with_diagrams(context):
        if diagrams.blocks and not any(_MAIN.search(heading.text) for heading in diagrams.headings):
            yield Hit(_path(flow), "No heading contains “Main” or “Funnel”: name the flow's main diagram so.")


def _with_diagrams(context: Context) -> Iterator[tuple[Flow, DiagramFile]]:
    return ((flow, flow.diagrams) for flow in context.flows if flow.diagrams is not None)


def _directives(context: Context) -> Iterator[tuple[Flow, DiagramFile, Directive]]:
    for flow, diagrams in _with_diagrams(context):
        for block in diagrams.blocks:
            for directive in block.directives:
                yield flow, diagrams, directive


def _heading(diagrams: DiagramFile, directive: Directive) -> Heading | None:
    """Return the heading that a directive names: as written, or as it reads without inline marks."""
    wanted = directive.target, _MARKUP.sub("", directive.target)
    found = (heading for heading in diagrams.headings if heading.text == wanted[0])
    plain = (heading for heading in diagrams.headings if _MARKUP.sub("", heading.text) == wanted[1])
    return next(found, None) or next(plain, None)


def _flow_exists(context: Context, target: str) -> bool:
    return target in context.content.flows


def _entry(directive: Directive) -> str:
    return key_of(directive.node, directive.kind, directive.target)


def _title(block: MermaidBlock) -> str:
    return f"the diagram {shown(block.title.text)}" if block.title is not None else "the first diagram"


def _path(flow: Flow) -> str:
    return f"{flow.slug}/{DIAGRAMS}"


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
