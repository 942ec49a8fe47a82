"""Edits of JSON text: the model changes as asked, and nothing else does."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.edit import Editor, Splice, splice, to_json
from upkeep.content.jsontext import parse

FILE = """{
  "flowId": "cart",
  "stages": [
    { "name": "Entry", "events": ["cart opened", "cart seen"] }
  ],
  "events": [
    {
      "name": "cart opened",
      "properties": ["id"]
    },

    {
      "name": "cart seen",
      "properties": []
    }
  ]
}
"""


def test_a_new_item_follows_indentation_and_nested_style_of_its_neighbours() -> None:
    editor = Editor(FILE)
    editor.insert_items("/events", 1, [{"name": "cart left", "properties": ["id", "total"]}])
    assert (
        editor.text()
        == """{
  "flowId": "cart",
  "stages": [
    { "name": "Entry", "events": ["cart opened", "cart seen"] }
  ],
  "events": [
    {
      "name": "cart opened",
      "properties": ["id"]
    },

    {
      "name": "cart left",
      "properties": ["id", "total"]
    },

    {
      "name": "cart seen",
      "properties": []
    }
  ]
}
"""
    )


def test_an_item_of_a_list_on_one_line_stays_on_it() -> None:
    editor = Editor(FILE)
    editor.insert_items("/stages/0/events", 1, ["cart left"])
    editor.insert_items("/stages", 1, [{"name": "Exit", "events": ["cart left"]}])
    text = editor.text()
    assert '{ "name": "Entry", "events": ["cart opened", "cart left", "cart seen"] },\n' in text
    assert '    { "name": "Exit", "events": ["cart left"] }\n  ],\n' in text


def test_an_empty_list_is_filled_in_the_style_of_the_named_neighbour() -> None:
    document = parse(FILE)
    expanded, like = Editor(document), Editor(document)
    expanded.insert_items("/events/1/properties", 0, ["id"])
    assert '"properties": [\n        "id"\n      ]' in expanded.text()
    neighbour = document.at("/events/0/properties")
    assert neighbour is not None
    like.insert_items("/events/1/properties", 0, ["id"], like=[neighbour])
    assert '"properties": ["id"]\n    }\n  ]' in like.text()


def test_an_item_goes_with_its_comma() -> None:
    for index in (0, 1):
        editor = Editor(FILE)
        editor.remove_items("/stages/0/events", [index])
        assert f'"events": ["{("cart seen", "cart opened")[index]}"]' in editor.text()
    editor = Editor(FILE)
    editor.remove_items("/stages/0/events", [0, 1])
    assert '"events": []' in editor.text()


def test_items_change_places_with_others_in_one_go() -> None:
    editor = Editor("[1, 2, 3, 4]")
    editor.remove_items("", [0, 1, 3])
    editor.insert_items("", 1, ["a"])
    editor.insert_items("", 4, ["z"])
    assert editor.text() == '["a", 3, "z"]'


def test_members_are_set_inserted_and_removed() -> None:
    editor = Editor('{"a": 1, "c": 3}')
    editor.set_member("", "b", [2], after="a")
    editor.set_member("", "c", "three")
    editor.set_member("", "d", None)
    assert editor.text() == '{"a": 1, "b": [2], "c": "three", "d": null}'
    editor = Editor('{"a": 1, "b": 2, "a": 3}')
    editor.remove_member("", "a")
    editor.remove_member("", "nothing")
    assert editor.text() == '{"b": 2}'


def test_byte_order_mark_line_ends_and_escapes_are_those_of_the_file() -> None:
    text = "\ufeff" + '{\r\n\t"name": "caf\\u00e9",\r\n\t"list": [\r\n\t\t"x"\r\n\t]\r\n}\r\n'
    editor = Editor(text)
    editor.insert_items("/list", 1, ["né"])
    editor.set_member("", "more", {"a": 1})
    assert editor.text() == (
        "\ufeff"
        + '{\r\n\t"name": "caf\\u00e9",\r\n\t"list": [\r\n\t\t"x",\r\n\t\t"n\\u00e9"\r\n\t],'
        + '\r\n\t"more": {\r\n\t\t"a": 1\r\n\t}\r\n}\r\n'
    )
    assert Editor('["é"]').document.value == ["é"]
    editor = Editor('["é"]')
    editor.insert_items("", 1, ["ü", "\ud800"])
    assert editor.text() == '["é", "ü", "\\ud800"]'


def test_an_editor_refuses_places_that_are_not_there() -> None:
    editor = Editor(FILE)
    with pytest.raises(KeyError):
        editor.insert_items("/nowhere", 0, [1])
    with pytest.raises(TypeError):
        editor.insert_items("/flowId", 0, [1])
    with pytest.raises(TypeError):
        editor.set_member("/events", "a", 1)


def test_overlapping_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        splice("abcdef", [Splice(1, 4, ""), Splice(3, 5, "x")])
    editor = Editor(FILE)
    editor.remove_items("/events", [0])
    editor.replace("/events/0/name", "x")
    with pytest.raises(ValueError, match="overlap"):
        editor.text()


def test_an_editor_without_changes_gives_back_the_text() -> None:
    editor = Editor(FILE)
    assert not editor.changed
    assert editor.text() == FILE


def test_a_new_file_has_two_blanks_and_a_line_end() -> None:
    assert to_json({"a": ["é"]}) == '{\n  "a": [\n    "é"\n  ]\n}\n'


TEXTS = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A JSON text in one of many styles."""
    value = draw(st.lists(VALUES, max_size=5) | st.dictionaries(TEXTS, VALUES, max_size=5))
    indent = draw(st.sampled_from([None, 0, 1, 2, "\t"]))
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]))
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text + draw(st.sampled_from(["", "\n", " \r\n"]))


def _containers(text: str) -> list[tuple[str, Any]]:
    return [(pointer, node) for pointer, node in parse(text).walk() if isinstance(node.value, (list, dict))]


def _lookup(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


@settings(deadline=None, max_examples=150)
@given(text=files(), data=st.data())
def test_the_parsed_edit_is_the_edited_model_and_the_rest_is_unchanged(text: str, data: st.DataObject) -> None:
    pointer, node = data.draw(st.sampled_from(_containers(text)))
    expected = copy.deepcopy(parse(text).value)
    parts = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    target = _lookup(expected, parts)
    editor = Editor(text)
    if isinstance(target, list):
        removed = data.draw(st.sets(st.integers(0, max(len(target) - 1, 0)), max_size=3)) if target else set()
        inserts = data.draw(st.dictionaries(st.integers(0, len(target)), st.lists(VALUES, max_size=2), max_size=2))
        editor.remove_items(pointer, removed)
        for index, values in inserts.items():
            editor.insert_items(pointer, index, values)
        result = []
        for index in range(len(target) + 1):
            result += inserts.get(index, [])
            result += [target[index]] if index < len(target) and index not in removed else []
        target[:] = result
    else:
        key, value = data.draw(TEXTS), data.draw(VALUES)
        dropped = data.draw(st.sampled_from([None, *target]))
        if dropped is not None and dropped != key:
            editor.remove_member(pointer, dropped)
            del target[dropped]
        editor.set_member(pointer, key, value)
        target[key] = value
    edited = editor.text()
    assert parse(edited).value == expected
    assert edited.startswith(text[: node.start])
    assert edited.endswith(text[node.end :])


@settings(deadline=None, max_examples=60)
@given(text=files(), data=st.data())
def test_an_edit_keeps_every_byte_outside_of_its_span(text: str, data: st.DataObject) -> None:
    lists = [(pointer, node) for pointer, node in _containers(text) if isinstance(node.value, list) and node.value]
    if not lists:
        return
    pointer, node = data.draw(st.sampled_from(lists))
    index = data.draw(st.integers(0, len(node.items)))
    editor = Editor(text)
    editor.insert_items(pointer, index, ["new"])
    edited = editor.text()
    before = node.items[index - 1].end if index else node.items[0].start
    assert edited[:before] == text[:before]
    assert edited.endswith(text[before:])
    undo = Editor(edited)
    undo.remove_items(pointer, [index])
    assert parse(undo.text()).value == parse(text).value
