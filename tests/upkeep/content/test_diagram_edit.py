"""Edits of flow-diagrams.md: event nodes follow, everything else stays."""

from __future__ import annotations

import difflib

from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.diagram_edit import NewNode, add_events, label_of, new_file, remove_events, rename_events
from upkeep.content.diagrams import parse_diagrams

PAGE = """# Basket diagrams

1. basket opened
2. basket paid

```mermaid
flowchart LR
  ui([Screen]) --> ev["analytics event name"]
  classDef event fill:#166534;
  class ev event;
  class ui ui;
```

## Side path `basket opened`

```mermaid
flowchart TD
  ev_opened["basket opened"] --> ui_help([Help])
  classDef event fill:#166534;
  class ev_opened event;
  class ui_help ui;
```

## Main funnel

Starts with `basket opened`, or not.

```mermaid
flowchart TD
  %%chalo:diagram-link ev_help -> title:Side path `basket opened`
  ui_shop([Shop]) -->|Tap| ev_opened["basket opened<br/>first time"]

  ev_opened --> ui_choice{Pay?}
  ui_choice -->|Yes| ev_paid["basket paid"]
  ui_choice -->|No| ev_left["basket left"]
  ev_paid --> ui_done([Done])
  ev_left --> ui_done
  ui_done --> ev_help["basket help"]

  classDef event fill:#166534;
  classDef ui fill:#fff;

  class ev_opened,ev_paid,ev_left,ev_help event;
  class ui_shop,ui_choice,ui_done ui;
```
"""


def _changed(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _events(text: str) -> list[list[str]]:
    return [sorted(node.title for node in block.event_nodes()) for block in parse_diagrams(text).blocks]


def test_labels_follow_a_new_name_and_keep_their_other_lines() -> None:
    edited = rename_events(PAGE, {"basket opened": "cart opened"})
    assert edited.left == {}
    assert _changed(PAGE, edited.text) == [
        "-1. basket opened",
        "+1. cart opened",
        '-  ev_opened["basket opened"] --> ui_help([Help])',
        '+  ev_opened["cart opened"] --> ui_help([Help])',
        "-Starts with `basket opened`, or not.",
        "+Starts with `cart opened`, or not.",
        '-  ui_shop([Shop]) -->|Tap| ev_opened["basket opened<br/>first time"]',
        '+  ui_shop([Shop]) -->|Tap| ev_opened["cart opened<br/>first time"]',
    ]


def test_names_can_change_places() -> None:
    edited = rename_events(PAGE, {"basket paid": "basket left", "basket left": "basket paid"})
    assert 'ev_paid["basket left"]' in edited.text
    assert 'ev_left["basket paid"]' in edited.text
    assert edited.left == {}


def test_quotes_and_references_in_a_name_are_written_as_mermaid_reads_them() -> None:
    name = 'say "yes" & #quot; twice'
    edited = rename_events(PAGE, {"basket paid": name})
    assert name in _events(edited.text)[2]


def test_a_removed_node_is_bridged_and_its_label_kept() -> None:
    edited = remove_events(PAGE, ["basket paid"])
    assert _changed(PAGE, edited.text) == [
        '-  ui_choice -->|Yes| ev_paid["basket paid"]',
        "-  ev_paid --> ui_done([Done])",
        "+  ui_choice -->|Yes| ui_done([Done])",
        "-  class ev_opened,ev_paid,ev_left,ev_help event;",
        "+  class ev_opened,ev_left,ev_help event;",
    ]


def test_the_definition_of_a_neighbour_survives_the_removal() -> None:
    edited = remove_events(PAGE, ["basket opened"])
    main = parse_diagrams(edited.text).blocks[2].flowchart
    assert main is not None
    assert main.nodes["ui_shop"].label == "Shop"
    assert (main.edges[0].sources, main.edges[0].targets, main.edges[0].label) == (("ui_shop",), ("ui_choice",), "Tap")
    side = parse_diagrams(edited.text).blocks[1].flowchart
    assert side is not None
    assert side.nodes["ui_help"].label == "Help"
    assert "class ev_opened event;" not in edited.text


def test_a_node_with_a_directive_is_demoted_and_keeps_it() -> None:
    edited = remove_events(PAGE, ["basket help"])
    assert _changed(PAGE, edited.text) == [
        "-  class ev_opened,ev_paid,ev_left,ev_help event;",
        "-  class ui_shop,ui_choice,ui_done ui;",
        "+  class ev_opened,ev_paid,ev_left event;",
        "+  class ui_shop,ui_choice,ui_done,ev_help ui;",
    ]


def test_a_node_of_a_chain_or_a_crossing_is_demoted() -> None:
    chain = PAGE.replace(
        'ui_choice -->|No| ev_left["basket left"]', 'ui_choice --> ev_left["basket left"] --> ui_end([E])'
    )
    edited = remove_events(chain, ["basket left"])
    assert 'ui_choice --> ev_left["basket left"] --> ui_end([E])' in edited.text
    assert _events(edited.text)[2] == ["basket help", "basket opened", "basket paid"]
    crossing = "".join(f'  ui_{side}{i}([{i}]) --> ev_x["x"]\n' for side in "a" for i in range(4))
    crossing += "".join(f"  ev_x --> ui_b{i}([{i}])\n" for i in range(4))
    page = f"# Main\n\n```mermaid\nflowchart TD\n{crossing}  class ev_x event;\n```\n"
    edited = remove_events(page, ["x"])
    assert edited.text == page.replace("  class ev_x event;\n", "")


def test_a_new_node_is_linked_from_its_neighbour_in_the_main_diagram() -> None:
    edited = add_events(
        PAGE, [NewNode("basket saved", ("unknown", "basket opened")), NewNode("basket shared", ("basket saved",))]
    )
    assert _changed(PAGE, edited.text) == [
        '+  ev_opened --> ev_basketSaved["basket saved"]',
        '+  ev_basketSaved --> ev_basketShared["basket shared"]',
        "-  class ev_opened,ev_paid,ev_left,ev_help event;",
        "+  class ev_opened,ev_paid,ev_left,ev_help,ev_basketSaved,ev_basketShared event;",
    ]
    assert add_events(edited.text, [NewNode("basket saved")]).text == edited.text


def test_a_node_without_neighbour_stands_alone_in_the_main_diagram() -> None:
    edited = add_events(PAGE, [NewNode("order cancelled")])
    assert _changed(PAGE, edited.text)[0] == '+  ev_orderCancelled["order cancelled"]'
    assert "order cancelled" in _events(edited.text)[2]


def test_ids_follow_the_manner_of_the_block() -> None:
    for nodes, expected in (
        ('  F1["a"] --> F2["b"]\n  class F1,F2 event;\n', 'F2 --> F3["new one"]'),
        ('  ev_a_b["a"] --> ev_b["b"]\n  class ev_a_b,ev_b event;\n', 'ev_b --> ev_new_one["new one"]'),
        ('  A["a"]:::event --> B["b"]:::event\n', 'B --> ev_newOne["new one"]:::event'),
        ('  ev_newOne([Taken]) --> B["b"]\n  class B event;\n', 'B --> ev_newOne2["new one"]'),
    ):
        page = f"# Main\n\n```mermaid\nflowchart TD\n{nodes}```\n"
        edited = add_events(page, [NewNode("new one", ("b",))])
        assert expected in edited.text
        assert "new one" in _events(edited.text)[0]


def test_a_block_without_event_class_gets_one() -> None:
    page = "# Main\n\n```mermaid\nflowchart TD\n  a --> b\n```\n"
    edited = add_events(page, [NewNode("new one")])
    assert _events(edited.text) == [["new one"]]
    assert "classDef event" in edited.text


def test_counted_link_styles_still_count_the_same_links() -> None:
    page = PAGE.replace("  classDef ui fill:#fff;", "  classDef ui fill:#fff;\n  linkStyle 1 stroke:red")
    added = add_events(page, [NewNode("basket saved", ("basket opened",))])
    chart = parse_diagrams(added.text).blocks[2].flowchart
    assert chart is not None
    assert chart.edges[-1].targets == ("ev_basketSaved",)
    removed = remove_events(page, ["basket paid"])
    after = parse_diagrams(removed.text).blocks[2].flowchart
    assert after is not None
    assert len(after.edges) == len(parse_diagrams(page).blocks[2].flowchart.edges)  # type: ignore[union-attr]


def test_line_ends_of_the_file_are_kept() -> None:
    page = PAGE.replace("\n", "\r\n")
    for edit in (
        rename_events(page, {"basket paid": "cart paid"}),
        remove_events(page, ["basket paid"]),
        add_events(page, [NewNode("basket saved", ("basket opened",))]),
    ):
        assert edit.text != page
        assert edit.text.count("\r\n") == edit.text.count("\n") == edit.text.count("\r")


def test_a_block_that_does_not_parse_is_left_alone_and_said() -> None:
    broken = PAGE.replace("([Done])", "([Done (really)])")
    assert remove_events(broken, ["basket paid"]).left.keys() == {"basket paid"}
    assert remove_events(broken, ["basket paid"]).text == broken
    renamed = rename_events(broken, {"basket paid": "cart paid"})
    assert renamed.left.keys() == {"cart paid"}
    assert 'ev_paid["basket paid"]' in renamed.text
    assert add_events(broken, [NewNode("basket paid")]).text == broken


def test_a_name_that_mermaid_cannot_spell_is_left() -> None:
    assert label_of("a <br/> b") is None
    assert add_events(PAGE, [NewNode("a <br/> b")]).left.keys() == {"a <br/> b"}


def test_a_new_file_has_a_legend_a_main_diagram_and_every_event() -> None:
    names = [f"event {number}" for number in range(130)]
    text = new_file("Basket", [("Basket", names[:50]), ("Checkout (new)", names[50:])])
    page = parse_diagrams(text)
    assert page.blocks[0].is_legend
    assert all(block.flowchart is not None for block in page.blocks)
    assert [block.title.text for block in page.blocks[1:] if block.title] == [
        f"Main flow, part {n} of 3" for n in (1, 2, 3)
    ]
    assert sorted(name for names in _events(text)[1:] for name in names) == sorted(names)


def test_a_new_file_takes_over_the_colours_of_the_dashboard() -> None:
    text = new_file("Basket", [("Basket", ["basket opened"])], parse_diagrams(PAGE.replace("#166534", "#123456")))
    assert text.count("classDef event fill:#123456;") == 2


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    name=NAMES.filter(lambda name: name.strip() == name),
    neighbour=st.sampled_from(["basket paid", "basket left", "none"]),
)
def test_adding_and_removing_an_event_gives_back_the_nodes(name: str, neighbour: str) -> None:
    before = _events(PAGE)
    added = add_events(PAGE, [NewNode(name, (neighbour,))])
    if added.left or added.text == PAGE:
        assert label_of(name) is None or name in before[2]
        return
    assert _events(added.text)[2] == sorted([*before[2], name])
    removed = remove_events(added.text, [name])
    assert _events(removed.text) == before
    assert removed.left == {}


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_correction_keeps_all_other_nodes_of_a_random_diagram(data: st.DataObject) -> None:
    """Any flowchart of single links: after the removal of an event the other nodes have their labels and classes."""
    count = data.draw(st.integers(2, 7))
    events = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    pairs = data.draw(
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), min_size=1, max_size=10)
    )
    seen: set[int] = set()
    lines = []
    for pair in pairs:
        link = data.draw(st.sampled_from([" --> ", " -->|why| ", " -.-> ", " -- why --> "]))
        tokens = []
        for node in pair:
            shape = f'["event {node}"]' if node in events else f"([Screen {node}])"
            tokens.append(f"n{node}" + ("" if node in seen else shape))
            seen.add(node)
        lines.append("  " + link.join(tokens))
    shown = sorted(events & seen)
    if not shown:
        return
    classes = f"  class {','.join(f'n{node}' for node in shown)} event;\n"
    page = "# Main\n\n```mermaid\nflowchart TD\n" + "\n".join(lines) + "\n" + classes + "```\n"
    gone = data.draw(st.sampled_from(shown))
    edited = remove_events(page, [f"event {gone}"])
    before, after = (parse_diagrams(text).blocks[0].flowchart for text in (page, edited.text))
    assert before is not None
    assert after is not None
    assert edited.left == {}
    kept = {id: (node.label, node.classes) for id, node in before.nodes.items() if id != f"n{gone}"}
    assert {id: (node.label, node.classes) for id, node in after.nodes.items() if id != f"n{gone}"} == kept
