"""Mermaid's lexer for flowcharts: its modes, and the rules of each in their order.

What belongs here: turning a clean text (`source.py`) into tokens. What does not: which tokens may follow each other
(`grammar.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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


def tokenized(text: str) -> tuple[list[Token], int | None]:
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
