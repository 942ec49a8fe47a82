"""What one file says, independent of every other file: this is what the cache keeps for a blob.

What belongs here: the records and their compact JSON form. What does not: how they are read (`syntax.py`), or what they
mean together (`resolve.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from upkeep.content.scan import expression
from upkeep.content.scan.expression import Argument, Expression

VERSION = 1
"""Part of the cache's key: raise it whenever what is read from a file, or its stored form, changes."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """`path` is what `alias` stands for; `alias` "*" takes in all members of `path`."""

    alias: str
    path: Path


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter of a function or constructor: `label` is what callers write (Swift), `property` whether it stays."""

    name: str
    label: str | None = None
    default: Expression | None = None
    property: bool = False
    vararg: bool = False


@dataclass(frozen=True, slots=True)
class Supertype:
    path: Path
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Type:
    """A type, object or enum member. A member is an object whose supertype is its enum, with the member's arguments.

    `kind` is "class", "object", "enum" or "member"; `path` is its place in the file, outermost type first.
    """

    path: Path
    kind: str
    parameters: tuple[Field, ...] = ()
    supertypes: tuple[Supertype, ...] = ()


@dataclass(frozen=True, slots=True)
class Constant:
    """A named value outside functions; `value` is Unknown where it can change or is computed.

    `static`: it belongs to a type (or its companion), not to each object of it.
    """

    path: Path
    value: Expression
    static: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """`returns` is the value of a body that is one expression; `body` whether there is a body at all."""

    path: Path
    parameters: tuple[Field, ...] = ()
    returns: Expression | None = None
    body: bool = True


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call of a method that was looked for. `function` is the index of the enclosing function in `FileFacts`.

    For a match of a raw rule `method` is "" and `rule` its index in the settings; its arguments are named `$EVENT` and
    `$PROPERTIES`.
    """

    method: str
    receiver: str
    arguments: tuple[Argument, ...]
    sources: tuple[str, ...]
    line: int
    scope: Path
    symbol: str
    function: int | None = None
    rule: int | None = None


@dataclass(frozen=True, slots=True)
class FileFacts:
    package: Path = ()
    imports: tuple[Import, ...] = ()
    types: tuple[Type, ...] = ()
    constants: tuple[Constant, ...] = ()
    functions: tuple[Function, ...] = ()
    calls: tuple[CallSite, ...] = ()


_RECORDS: tuple[type, ...] = (
    *(getattr(expression, name) for name in (
        "Text", "Name", "Member", "Parameter", "Join", "Choice", "Case", "Match", "Argument", "Invoke", "Pair", "Group",
        "Unknown",
    )),
    Import, Field, Supertype, Type, Constant, Function, CallSite, FileFacts,
)  # fmt: skip
_TAGS = {record: tag for tag, record in enumerate(_RECORDS)}
_FIELDS = {record: tuple((field.name, field.default) for field in fields(record)) for record in _RECORDS}
_TUPLE, _STRINGS, _IMPORTS = -1, -2, -3
_SEPARATOR = "\x1f"

T = TypeVar("T")


def encode(value: Any) -> Any:
    """Return `value` (a record of this module or of `expression`, or a tuple of them) as plain JSON values.

    Trailing fields that have their default are left out, and what there is most of (imports, paths) is flat: a rescan
    spends its time on reading this.
    """
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        if value and isinstance(value[0], Import):
            return [_IMPORTS, *(_SEPARATOR.join((each.alias, *each.path)) for each in value)]
        if all(isinstance(each, str) for each in value):
            return [_STRINGS, *value]
        return [_TUPLE, *map(encode, value)]
    record = type(value)
    items = [(getattr(value, name), default) for name, default in _FIELDS[record]]
    while items and items[-1][0] == items[-1][1]:
        items.pop()
    return [_TAGS[record], *(encode(item) for item, _ in items)]


def decode(value: Any, expected: type[T]) -> T:
    """Return the record that `encode` was given.

    Raises ValueError where `value` is nothing that `encode` returns for an `expected`.
    """
    try:
        record = _decode(value)
    except (TypeError, IndexError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an encoded {expected.__name__}") from error
    if not isinstance(record, expected):
        raise ValueError(f"an encoded {type(record).__name__}, not {expected.__name__}")
    return record


def _decode(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    tag = value[0]
    if tag >= 0:
        return _RECORDS[tag](*[_decode(item) if isinstance(item, list) else item for item in value[1:]])
    if tag == _STRINGS:
        return tuple(value[1:])
    if tag == _IMPORTS:
        return tuple(Import(alias, tuple(path)) for alias, *path in (item.split(_SEPARATOR) for item in value[1:]))
    return tuple([_decode(item) for item in value[1:]])
