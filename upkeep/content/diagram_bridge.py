"""What becomes of an event's node in a diagram when the app sends the event no more.

What belongs here: the two corrections, as splices of one block's text. What does not: which of them is taken, and when
(`diagram_edit.py`).

- *Remove and bridge*: the node goes, and every link that led to it leads on to what followed it. Screens and branches
  stay in their order, and nothing claims any more that the app sends the event. A label of a bridged link is kept.
- *Demote*: the node stays with its label, but as a plain one: it leaves the class `event` and joins the class `ui`,
  where the diagram has one. That is for places where removing would lose something: a directive, click or style hangs
  on the node, it stands in a statement of several links, or bridging would multiply its links.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from upkeep.content.diagrams import EVENT_CLASS
from upkeep.content.edit import Splice, splice
from upkeep.content.flowchart.grammar import parse_flowchart
from upkeep.content.flowchart.model import Flowchart, FlowchartSyntaxError, NodeUse, Statement

PLAIN_CLASS = "ui"
MAX_BRIDGES = 6
"""More links than this in the place of those of one node make a diagram harder to read than a grey node does."""


@dataclass(frozen=True)
class _Link:
    """A statement `source link target` with the node in question on one side: `other` is the node on the other side,
    `text` what stands between the two."""

    statement: Statement
    other: NodeUse
    text: str

    @property
    def labelled(self) -> bool:
        return "|" in self.text or re.search(r"[^\s<>ox.=~-]", self.text) is not None


def without_node(chart: Flowchart, source: str, id: str) -> list[Splice] | None:
    """Return the change that removes a node and bridges its links, None where that cannot be done without loss."""
    touching = _statements_with(chart, source, id)
    if touching is None:
        return None
    incoming: list[_Link] = []
    outgoing: list[_Link] = []
    alone: list[Statement] = []
    for statement in touching:
        uses = [use for use in chart.uses if statement.start <= use.start < statement.end]
        if all(use.id == id for use in uses):
            alone.append(statement)
            continue
        if len(uses) != 2 or len([e for e in chart.edges if statement.start <= e.start < statement.end]) != 1:
            return None
        link = source[uses[0].end : uses[1].start]
        if uses[1].id == id:
            incoming.append(_Link(statement, uses[0], link))
        else:
            outgoing.append(_Link(statement, uses[1], link))
    if incoming and outgoing and len(incoming) * len(outgoing) > max(MAX_BRIDGES, len(incoming) + len(outgoing)):
        return None
    splices = [_delete(source, statement) for statement in alone]
    splices += _bridge(chart, source, incoming, outgoing, {statement.start for statement in touching})
    splices += _leave_classes(chart, source, id, None)
    return splices if _keeps_the_rest(chart, splice(source, splices), id) else None


def demote(chart: Flowchart, source: str, id: str) -> list[Splice]:
    """Return the change that makes an event node a plain one."""
    splices = _leave_classes(chart, source, id, EVENT_CLASS)
    for use in chart.nodes[id].uses:
        if use.class_name == EVENT_CLASS:
            place = source.rfind(":::", use.start, use.end)
            splices.append(Splice(place, use.end, ""))
    plain = [statement for statement in chart.class_statements if statement.class_name == PLAIN_CLASS]
    if plain and chart.nodes[id].classes == {EVENT_CLASS}:
        splices.append(Splice(plain[-1].members_end, plain[-1].members_end, f",{id}"))
    return splices


def remove_line(source: str, start: int, end: int) -> Splice:
    """Return the change that takes a line out, and one of two blank lines that would then meet."""
    begin = source.rfind("\n", 0, start)
    finish = source.find("\n", end)
    finish = finish if finish >= 0 else len(source)
    before = source[source.rfind("\n", 0, max(begin, 0)) + 1 : max(begin, 0)]
    after_end = source.find("\n", finish + 1)
    after = source[finish + 1 : after_end if after_end >= 0 else len(source)]
    if not before.strip() and not after.strip() and after_end >= 0:
        finish = after_end
    return Splice(max(begin, 0), finish, "")


def _statements_with(chart: Flowchart, source: str, id: str) -> list[Statement] | None:
    """Return the statements that use a node, None where one of them is not a line of its own, or something else than
    nodes and classes refers to it."""
    word = re.compile(rf"(?<![\w-]){re.escape(id)}(?![\w-])")
    found = []
    for statement in chart.statements:
        text = source[statement.start : statement.end]
        if statement.kind == "linkStyle":
            return None
        if statement.kind == "nodes" and any(
            use.id == id for use in chart.uses if statement.start <= use.start < statement.end
        ):
            if _line(source, statement).strip().rstrip(";").strip() != text:
                return None
            found.append(statement)
        elif statement.kind in ("click", "style", "subgraph") and word.search(text):
            return None
    return found


def _bridge(
    chart: Flowchart, source: str, incoming: Sequence[_Link], outgoing: Sequence[_Link], dropped: set[int]
) -> list[Splice]:
    remaining = [
        use
        for use in chart.uses
        if not any(
            statement.start in dropped and statement.start <= use.start < statement.end
            for statement in chart.statements
        )
    ]
    shown = {use.id for use in remaining}
    defined = {use.id for use in remaining if use.label is not None or use.class_name is not None}
    linked = {(one, other) for edge in chart.edges for one in edge.sources for other in edge.targets}

    def token(use: NodeUse) -> str:
        """Return a node as its next appearance has to be written: with its label where nothing else gives it."""
        text = source[use.start : use.end]
        needed = text != use.id and use.id not in defined
        shown.add(use.id)
        defined.update({use.id} if needed else ())
        return text if needed else use.id

    def rest(use: NodeUse) -> list[str]:
        """Return a node alone, where it would be lost without its link."""
        text = source[use.start : use.end]
        return [token(use)] if use.id not in shown or (text != use.id and use.id not in defined) else []

    splices = []
    for out in outgoing:
        lines = []
        for entry in incoming:
            pair = entry.other.id, out.other.id
            if pair[0] != pair[1] and pair not in linked:
                linked.add(pair)
                text = out.text if out.labelled or not entry.labelled else entry.text
                lines.append(token(entry.other) + text + token(out.other))
        splices.append(_rewrite(source, out.statement, lines or rest(out.other)))
    splices += [_rewrite(source, entry.statement, rest(entry.other)) for entry in incoming]
    return splices


def _rewrite(source: str, statement: Statement, lines: Sequence[str]) -> Splice:
    if not lines:
        return _delete(source, statement)
    line = _line(source, statement)
    indent = line[: len(line) - len(line.lstrip())]
    return Splice(statement.start, statement.end, f"\n{indent}".join(lines))


def _delete(source: str, statement: Statement) -> Splice:
    return remove_line(source, statement.start, statement.end)


def _line(source: str, statement: Statement) -> str:
    begin = source.rfind("\n", 0, statement.start) + 1
    end = source.find("\n", statement.end)
    return source[begin : end if end >= 0 else len(source)]


def _leave_classes(chart: Flowchart, source: str, id: str, class_name: str | None) -> list[Splice]:
    """Return the change that takes a node out of `class` statements, of all classes or of one."""
    splices = []
    for statement in chart.class_statements:
        names = [word.name for word in statement.members]
        if id not in names or (class_name is not None and statement.class_name != class_name):
            continue
        kept = [name for name in names if name != id]
        if kept:
            splices.append(Splice(statement.members[0].start, statement.members_end, ",".join(kept)))
        else:
            splices.append(remove_line(source, statement.start, statement.end))
    return splices


def _keeps_the_rest(chart: Flowchart, text: str, id: str) -> bool:
    """Tell whether a changed block still parses, without the node and with all others as they were."""
    try:
        changed = parse_flowchart(text)
    except FlowchartSyntaxError:
        return False
    before = {name: (node.label, node.shape, node.classes) for name, node in chart.nodes.items() if name != id}
    after = {name: (node.label, node.shape, node.classes) for name, node in changed.nodes.items()}
    return before == after
