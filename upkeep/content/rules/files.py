"""Rules about files: they can be read, they are UTF-8 and JSON, and hide nothing.

What belongs here: rules that need no meaning. What does not: what a file says (`catalogue.py`, `events.py`, …).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from upkeep.content.folder import CATALOGUE, DIAGRAMS, SLUG_MAP, JsonFile, TextFile
from upkeep.content.jsontext import BYTE_ORDER_MARK, Scalar
from upkeep.content.rules.base import Context, Hit, key_of, shown

# C0 and C1 without tab and line ends; then bidirectional controls (UAX #9), zero-width and tag characters, by which a
# text can read otherwise than it looks, and unpaired surrogates. ZWJ and ZWNJ stay: Indic scripts and emoji need them.
_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
_ORDINARY = bytes([0x09, 0x0A, 0x0D, *(byte for byte in range(0x20, 0x7F) if byte != ord("\\"))])
"""Most files hold nothing else, which C finds out a hundred times as fast as an expression."""
_HIDDEN_RAW = re.compile(f"[{_HIDDEN}]")
_HIDDEN_VALUE = re.compile(f"[{_HIDDEN}\ud800-\udfff]")
# Quick and a little too wide: escapes that may stand for one of those.
_HIDDEN_ESCAPE = re.compile(r"\\(?:[bf]|u(?:00[0189]|007|061c|20[026]|fe|ff|d[89a-f]))", re.IGNORECASE)


def text_files(context: Context) -> Iterator[TextFile]:
    """Yield every file of the format that is text."""
    yield from context.content.json_files.values()
    for path, raw in context.content.files.items():
        if path.count("/") == 1 and path.endswith("/" + DIAGRAMS):
            flow = context.content.flows.get(path.split("/", 1)[0])
            yield flow.diagrams_file if flow is not None and flow.diagrams_file is not None else TextFile(path, raw)


def missing_file(context: Context) -> Iterator[Hit]:
    meanings = {CATALOGUE: "the catalogue of flows", SLUG_MAP: "the map from folders to catalogue keys"}
    for path, meaning in meanings.items():
        if path not in context.content.files:
            yield Hit(path, f"{path}, {meaning}, is missing. Create it, or name the folder that holds it.", entry=path)


def unreadable_file(context: Context) -> Iterator[Hit]:
    for refusal in context.refused:
        if refusal.reason != "link_leaves_folder":
            yield Hit(refusal.path, f"{shown(refusal.path)} {refusal.detail}.", entry=refusal.detail)


def link_leaves_folder(context: Context) -> Iterator[Hit]:
    for refusal in context.refused:
        if refusal.reason == "link_leaves_folder":
            message = f"{shown(refusal.path)} {refusal.detail}. Put the file itself here."
            yield Hit(refusal.path, message, entry=refusal.detail)


def not_utf8(context: Context) -> Iterator[Hit]:
    for file in text_files(context):
        error = file.decode_error
        if error is not None:
            line = file.raw.count(b"\n", 0, error.start) + 1
            byte = f"0x{file.raw[error.start]:02x}"
            message = f"The file is not UTF-8: byte {error.start} ({byte}) begins no character. Save it as UTF-8."
            yield Hit(file.path, message, line=line, entry=file.raw.hex())


def invalid_json(context: Context) -> Iterator[Hit]:
    for file in context.content.json_files.values():
        error = file.error
        if error is not None:
            message = f"The file is not JSON: {error.message}."
            yield Hit(file.path, message, line=error.line, column=error.column, entry=file.text or "")


def duplicate_key(context: Context) -> Iterator[Hit]:
    for file in context.content.json_files.values():
        if not file.repeats_keys:
            continue
        document = file.document
        for repeat in document.duplicates:
            line, column = document.lines.position(repeat.member.start)
            name = repeat.member.key.value
            message = f"The key {shown(name)} stands twice in one object; readers take the last. Remove one of them."
            entry = key_of(name, document.text[repeat.member.value.start : repeat.member.value.end])
            yield Hit(file.path, message, pointer=repeat.pointer, line=line, column=column, entry=entry)


def byte_order_mark(context: Context) -> Iterator[Hit]:
    for file in text_files(context):
        if file.text is not None and file.text.startswith(BYTE_ORDER_MARK):
            message = "The file begins with a byte order mark, which JSON.parse refuses. Save it as UTF-8 without one."
            yield Hit(file.path, message, line=1, column=1)


def control_character(context: Context) -> Iterator[Hit]:
    for file in text_files(context):
        if file.text is None:
            continue
        if not file.raw.translate(None, _ORDINARY):
            continue
        for match in _HIDDEN_RAW.finditer(file.text, file.text.startswith(BYTE_ORDER_MARK)):
            line, column = file.lines.position(match.start())
            yield Hit(file.path, _hidden(match[0]), line=line, column=column, entry=file.lines.content(line))
        if isinstance(file, JsonFile) and file.readable and _HIDDEN_ESCAPE.search(file.text):
            yield from _hidden_escapes(file)


def _hidden_escapes(file: JsonFile) -> Iterator[Hit]:
    """Find such characters written as escapes (`\\u202e`), in values and in keys."""
    assert file.text is not None
    document = file.document
    scalars = [(pointer, node) for pointer, node in document.walk() if isinstance(node, Scalar)]
    for pointer, node in document.walk():
        scalars.extend((pointer, member.key) for member in getattr(node, "members", ()))
    for pointer, node in scalars:
        if not isinstance(node.value, str):
            continue
        match = _HIDDEN_VALUE.search(node.value)
        if match is not None and not _HIDDEN_RAW.search(file.text, node.start, node.end):
            line, column = document.lines.position(node.start)
            yield Hit(file.path, _hidden(match[0]), pointer=pointer, line=line, column=column, entry=node.value)


def _hidden(char: str) -> str:
    return f"Here is the character U+{ord(char):04X}, which cannot be seen and can mislead. Remove it."
