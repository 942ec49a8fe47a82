"""Changes of flow-diagrams.md that leave every other byte as it was.

What belongs here: renaming, adding and removing event nodes inside Mermaid flowcharts, and the text of a new file. What
does not: the grammar (`flowchart/`), bridging links (`diagram_bridge.py`), deciding which event is a neighbour of
which (`author.py`).

Every change of a block is checked by parsing the block again: the nodes that were not meant must come out as they were.
A block that cannot be edited with certainty is left alone and said to be so: one that does not parse, that stands in a
list or a quotation, or that has mixed line ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from upkeep.content.diagram_bridge import demote, without_node
from upkeep.content.diagrams import EVENT_CLASS, LEGEND_LABEL, DiagramFile, MermaidBlock, parse_diagrams
from upkeep.content.edit import Splice, splice
from upkeep.content.flowchart.grammar import parse_flowchart
from upkeep.content.flowchart.model import Flowchart, FlowchartSyntaxError, Node, label_title

MAIN_HEADING = re.compile(r"\b(?:main|funnel)", re.IGNORECASE)
CLASS_STYLES = {
    "event": "fill:#166534,stroke:#166534,color:#ffffff",
    "ui": "fill:#f3f4f6,stroke:#6b7280,stroke-dasharray: 5 5,color:#111827",
    "external": "fill:#ffffff,stroke:#6b7280,stroke-dasharray: 3 3,color:#111827",
}
EVENTS_IN_A_BLOCK = 60
"""A new diagram with more is cut in parts: Mermaid draws no more than 500 links, and a reader much fewer."""

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_NUMBERED = re.compile(r"([A-Za-z]+)([0-9]+)")
_REFERENCE = re.compile(r"[#&](?=\w+;)")
_LINE_BREAK = re.compile(r"<br\s*/?>|\\n|\n", re.IGNORECASE)
_SIMPLE = re.compile(r"[A-Za-z0-9][\w .-]*")


@dataclass(frozen=True)
class NewNode:
    """An event to be drawn. `after` are the names of events near which it belongs, the nearest first."""

    name: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edited:
    """The new text, and the event names that could not be drawn or corrected, each with the reason."""

    text: str
    left: dict[str, str] = field(default_factory=dict)


def rename_events(text: str, names: Mapping[str, str]) -> Edited:
    """Give event nodes their new names (old to new), all at once. Further lines of a label stay; exact mentions in
    prose (in backticks, or as an item of a list) follow. A block that does not parse is left alone."""
    page = _Page(text)
    for block in page.blocks:
        block.change(partial(_rename_in_block, names=names))
    stale = {new: old for old, new in names.items() if old not in names.values()}
    left = {
        new: "a diagram that does not parse, or cannot be edited safely, still shows its former name"
        for new, old in stale.items()
        if page.draws(old)
    }
    return Edited(_rename_in_prose(page, names), left)


def remove_events(text: str, names: Iterable[str]) -> Edited:
    """Correct the diagrams for events that are gone (see `diagram_bridge.py`)."""
    page = _Page(text)
    left = {}
    for name in names:
        for block in page.blocks:
            for node in block.events_named(name):
                linked = any(directive.node == node.id for directive in block.origin.directives)
                if linked or not block.change(partial(without_node, id=node.id)):
                    block.change(partial(demote, id=node.id))
        if page.draws(name):
            left[name] = "a diagram that does not parse, or cannot be edited safely, still shows it"
    return Edited(page.text(), left)


def add_events(text: str, nodes: Sequence[NewNode]) -> Edited:
    """Draw events that no diagram shows yet, one after the other; one that is drawn already is left alone.

    An event goes into the diagram of the first neighbour that is drawn, linked from it; without such a neighbour it
    stands alone in the main diagram.
    """
    page = _Page(text)
    left = {}
    for new in nodes:
        if page.draws(new.name):
            continue
        label = label_of(new.name)
        if label is None:
            left[new.name] = "a Mermaid label cannot spell its name"
        elif not _draw(page, new, label):
            left[new.name] = "no diagram could take its node"
    return Edited(page.text(), left)


def new_file(title: str, screens: Sequence[tuple[str, Sequence[str]]], like: DiagramFile | None = None) -> str:
    """Return the text of a new flow-diagrams.md: a legend, then one diagram with every screen and its events.

    The diagram is cut in parts where it would be too large. `like` is a file of the same dashboard whose colours are
    taken over.
    """
    styles = {**CLASS_STYLES, **(_class_styles(like) if like is not None else {})}
    defs = [f"  classDef {name} {styles[name]};" for name in CLASS_STYLES]
    legend = [
        "flowchart LR",
        '  ui([Screen or branch]) --> ev["analytics event name"]',
        "  ext[Another flow]",
        "",
        *defs,
    ]
    legend += ["", "  class ev event;", "  class ui ui;", "  class ext external;"]
    lines = [
        f"# {title}: event diagrams",
        "",
        "A green box is an analytics event, by the exact name that the app sends. A grey pill is a screen or a branch,",
        "a dotted box a flow documented elsewhere. Links lead from a place in the app to the events it sends.",
        "",
        *_fenced(legend),
    ]
    parts = _parts(screens)
    for number, part in enumerate(parts, 1):
        heading = "Main flow" if len(parts) == 1 else f"Main flow, part {number} of {len(parts)}"
        lines += ["", f"## {heading}", "", *_fenced(_main_diagram(part, defs[:2]))]
    return "\n".join(lines) + "\n"


def label_of(name: str) -> str | None:
    """Return a name as the text of a quoted label, None where Mermaid has no way to write it."""
    label: str = _REFERENCE.sub(lambda match: "#num;" if match.group() == "#" else "#amp;", name).replace('"', "#quot;")
    return label if label_title(label) == name.strip() and not label.startswith("`") else None


def node_id(name: str, chart: Flowchart) -> str:
    """Return a free id for an event's node in the manner of the block's other events: `ev_fetchOpened`,
    `ev_fetch_opened`, `F7`."""
    used = set(chart.nodes)
    events = [node.id for node in chart.of_class(EVENT_CLASS)]
    numbered = [match for match in map(_NUMBERED.fullmatch, events) if match]
    if events and len(numbered) == len(events):
        prefix = numbered[-1][1]
        taken = [int(match[2]) for match in map(_NUMBERED.fullmatch, used) if match and match[1] == prefix]
        return f"{prefix}{max(taken) + 1}"
    prefixed = [id for id in events if id.startswith("ev_")]
    snake = any("_" in id.removeprefix("ev_") for id in prefixed)
    camel = any(re.search("[a-z][A-Z]", id) for id in prefixed)
    return _free_id("ev_", name, used, snake=snake and not camel)


class _Block:
    """One flowchart that is being edited."""

    def __init__(self, origin: MermaidBlock) -> None:
        self.origin = origin
        self.text = origin.text
        self.chart = origin.flowchart if origin.verbatim and not origin.is_legend else None

    @property
    def is_main(self) -> bool:
        return self.origin.title is not None and MAIN_HEADING.search(self.origin.title.text) is not None

    def events_named(self, name: str) -> list[Node]:
        wanted = name.strip()
        return [node for node in self.events() if node.title == wanted]

    def events(self) -> list[Node]:
        return list(self.chart.of_class(EVENT_CLASS)) if self.chart is not None else []

    def change(self, edit: Callable[[Flowchart, str], list[Splice] | None]) -> bool:
        """Apply an edit if the block parses afterwards; tell whether the block is changed."""
        if self.chart is None:
            return False
        splices = edit(self.chart, self.text)
        if not splices:
            return False
        text = splice(self.text, splices)
        try:
            chart = parse_flowchart(text)
        except FlowchartSyntaxError:
            return False
        self.text, self.chart = text, chart
        return True


class _Page:
    """A file that is being edited, with `\\n` as its line end while it is."""

    def __init__(self, text: str) -> None:
        self._crlf = "\r\n" in text and text.count("\r") == text.count("\n") == text.count("\r\n")
        self.source = text.replace("\r\n", "\n") if self._crlf else text
        self.file = parse_diagrams(self.source)
        self.blocks = [_Block(block) for block in self.file.blocks]
        self.appended = ""

    def draws(self, name: str) -> bool:
        wanted = name.strip()
        shown = any(block.events_named(name) for block in self.blocks)
        others = (block.origin for block in self.blocks if block.chart is None and not block.origin.is_legend)
        return (
            shown
            or any(node.title == wanted for block in others for node in block.event_nodes())
            or any(
                f'"{label_of(name)}"' in block.text for block in self.blocks if block.origin.syntax_error is not None
            )
        )

    def text(self, more: Iterable[Splice] = ()) -> str:
        changed = [
            Splice(block.origin.start, block.origin.end, block.text)
            for block in self.blocks
            if block.text != block.origin.text
        ]
        text = splice(self.source, [*changed, *more]) + self.appended
        return text.replace("\n", "\r\n") if self._crlf else text


def _rename_in_block(chart: Flowchart, source: str, names: Mapping[str, str]) -> list[Splice]:
    wanted = {old.strip(): new for old, new in names.items()}
    splices = []
    for node in chart.of_class(EVENT_CLASS):
        label = label_of(wanted[node.title]) if node.title in wanted and node.title != LEGEND_LABEL else None
        if label is None:
            continue
        if node.labelled is None:
            place = node.uses[0].word.end
            splices.append(Splice(place, place, f'["{label}"]'))
        for use in node.uses:
            if use.label is None or label_title(use.label) != node.title:
                continue
            raw = source[use.label_start : use.label_end]
            first = _LINE_BREAK.split(raw.strip(), maxsplit=1)[0].strip()
            offset = raw.find(first)
            if source[use.label_start - 1] == '"' or _SIMPLE.fullmatch(label):
                splices.append(Splice(use.label_start + offset, use.label_start + offset + len(first), label))
            else:
                rest = raw[offset + len(first) :].replace('"', "#quot;")
                splices.append(Splice(use.label_start, use.label_end, f'"{label}{rest}"'))
    return splices


def _rename_in_prose(page: _Page, names: Mapping[str, str]) -> str:
    """Rename exact mentions outside of diagrams and headings."""
    closed = [(block.fence_start, block.fence_end) for block in page.file.blocks]
    closed += [(heading.start, heading.end) for heading in page.file.headings]
    splices = []
    for old, new in names.items():
        name = re.escape(old)
        mention = re.compile(rf"(?<=`){name}(?=`)|^[ \t]*(?:[-*+]|\d+\.) {name}(?=[ \t]*$)", re.MULTILINE)
        splices += [
            Splice(match.end() - len(old), match.end(), new)
            for match in mention.finditer(page.source)
            if not any(start <= match.start() < end for start, end in closed)
        ]
    return page.text(splices)


def _draw(page: _Page, new: NewNode, label: str) -> bool:
    for neighbour in new.after:
        holders = [block for block in page.blocks if block.events_named(neighbour)]
        for block in sorted(holders, key=lambda block: not block.is_main):
            node = block.events_named(neighbour)[0]
            if block.change(partial(_node_splices, page=page, name=new.name, label=label, neighbour=node)):
                return True
    drawn = [block for block in page.blocks if block.chart is not None]
    drawn.sort(key=lambda block: (not block.is_main, not block.events()))
    return any(
        block.change(partial(_node_splices, page=page, name=new.name, label=label, neighbour=None)) for block in drawn
    )


def _node_splices(
    chart: Flowchart, source: str, *, page: _Page, name: str, label: str, neighbour: Node | None
) -> list[Splice]:
    id = node_id(name, chart)
    shown = f'{id}["{label}"]'
    statements = [statement for statement in chart.class_statements if statement.class_name == EVENT_CLASS]
    own = [s for s in statements if neighbour is not None and any(word.name == neighbour.id for word in s.members)]
    marked = not statements and any(use.class_name == EVENT_CLASS for use in chart.uses)
    statement = f"{neighbour.id} --> {shown}" if neighbour is not None else shown
    anchor = _anchor(chart, neighbour)
    splices = [_line_after(source, anchor, statement + (f":::{EVENT_CLASS}" if marked else ""))]
    if statements:
        place = (own or statements)[-1].members_end
        splices.append(Splice(place, place, f",{id}"))
    elif not marked:
        lines = [f"class {id} {EVENT_CLASS};"]
        if not any(EVENT_CLASS in definition.names for definition in chart.class_definitions):
            style = _class_styles(page.file).get(EVENT_CLASS, CLASS_STYLES[EVENT_CLASS])
            lines.insert(0, f"classDef {EVENT_CLASS} {style};")
        last = max((entry.end for entry in chart.statements), default=anchor)
        splices += [_line_after(source, last, line) for line in lines]
    return splices


def _anchor(chart: Flowchart, neighbour: Node | None) -> int:
    """Return an offset in the line below which a node goes: that which labels the neighbour, else the last node's.

    `linkStyle` counts links from the top, so a new link goes below all others where a block uses it.
    """
    counted = any(statement.kind == "linkStyle" for statement in chart.statements)
    if neighbour is not None and not counted:
        use = neighbour.labelled or neighbour.uses[0]
        inside = [s for s in chart.statements if s.kind == "nodes" and s.start <= use.start < s.end]
        if inside:
            return inside[0].end
    ends = [statement.end for statement in chart.statements if statement.kind in ("nodes", "end")]
    return max(ends, default=0)


def _line_after(source: str, offset: int, statement: str) -> Splice:
    begin = source.rfind("\n", 0, offset) + 1
    end = source.find("\n", offset)
    end = end if end >= 0 else len(source)
    line = source[begin:end]
    indent = line[: len(line) - len(line.lstrip())]
    if re.match(r"\s*(?:flowchart|graph)\b", line):
        indent = "  "
    return Splice(end, end, f"\n{indent}{statement}")


def _class_styles(file: DiagramFile) -> dict[str, str]:
    """Return the styles of classes as a file's first definitions have them."""
    styles: dict[str, str] = {}
    for block in file.blocks:
        for match in re.finditer(r"^[ \t]*classDef[ \t]+(\w+)[ \t]+([^;\n]+)", block.text, re.MULTILINE):
            styles.setdefault(match[1], match[2].strip())
    return styles


def _fenced(lines: Sequence[str]) -> list[str]:
    return ["```mermaid", *lines, "```"]


def _parts(screens: Sequence[tuple[str, Sequence[str]]]) -> list[list[tuple[str, list[str]]]]:
    """Cut screens into diagrams of a bounded number of events."""
    parts: list[list[tuple[str, list[str]]]] = [[]]
    room = EVENTS_IN_A_BLOCK
    for screen, names in screens:
        rest = [name for name in names if label_of(name) is not None]
        while rest:
            if not room:
                parts.append([])
                room = EVENTS_IN_A_BLOCK
            parts[-1].append((screen, rest[:room]))
            taken = len(rest[:room])
            rest, room = rest[taken:], room - taken
    return parts


def _main_diagram(screens: Sequence[tuple[str, Sequence[str]]], defs: Sequence[str]) -> list[str]:
    lines = ["flowchart TD"]
    events: list[str] = []
    pills: list[str] = []
    for screen, names in screens:
        pill = _free_id("ui_", screen, pills)
        pills.append(pill)
        text = re.sub(r"[^\w .-]", " ", screen).strip() or "Screen"
        for index, name in enumerate(names):
            id = _free_id("ev_", name, events)
            events.append(id)
            source = f"{pill}([{text}])" if index == 0 else pill
            lines.append(f'  {source} --> {id}["{label_of(name)}"]')
        lines.append("")
    lines += defs
    lines.append("")
    if events:
        lines += [f"  class {','.join(events)} event;", f"  class {','.join(pills)} ui;"]
    return lines


def _free_id(prefix: str, name: str, used: Container[str], *, snake: bool = False) -> str:
    words: list[str] = [word.lower() for word in _CAMEL.findall(name)] or ["event"]
    stem = prefix + ("_".join(words) if snake else words[0] + "".join(word.capitalize() for word in words[1:]))
    number, candidate = 1, stem
    while candidate in used:
        number += 1
        candidate = f"{stem}{number}"
    return candidate
