"""Rules about _evidence.json: it has its shape, and says what is true of the commit that it names.

What belongs here: the file against a source of texts. What does not: writing it (`content/evidence.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from upkeep.content.folder import EVIDENCE, JsonFile
from upkeep.content.jsontext import pointer_of
from upkeep.content.rules.base import Context, Hit, key_of, shown
from upkeep.lines import LineIndex


def invalid_evidence_shape(context: Context) -> Iterator[Hit]:
    file = _file(context)
    if file is None:
        return
    if not isinstance(file.value, dict):
        yield Hit(file.path, f"The file must be an object. {_RESTORE}", pointer="")
        return
    for key in ("repository", "commit"):
        if not isinstance(file.value.get(key), str):
            yield Hit(file.path, f"`{key}` must be a text. {_RESTORE}", pointer="", entry=key)
    if not isinstance(file.value.get("events"), dict):
        yield Hit(file.path, f"`events` must be an object of flow, name and places. {_RESTORE}", pointer="")
        return
    for slug, name, places in _named(file):
        if not isinstance(name, str) or not isinstance(places, list) or not all(_is_place(place) for place in places):
            message = (
                f"The evidence of {shown(slug)} {shown(name or '')} is not a list of path, line and symbol. {_RESTORE}"
            )
            pointer = pointer_of("events", slug, *([name] if name is not None else []))
            yield Hit(file.path, message, pointer=pointer, entry=key_of(slug, name, places))


def evidence_not_in_commit(context: Context) -> Iterator[Hit]:
    file = _file(context)
    if file is None or context.evidence is None or not isinstance(file.value, dict):
        return
    source = context.evidence

    @cache
    def text_and_lines(path: str) -> tuple[str, LineIndex] | None:
        text = source(path)
        return None if text is None else (text, LineIndex(text))

    commit = str(file.value.get("commit", ""))[:12]
    for slug, name, places in _named(file):
        if name is None or not isinstance(places, list):
            continue
        for index, place in enumerate(places):
            if not _is_place(place):
                continue
            found = text_and_lines(place["path"])
            problem = "there is no such text file" if found is None else _problem(name, place, *found)
            if problem is not None:
                where = f"{place['path']}:{place['line']}"
                message = f"{shown(where)} is no evidence of {shown(name)} at commit {shown(commit)}: {problem}."
                yield Hit(file.path, message, pointer=pointer_of("events", slug, name, index), entry=key_of(place))


def _problem(name: str, place: dict[str, Any], text: str, lines: LineIndex) -> str | None:
    """Say why a place does not hold in its file. A name may be a constant that stands elsewhere, so that its symbol
    is proof enough."""
    count = len(lines) - (text == "" or text.endswith(("\n", "\r")))
    if not 1 <= place["line"] <= count:
        return f"the file has {count} lines"
    if not lines.content(place["line"]).strip():
        return "the line is empty"
    symbol = str(place.get("symbol", "")).rsplit(".", 1)[-1]
    if name not in text and symbol and symbol not in text:
        return f"neither the name nor {shown(symbol)} is in the file"
    return None


def stale_evidence(context: Context) -> Iterator[Hit]:
    file = _file(context)
    if file is None:
        return
    for slug, name, _ in _named(file):
        flow = context.content.flows.get(slug)
        if name is not None and (flow is None or name not in flow.names):
            message = f"There is evidence of {shown(name)} in {shown(slug)}, which has no such event."
            yield Hit(file.path, message, pointer=pointer_of("events", slug, name))


_RESTORE = "Restore the file from the base branch: upkeep alone writes it."


def _file(context: Context) -> JsonFile | None:
    file = context.content.json_files.get(EVIDENCE)
    return file if file is not None and file.readable else None


def _named(file: JsonFile) -> Iterator[tuple[str, str | None, Any]]:
    """Yield `(slug, name, places)`; a flow that holds no object comes with the name None."""
    events = file.value.get("events") if isinstance(file.value, dict) else None
    for slug, names in (events if isinstance(events, dict) else {}).items():
        if isinstance(names, dict):
            yield from ((slug, name, places) for name, places in names.items())
        else:
            yield slug, None, names


def _is_place(place: Any) -> bool:
    return (
        isinstance(place, dict)
        and isinstance(place.get("path"), str)
        and type(place.get("line")) is int
        and isinstance(place.get("symbol", ""), str)
    )
