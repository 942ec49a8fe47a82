"""Mermaid flowcharts, parsed in Python.

What belongs here: the grammar of `flowchart` and `graph` blocks, as far as Mermaid's own parser accepts it, and where
each part stands, so that a block can be edited in place. What does not: Markdown around a block (`diagrams.py`), the
verdict that counts before a model's work is published (`mermaid.py`), and what a diagram means here.

The rules are those of Mermaid 11 (`flow.jison` and the preprocessing before it): a lexer with modes, in each of which
the first rule that matches wins, and a grammar over its tokens. Its oddities are kept where they decide whether a
diagram draws: `class a b ` with a trailing blank is refused, a node named `end` is, and so is an empty label `""`.
Not judged here: shape names and YAML inside `@{…}`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from upkeep.content.lines import LineIndex
from upkeep.content.sketch import MAX_EDGES
from upkeep.errors import ContentInvalid

KEYWORD = re.compile(r"\s*(flowchart-elk|flowchart|graph)\b")
_LINE_BREAK = re.compile(r"<br\s*/?>|\\n|\n", re.IGNORECASE)
_PLAIN_LABEL = re.compile(r"[^<\\\n#&]*")
_ENTITY = re.compile(r"[#&](\w+);")
_ENTITIES = {"quot": '"', "amp": "&", "lt": "<", "gt": ">", "apos": "'", "nbsp": " ", "num": "#", "semi": ";"}


class FlowchartSyntaxError(ContentInvalid):
    """A block is no flowchart that Mermaid draws. `offset`, `line` and `column` are within the block's text."""

    code = "content.invalid_mermaid"

    def __init__(self, message: str, offset: int, line: int, column: int) -> None:
        super().__init__(message, remedy="Correct the diagram at this line.")
        self.offset = offset
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Word:
    """An identifier at a place: `text[start:end] == name`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NodeUse:
    """One appearance of a node. `start` and `end` enclose all of it, shape and `:::class` included; `label` is the text
    between the quotes (or brackets, trimmed), at `label_start` to `label_end`; None where this use gives none."""

    word: Word
    start: int
    end: int
    shape: str | None = None
    label: str | None = None
    label_start: int = -1
    label_end: int = -1
    class_name: str | None = None

    @property
    def id(self) -> str:
        return self.word.name


@dataclass(frozen=True, slots=True)
class Edge:
    """A link from every source to every target (`A & B --> C`)."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    label: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClassStatement:
    """`class a,b event`: `members` are the words, `members_end` is where another `,c` would go."""

    members: tuple[Word, ...]
    class_name: str
    members_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ClassDefinition:
    """`classDef a,b fill:#fff`."""

    names: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """Any statement, by kind (`nodes`, `class`, `classDef`, `style`, `linkStyle`, `click`, `subgraph`, `end`,
    `direction`, `accessibility`), without the line end or `;` that closes it."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the diagram ends up with it: the last label and shape given, and every class."""

    id: str
    label: str
    shape: str | None
    classes: frozenset[str]
    uses: tuple[NodeUse, ...]

    @property
    def title(self) -> str:
        """The label's first line: what precedes the first `<br/>`, trimmed, character entities resolved."""
        return label_title(self.label)

    @property
    def labelled(self) -> NodeUse | None:
        """The use that gives the label that counts, None where the id stands for it."""
        return next((use for use in reversed(self.uses) if use.label is not None), None)


@dataclass(frozen=True)
class Flowchart:
    """A parsed block. All offsets are within its text."""

    direction: str
    uses: tuple[NodeUse, ...]
    edges: tuple[Edge, ...]
    class_statements: tuple[ClassStatement, ...]
    class_definitions: tuple[ClassDefinition, ...]
    statements: tuple[Statement, ...]

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """Nodes by id in order of first appearance."""
        uses: dict[str, list[NodeUse]] = {}
        classes: dict[str, set[str]] = {}
        for use in self.uses:
            uses.setdefault(use.id, []).append(use)
            if use.class_name:
                classes.setdefault(use.id, set()).update(use.class_name.split(","))
        for statement in self.class_statements:
            for member in statement.members:
                classes.setdefault(member.name, set()).update(statement.class_name.split(","))
        return {name: _node(name, found, frozenset(classes.get(name, ()))) for name, found in uses.items()}

    def of_class(self, class_name: str) -> Iterator[Node]:
        """Yield the nodes that carry a class, by `class` statement or `:::`."""
        return (node for node in self.nodes.values() if class_name in node.classes)


def label_title(label: str) -> str:
    """Return a label's first line, trimmed, with `#quot;` and `&quot;` (and the like) as the characters they stand
    for."""
    if _PLAIN_LABEL.fullmatch(label):
        return label.strip()
    first = _LINE_BREAK.split(label.strip(), maxsplit=1)[0].strip()
    return _ENTITY.sub(_entity, first)


def parse_flowchart(text: str) -> Flowchart:
    """Parse the text of one block.

    Raises `FlowchartSyntaxError` where Mermaid would refuse it, or where it is another kind of diagram (ask
    `is_flowchart` first).
    """
    source = _Source(text)
    tokens, stuck = _tokens(source.clean)
    return _Grammar(source, tokens, stuck).flowchart()


def is_flowchart(text: str) -> bool:
    """Tell whether Mermaid takes a block for a flowchart, by its first word after comments and front matter."""
    return KEYWORD.match(_Source(text).clean) is not None


def first_word(text: str) -> str:
    """Return the first word of a block after comments and front matter: what decides the kind of diagram."""
    words = _Source(text).clean.split(None, 1)
    return words[0] if words else ""


def _node(name: str, uses: list[NodeUse], classes: frozenset[str]) -> Node:
    labels = [use.label for use in uses if use.label is not None]
    shapes = [use.shape for use in uses if use.shape is not None]
    return Node(name, labels[-1] if labels else name, shapes[-1] if shapes else None, classes, tuple(uses))


def _entity(match: re.Match[str]) -> str:
    name = match[1]
    if name.isascii() and name.isdigit() and len(name) < 7 and 0 < int(name) < 0x110000:
        return chr(int(name))
    return _ENTITIES.get(name, match[0])


# --- the text that Mermaid's lexer sees --------------------------------------------------------------------------

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\n.*?\n[ \t]*---[ \t]*\n+", re.DOTALL)
_DIRECTIVE = re.compile(r"%%\{\s*\w+\s*:?.*?(?:\}%%|\Z)", re.DOTALL)
_COMMENT = re.compile(r"^\s*%%(?!\{)[^\n]+\n?", re.MULTILINE)
_AFTER_BRACE = re.compile(r"(?<=\})\s*(?=\n)")
_STYLE_END = re.compile(r"(?:style|classDef).*:\S*#.*(;)")
_HTML_TAG = re.compile(r"<\w+[^>]*>")
_ATTRIBUTE = re.compile(r'="([^"]*)"')
_CODE = re.compile(r"#(\w+);")


class _Source:
    """A block's text as Mermaid preprocesses it, and the way back from its offsets to ours.

    Mermaid cuts carriage returns, front matter, `%%{…}%%`, comments, blanks after a closing brace, and the semicolon
    after a colour. All else that it replaces keeps its length here.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.clean = text
        self._starts = [0]
        self._origins = [0]
        if "\r" in text:
            self._cut([match.span() for match in re.finditer(r"\r(?=\n)", self.clean)])
            self.clean = self.clean.replace("\r", "\n")
        if "=" in self.clean:
            self.clean = _HTML_TAG.sub(lambda tag: _ATTRIBUTE.sub(r"='\1'", tag[0]), self.clean)
        if "---" in self.clean and (match := _FRONT_MATTER.match(self.clean)):
            self._cut([match.span()])
        if "%%" in self.clean:
            self._cut([match.span() for match in _DIRECTIVE.finditer(self.clean)])
            self._cut([match.span() for match in _COMMENT.finditer(self.clean)])
        if "#" in self.clean:
            self._cut([match.span(1) for match in _STYLE_END.finditer(self.clean)])
            # Stand-ins of Mermaid's own for entities: no token outside of labels.
            self.clean = _CODE.sub("°\\1¶", self.clean)
        if "}" in self.clean:
            self._cut([match.span() for match in _AFTER_BRACE.finditer(self.clean) if match.start() < match.end()])
        self.clean += "\n"

    def _cut(self, spans: list[tuple[int, int]]) -> None:
        if not spans:
            return
        pieces, starts, origins, length = [], [], [], 0
        for begin, end in zip(
            [0, *(end for _, end in spans)], [*(begin for begin, _ in spans), len(self.clean)], strict=True
        ):
            pieces.append(self.clean[begin:end])
            for part in self._segments(begin, end):
                starts.append(length + part - begin)
                origins.append(self.origin(part))
            length += end - begin
        self.clean = "".join(pieces)
        self._starts, self._origins = starts, origins

    def _segments(self, begin: int, end: int) -> list[int]:
        """Offsets at which the way back changes its distance, within one kept piece."""
        first = bisect_right(self._starts, begin)
        inner = []
        while first < len(self._starts) and self._starts[first] < end:
            inner.append(self._starts[first])
            first += 1
        return [begin, *inner]

    def origin(self, offset: int) -> int:
        """Return our offset of an offset in the clean text."""
        index = bisect_right(self._starts, offset) - 1
        return min(self._origins[index] + offset - self._starts[index], len(self.text))

    def end_origin(self, offset: int) -> int:
        """Return our offset of an end: just behind the last character, whatever was cut after it."""
        return self.origin(offset - 1) + 1 if offset else 0


# --- lexer -------------------------------------------------------------------------------------------------------

_S = r"[\t\n\v\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
_LETTER = "[^\\W\\d_\\x00-\\x7f\\U00010000-\\U0010ffff]"


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    value: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Rule:
    """`kind` "" makes no token. `push` enters a mode, `pop` leaves the present one first."""

    kind: str
    pattern: str
    push: str = ""
    pop: bool = False


# In Mermaid these hold in every mode, between the mode's own rules: (position among them is kept below by name).
_QUOTES = (_Rule("", '"`', push="markdown"), _Rule("", '"', push="string"))
_ANYWHERE = {
    "invisible": _Rule("LINK", rf"{_S}*~~~+{_S}*"),
    "ellipse": _Rule("(-", r"\(-", push="ellipse"),
    "stadium": _Rule("([", r"\(\[", push="text"),
    "subroutine": _Rule("[[", r"\[\[", push="text"),
    "cylinder": _Rule("[(", r"\[\(", push="text"),
    "circle": _Rule("(((", r"\(\(\(", push="text"),
    "slash": _Rule("[/", r"\[/", push="trap"),
    "backslash": _Rule("[\\", r"\[\\", push="trap"),
    "pipe": _Rule("|", r"\|", push="text"),
    "round": _Rule("(", r"\(", push="text"),
    "square": _Rule("[", r"\[", push="text"),
    "brace": _Rule("{", r"\{", push="text"),
}
_A = _ANYWHERE
_DIRECTIONS = "|".join(("TB", "BT", "RL", "LR", "TD"))
_LINKS = {
    "edge": _Rule("LINK", rf"{_S}*[xo<]?--+[-xo>]{_S}*", pop=True),
    "thick": _Rule("LINK", rf"{_S}*[xo<]?==+[=xo>]{_S}*", pop=True),
    "dotted": _Rule("LINK", rf"{_S}*[xo<]?-?\.+-[xo>]?{_S}*", pop=True),
}
_KEYWORDS = ("style", "default", "linkStyle", "interpolate", "classDef", "class")
_DIRECTION_RULE = _Rule("direction", rf"[^\n\r\u2028\u2029]*direction{_S}+(?:{_DIRECTIONS})[^\n]*")
_LINK_ID_RULE = _Rule("LINK_ID", rf"(?:(?!{_S})[^\"])+@(?=[^{{\"])")

_MODES: dict[str, tuple[_Rule, ...]] = {
    "initial": (
        _Rule("acc_title", rf"accTitle{_S}*:{_S}*", push="acc"),
        _Rule("acc_title", rf"accDescr{_S}*:{_S}*", push="acc"),
        _Rule("", rf"accDescr{_S}*\{{{_S}*", push="acc_block"),
        _Rule("SHAPE_DATA", r"@\{", push="shape"),
        _Rule("", rf"call{_S}+", push="callback"),
        *_QUOTES,
        *(_Rule(word, rf"{word}\b") for word in _KEYWORDS),
        _Rule("href", rf"href{_S}"),
        _Rule("", rf"click{_S}+", push="click"),
        _Rule("graph", r"(?:flowchart-elk|graph|flowchart)\b", push="direction"),
        _Rule("subgraph", r"subgraph\b"),
        _Rule("end", rf"end\b{_S}*"),
        _Rule("LINK_TARGET", r"_(?:self|blank|parent|top)\b"),
        _DIRECTION_RULE,
        _LINK_ID_RULE,
        _Rule("NUM", r"[0-9]+"),
        _Rule("#", r"\#"),
        _Rule(":::", r":::"),
        _Rule(":", r":"),
        _Rule("&", r"&"),
        _Rule(";", r";"),
        _Rule(",", r","),
        _Rule("*", r"\*"),
        _LINKS["edge"],
        _Rule("START_LINK", rf"{_S}*[xo<]?--{_S}*", push="edge"),
        _LINKS["thick"],
        _Rule("START_LINK", rf"{_S}*[xo<]?=={_S}*", push="thick"),
        _LINKS["dotted"],
        _Rule("START_LINK", rf"{_S}*[xo<]?-\.{_S}*", push="dotted"),
        *(_A[name] for name in ("invisible", "ellipse", "stadium", "subroutine")),
        _Rule("[|", r"\[\|"),
        _Rule(">", r">", push="text"),
        *(_A[name] for name in ("cylinder", "circle", "slash", "backslash")),
        _Rule("<", r"<"),
        _Rule("^", r"\^"),
        _Rule("SEP", r"\\\|"),
        _Rule("v", r"v\b"),
        _Rule("NODE_STRING", r"(?:[A-Za-z0-9!\"#$%&'*+.`?\\_/]|-(?=[^>\-.]))+"),
        _Rule("-", r"-"),
        _Rule("UNICODE_TEXT", f"(?u:{_LETTER})"),
        *(_A[name] for name in ("pipe", "round", "square", "brace")),
        _Rule("NEWLINE", r"\n+"),
        _Rule("SPACE", _S),
    ),
    "direction": (
        *_QUOTES,
        _Rule("NODIR", rf"\n*{_S}*\n", pop=True),
        _Rule("DIR", rf"{_S}*(?:(?:LR|RL|TB|BT|TD|BR)\b|<|>|\^|v\b)", pop=True),
        *_ANYWHERE.values(),
    ),
    "string": (_Rule("", '"`', push="markdown"), _Rule("STR", r'[^"]+'), _Rule("", '"', pop=True)),
    "markdown": (_Rule("MD_STR", r'[^`"]+'), _Rule("", '`"', pop=True), *_QUOTES, *_ANYWHERE.values()),
    "text": (
        *_QUOTES,
        _A["invisible"],
        _A["ellipse"],
        _Rule("])", r"\]\)", pop=True),
        _A["stadium"],
        _Rule("]]", r"\]\]", pop=True),
        _A["subroutine"],
        _Rule(")]", r"\)\]", pop=True),
        _A["cylinder"],
        _Rule(")))", r"\)\)\)", pop=True),
        *(_A[name] for name in ("circle", "slash", "backslash")),
        _Rule("|", r"\|", pop=True),
        _Rule(")", r"\)", pop=True),
        _A["round"],
        _Rule("]", r"\]", pop=True),
        _A["square"],
        _Rule("}", r"\}", pop=True),
        _A["brace"],
        _Rule("TEXT", r'[^\[\](){}|"]+'),
    ),
    "trap": (
        *_QUOTES,
        *(_A[name] for name in ("invisible", "ellipse", "stadium", "subroutine", "cylinder", "circle")),
        _Rule("\\]", r"[\\(?=\])]\]", pop=True),
        _Rule("/]", r"/\]", pop=True),
        _Rule("TEXT", r"/(?!\])|\\(?!\])|[^\\\[\](){}/]+"),
        *(_A[name] for name in ("slash", "backslash", "pipe", "round", "square", "brace")),
    ),
    "ellipse": (
        *_QUOTES,
        _A["invisible"],
        _Rule("-)", r"[-/)]\)", pop=True),
        _Rule("TEXT", r"[^()\[\]{}]|!\)+"),
        *(rule for name, rule in _ANYWHERE.items() if name != "invisible"),
    ),
    "edge": (*_QUOTES, _LINKS["edge"], _Rule("EDGE_TEXT", r"[^-]|-(?!-)"), *_ANYWHERE.values()),
    "thick": (*_QUOTES, _LINKS["thick"], _Rule("EDGE_TEXT", r"[^=]"), *_ANYWHERE.values()),
    "dotted": (*_QUOTES, _LINKS["dotted"], _Rule("EDGE_TEXT", r"[^.]"), *_ANYWHERE.values()),
    "click": (*_QUOTES, _Rule("", _S, pop=True), _Rule("click", rf"(?:(?!{_S}).)+")),
    "callback": (
        _Rule("", rf"\({_S}*\)", pop=True),
        _Rule("", r"\(", pop=True, push="arguments"),
        _Rule("CALLBACK", r"[^(]+"),
    ),
    "arguments": (_Rule("", r"\)", pop=True), _Rule("ARGUMENTS", r"[^)]+")),
    "shape": (
        _Rule("SHAPE_DATA", '"', push="shape_string"),
        _Rule("SHAPE_DATA", r'[^}^"]+'),
        _Rule("", r"\}", pop=True),
        *_ANYWHERE.values(),
    ),
    "shape_string": (_Rule("SHAPE_DATA", '"', pop=True), _Rule("SHAPE_DATA", r'[^"]+')),
    "acc": (_Rule("ACC_VALUE", r"[^\n]+", pop=True),),
    "acc_block": (_Rule("", r"\}", pop=True), _Rule("ACC_BLOCK", r"[^}]+")),
}


class _Lexer:
    """The rules of one mode as one expression: alternation takes the first that matches, as Mermaid's lexer does."""

    __slots__ = ("match", "rules")

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self.rules = rules
        # Every rule is one group: lastindex names the rule. Patterns hold no capturing groups of their own.
        self.match = re.compile("|".join(f"({rule.pattern})" for rule in rules), re.ASCII).match


_LEXERS: dict[str, _Lexer] = {}


def _lexer(mode: str, text: str) -> _Lexer:
    """Compile a mode on first use. Two rules of the initial mode look far ahead at every token, so they are left out
    for texts in which they cannot match."""
    key, rules = mode, _MODES[mode]
    if mode == "initial":
        far = (_DIRECTION_RULE, "direction" in text), (_LINK_ID_RULE, "@" in text)
        key = f"initial{far[0][1]}{far[1][1]}"
        rules = tuple(rule for rule in rules if (rule, False) not in far)
    if key not in _LEXERS:
        _LEXERS[key] = _Lexer(rules)
    return _LEXERS[key]


def _tokens(text: str) -> tuple[list[Token], int | None]:
    """Return the tokens of a clean text, and the offset of the character that no rule takes (None: all were taken)."""
    tokens: list[Token] = []
    lexers = {mode: _lexer(mode, text) for mode in _MODES}
    modes, offset, seen_graph = ["initial"], 0, False
    lexer = lexers["initial"]
    while offset < len(text):
        match = lexer.match(text, offset)
        if match is None:
            return tokens, offset
        assert match.lastindex is not None
        rule = lexer.rules[match.lastindex - 1]
        if rule.kind:
            tokens.append(Token(rule.kind, match.group(), offset, match.end()))
        offset = match.end()
        if rule.pop and len(modes) > 1:
            modes.pop()
        if rule.push and not (rule.kind == "graph" and seen_graph):
            modes.append(rule.push)
        seen_graph = seen_graph or rule.kind == "graph"
        lexer = lexers[modes[-1]]
    # `call ` at the very end opens a callback that has no name.
    return tokens, len(text) if modes[-1] in ("callback", "arguments") else None


# --- grammar -----------------------------------------------------------------------------------------------------

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


class _Grammar:
    """Recursive descent over the tokens of one block; `statement` is its longest method's table."""

    def __init__(self, source: _Source, tokens: list[Token], stuck: int | None) -> None:
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
