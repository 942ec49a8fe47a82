"""The form in which the cache keeps what was read from a file.

What belongs here: records to text and back. What does not: the records (`facts.py`, `expression.py`), and where the
text is kept (`cache.py`).

A rescan spends much of its time on reading this, so it is made to be read in one pass without recursion: a table of
plain values (None, numbers, strings, tuples of strings), then one of nodes, each `[tag, argument, …]` where an argument
is the index of a plain value or of a node before it. What stands in a file twice stands in a table once. Trailing
fields of a record that have their default are left out. A checksum says whether all of it is there, so that the
functions, which few readers ask for, can be left unread until then.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import fields
from typing import Any

from upkeep.content.scan import expression
from upkeep.content.scan.facts import (
    CallSite,
    Constant,
    Constructor,
    Field,
    FileFacts,
    Function,
    Functions,
    Import,
    Supertype,
    Type,
)

_RECORDS: tuple[type, ...] = (
    *(getattr(expression, name) for name in (
        "Text", "Name", "Member", "Parameter", "Join", "Choice", "Case", "Match", "Argument", "Invoke", "Element",
        "Component", "Pair", "Group", "Unknown",
    )),
    Import, Field, Supertype, Constructor, Type, Constant, Function, CallSite,
)  # fmt: skip
_TUPLE = len(_RECORDS)
_TAGS = {record: tag for tag, record in enumerate(_RECORDS)}
_FIELDS = {record: tuple((field.name, field.default) for field in fields(record)) for record in _RECORDS}
_CHECKSUM_DIGITS = 8


def store_facts(facts: FileFacts) -> str:
    """Return `facts` as text; `load_facts` reads it."""
    rest = _encoded((facts.package, facts.imports, facts.types, facts.constants, facts.calls))
    names = json.dumps(facts.functions.names, separators=(",", ":"), ensure_ascii=False)
    return _sealed("\n".join((rest, names, _encoded(tuple(facts.functions)))))


def load_facts(text: str) -> FileFacts:
    """Return the facts that `store_facts` was given. Raises ValueError for any other text."""
    parts = _unsealed(text).split("\n")
    if len(parts) != 3:
        raise ValueError("not the stored facts of a file")
    rest, names, functions = parts
    package, imports, types, constants, calls = _decoded(rest)
    made = Functions(tuple(json.loads(names)), lambda: _decoded(functions))
    return FileFacts(package, imports, types, constants, made, calls)


def store_sites(sites: tuple[CallSite, ...]) -> str:
    """Return `sites` as text; `load_sites` reads it."""
    return _sealed(_encoded(sites))


def load_sites(text: str) -> tuple[CallSite, ...]:
    """Return the call sites that `store_sites` was given. Raises ValueError for any other text."""
    sites = _decoded(_unsealed(text))
    if not isinstance(sites, tuple) or not all(isinstance(site, CallSite) for site in sites):
        raise ValueError("not stored call sites")
    return sites


def _sealed(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):0{_CHECKSUM_DIGITS}x}{text}"


def _unsealed(text: str) -> str:
    """Return what was sealed. Raises ValueError where it is not as it was."""
    if not isinstance(text, str):
        raise ValueError("no text")
    content = text[_CHECKSUM_DIGITS:]
    if _sealed(content) != text:
        raise ValueError("the stored text is damaged")
    return content


def _encoded(value: Any) -> str:
    table = _Table()
    table.add(value)
    return json.dumps([table.plain, table.shifted()], separators=(",", ":"), ensure_ascii=False)


class _Table:
    """Plain values and nodes, each once. Nodes refer to plain values by their index, to nodes by ~index."""

    def __init__(self) -> None:
        self.plain: list[Any] = []
        self._nodes: list[tuple[int, ...]] = []
        self._known: dict[object, int] = {}

    def add(self, value: Any) -> int:
        """Return the reference to `value`."""
        if value is None or isinstance(value, (str, int)):
            return self._once((type(value), value), self.plain, value)
        if isinstance(value, tuple):
            if all(isinstance(item, str) for item in value):
                return self._once(value, self.plain, value)
            return ~self._once((_TUPLE, *map(self.add, value)), self._nodes)
        items = [(getattr(value, name), default) for name, default in _FIELDS[type(value)]]
        while items and items[-1][0] == items[-1][1]:
            items.pop()
        return ~self._once((_TAGS[type(value)], *(self.add(item) for item, _ in items)), self._nodes)

    def _once(self, key: object, table: list[Any], value: Any = None) -> int:
        key = (table is self.plain, key)
        if key not in self._known:
            self._known[key] = len(table)
            table.append(key[1] if table is self._nodes else value)
        return self._known[key]

    def shifted(self) -> list[list[int]]:
        """Return the nodes as they are stored: both tables counted through, plain values first."""
        first = len(self.plain)
        return [[tag, *(at if at >= 0 else first + ~at for at in arguments)] for tag, *arguments in self._nodes]


def _decoded(text: str) -> Any:
    """Return the value whose `_encoded` form is `text`. Raises ValueError for any other text."""
    try:
        plain, nodes = json.loads(text)
        values = [tuple(value) if isinstance(value, list) else value for value in plain]
        for tag, *arguments in nodes:
            items = [values[at] for at in arguments]
            values.append(tuple(items) if tag == _TUPLE else _RECORDS[tag](*items))
        return values[-1]
    except (TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not a stored value") from error
