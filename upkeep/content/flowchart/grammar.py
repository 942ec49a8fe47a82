"""The grammar of a flowchart: recursive descent over the tokens of one block.

What belongs here: which statements there are, and the words for what is expected where one breaks off. What does not:
the records that come of it (`model.py`), and tokens (`lexer.py`).
"""

from __future__ import annotations

from typing import NoReturn

from upkeep.content.flowchart.lexer import Token, tokenized
from upkeep.content.flowchart.model import (
    ClassDefinition,
    ClassStatement,
    Edge,
    Flowchart,
    FlowchartSyntaxError,
    NodeUse,
    Statement,
    Word,
)
from upkeep.content.flowchart.source import Source
from upkeep.content.sketch import MAX_EDGES
from upkeep.lines import LineIndex

_SEPARATORS = frozenset({"NEWLINE", ";", "EOF"})
_ID = frozenset({"NUM", "NODE_STRING", "v", "-", "default", ",", ":", "&", "#", "*", "UNICODE_TEXT"})
_TEXT = frozenset({"TEXT", "<", ">", "UNICODE_TEXT"})
_EDGE_TEXT = frozenset({"EDGE_TEXT", "UNICODE_TEXT"})
_STYLE = frozenset({"NUM", "NODE_STRING", ":", "SPACE", "#", "style"})
_ALPHANUM = frozenset({"NUM", "UNICODE_TEXT", "NODE_STRING", "DIR", "v", "-", ",", ":", "&", "#", "*"})
_TITLE = frozenset(
    {"NUM", "NODE_STRING", "SPACE", "-", "&", "UNICODE_TEXT", ":", "*", "#", "START_LINK"}
    | {"style", "linkStyle", "classDef", "class", "click", "graph", "DIR", "subgraph", "end", "v", "^"}
)
_STRINGS = frozenset({"STR", "MD_STR"})
_SHAPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "[": ("square", ("]",)),
    "(": ("round", (")",)),
    "([": ("stadium", ("])",)),
    "[[": ("subroutine", ("]]",)),
    "[(": ("cylinder", (")]",)),
    "(((": ("doublecircle", (")))",)),
    "(-": ("ellipse", ("-)",)),
    "{": ("diamond", ("}",)),
    ">": ("odd", ("]",)),
    "[/": ("trapezoid", ("\\]", "/]")),
    "[\\": ("inv_trapezoid", ("/]", "\\]")),
}
_DOUBLED = {"(": "circle", "{": "hexagon"}


def parse_flowchart(text: str) -> Flowchart:
    """Parse the text of one block.

    Raises `FlowchartSyntaxError` where Mermaid would refuse it, or where it is another kind of diagram (ask
    `is_flowchart` first).
    """
    source = Source(text)
    tokens, stuck = tokenized(source.clean)
    return _Grammar(source, tokens, stuck).flowchart()


class _Grammar:
    """Recursive descent over the tokens of one block; `statement` is its longest method's table."""

    def __init__(self, source: Source, tokens: list[Token], stuck: int | None) -> None:
        self.source = source
        self.tokens = tokens
        end = len(source.clean) if stuck is None else stuck
        self.end = Token("EOF" if stuck is None else "STUCK", "", end, end)
        self.index = 0
        self.uses: list[NodeUse] = []
        self.edges: list[Edge] = []
        self.edge_count = 0
        self.class_statements: list[ClassStatement] = []
        self.class_definitions: list[ClassDefinition] = []
        self.statements: list[Statement] = []

    def flowchart(self) -> Flowchart:
        while self.peek().kind in ("SPACE", "NEWLINE"):
            self.index += 1
        self.expect("graph", "`flowchart` or `graph`")
        direction = self.peek()
        if direction.kind == "DIR":
            self.index += 1
            while self.accept("SPACE"):
                pass
            if not self.accept("NEWLINE") and not self.accept(";"):
                self.fail("a new line after the direction")
        else:
            self.expect("NODIR", "a direction (TB, TD, BT, LR, RL) and a new line")
        self.document(depth=0)
        self.expect("EOF", "a statement")
        return Flowchart(
            direction.value.strip() if direction.kind == "DIR" else "TB",
            tuple(self.uses),
            tuple(self.edges),
            tuple(self.class_statements),
            tuple(self.class_definitions),
            tuple(self.statements),
        )

    # tokens

    def peek(self) -> Token:
        return self.tokens[self.index] if self.index < len(self.tokens) else self.end

    def accept(self, kind: str) -> Token | None:
        token = self.peek()
        if token.kind != kind:
            return None
        self.index += 1
        return token

    def expect(self, kind: str, what: str) -> Token:
        token = self.accept(kind)
        if token is None:
            self.fail(what)
        return token

    def run(self, kinds: frozenset[str], what: str) -> list[Token]:
        """Take one or more tokens of some kinds."""
        start = self.index
        while self.peek().kind in kinds:
            self.index += 1
        if self.index == start:
            self.fail(what)
        return self.tokens[start : self.index]

    def word(self, tokens: list[Token]) -> Word:
        start, end = self.source.origin(tokens[0].start), self.source.end_origin(tokens[-1].end)
        return Word("".join(token.value for token in tokens), start, end)

    def fail(self, expected: str) -> NoReturn:
        token = self.peek()
        blanks = len(token.value) - len(token.value.lstrip(" \t")) if "LINK" in token.kind else 0
        self.fail_at(token.start + blanks, f"expected {expected}, found {self.found(token)}")

    def fail_at(self, offset: int, message: str) -> NoReturn:
        origin = self.source.origin(offset)
        line, column = LineIndex(self.source.text).position(origin)
        raise FlowchartSyntaxError(message, origin, line, column)

    def found(self, token: Token) -> str:
        if token.kind == "NEWLINE":
            return "the end of the line"
        rest = self.source.clean[token.start :].strip()
        if token.kind == "EOF" or not rest:
            return "the end of the diagram"
        if token.kind == "end":
            return "`end` (a reserved word: it closes a subgraph and names no node)"
        if token.kind == "STUCK":
            return f"`{rest[0]}`"
        return f"`{token.value.strip()}`" if token.value.strip() else "a blank"

    # statements

    def document(self, depth: int) -> None:
        """Take lines up to the end of the text, or up to `end` inside of a subgraph."""
        stack = depth
        while True:
            kind = self.peek().kind
            if kind in ("NEWLINE", "SPACE", ";"):
                self.index += 1
            elif kind == "subgraph":
                self.subgraph()
                stack += 1
            elif kind == "end" and stack:
                self.mark("end", self.index, self.index + 1)
                self.index += 1
                stack -= 1
            elif kind == "EOF" and stack:
                self.fail("`end` of a subgraph")
            elif kind in ("EOF", "STUCK", "end"):
                return
            else:
                self.statement(kind)

    def statement(self, kind: str) -> None:
        start = self.index
        if kind in ("direction", "ACC_BLOCK"):
            self.index += 1
            self.mark("direction" if kind == "direction" else "accessibility", start, self.index)
            return
        if kind == "acc_title":
            self.index += 1
            self.expect("ACC_VALUE", "a text")
            self.mark("accessibility", start, self.index)
            return
        handlers = {
            "classDef": self.class_definition,
            "class": self.class_statement,
            "style": self.style,
            "linkStyle": self.link_style,
            "click": self.click,
        }
        handlers.get(kind, self.node_statement)()
        end = self.index
        if self.peek().kind not in _SEPARATORS:
            self.fail("a new line" if kind in handlers else "a link, a new line or `;`")
        self.index += self.peek().kind != "EOF"
        self.mark(kind if kind in handlers else "nodes", start, end)

    def mark(self, kind: str, first: int, end: int) -> None:
        tokens = self.tokens[first:end]
        begin, finish = tokens[0].start, tokens[-1].end
        text = self.source.clean[begin:finish]
        begin += len(text) - len(text.lstrip())
        finish -= len(text) - len(text.rstrip())
        self.statements.append(Statement(kind, self.source.origin(begin), self.source.end_origin(finish)))

    def subgraph(self) -> None:
        start = self.index
        self.index += 1
        # The grammar has a form without a title; Mermaid's own code then stumbles over it.
        self.expect("SPACE", "a blank and a title after `subgraph`")
        if self.peek().kind in _STRINGS:
            self.index += 1
        else:
            self.run(_TITLE, "a title")
        while self.peek().kind in _TITLE:
            self.index += 1
        if self.accept("["):
            self.text()
            self.expect("]", "`]`")
        end = self.index
        if self.peek().kind not in _SEPARATORS:
            self.fail("a new line after the title of the subgraph")
        self.index += self.peek().kind != "EOF"
        self.mark("subgraph", start, end)

    def class_definition(self) -> None:
        start = self.accept_keyword("classDef")
        name = self.word(self.run(_ID, "a class name"))
        self.expect("SPACE", "a blank and styles")
        self.styles()
        end = self.source.end_origin(self.tokens[self.index - 1].end)
        self.class_definitions.append(ClassDefinition(tuple(name.name.split(",")), start, end))

    def class_statement(self) -> None:
        start = self.accept_keyword("class")
        members = self.word(self.run(_ID, "node names"))
        self.expect("SPACE", "a blank and a class name")
        name = self.word(self.run(_ID, "a class name"))
        self.class_statements.append(ClassStatement(_split(members), name.name, members.end, start, name.end))

    def style(self) -> None:
        self.accept_keyword("style")
        self.run(_ID, "a node name")
        self.expect("SPACE", "a blank and styles")
        self.styles()

    def link_style(self) -> None:
        self.accept_keyword("linkStyle")
        if not self.accept("default"):
            self.link_numbers()
        self.expect("SPACE", "a blank and styles")
        if self.accept("interpolate"):
            self.expect("SPACE", "a blank and a curve")
            self.run(_ALPHANUM, "a curve")
            if not self.accept("SPACE"):
                return
        self.styles()

    def link_numbers(self) -> None:
        while True:
            number = self.expect("NUM", "the number of a link")
            if int(number.value[:9]) >= self.edge_count:
                self.fail_at(
                    number.start, f"there is no link {number.value}: links so far count 0 to {self.edge_count - 1}"
                )
            if not self.accept(","):
                return

    def styles(self) -> None:
        self.run(_STYLE, "styles")
        while self.accept(","):
            self.run(_STYLE, "a style after the comma")

    def accept_keyword(self, kind: str) -> int:
        token = self.expect(kind, kind)
        self.expect("SPACE", f"one blank after `{kind}`")
        return self.source.origin(token.start)

    def click(self) -> None:
        self.index += 1
        if self.accept("CALLBACK"):
            self.accept("ARGUMENTS")
            if self.accept("SPACE"):
                self.expect("STR", "a tooltip in quotes")
            return
        linked = self.accept("href") is not None
        if not linked and self.peek().kind != "STR":
            self.run(_ALPHANUM, "a link in quotes, `href` or `call`")
            if self.accept("SPACE"):
                self.expect("STR", "a tooltip in quotes")
            return
        self.expect("STR", "a link in quotes")
        if self.accept("SPACE") and not self.accept("LINK_TARGET"):
            self.expect("STR", "a tooltip in quotes or a target")
            if self.accept("SPACE"):
                self.expect("LINK_TARGET", "a target")

    # nodes and links

    def node_statement(self) -> None:
        sources = self.group()
        while self.peek().kind in ("LINK", "LINK_ID", "START_LINK"):
            first = self.peek()
            label = self.link()
            targets = self.group()
            end = self.source.end_origin(self.tokens[self.index - 1].end)
            ids = tuple(use.id for use in sources), tuple(use.id for use in targets)
            self.edges.append(Edge(*ids, label, self.source.origin(first.start), end))
            self.edge_count += len(sources) * len(targets)
            if self.edge_count > MAX_EDGES:
                self.fail_at(first.start, f"more than {MAX_EDGES} links: Mermaid draws no diagram with more")
            sources = targets

    def group(self) -> list[NodeUse]:
        """Take `a & b & c`, with the blanks or shape data after the last."""
        found = [self.node()]
        while True:
            shaped = self.accept("SHAPE_DATA") is not None
            while self.accept("SHAPE_DATA"):
                pass
            before = self.index
            while self.accept("SPACE"):
                pass
            if self.index > before and self.peek().kind == "&":
                self.index += 1
                if not self.accept("SPACE"):
                    self.fail("a blank after `&`")
                while self.accept("SPACE"):
                    pass
                found.append(self.node())
                continue
            if shaped and self.index > before:
                self.fail("`&`, a link or a new line after `@{…}`")
            return found

    def node(self) -> NodeUse:
        word = self.word(self.run(_ID, "a node"))
        start, end = word.start, word.end
        shape, label = self.shape()
        if shape:
            end = self.source.end_origin(self.tokens[self.index - 1].end)
        class_name = None
        if self.accept(":::"):
            named = self.word(self.run(_ID, "a class name after `:::`"))
            class_name, end = named.name, named.end
        value, label_start, label_end = label or (None, -1, -1)
        use = NodeUse(word, start, end, shape, value, label_start, label_end, class_name)
        self.uses.append(use)
        return use

    def shape(self) -> tuple[str | None, tuple[str, int, int] | None]:
        opening = self.peek().kind
        if opening == "[|":
            return "rect", self.rectangle()
        if opening not in _SHAPES:
            return None, None
        shape, closings = _SHAPES[opening]
        self.index += 1
        doubled = opening in _DOUBLED and self.accept(opening) is not None
        label = self.text()
        closing = self.peek().kind
        if closing not in closings:
            self.fail(" or ".join(f"`{text}`" for text in closings))
        self.index += 1
        if doubled:
            self.expect(closing, f"`{closing}`")
            shape = _DOUBLED[opening]
        if opening in ("[/", "[\\") and closing == closings[1]:
            shape = "lean_right" if opening == "[/" else "lean_left"
        return shape, label

    def rectangle(self) -> tuple[str, int, int]:
        self.index += 1
        self.expect("NODE_STRING", "a property")
        self.expect(":", "`:`")
        self.expect("NODE_STRING", "a value")
        self.expect("|", "`|`")
        label = self.text()
        self.expect("]", "`]`")
        return label

    def link(self) -> str | None:
        self.accept("LINK_ID")
        if self.accept("START_LINK"):
            label = self.text(_EDGE_TEXT, "a text for the link")
            self.expect("LINK", "the end of the link (`-->`)")
            return label[0]
        self.expect("LINK", "a link")
        if not self.accept("|"):
            return None
        label = self.text()
        self.expect("|", "`|`")
        self.accept("SPACE")
        return label[0]

    def text(self, kinds: frozenset[str] = _TEXT, what: str = "a label") -> tuple[str, int, int]:
        """Take a label: its text, trimmed where it is unquoted, and where that stands."""
        first = self.peek()
        if first.kind in _STRINGS:
            self.index += 1
            rest = self.tokens[self.index : self.index]
            while self.peek().kind in kinds:
                self.index += 1
            start, end = self.source.origin(first.start), self.source.end_origin(first.end)
            return self.source.text[start:end] if not rest else first.value, start, end
        tokens = self.run(kinds, what)
        raw = self.source.clean[tokens[0].start : tokens[-1].end]
        begin = tokens[0].start + len(raw) - len(raw.lstrip())
        finish = max(begin, tokens[-1].end - (len(raw) - len(raw.rstrip())))
        start, end = self.source.origin(begin), self.source.end_origin(finish)
        return self.source.text[start:end], start, max(start, end)


def _split(members: Word) -> tuple[Word, ...]:
    words, offset = [], members.start
    for name in members.name.split(","):
        words.append(Word(name, offset, offset + len(name)))
        offset += len(name) + 1
    return tuple(words)
