"""Text that JSONB takes, and gives back."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upkeep.database import text
from upkeep.database.server import Database

anything = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from("\x00\u241b\ud800\udcff0d"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, max_examples=200)
@given(values)
def test_whatever_goes_in_comes_out(value: Any) -> None:
    assert text.unescape(json.loads(json.dumps(text.escape(value)))) == value


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_postgresql_takes_what_was_escaped(database: Database, value: Any) -> None:
    with database.engine.connect() as connection:
        stored = connection.execute(
            sa.text("SELECT CAST(:value AS jsonb)"), {"value": json.dumps(text.escape(value))}
        ).scalar()
    assert text.unescape(stored) == value


def test_ordinary_text_is_stored_as_it_reads() -> None:
    assert text.escape({"päth": ["a\n", 1, None]}) == {"päth": ["a\n", 1, None]}
