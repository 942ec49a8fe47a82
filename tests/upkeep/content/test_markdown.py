from __future__ import annotations

import random

import pytest
from markdown_it import MarkdownIt

from tests.support.sample_content import CHECKOUT_DIAGRAMS
from upkeep.content.markdown import FenceLines, HeadingLines, Part, outline
from upkeep.lines import LineIndex


def reference(text: str) -> list[Part]:
    """What markdown-it finds, inline parsing and all."""
    parts: list[Part] = []
    tokens = MarkdownIt("commonmark").parse(text)
    for token, following in zip(tokens, [*tokens[1:], None], strict=False):
        if token.type == "heading_open" and token.map and following is not None:
            parts.append(HeadingLines(int(token.tag[1:]), token.map[0] + 1, following.content))
        elif token.type == "fence" and token.map:
            parts.append(FenceLines(token.map[0] + 1, token.map[1], token.info.strip(), token.content))
    return parts


LINES = (
    *(
        "# H",
        "## Funnel ##",
        "#",
        "#x",
        "# `a` #\t",
        "text",
        "",
        "",
        "```mermaid",
        "```",
        "``` js",
        "```a`b",
        "~~~",
        "````",
    ),
    *(
        "  ```mermaid",
        "- item",
        "- # h",
        "- **b**",
        "-",
        "1. x",
        "1. # y",
        "* * x",
        "+ - # z",
        "> quoted",
        "> ```mermaid",
    ),
    *(
        "flowchart TD",
        "  a --> b",
        "    code",
        "\ttab",
        "\t# th",
        "===",
        "---",
        "- - -",
        "***",
        "<!-- x",
        "-->",
        "<div>",
    ),
    *("  # i", "   text", "%%chalo", "\u2028", "x ``` y", "[a]: /b", '"t', "|a|b|", "|-|-|", "####### x", "\u00a0# n"),
    *(
        "# x\u00a0",
        "\x0b",
        "# \x0c x",
        "\\# x",
        "  - b",
        "    # deep",
        "1) # k",
        "10. ```",
        "- ```mermaid",
        "-\t# x",
        "#\tTab",
    ),
)


def test_any_lines_are_read_as_markdown_it_reads_them() -> None:
    random_ = random.Random(20250603)
    for _ in range(3_000):
        text = "\n".join(random_.choices(LINES, k=random_.randint(1, 9))) + random_.choice(("", "\n"))
        assert outline(text, LineIndex(text)) == reference(text), text


@pytest.mark.parametrize(
    "text", [CHECKOUT_DIAGRAMS, CHECKOUT_DIAGRAMS.replace("\n", "\r\n"), "", "\n", "#", "```mermaid"]
)
def test_whole_files_are_read_as_markdown_it_reads_them(text: str) -> None:
    assert outline(text, LineIndex(text)) == reference(text)


@pytest.mark.parametrize("text", ["", "\n", "a", "a\nb\n", "\n\nx\u2028y\x0bz\n", "a\r\nb\rc\n\r", "\r"])
def test_lines_are_counted_alike_with_and_without_carriage_returns(text: str) -> None:
    lines = LineIndex(text)
    expected = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [lines.content(number + 1) for number in range(len(lines))] == expected
    for offset in range(len(text)):
        line, column = lines.position(offset)
        assert lines.start(line) + column - 1 == offset
