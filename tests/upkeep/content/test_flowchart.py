from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.flowcharts import ACCEPTED, REFUSED
from tests.support.sample_content import real_content
from upkeep.content.flowchart.grammar import parse_flowchart
from upkeep.content.flowchart.model import Flowchart, FlowchartSyntaxError, label_title
from upkeep.content.flowchart.source import is_flowchart
from upkeep.content.folder import Content, read_folder
from upkeep.content.sketch import MAX_EDGES


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_mermaid_draws_is_accepted(text: str) -> None:
    assert is_flowchart(text)
    assert isinstance(parse_flowchart(text), Flowchart)


@pytest.mark.parametrize(("text", "line", "column", "expected"), REFUSED)
def test_what_mermaid_refuses_is_refused_with_its_place(text: str, line: int, column: int, expected: str) -> None:
    with pytest.raises(FlowchartSyntaxError) as caught:
        parse_flowchart(text)
    assert expected in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


def test_nodes_edges_and_classes_are_read() -> None:
    flowchart = parse_flowchart(
        'flowchart LR\n  a["one"] & b -->|both| c([two words])\n  c -.-> a\n'
        "  classDef event,other fill:#fff\n  class a,c event\n  b:::ui"
    )
    assert flowchart.direction == "LR"
    assert [(node.id, node.label, node.shape, sorted(node.classes)) for node in flowchart.nodes.values()] == [
        ("a", "one", "square", ["event"]),
        ("b", "b", None, ["ui"]),
        ("c", "two words", "stadium", ["event"]),
    ]
    assert [(edge.sources, edge.targets, edge.label) for edge in flowchart.edges] == [
        (("a", "b"), ("c",), "both"),
        (("c",), ("a",), None),
    ]
    assert [item.names for item in flowchart.class_definitions] == [("event", "other")]
    assert [item.kind for item in flowchart.statements] == ["nodes", "nodes", "classDef", "class", "nodes"]
    assert [node.id for node in flowchart.of_class("event")] == ["a", "c"]


def test_the_last_label_counts() -> None:
    node = parse_flowchart('flowchart TD\na["first"] --> b\nb --> a["second"]\na').nodes["a"]
    assert node.label == "second"
    assert node.labelled is node.uses[1]


PLACED = """\
%% before
flowchart TD
  %%{init: {}}%%
  a["one<br/>two"] -->|x| b([ spaced  label ]);  c{d} \t
%% between: a["no"]
  style a fill:#fff,stroke:#000;
  e["#quot;f#quot;"] --> g
  class a,b,e event
  subgraph s [in here]
    h["last"]
  end
"""


@pytest.mark.parametrize("text", [PLACED, PLACED.replace("\n", "\r\n")])
def test_every_part_stands_where_it_says(text: str) -> None:
    flowchart = parse_flowchart(text)
    labels = {}
    for use in flowchart.uses:
        assert text[use.word.start : use.word.end] == use.id
        assert text[use.start : use.end].startswith(use.id)
        if use.label is not None:
            labels[use.id] = text[use.label_start : use.label_end]
            assert labels[use.id] == use.label
            assert text[use.end - 1] in "])}"
    assert labels == {
        "a": "one<br/>two",
        "b": "spaced  label",
        "c": "d",
        "e": "#quot;f#quot;",
        "h": "last",
    }
    (statement,) = flowchart.class_statements
    assert text[statement.start : statement.end] == "class a,b,e event"
    assert text[: statement.members_end].endswith("class a,b,e")
    assert [text[word.start : word.end] for word in statement.members] == ["a", "b", "e"]
    assert [(item.kind, text[item.start : item.end]) for item in flowchart.statements][-3:] == [
        ("subgraph", "subgraph s [in here]"),
        ("nodes", 'h["last"]'),
        ("end", "end"),
    ]


@pytest.mark.parametrize(
    ("label", "title"),
    [
        ("cart opened", "cart opened"),
        ("cart opened<br/>─────<br/>amount", "cart opened"),
        ("  cart opened <BR> more", "cart opened"),
        ("say #quot;hi#quot; &amp; go#35;", 'say "hi" & go#'),
        ("a &unknown; b", "a &unknown; b"),
        ("", ""),
    ],
)
def test_a_labels_title_is_its_first_line(label: str, title: str) -> None:
    assert label_title(label) == title


@pytest.mark.parametrize("text", ["", "  \n", "sequenceDiagram\n a->>b: x", "flowcharts TD", "pie"])
def test_other_diagrams_are_no_flowcharts(text: str) -> None:
    assert not is_flowchart(text)


def test_more_links_than_mermaid_draws_are_refused() -> None:
    links = "\n".join("a --> b" for _ in range(MAX_EDGES))
    assert len(parse_flowchart(f"flowchart TD\n{links}").edges) == MAX_EDGES
    with pytest.raises(FlowchartSyntaxError, match="more than 500 links"):
        parse_flowchart(f"flowchart TD\n{links}\na --> b")


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    depth = 5_000
    text = "flowchart TD\n" + "subgraph s\n" * depth + "a\n" + "end\n" * depth
    assert len(parse_flowchart(text).statements) == 2 * depth + 1


PIECES = st.sampled_from(
    (
        *(
            "flowchart TD\n",
            "graph LR;",
            "a",
            "b[x]",
            '"',
            "([",
            "])",
            "{",
            "}",
            "(((",
            "-->",
            "-- t -->",
            "-.->",
            "==>",
        ),
        *(
            "|",
            "|t|",
            " ",
            "\n",
            ";",
            "&",
            " & ",
            ":::",
            "class a b\n",
            "classDef a fill:#fff;\n",
            "subgraph s\n",
            "end\n",
        ),
        *(
            "%% c\n",
            "%%{",
            "}%%",
            "@{",
            "---\n",
            "\r\n",
            "#quot;",
            "`",
            "~~~",
            "style a fill:#f",
            "click a ",
            "call f(",
            "é",
        ),
        *(
            "accTitle: x\n",
            "accDescr {",
            "direction TB\n",
            "linkStyle 0 ",
            "\ufeff",
            "\x00",
            "\u2028",
            "<br/>",
            '<a b="c">',
        ),
    )
)


@given(st.lists(PIECES, max_size=15).map("".join) | st.text(max_size=60))
@settings(deadline=None, max_examples=200)
def test_any_text_is_accepted_or_refused_and_nothing_else(text: str) -> None:
    for attempt in (text, "flowchart TD\n" + text):
        with contextlib.suppress(FlowchartSyntaxError):
            flowchart = parse_flowchart(attempt)
            for use in flowchart.uses:
                assert 0 <= use.start <= use.word.start <= use.word.end <= use.end <= len(attempt)
            assert all(0 <= item.start <= item.end <= len(attempt) for item in flowchart.statements)


def test_the_real_dashboards_labels_stand_where_they_say() -> None:
    content = Content(read_folder(real_content()))
    blocks = [block for flow in content.flows.values() if flow.diagrams for block in flow.diagrams.blocks]
    parsed = [(block, block.flowchart) for block in blocks if block.flowchart is not None]
    assert len(parsed) > 200
    for block, flowchart in parsed:
        for use in flowchart.uses:
            assert block.text[use.word.start : use.word.end] == use.id
            assert use.label is None or block.text[use.label_start : use.label_end] == use.label
