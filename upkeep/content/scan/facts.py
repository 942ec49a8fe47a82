"""What one file says, independent of every other file: this is what the cache keeps for a blob.

What belongs here: the records. What does not: how they are read (`syntax.py`) or kept (`stored.py`), or what they mean
together (`resolve.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from upkeep.content.scan.expression import Argument, Expression

VERSION = 3
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
class Constructor:
    """A further constructor: its parameters, and what it gives to the type's own."""

    parameters: tuple[Field, ...]
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
    constructors: tuple[Constructor, ...] = ()


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


class Functions(Sequence[Function]):
    """The functions of a file, in order of appearance, made when the first of them is looked at.

    They are half of what is stored of a file, and a rescan looks at the functions of few files. `names` are there at
    once. Equal to any other sequence of the same functions.
    """

    __slots__ = ("_made", "_make", "names")

    def __init__(self, names: tuple[str, ...], make: Callable[[], tuple[Function, ...]]) -> None:
        self.names = names
        self._make = make
        self._made: tuple[Function, ...] | None = None

    @classmethod
    def of(cls, functions: tuple[Function, ...] = ()) -> Functions:
        return cls(tuple(function.path[-1] for function in functions), lambda: functions)

    def _all(self) -> tuple[Function, ...]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Function]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> Function: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Function, ...]: ...
    def __getitem__(self, index: int | slice) -> Function | tuple[Function, ...]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Functions) and self._all() == other._all()

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"Functions.of({self._all()!r})"


@dataclass(frozen=True, slots=True)
class FileFacts:
    package: Path = ()
    imports: tuple[Import, ...] = ()
    types: tuple[Type, ...] = ()
    constants: tuple[Constant, ...] = ()
    functions: Functions = field(default_factory=Functions.of)
    calls: tuple[CallSite, ...] = ()
