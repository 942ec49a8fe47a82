"""Small questions to tree-sitter nodes and source text that every reader asks.

What belongs here: functions of one node or string. What does not: anything that knows a language.
"""

from __future__ import annotations

from ast_grep_py import SgNode

COMMENTS = frozenset({"comment", "line_comment", "block_comment", "multiline_comment"})


def position(node: SgNode) -> tuple[int, int]:
    """Return where `node` begins and ends in its text."""
    place = node.range()
    return place.start.index, place.end.index


def named(node: SgNode) -> list[SgNode]:
    """Return the named children of `node`, without comments."""
    return [child for child in node.children() if child.is_named() and child.kind() not in COMMENTS]


def child_of(node: SgNode, *kinds: str) -> SgNode | None:
    """Return the first child of one of `kinds`."""
    for child in node.children():  # no generator: this is asked a hundred times a file
        if child.kind() in kinds:
            return child
    return None


def last_name(text: str) -> str:
    """Return the last name in the source of a receiver: `Tracker` of `com.app.Tracker`, `get` of `Tracker.get()`."""
    text = text.split("(", 1)[0].rstrip("?!. \n\t")
    return unquoted(text.rsplit(".", 1)[-1].strip("?!() \n\t"))


def unquoted(name: str) -> str:
    """Return an identifier without the back-quotes that Kotlin and Swift allow."""
    return name.strip("`")


def squeezed(text: str) -> str:
    """Return source text on one line."""
    return " ".join(text.split())
