"""The files of a flow that does not exist yet.

What belongs here: flows.json, flow-slug-map.json, events.json and flow-diagrams.md for a new flow. What does not: which
events go into it (`placement.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from upkeep.content.authoring.entries import component_of
from upkeep.content.authoring.words import screen_of, title
from upkeep.content.diagram_edit import new_file
from upkeep.content.diagrams import DiagramFile
from upkeep.content.edit import Editor, to_json
from upkeep.content.folder import Content
from upkeep.content.scan.model import Call

CATALOGUE_COMMENT = "Flows of the app by key. Each has a folder: see flow-slug-map.json."
SLUG_MAP_COMMENT = "Folder of a flow to its key in flows.json."


def catalogue_text(text: str | None, keys: Sequence[str], names: Mapping[str, str], today: date) -> str:
    """Return flows.json with new entries at its end, in the keys that its entries have."""
    entries = {key: _catalogue_entry(names[key], today) for key in keys}
    if text is None:
        return to_json({"_comment": CATALOGUE_COMMENT, "_version": "2.0", "flows": entries})
    editor = Editor(text)
    root = editor.document.value
    if not isinstance(root.get("flows"), dict):
        editor.set_member("", "flows", entries)
        return editor.text()
    known = [entry for entry in root["flows"].values() if isinstance(entry, dict)]
    for key, entry in entries.items():
        kept = {field: value for field, value in entry.items() if not known or any(field in other for other in known)}
        editor.set_member("/flows", key, kept or entry)
    return editor.text()


def slug_map_text(text: str | None, slugs: Sequence[str], content: Content) -> str | None:
    """Return flow-slug-map.json with the new slugs, None where it needs none: a folder named like its key needs no
    entry, and gets one only where the file lists such folders."""
    if text is None:
        return (
            to_json({"_comment": SLUG_MAP_COMMENT, **{slug: slug for slug in slugs}}) if not content.catalogue else None
        )
    mapped = content.slug_map
    if mapped and not any(slug == key for slug, key in mapped.items()):
        return None
    editor = Editor(text)
    ordered = list(mapped) == sorted(mapped) and len(mapped) > 1
    listed = list(editor.document.value)
    for slug in slugs:
        before = [key for key in listed if key < slug and not key.startswith("_")]
        editor.set_member("", slug, slug, after=before[-1] if ordered and before else None)
    return editor.text()


def events_text(key: str, name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    return to_json({"flowId": key, "flowName": name, "description": flow_description(name), "events": list(entries)})


def diagrams_text(name: str, events: Sequence[tuple[str, Call]], like: DiagramFile | None) -> str:
    """Return a flow-diagrams.md that shows each component with what it sends, in the order of the source."""
    screens: dict[str, list[str]] = {}
    for event, call in sorted(events, key=lambda item: (item[1].path, item[1].line)):
        screens.setdefault(screen_of(component_of(call)), []).append(event)
    return new_file(name, list(screens.items()), like)


def flow_name(slug: str) -> str:
    return title(slug)


def flow_description(name: str) -> str:
    return f"Events sent from the {name} part of the app."


def _catalogue_entry(name: str, today: date) -> dict[str, str]:
    return {"name": name, "description": flow_description(name), "lastAudited": today.isoformat()}
