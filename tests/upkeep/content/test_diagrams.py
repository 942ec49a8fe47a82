from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sample_content import CHECKOUT_DIAGRAMS
from upkeep.content.diagrams import parse_diagrams


def test_a_diagrams_title_is_the_nearest_heading_above_it() -> None:
    diagrams = parse_diagrams(CHECKOUT_DIAGRAMS)
    titles = [block.title.text if block.title else None for block in diagrams.blocks]
    assert titles == ["Checkout diagrams", "Funnel: paying", "Asking for help"]
    assert diagrams.titles == {"Checkout diagrams", "Funnel: paying", "Asking for help"}
    assert parse_diagrams("```mermaid\ngraph TD\na\n```").blocks[0].title is None


def test_blocks_stand_where_they_say() -> None:
    diagrams = parse_diagrams(CHECKOUT_DIAGRAMS)
    for block in diagrams.blocks:
        assert block.verbatim
        assert block.closed
        assert CHECKOUT_DIAGRAMS[block.start : block.end] == block.text
        assert CHECKOUT_DIAGRAMS[block.fence_start : block.fence_end] == f"```mermaid\n{block.text}```"
        assert diagrams.lines.line(block.start) == block.line


def test_headings_stand_where_they_say() -> None:
    diagrams = parse_diagrams("#  One `x` #\n\nTwo\nlines\n---\n\n   ### Three\n")
    assert [(heading.level, heading.text, heading.line) for heading in diagrams.headings] == [
        (1, "One `x`", 1),
        (2, "Two lines", 3),
        (3, "Three", 7),
    ]
    assert [diagrams.text[heading.start : heading.end] for heading in diagrams.headings] == [
        "One `x`",
        "Two\nlines",
        "Three",
    ]


def test_event_nodes_are_those_of_the_class_and_not_the_legend() -> None:
    blocks = parse_diagrams(CHECKOUT_DIAGRAMS).blocks
    assert [[node.title for node in block.event_nodes()] for block in blocks] == [
        [],
        ["cart opened", "payment  done"],
        ["help asked"],
    ]
    assert [block.is_legend for block in blocks] == [True, False, False]


def test_directives_are_read_with_the_place_of_their_target() -> None:
    (_, block, _) = parse_diagrams(CHECKOUT_DIAGRAMS).blocks
    assert [(item.node, item.kind, item.target, item.line) for item in block.directives] == [
        ("ui_help", "title", "Asking for help", 17),
        ("ui_home", "flow", "home", 18),
    ]
    for item in block.directives:
        assert CHECKOUT_DIAGRAMS[item.target_start : item.target_end] == item.target
        assert CHECKOUT_DIAGRAMS[item.start : item.end].startswith("%%chalo:diagram-link")
        assert CHECKOUT_DIAGRAMS[item.start : item.end].endswith(item.target)


def test_a_directive_of_another_form_is_kept_as_not_understood() -> None:
    (block,) = parse_diagrams("```mermaid\nflowchart TD\n  %%chalo:diagram-link a => title:X  \n  a\n```\n").blocks
    assert [(item.kind, item.target) for item in block.directives] == [(None, "a => title:X")]


def test_a_title_may_hold_arrows() -> None:
    (block,) = parse_diagrams("```mermaid\nflowchart TD\n%%chalo:diagram-link a -> title:A -> B\na\n```").blocks
    assert [(item.node, item.target) for item in block.directives] == [("a", "A -> B")]


def test_a_fence_that_nobody_closes_is_said_to_be_open() -> None:
    (block,) = parse_diagrams("# T\n\n```mermaid\nflowchart TD\n  a\n").blocks
    assert not block.closed
    assert block.text == "flowchart TD\n  a\n"


def test_other_fences_are_prose() -> None:
    text = "```\nmermaid\n```\n\n~~~json\n{}\n~~~\n\n````\n```mermaid\ngraph TD\n```\n````\n"
    assert parse_diagrams(text).blocks == ()


def test_a_block_in_a_list_is_found_and_its_offsets_lead_back_to_the_file() -> None:
    text = '- item\n\n  ```mermaid\n  flowchart TD\n    a --> b["x"]\n  ```\n'
    diagrams = parse_diagrams(text)
    (block,) = diagrams.blocks
    assert block.text == 'flowchart TD\n  a --> b["x"]\n'
    assert not block.verbatim
    assert block.flowchart is not None
    for use in block.flowchart.uses:
        place = diagrams.offset_in_file(block, use.word.start)
        assert text[place : place + len(use.id)] == use.id


def test_a_file_with_windows_line_ends_keeps_its_places() -> None:
    text = CHECKOUT_DIAGRAMS.replace("\n", "\r\n")
    diagrams = parse_diagrams(text)
    assert [block.line for block in diagrams.blocks] == [
        block.line for block in parse_diagrams(CHECKOUT_DIAGRAMS).blocks
    ]
    block = diagrams.blocks[1]
    assert block.flowchart is not None
    for use in block.flowchart.uses:
        place = diagrams.offset_in_file(block, use.word.start)
        assert text[place : place + len(use.id)] == use.id


LINES = st.sampled_from(
    (
        *("# H", "## Funnel", "text", "", "```mermaid", "```", "~~~", "````", "  ```mermaid", "- item", "> quoted"),
        *("> ```mermaid", "flowchart TD", "  a --> b", "    code", "\ttab", "===", "---", "<!-- x", "-->", "<div>"),
        *("%%chalo:diagram-link a -> title:H", "\x00", "\u2028", "class a event"),
    )
)


@given(st.lists(LINES, max_size=25), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(deadline=None, max_examples=100)
def test_any_text_is_read_and_every_block_is_within_it(lines: list[str], end: str) -> None:
    text = end.join(lines)
    diagrams = parse_diagrams(text)
    for block in diagrams.blocks:
        assert 0 <= block.fence_start <= block.start <= block.end <= block.fence_end <= len(text)
        assert block.verbatim == (text[block.start : block.end] == block.text)
        assert block.flowchart is None or block.syntax_error is None
