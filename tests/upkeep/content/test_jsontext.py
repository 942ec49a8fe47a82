from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from upkeep.content.jsontext import (
    MAX_DEPTH,
    Document,
    JsonSyntaxError,
    Object,
    load,
    locate,
    parse,
    pointer_of,
    split_pointer,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
INDENTS = st.sampled_from([None, 0, 1, 2, "\t"])
SCRAPS = st.sampled_from(
    [*'{}[],:"\\ \n\r\t/-+.0123eE', "null", "true", '""', "\\u12", "\\ud834", "\ufeff", "é", "'", "NaN"]
)


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def reference(text: str) -> Any:
    """What Python's decoder says, without its extension for NaN and Infinity."""
    return json.loads(text.removeprefix("\ufeff"), parse_constant=refuse)


@given(VALUES, INDENTS, st.booleans())
@settings(deadline=None, max_examples=100)
def test_a_generated_text_reads_as_pythons_decoder_reads_it(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parse(text).value == reference(text)
    assert load(text) == (reference(text), False)


@given(VALUES, st.data())
@settings(deadline=None, max_examples=100)
def test_a_mutated_text_is_refused_exactly_where_pythons_decoder_refuses_it(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, indent=1)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(SCRAPS) + text[place + data.draw(st.integers(0, 2)) :]
    assume(text.count("\ufeff") <= text.startswith("\ufeff"))
    try:
        expected = reference(text)
    except ValueError:
        with pytest.raises(JsonSyntaxError) as caught:
            parse(text)
        assert 0 <= caught.value.offset <= len(text)
        with pytest.raises(JsonSyntaxError):
            load(text)
    else:
        assert parse(text).value == expected
        assert load(text)[0] == expected


@given(VALUES, INDENTS)
@settings(deadline=None, max_examples=100)
def test_every_span_holds_its_own_value(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    document = parse(text)
    for pointer, node in document.walk():
        assert json.loads(text[node.start : node.end]) == node.value
        assert document.at(pointer) is node
        assert document.lines.position(locate(text, pointer)) == document.position(pointer)


SYNTAX_ERRORS = [
    ('{"a": 1,}', 1, 8, 'no comma before "}"', "a trailing comma"),
    ("[1 2]", 1, 4, '"," or "]"', '"2"'),
    ("{a: 1}", 1, 2, "a key in double quotes", '"a"'),
    ('{\n  "a" 1}', 2, 7, '":" after the key', '"1"'),
    ("{'a': 1}", 1, 2, "a key in double quotes", "double quotes only"),
    ('["a\nb"]', 1, 2, "a closing quote on the same line", "does not end"),
    ('["a\tb"]', 1, 4, "an escape", "U+0009"),
    ('["\\x"]', 1, 3, "one of the escapes", '"\\x"'),
    ('["\\u12G4"]', 1, 3, "four hexadecimal digits", "12G4"),
    ("[NaN]", 1, 2, "a value", "NaN"),
    ("[01]", 1, 3, '"," or "]"', '"1"'),
    ("", 1, 1, "a value", "the end of the file"),
    ("{}\r\n\r\nx", 3, 1, "the end of the file", '"x"'),
    ("// no\n{}", 1, 1, "a value", "a comment"),
    ('{\n<<<<<<< HEAD\n"a": 1}', 2, 1, "a key in double quotes", "a conflict marker"),
    ("[" * 300 + "]" * 300, 1, MAX_DEPTH + 1, f"at most {MAX_DEPTH} levels", "one more"),
    ("[" * 100_000, 1, MAX_DEPTH + 1, f"at most {MAX_DEPTH} levels", "one more"),
]


@pytest.mark.parametrize(("text", "line", "column", "expected", "found"), SYNTAX_ERRORS)
def test_a_syntax_error_names_line_column_and_what_was_expected(
    text: str, line: int, column: int, expected: str, found: str
) -> None:
    for read in (parse, load):
        with pytest.raises(JsonSyntaxError) as caught:
            read(text)
        error = caught.value
        # A comma is named by its own place, not by that of what follows it.
        assert (error.line, error.column) == (line, column)
        assert expected in error.expected
        assert found in error.found


def test_nesting_up_to_the_limit_is_read() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert load(text)[0] == parse(text).value == json.loads(text)


@pytest.mark.parametrize("shallow", ["]", "}", '\\"]', "\\\\", "[", '"', "é]"])
def test_brackets_in_strings_do_not_hide_how_deep_a_text_is(shallow: str) -> None:
    opening = f"[{json.dumps(shallow)}," * (MAX_DEPTH - 1)
    deepest = opening + "[]" + "]" * (MAX_DEPTH - 1)
    assert load(deepest)[0] == parse(deepest).value
    with pytest.raises(JsonSyntaxError, match="levels of nesting"):
        load(opening + "[[]]" + "]" * (MAX_DEPTH - 1))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    text = json.dumps([[{"a": ["[", "]]"]}]] * 500)
    assert load(text) == (json.loads(text), False)


def test_an_integer_longer_than_python_converts_is_read_as_javascript_reads_it() -> None:
    assert load("[1" + "0" * 5000 + "]")[0] == [float("inf")]


def test_a_byte_order_mark_is_skipped_and_counted() -> None:
    document = parse('\ufeff{"a": 1}')
    assert document.value == {"a": 1}
    assert document.text[document.root.start : document.root.end] == '{"a": 1}'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_counted_whatever_ends_them(end: str) -> None:
    document = parse(f'{{{end}  "a": [{end}    1,{end}    2{end}  ]{end}}}')
    assert document.position("/a") == (2, 3)
    assert document.position("/a/1") == (4, 5)


def test_repeated_keys_are_listed_and_the_last_one_counts() -> None:
    text = '{"a": {"x": 1, "x": 2}, "b": [{"c": 1}], "a": {"y": 1, "y": 2}}'
    document = parse(text)
    assert [item.pointer for item in document.duplicates] == ["/a/x", "/a", "/a/y"]
    assert load(text) == (document.value, True) == ({"a": {"y": 2}, "b": [{"c": 1}]}, True)
    node = document.at("/a")
    assert isinstance(node, Object)
    assert [member.key.value for member in node.members] == ["y", "y"]
    assert locate(text, "/a") == text.rindex('"a"')


BLANKS = st.text(alphabet=" \t\n\r", max_size=2)
TRICKY = st.text(alphabet=':" \\,{}[]\n\tab', max_size=4)
ESCAPED_TOO = st.tuples(TRICKY, st.booleans()).map(
    lambda drawn: f'"\\u{ord(drawn[0][0]):04x}{json.dumps(drawn[0][1:])[1:]}' if all(drawn) else json.dumps(drawn[0])
)


def member(key: str, before: str, after: str, value: str) -> str:
    return f"{key}{before}:{after}{value}"


MEMBER_TEXTS = st.recursive(
    ESCAPED_TOO,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.builds(member, ESCAPED_TOO, BLANKS, BLANKS, inner), max_size=4).map(
            lambda members: f"{{{' , '.join(members)}}}"
        )
    ),
    max_leaves=12,
)


@given(MEMBER_TEXTS, st.data())
@settings(deadline=None, max_examples=400)
def test_no_repeated_key_is_missed_whatever_the_strings_hold(text: str, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        # Often enough the same members again, which drawing alone would seldom give.
        text = f'{{"a":{text},"b" :{text},"{data.draw(st.sampled_from("abc"))}"\n: 1}}'
    document = parse(text)
    repeats = any(len(node.members) != len(node.value) for _, node in document.walk() if isinstance(node, Object))
    assert load(text) == (document.value, repeats)
    assert bool(document.duplicates) is repeats


def test_a_value_too_deep_is_refused_where_a_later_key_repeats_its_own_too() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    with pytest.raises(JsonSyntaxError, match="levels of nesting"):
        load(f'{{"a": {deep}, "a": 1}}')


@given(st.lists(st.text()))
@settings(deadline=None, max_examples=50)
def test_a_pointer_splits_into_the_parts_it_was_made_of(parts: list[str]) -> None:
    assert split_pointer(pointer_of(*parts)) == parts


def test_a_pointer_to_nothing_gives_the_place_of_the_nearest_container() -> None:
    document: Document = parse('{\n "a": {\n  "b": 1\n }\n}')
    assert document.at("/a/c/d") is None
    assert document.at("/a/0") is None
    assert document.position("/a/c/d") == (2, 2)
    assert document.lines.position(locate(document.text, "/a/c/d")) == (2, 2)


def test_a_pointer_must_begin_with_a_slash() -> None:
    with pytest.raises(ValueError, match="not a JSON pointer"):
        split_pointer("a")
