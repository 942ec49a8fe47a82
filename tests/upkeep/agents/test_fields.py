from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.agents.fields import as_count, as_money, as_object, as_text, parse_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=JSON)
def test_a_value_of_another_type_is_empty_and_never_an_error(value: Any) -> None:
    assert as_object(value) == (value if isinstance(value, dict) else {})
    assert as_text(value) == (value if isinstance(value, str) else "")
    assert as_count(value) >= 0
    money = as_money(value)
    assert money is None or 0 <= money < float("inf")
    assert parse_object(json.dumps(value)) == as_object(json.loads(json.dumps(value))) or value != value


@pytest.mark.parametrize("line", ["", "{", "[]", "7", '"{}"', "[" * 100_000, b"\xff\xfe", '{"a": 1}{"b": 2}'])
def test_what_is_no_object_is_an_empty_one(line: str | bytes) -> None:
    assert parse_object(line) == {}


@pytest.mark.parametrize(
    ("value", "count", "money"),
    [(7, 7, 7.0), (-1, 0, None), (0, 0, 0.0), (True, 0, None), (0.25, 0, 0.25), ("7", 0, None), (None, 0, None)],
)
def test_numbers_are_taken_for_what_they_are(value: object, count: int, money: float | None) -> None:
    assert (as_count(value), as_money(value)) == (count, money)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
def test_money_without_bound_is_none(text: str) -> None:
    assert as_money(json.loads(text)) is None
