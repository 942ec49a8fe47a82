"""Rules about the catalogue, the slug map, and the folders that they name.

What belongs here: flows.json, flow-slug-map.json, unassigned.json. What does not: what is in a flow (`events.py`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from upkeep.content.folder import CATALOGUE, EVENTS, SLUG_MAP, UNASSIGNED, JsonFile
from upkeep.content.jsontext import pointer_of
from upkeep.content.rules.base import Context, Hit, is_text, key_of, kind_of, listed, shown


def invalid_catalogue_shape(context: Context) -> Iterator[Hit]:
    file = _readable(context, CATALOGUE)
    if file is None:
        return
    flows = file.value.get("flows") if isinstance(file.value, dict) else None
    if not isinstance(file.value, dict):
        yield Hit(file.path, f"The file must be an object with `flows`, not {kind_of(file.value)}.", pointer="")
    elif not isinstance(flows, dict):
        missing = "is missing" if "flows" not in file.value else f"must be an object, not {kind_of(flows)}"
        yield Hit(file.path, f"`flows` {missing}: it holds catalogue key to name and description.", pointer="/flows")
    else:
        for key, entry in flows.items():
            if not isinstance(entry, dict):
                message = f"The entry {shown(key)} must be an object with name and description, not {kind_of(entry)}."
                yield Hit(file.path, message, pointer=pointer_of("flows", key), entry=key_of(key, entry))


def invalid_slug_map_shape(context: Context) -> Iterator[Hit]:
    file = _readable(context, SLUG_MAP)
    if file is None:
        return
    if not isinstance(file.value, dict):
        message = f"The file must be an object of folder to catalogue key, not {kind_of(file.value)}."
        yield Hit(file.path, message, pointer="")
        return
    for slug, key in file.value.items():
        if not slug.startswith("_") and not isinstance(key, str):
            message = f"The folder {shown(slug)} must stand for a catalogue key (a text), not {kind_of(key)}."
            yield Hit(file.path, message, pointer=pointer_of(slug), entry=key_of(slug, key))


def unknown_flow_key(context: Context) -> Iterator[Hit]:
    if _readable(context, CATALOGUE) is None:
        return
    catalogue = context.content.catalogue
    for slug, key in context.content.slug_map.items():
        if key not in catalogue:
            near = context.nearest(key, catalogue)
            hint = f"The nearest key is {shown(near)}." if near else "Add the key to the catalogue or remove the entry."
            message = f"The folder {shown(slug)} is mapped to {shown(key)}, which flows.json does not have. {hint}"
            yield Hit(SLUG_MAP, message, pointer=pointer_of(slug), entry=key_of(slug, key))


def duplicate_mapping(context: Context) -> Iterator[Hit]:
    first: dict[str, str] = {}
    for slug, key in context.content.slug_map.items():
        if key in first:
            message = (
                f"The folders {shown(first[key])} and {shown(slug)} both stand for {shown(key)}: readers take one of "
                "them. Remove one entry."
            )
            yield Hit(SLUG_MAP, message, pointer=pointer_of(slug))
        first.setdefault(key, slug)


def invalid_flow_dir(context: Context) -> Iterator[Hit]:
    for slug, key, file, pointer in _wanted_folders(context):
        if _plain_name(slug) and slug not in context.content.files:
            continue
        what = "is a file, not a folder" if slug in context.content.files else "is no plain folder name"
        yield Hit(file, f"{shown(slug)} {what}: flow {shown(key)} has no content.", pointer=pointer, entry=slug)


def missing_flow_dir(context: Context) -> Iterator[Hit]:
    for slug, key, file, pointer in _wanted_folders(context):
        if slug in context.content.folders or not _plain_name(slug) or slug in context.content.files:
            continue
        near = context.nearest(slug, context.content.folders)
        hint = f"The nearest folder is {shown(near)}; a folder of another name needs an entry in {SLUG_MAP}."
        rest = hint if near else "Create it with an events.json, or remove the flow."
        message = f"The flow {shown(key)} has no folder {shown(slug)}. {rest}"
        yield Hit(file, message, pointer=pointer, entry=slug)


def missing_events_json(context: Context) -> Iterator[Hit]:
    content = context.content
    for slug, key, _, _ in _wanted_folders(context):
        path = f"{slug}/{EVENTS}"
        if slug in content.folders and path not in content.files:
            yield Hit(path, f"The folder of flow {shown(key)} has no events.json. Add it.", entry=slug)


def unlisted_flow(context: Context) -> Iterator[Hit]:
    if _readable(context, CATALOGUE) is None:
        return
    slugs = context.content.slugs
    for flow in context.flows:
        if flow.slug not in slugs:
            message = (
                f"No key of flows.json stands for the folder {shown(flow.slug)}, so nobody sees it. Add it to the "
                f"catalogue, or map it in {SLUG_MAP}."
            )
            yield Hit(flow.file.path, message)


def incomplete_catalogue_entry(context: Context) -> Iterator[Hit]:
    for key, entry in context.content.catalogue.items():
        if not isinstance(entry, dict):
            continue
        missing = [name for name in ("name", "description") if not is_text(entry.get(name))]
        if missing:
            message = f"The catalogue entry {shown(key)} has no {' and no '.join(missing)}."
            yield Hit(CATALOGUE, message, pointer=pointer_of("flows", key))
        if "lastAudited" in entry and not _is_date(entry["lastAudited"]):
            message = f"`lastAudited` of {shown(key)} is {shown(entry['lastAudited'])}, not a date as YYYY-MM-DD."
            yield Hit(CATALOGUE, message, pointer=pointer_of("flows", key, "lastAudited"))


def invalid_unassigned_shape(context: Context) -> Iterator[Hit]:
    file = _readable(context, UNASSIGNED)
    if file is None:
        return
    events = file.value.get("events") if isinstance(file.value, dict) else None
    if not isinstance(events, list):
        yield Hit(file.path, "The file must be an object whose `events` is an array.", pointer="")
        return
    for index, item in enumerate(events):
        if not isinstance(item, dict) or not is_text(item.get("name")):
            message = f"Entry {index + 1} must be an object with a `name`."
            yield Hit(file.path, message, pointer=pointer_of("events", index), entry=key_of(item))


def assigned_and_unassigned(context: Context) -> Iterator[Hit]:
    """An event that is documented and still listed as unassigned."""
    names = [item["name"] for item in context.content.unassigned if is_text(item.get("name"))]
    both = [name for name in names if name.strip() in context.flows_of]
    if both:
        yield Hit(UNASSIGNED, f"Documented in a flow and still listed here: {listed(both)}.", pointer="/events")


def _readable(context: Context, path: str) -> JsonFile | None:
    file = context.content.json_files.get(path)
    return file if file is not None and file.readable else None


def _wanted_folders(context: Context) -> Iterator[tuple[str, str, str, str]]:
    """Yield the folders that must be there: `(slug, catalogue key, file that says so, pointer)`."""
    content = context.content
    mapped = set(content.slug_map.values())
    for slug, key in content.slug_map.items():
        if key in content.catalogue or _readable(context, CATALOGUE) is None or not _plain_name(slug):
            yield slug, key, SLUG_MAP, pointer_of(slug)
    for key in content.catalogue:
        if key not in mapped:
            yield key, key, CATALOGUE, pointer_of("flows", key)


def _plain_name(slug: str) -> bool:
    return bool(slug.strip()) and "/" not in slug and "\\" not in slug and slug not in (".", "..") and "\0" not in slug


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) == 10 and bool(datetime.date.fromisoformat(value))
    except ValueError:
        return False
