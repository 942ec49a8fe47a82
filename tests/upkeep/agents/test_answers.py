from __future__ import annotations

import json

import pytest

from upkeep.agents.answers import answer_in, as_answer, matching, shorten

SCHEMA = {"type": "object", "properties": {"ok": {}, "why": {}}, "required": ["ok", "why"]}
SMALL = {"type": "object", "properties": {"ok": {}}, "required": ["ok"]}


def test_an_object_with_what_is_required_is_an_answer() -> None:
    value = {"ok": True, "why": "", "more": 1}
    assert as_answer(json.dumps(value), SCHEMA) == value
    assert as_answer("{}", {}) == {}


@pytest.mark.parametrize("text", ["", "done", "[]", "null", '{"ok": true}', '{"ok": true, "why', "[" * 100_000])
def test_anything_else_is_none(text: str) -> None:
    assert as_answer(text, SCHEMA) is None


def test_an_answer_is_found_alone_or_in_the_last_fence() -> None:
    assert answer_in(' {"ok": true} ', SMALL) == {"ok": True}
    assert answer_in('Done.\n```json\n{"ok": false}\n```\nand\n```\n{"ok": true}\n```\n', SMALL) == {"ok": True}
    assert answer_in('It is {"ok": true}.', SMALL) is None
    assert answer_in('```json\n{"other": 1}\n```', SMALL) is None


def test_what_a_cli_says_is_the_answer_must_match_too() -> None:
    assert matching({"ok": 1, "why": 2}, SCHEMA) == {"ok": 1, "why": 2}
    assert matching({"ok": 1}, SCHEMA) is None
    assert matching(None, SCHEMA) is None


def test_the_end_of_long_words_is_shown_on_one_line() -> None:
    assert shorten("a\n b\t c") == "a b c"
    assert shorten("x" * 5000 + " end").endswith("x end")
    assert len(shorten("x" * 5000)) == 2000
