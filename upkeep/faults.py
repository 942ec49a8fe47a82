"""Faults of a configuration file in words: pydantic's errors as places in the file and sentences for a person.

What belongs here: the translation, for any pydantic model. What does not: the keys (`settings/`) and positions
(`yamlfile.py`).
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, RootModel

from upkeep.yamlfile import Location, YamlFile

Fault = tuple[Location, str]

MOST_NAMED = 30
"""Words that an error lists: of thousands of repositories nobody reads them all."""


def explain(fault: Mapping[str, Any], file: YamlFile, model: type[BaseModel]) -> Fault:
    """One entry of pydantic's `ValidationError.errors()` as a place in the file and a sentence for a person."""
    location = _without_tags(tuple(fault["loc"]), file.values)
    if fault["type"] == "extra_forbidden":
        valid = _valid_keys(model, location[:-1], file.values)
        return location, "unknown key" + nearest(str(location[-1]), valid)
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        return location, f"{context['discriminator']} {context['tag']!r} is none of {context['expected_tags']}"
    if fault["type"] == "union_tag_not_found":
        return location, f"the key {fault['ctx']['discriminator']} is missing"
    if location and location[-1] == "[key]":
        valid = re.findall(r"'([^']+)'", str(fault.get("ctx", {}).get("expected", "")))
        return location[:-1], "unknown key" + nearest(str(location[-2]), valid)
    if fault["type"] == "missing":
        return location, "this key is missing"
    if fault["type"] == "path_type":
        return location, "input should be a path"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return location, message[0].lower() + message[1:]


def _without_tags(location: Location, values: Any) -> Location:
    """pydantic puts the tag of a tagged union into the location; the file has no such key."""
    kept: list[str | int] = []
    node = values
    for index, step in enumerate(location):
        last = index == len(location) - 1
        if isinstance(node, dict) and step not in node and not last:
            continue
        kept.append(step)
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
    return tuple(kept)


def nearest(word: str, valid: Iterable[str], *, otherwise: str = "valid keys here") -> str:
    """The end of a sentence about an unknown word: the nearest valid one, else, after the words `otherwise`, all of
    them or so many. With `otherwise` empty only a nearest one is told."""
    options = sorted(valid)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    if not otherwise:
        return ""
    more = f" and {len(options) - MOST_NAMED} more" if len(options) > MOST_NAMED else ""
    return f"; {otherwise}: {', '.join(options[:MOST_NAMED])}{more}" if options else ""


def _valid_keys(model: Any, location: Location, values: Any) -> list[str]:
    """Names of the fields of the section at `location`, following types as the file's own tags choose them."""
    for step in location:
        model = _inner(model, step)
        if isinstance(values, dict):
            values = values.get(step)
        elif isinstance(values, list) and isinstance(step, int) and step < len(values):
            values = values[step]
        model = _member(model, values)
    return [name for name in getattr(model, "model_fields", {}) if name != "source"]


def _inner(model: Any, step: str | int) -> Any:
    """The type of what stands at one step below a section, a mapping or a list."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        fields = model.model_fields
        if issubclass(model, RootModel):
            return _inner(fields["root"].annotation, step)
        return fields[str(step)].annotation if str(step) in fields else None
    arguments = typing.get_args(model)
    if not arguments:
        return None
    return arguments[-1] if typing.get_origin(model) is dict else arguments[0]


def _member(annotation: Any, node: Any) -> Any:
    """Unwrap Annotated and optional types; of a tagged union take the member whose tag stands in `node`."""
    if typing.get_origin(annotation) is Annotated:
        return _member(typing.get_args(annotation)[0], node)
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    members = [member for member in typing.get_args(annotation) if hasattr(member, "model_fields")]
    for member in members:
        for key in ("kind", "engine"):
            tag = member.model_fields.get(key)
            if tag is not None and isinstance(node, dict) and node.get(key) in typing.get_args(tag.annotation):
                return member
    return members[0] if members else None
