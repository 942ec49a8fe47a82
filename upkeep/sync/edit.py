"""Writing a value into a file by its span, and proving that nothing else changed.

What belongs here: edits, applying them to a text, and reading the result back. What does not: deciding on an edit
(`plan.py`) and the file system (`workingtree.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upkeep.sync.block import Block
from upkeep.sync.document import Document, parse


@dataclass(frozen=True, slots=True)
class Edit:
    """Put `new` in the place of the characters from `start` up to `end`. `line` (from 1) is where the block opens that
    holds it, `key` the field that it sets and `value` what the field says afterwards."""

    start: int
    end: int
    new: str
    line: int
    key: str
    value: str


def setting(block: Block, key: str, value: str, *, quote: str = "") -> Edit | None:
    """The edit that gives a field this value, in the quotes that it has (else `quote`); None: there is no way to do it
    by a span. A field that is absent becomes a line of its own at the end of the block."""
    field = block.fields.get(key)
    if field is None:
        if block.insert_at is None:
            return None
        new = f"{block.indent}{key}: {quote}{value}{quote}{block.newline}"
        return Edit(block.insert_at, block.insert_at, new, block.line, key, value)
    if field.nested or field.items is not None:
        return None
    if field.start == field.end:
        # Nothing stands after the colon, and the span is right behind it.
        return Edit(field.start, field.end, f" {quote}{value}{quote}", block.line, key, value)
    mark = field.quote or (quote if field.empty else "")
    return Edit(field.start, field.end, f"{mark}{value}{mark}", block.line, key, value)


def apply(document: Document, edits: Sequence[Edit]) -> Document | None:
    """The document after the edits, read back; None where it does not say exactly what it said before and the new
    values. Edits do not overlap."""
    text = document.text
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    after = parse(document.path, text.encode())
    return after if _says(after) == _wanted(document, edits) else None


def _blocks(document: Document) -> list[Block]:
    return [*([document.front] if document.front else []), *(task.block for task in document.tasks)]


def _says(document: Document) -> list[dict[str, object]]:
    return [
        {key: (field.value, field.items, field.nested) for key, field in block.fields.items()}
        for block in _blocks(document)
    ]


def _wanted(document: Document, edits: Sequence[Edit]) -> list[dict[str, object]]:
    says = _says(document)
    for fields, block in zip(says, _blocks(document), strict=True):
        fields.update({edit.key: (edit.value, None, False) for edit in edits if edit.line == block.line})
    return says
