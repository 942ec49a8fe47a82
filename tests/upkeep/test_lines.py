"""Lines end as CommonMark has it, and their parts make up the text again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upkeep.lines import LineIndex

TEXT = st.text(st.sampled_from("ab\r\n\x0b\u2028é"), max_size=40)


@given(TEXT)
def test_contents_and_ends_are_the_text(text: str) -> None:
    index = LineIndex(text)
    numbers = range(1, len(index) + 1)
    assert "".join(index.content(line) + index.end(line) for line in numbers) == text
    assert {index.end(line) for line in numbers[:-1]} <= {"\n", "\r\n", "\r"}
    assert index.end(len(index)) == ""
    assert not any(set(index.content(line)) & {"\r", "\n"} for line in numbers)


@given(TEXT)
def test_every_offset_lies_in_its_line(text: str) -> None:
    index = LineIndex(text)
    for offset in range(len(text) + 1):
        line, column = index.position(offset)
        assert index.start(line) + column - 1 == offset
        assert index.start(line) <= offset < index.start(line + 1) or (line, offset) == (len(index), len(text))
