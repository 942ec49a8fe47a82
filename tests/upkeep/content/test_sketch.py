from __future__ import annotations

import random

import pytest

from tests.support.flowcharts import ACCEPTED, REFUSED
from tests.support.sample_content import CHECKOUT_DIAGRAMS, HOME_DIAGRAMS, real_content
from upkeep.content.diagrams import parse_diagrams
from upkeep.content.flowchart.grammar import parse_flowchart
from upkeep.content.flowchart.model import FlowchartSyntaxError
from upkeep.content.flowchart.source import is_flowchart
from upkeep.content.folder import Content, read_folder
from upkeep.content.sketch import Sketch, plain_sketch, sketch_of

PLAIN = [block.text for text in (CHECKOUT_DIAGRAMS, HOME_DIAGRAMS) for block in parse_diagrams(text).blocks]
SCRAPS = (
    *' \t\n;:&,*#|()[]{}<>-=~.^"`%v/\\x0_é',
    *(
        "-->",
        "-.->",
        "--x",
        "|t|",
        '"x"',
        '""',
        "%% c\n",
        "%%{",
        ":::ui",
        "end",
        "class a b\n",
        "classDef x fill:#fff;",
    ),
    *(
        "classDef x fill:#fff,stroke:2px",
        "v",
        "x",
        "o",
        "style",
        "call ",
        "@{",
        "#quot;",
        "~~~",
        "<b c=",
        "direction TB",
    ),
)


def by_grammar(text: str) -> Sketch | None:
    if not is_flowchart(text):
        return None
    try:
        return sketch_of(parse_flowchart(text))
    except FlowchartSyntaxError:
        return None


@pytest.mark.parametrize("text", PLAIN)
def test_the_plain_form_is_recognised_and_reads_as_the_grammar_reads_it(text: str) -> None:
    sketch = plain_sketch(text)
    assert sketch is not None
    assert sketch == by_grammar(text)


@pytest.mark.parametrize("text", [*ACCEPTED, *(text for text, *_ in REFUSED)])
def test_every_other_form_is_left_to_the_grammar_or_read_alike(text: str) -> None:
    sketch = plain_sketch(text)
    assert sketch is None or sketch == by_grammar(text)


def test_whatever_the_plain_form_takes_the_grammar_takes_too_and_reads_alike() -> None:
    random_ = random.Random(20250602)
    taken = 0
    for text in PLAIN * 400:
        for _ in range(random_.choice((1, 1, 2))):
            place = random_.randrange(len(text) + 1)
            text = text[:place] + random_.choice(SCRAPS) + text[place + random_.choice((0, 0, 1, 4)) :]
        sketch = plain_sketch(text)
        if sketch is not None:
            taken += 1
            assert sketch == by_grammar(text), text
    assert taken > 200


def test_a_line_that_nearly_matches_does_not_take_for_ever() -> None:
    line = "  a" + ' -->|x y| b["l"]' * 400 + " -->"
    assert plain_sketch(f"flowchart TD\n{line}\n" * 20) is None


def test_labels_are_those_of_a_class() -> None:
    sketch = plain_sketch(PLAIN[1])
    assert sketch is not None
    assert sketch.labels_of("event") == {"ev_opened": "cart opened", "ev_paid": "payment  done<br/>─────<br/>amount"}
    assert sketch.labels_of("none") == {}


def test_nearly_all_real_diagrams_are_plain_and_all_read_alike() -> None:
    flows = Content(read_folder(real_content())).flows.values()
    blocks = [block for flow in flows if flow.diagrams is not None for block in flow.diagrams.blocks]
    plain = [(block, plain_sketch(block.text)) for block in blocks]
    assert sum(sketch is not None for _, sketch in plain) > 0.9 * len(blocks)
    for block, sketch in plain:
        assert sketch is None or sketch == by_grammar(block.text)
