"""Expressions of the scanned languages, reduced to what a name or a property can be made of.

What belongs here: the few node types that all languages are read into, and a compact form of them for the cache. What
does not: reading source code (`syntax.py`), or finding a value (`resolve.py`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal, escapes decoded."""

    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted path whose first part is no local variable. A first part of "" is Swift's implicit type (`.opened`)."""

    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """`value.name` where `value` is more than a path."""

    value: Expression
    name: str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the enclosing function; `default` is its default value."""

    name: str
    default: Expression | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """Concatenation: `a + b`, or a template."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several: `if`, `?:`, a variable that is assigned in several branches."""

    options: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One branch of a `Match`: the last names of its conditions (none for `else`), and its value."""

    names: tuple[str, ...]
    value: Expression


@dataclass(frozen=True, slots=True)
class Match:
    """`when` or `switch` as a value."""

    subject: Expression | None
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Argument:
    name: str | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Invoke:
    """`target.method(arguments)`; without `target` a bare call or constructor. A trailing lambda is an argument."""

    target: Expression | None
    method: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Element:
    """One of the elements of a collection, or of the values of a map: what a lambda over it is given."""

    collection: Expression


@dataclass(frozen=True, slots=True)
class Component:
    """What destructuring gives its variable at `index`: the first or second of a pair, an argument of a triple."""

    value: Expression
    index: int


@dataclass(frozen=True, slots=True)
class Pair:
    key: Expression
    value: Expression


@dataclass(frozen=True, slots=True)
class Group:
    """Several expressions side by side: a collection or dictionary literal, the statements of a lambda."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Anything else."""


Expression = (
    Text | Name | Member | Parameter | Join | Choice | Match | Invoke | Element | Component | Pair | Group | Unknown
)
TRUE, FALSE = Name(("true",)), Name(("false",))
UNKNOWN = Unknown()
NOTHING = Choice(())
"""A branch that gives no value: `null`, `throw`, `return`."""


def join(parts: list[Expression]) -> Expression:
    """Return the concatenation of `parts`, adjoining literals merged."""
    flat: list[Expression] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Join) else (part,):
            if isinstance(piece, Text) and flat and isinstance(flat[-1], Text):
                flat[-1] = Text(flat[-1].value + piece.value)
            else:
                flat.append(piece)
    return flat[0] if len(flat) == 1 else Join(tuple(flat)) if flat else Text("")
