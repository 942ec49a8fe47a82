"""Escaped text renders as exactly the words that came in, and as nothing else: judged by a real Markdown parser."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from upkeep.forges.text import (
    BODY_LIMIT,
    code,
    cut,
    fenced,
    fit,
    inline,
    json_block,
    on_top,
    prose,
    size,
    title,
    visible,
)

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
NASTY = [
    "@ada please merge",
    "fixes #1, closes o/r#2 and GH-3 and gh-4",
    "closes !5 and o/r!6",
    "[click](http://evil.example) ![x](https://evil.example/pixel.png)",
    "<img src=x onerror=alert(1)> <!-- hidden --> <details>",
    "https://evil.example www.evil.example a@b.example",
    "| a | b |\n|---|---|\n| c | d |",
    "a\n:-:\nb",
    "# Title\n===\n---\n- item\n+ item\n* item\n1. item\n1) item",
    "```\ncode\n```\n~~~\n~~~",
    "    indented\n\tcode",
    "> quote\n> [!WARNING]\n> no",
    "/merge\n/approve",
    "[x]: http://evil.example\n[^1]: foot",
    "$x$ $$y$$ ~~z~~ __w__ **v** `u`",
    "&#64;ada &lt;b&gt; &amp; \\@ada \\",
    "a  \nb\\\nc",
    "\u202eevil\u2066 zero\u200bwidth \x00 \x1b[31m \ufeff",
    "line\u2028separator\r\nand\rreturn",
    "&#8203;",
]
LIVE = re.compile(r"@\w|[#!]\d|\bGH-\d|://|\bwww\.", re.IGNORECASE)

hostile = st.one_of(
    st.sampled_from(NASTY),
    st.text(alphabet=st.sampled_from("\\`*_[]()<>#+-.!|~$&@:/=1a \n\t{}\u202e"), max_size=40),
    st.text(max_size=40),
)
quick = settings(deadline=None, max_examples=150)


def rendered_words(tokens: list[Token]) -> str:
    return "".join(
        "\n" if child.type in ("softbreak", "hardbreak") else child.content
        for token in tokens
        for child in token.children or []
    )


def squeezed(text: str) -> str:
    return "".join(text.replace("\u200b", "").split())


@quick
@given(hostile)
@example("1\\.")
def test_prose_renders_as_plain_paragraphs_of_the_same_words(text: str) -> None:
    tokens = MARKDOWN.parse(prose(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    inner = {child.type for token in tokens for child in token.children or []}
    assert inner <= {"text", "softbreak", "text_special"}
    words = rendered_words(tokens)
    assert squeezed(words) == squeezed(visible(text))
    assert not LIVE.search(words)


@quick
@given(st.lists(hostile, min_size=1, max_size=3))
def test_cells_stay_in_their_columns(texts: list[str]) -> None:
    row = "| " + " | ".join(inline(text) for text in texts) + " |"
    table = "\n".join(["| h " * len(texts) + "|", "|---" * len(texts) + "|", row])
    cells = [token.children for token in MARKDOWN.parse(table) if token.type == "inline"][len(texts) :]
    assert len(cells) == len(texts)
    for text, children in zip(texts, cells, strict=True):
        assert {child.type for child in children or []} <= {"text", "text_special"}
        assert squeezed("".join(child.content for child in children or [])) == squeezed(visible(text))


@quick
@given(hostile, st.booleans())
def test_a_code_span_holds_exactly_the_text(text: str, in_table: bool) -> None:
    source = code(text, in_table=in_table)
    if in_table:
        source = f"| h |\n|---|\n| {source} |"
    spans = [child for token in MARKDOWN.parse(source)[-5 if in_table else 0 :] for child in token.children or []]
    if squeezed(visible(text)):
        assert [span.type for span in spans] == ["code_inline"]
        assert squeezed(spans[0].content) == squeezed(visible(text))
    else:
        assert [span.type for span in spans] == ["text"]


@quick
@given(hostile)
def test_a_fenced_block_holds_exactly_the_text(text: str) -> None:
    tokens = MARKDOWN.parse(f"{fenced(text, 'text')}\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.rstrip("\n") == visible(text).rstrip("\n")


@quick
@given(
    st.recursive(
        st.none() | st.integers() | hostile,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    )
)
def test_the_json_block_can_be_read_back(value: object) -> None:
    tokens = MARKDOWN.parse(f"{json_block({'value': value})}\n\nafter")
    assert tokens[0].type == "fence"
    assert tokens[1].type == "paragraph_open"
    assert json.loads(tokens[0].content) == {"value": value}
    assert tokens[0].content.isascii()


@quick
@given(st.text(max_size=600))
def test_a_title_is_one_visible_line_within_the_limit(text: str) -> None:
    shown = title(text)
    assert len(shown) <= 256
    assert visible(shown) == shown
    assert "\n" not in shown


def test_a_cut_says_how_much_is_missing() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefghij", 6) == "abcdef … (cut, 4 more characters)"


def test_a_body_that_fits_is_left_alone() -> None:
    body = "x" * BODY_LIMIT
    assert fit(body) == body


@pytest.mark.parametrize("filler", ["word " * 20, "😀" * 60])
def test_a_body_that_is_too_long_is_cut_at_a_line_and_what_was_open_is_closed(filler: str) -> None:
    body = "\n".join(["Intro", "<details>", "", "````json", *[filler] * 2_000, "````", "</details>"])
    shown = fit(body)
    assert size(shown) <= BODY_LIMIT
    assert shown.startswith("Intro\n<details>\n\n````json\n")
    tail = shown.split("\n")[-5:]
    assert tail[:4] == ["````", "", "</details>", ""]
    kept = shown.count(filler)
    assert tail[4].startswith(f"**Cut here:** {2_000 - kept + 2} more lines")


def test_a_note_is_put_on_top_once() -> None:
    once = on_top("> Superseded.", "Body")
    assert once == "> Superseded.\n\nBody"
    assert on_top("> Superseded.", once) == once
