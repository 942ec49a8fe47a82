"""What a flowchart shows, without places: nodes, labels, classes.

What belongs here: recognising the plain form that nearly all diagrams have, by one regular expression. What does not:
the grammar (`flowchart/`), which judges every other form and knows where things stand.

The plain form is a strict part of the grammar: what `plain_sketch` takes, `parse_flowchart` takes too and reads the
same (a test holds the two against each other). It is here for speed: a dashboard of 10,000 events has a thousand
diagrams, and tokens in Python take two seconds for them, this a twentieth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upkeep.content.flowchart.model import Flowchart

MAX_EDGES = 500
"""Mermaid's default `maxEdges`."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """Labels by node id in order of first appearance (the id itself where none is given), and node ids by class,
    nodes that the diagram does not have included."""

    labels: dict[str, str]
    classes: dict[str, frozenset[str]]

    def labels_of(self, class_name: str) -> dict[str, str]:
        """Return the labels of the nodes of a class, by id."""
        members = self.classes.get(class_name, frozenset())
        return {name: label for name, label in self.labels.items() if name in members}


def sketch_of(flowchart: Flowchart) -> Sketch:
    classes: dict[str, set[str]] = {}
    for statement in flowchart.class_statements:
        for class_name in statement.class_name.split(","):
            classes.setdefault(class_name, set()).update(word.name for word in statement.members)
    for use in flowchart.uses:
        for class_name in (use.class_name or "").split(","):
            if class_name:
                classes.setdefault(class_name, set()).add(use.id)
    return Sketch(
        {node.id: node.label for node in flowchart.nodes.values()},
        {class_name: frozenset(members) for class_name, members in classes.items()},
    )


def plain_sketch(text: str) -> Sketch | None:
    """Return what a block of the plain form shows; None where it has another form, right or wrong."""
    if any(map(text.__contains__, _ELSEWHERE)) or text.count("->") > MAX_EDGES:
        return None
    whole, parts = _expressions()
    if whole.fullmatch(text) is None:
        return None
    labels: dict[str, str] = {}
    classes: dict[str, list[str]] = {}
    for members, class_name, name, quoted, bare in parts.findall(text, text.index("\n")):
        if quoted:
            labels[name] = quoted
        elif bare:
            labels[name] = bare.strip()
        elif name:
            if name not in labels:
                labels[name] = name
        elif members:
            classes.setdefault(class_name, []).extend(members.split(","))
    return Sketch(labels, {class_name: frozenset(members) for class_name, members in classes.items()})


_ELSEWHERE = ("\r", "@", '="', "%%{", "direction")
"""What the preprocessing or a far-looking rule of the lexer would act on, wherever it stands."""


@cache
def _expressions() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the expression for a whole block, and the one that finds its classes and nodes. Compiled on first use.

    Only single characters are repeated possessively: before Python 3.11.5 a possessive group that fails in the middle
    keeps what it took (https://github.com/python/cpython/issues/106052). No group here can match in two ways, so that a
    text of another form is refused in linear time all the same.
    """
    words = "end|style|default|linkStyle|interpolate|classDef|class|graph|flowchart|subgraph|call|click|href|v|x|o"
    name = rf"(?!(?:{words})\b)[A-Za-z]\w*+"
    quoted = r'"[^"\n#%`][^"\n#%]*+"'
    bare = r'[^\[\](){}|"\n~#%]++'
    label = rf"(?:{quoted}|{bare})"
    shape = rf"(?:\[(?![/\\]){label}\]|\(\[{label}\]\)|\{{{label}\}}|\((?!-){label}\))"
    arrow = rf" ++(?:-->|-\.->) *+(?:\|{label}\| ?+)?"
    chain = rf"{name}{shape}?(?:{arrow}{name}{shape}?)*[ \t]*+;?+[ \t]*+"
    members = rf"class {name}(?:,{name})* {name}(?:;[ \t]*+)?"
    number = r"[0-9]++(?:px)?"
    style = rf"[a-z]++(?:-[a-z]++)*:(?:\#[0-9a-fA-F]++| ?+{number}(?: {number})*)"
    definition = rf"classDef {name} {style}(?:,{style})*(?:;[ \t]*+)?"
    comment = r"%%[^\n]++"
    line = rf"[ \t]*+(?:{comment}|{members}|{definition}|{chain})?"
    whole = rf"(?:flowchart|graph) ++(?:TB|TD|BT|LR|RL)[ \t]*+\n(?:{line}\n)*(?:{line})"
    # What lies between goes in one step, up to the end: a search that fails would begin again in the middle of it.
    skipped = rf"(?:[^A-Za-z%|]++|%%[^\n]*+|classDef [^\n]*+|\|{label}\|)*"
    node = r'([A-Za-z]\w*+)(?:[\[({]++(?:"([^"]*+)"|([^\[\](){}|"\n]++))[\])}]++)?'
    found = rf"{skipped}(?:class ([\w,]++) (\w++)|{node}|\Z)"
    return re.compile(whole, re.ASCII), re.compile(found, re.ASCII)
