"""What the entry of a new event says, and in which style."""

from __future__ import annotations

import json
from typing import Any

import pytest

from upkeep.content.authoring import flow_edit
from upkeep.content.authoring.entries import DEFAULT_KEYS, new_entry, property_style, usual_keys
from upkeep.content.authoring.flow_edit import NewEntry, PropertyEdit
from upkeep.content.authoring.words import folded, phrase, screen_of, slug, title, type_of
from upkeep.content.folder import Event
from upkeep.content.scan.model import Call


def events(*data: dict[str, Any]) -> list[Event]:
    return [Event(item.get("name", "x"), index, item) for index, item in enumerate(data)]


CALL = Call(
    name="cart paid",
    resolution="literal",
    expression="",
    method="track",
    path="a/Cart.kt",
    line=7,
    symbol="Cart.Pay.go",
)


def test_keys_are_those_that_half_of_the_entries_have_in_their_usual_order() -> None:
    style = events({"name": "a", "b": 1, "c": 2}, {"name": "b", "b": 1, "c": 2, "odd": 1}, {"c": 3, "name": "c"})
    assert usual_keys(style) == ("name", "b", "c")
    assert usual_keys([]) == DEFAULT_KEYS


@pytest.mark.parametrize(
    ("properties", "style"),
    [(["a"], "text"), ([{"property": "a", "context": "b"}], "property"), ([{"name": "a"}], "name"), ([], "property")],
)
def test_the_style_of_properties_is_that_of_most(properties: list[Any], style: str) -> None:
    assert property_style(events({"properties": properties})) == style


def test_nothing_is_said_that_the_call_does_not_show() -> None:
    style = events({"name": "a", "trigger": "t", "userAction": "u", "fires": "f", "description": "d", "source": "s"})
    assert new_entry("cart paid", [CALL], style, [], None) == {
        "name": "cart paid",
        "description": "Cart paid; sent from Cart.Pay.go.",
    }


def test_a_source_is_taken_over_where_the_component_always_passes_it() -> None:
    style = events({"name": "a", "component": "Pay", "source": "s"}, {"name": "b", "component": "Pay", "source": "s"})
    near = [event.data for event in style]
    assert new_entry("c", [CALL], style, near, None)["source"] == "s"
    assert "source" not in new_entry("c", [CALL], style, near[:1], None)
    assert "source" not in new_entry("c", [CALL], style, [*near, {"source": "other"}], None)


def test_next_events_are_empty_where_every_entry_has_them() -> None:
    every = events({"name": "a", "nextEvents": ["b"]}, {"name": "b", "nextEvents": []})
    assert new_entry("c", [CALL], every, [], None) == {"name": "c", "nextEvents": []}
    most = [*every, *events({"name": "d"})]
    assert new_entry("c", [CALL], most, [], None) == {"name": "c"}


def test_several_places_are_counted_and_their_properties_joined() -> None:
    calls = [
        CALL,
        CALL.model_copy(update={"symbol": "", "properties": ("x",)}),
        CALL.model_copy(update={"properties": ("y", "x")}),
    ]
    entry = new_entry("c", calls, events({"name": "a", "description": "d"}), [], None)
    assert entry["description"] == "C; sent from Cart.Pay.go and 1 other place."
    assert entry["properties"] == [{"property": "x"}, {"property": "y"}]


def test_a_sorted_file_stays_sorted() -> None:
    text = json.dumps({"events": [{"name": name} for name in ("a", "c", "e")]}, indent=2)
    edited = flow_edit.add_events(text, [NewEntry({"name": name}) for name in ("f", "b", "d")], {})
    assert [event["name"] for event in json.loads(edited)["events"]] == ["a", "b", "c", "d", "e", "f"]


def test_new_neighbours_keep_their_order() -> None:
    text = json.dumps({"events": [{"name": name} for name in ("b", "a")]}, indent=2)
    edited = flow_edit.add_events(
        text, [NewEntry({"name": "one"}, ("b",)), NewEntry({"name": "two"}, ("one", "b"))], {}
    )
    assert [event["name"] for event in json.loads(edited)["events"]] == ["b", "one", "two", "a"]


def test_names_follow_in_every_part_that_refers_to_them() -> None:
    data = {
        "events": [{"name": "Title", "eventString": "a"}, {"name": "b", "nextEvents": ["a"], "notes": "a"}],
        "stages": [{"name": "a", "description": "a", "events": ["a", "b"]}],
        "diagram": {"tabs": [{"label": "a", "entry": "a", "mainEvents": ["b", "a"]}], "notes": "a"},
        "eventGroups": {"one": {"name": "One", "events": [{"name": "a", "when": "a"}, {"name": "b"}]}},
    }
    renamed = json.loads(flow_edit.rename_events(json.dumps(data), {"a": "z"}))
    assert renamed["events"][0] == {"name": "Title", "eventString": "z"}
    assert renamed["events"][1] == {"name": "b", "nextEvents": ["z"], "notes": "a"}
    assert renamed["stages"] == [{"name": "a", "description": "a", "events": ["z", "b"]}]
    assert renamed["diagram"]["tabs"] == [{"label": "a", "entry": "z", "mainEvents": ["b", "z"]}]
    assert renamed["eventGroups"]["one"]["events"] == [{"name": "z", "when": "a"}, {"name": "b"}]
    removed = json.loads(flow_edit.remove_events(json.dumps(data), {"b"}))
    assert removed["stages"][0]["events"] == ["a"]
    assert removed["diagram"]["tabs"][0]["mainEvents"] == ["a"]
    assert removed["eventGroups"]["one"]["events"] == [{"name": "a", "when": "a"}]


def test_only_the_entry_of_the_component_is_changed_where_a_name_has_several() -> None:
    data = {"events": [{"name": "a", "component": name, "properties": []} for name in ("One", "Two")]}
    edited = flow_edit.change_properties(json.dumps(data), [PropertyEdit("a", ("p",), (), ("Two",))], {})
    assert [len(event["properties"]) for event in json.loads(edited)["events"]] == [0, 1]
    edited = flow_edit.change_properties(json.dumps(data), [PropertyEdit("a", ("p",), (), ("Three",))], {})
    assert [len(event["properties"]) for event in json.loads(edited)["events"]] == [1, 1]


def test_a_definition_stays_while_any_entry_lists_its_property() -> None:
    data = {
        "propertyDefinitions": {"p": {"type": "string"}, "q": {"type": "string"}, "never": {"type": "string"}},
        "events": [{"name": "a", "properties": ["p", "q"]}, {"name": "b", "autoProperties": ["p"]}],
    }
    edited = json.loads(flow_edit.change_properties(json.dumps(data), [PropertyEdit("a", (), ("p", "q"))], {}))
    assert list(edited["propertyDefinitions"]) == ["p", "never"]


def test_words() -> None:
    assert slug("orderHistory_V2 x") == "order-history-v-2-x"
    assert slug("支付") == "app"
    assert title("order-history") == "Order History"
    assert phrase("cart_item_added") == "Cart item added"
    assert phrase("eBill paid") == "eBill paid"
    assert folded("Cart  Seen ") == folded("cart seen")
    assert type_of("CartScreen.Content.onPay") == "Content"
    assert type_of("onPay") == ""
    assert screen_of("CartViewModel") == "Cart"
    assert screen_of("ViewModel") == "View Model"
