"""What an expression can turn out to be, and the places where it is asked.

What belongs here: the records that the resolver works with, and what needs nothing but them. What does not: looking
anything up (`resolve.py`, `program.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from upkeep.content.scan.expression import Argument, Expression
from upkeep.content.scan.facts import Field, Path
from upkeep.content.scan.program import File, Symbol

_SAME = frozenset(
    {"toString", "trim", "trimIndent", "trimMargin", "stripIndent", "intern", "orEmpty", "valueOf", "also"}
)
_LOWER = frozenset({"lowercase", "toLowerCase", "lowercased", "toLocaleLowerCase"})
_UPPER = frozenset({"uppercase", "toUpperCase", "uppercased", "toLocaleUpperCase"})
TRANSFORMING = _SAME | _LOWER | _UPPER | {"apply"}
"""Methods that give back their receiver, perhaps written differently."""


@dataclass(frozen=True, slots=True)
class Known:
    """A string, and what it was written as."""

    text: str
    how: Literal["literal", "constant", "enum"] = "literal"


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that the source does not tell.

    `parameter` where it is whatever the enclosing function was given, or, with `owner`, the constructor of that type.
    """

    template: bool = False
    parameter: str | None = None
    owner: Path | None = None


@dataclass(slots=True)
class Context:
    """Where an expression stands, and what the parameters around it are.

    Not to be changed, and yet not frozen: every step into an expression makes one, and freezing triples its cost.
    """

    file: File
    scope: Path = ()
    bindings: Mapping[str, Bound] = field(default_factory=dict)
    this: Entity | None = None
    depth: int = 0

    def at(self, depth: int) -> Context:
        """Return this place as seen from `depth` steps away."""
        return Context(self.file, self.scope, self.bindings, self.this, depth)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a parameter was given, and where that was written."""

    value: Expression
    context: Context


@dataclass(frozen=True, slots=True)
class Entity:
    """An object, an enum member, or an instance with what its constructor was given."""

    symbol: Symbol
    arguments: tuple[Argument, ...] = ()
    context: Context | None = None


Value = Known | Missing | Entity


def bind(fields: Sequence[Field], arguments: Sequence[Argument], context: Context) -> dict[str, Bound] | None:
    """Return what each parameter is given; None where the arguments do not fit."""
    bindings: dict[str, Bound] = {}
    free = list(fields)
    for argument in arguments:
        target = next((each for each in free if argument.name in {each.label or each.name, each.name}), None)
        if argument.name is None:
            target = next((each for each in free if each.label in {None, "_"}), None)
        if target is None:
            return None
        if not target.vararg:
            free.remove(target)
        bindings.setdefault(target.name, Bound(argument.value, context))
    return bindings


def transformed(value: Value, method: str) -> Value:
    """Return what one of the `TRANSFORMING` methods makes of `value`."""
    if isinstance(value, Known):
        if method in _LOWER:
            return replace(value, text=value.text.lower())
        if method in _UPPER:
            return replace(value, text=value.text.upper())
        if method in {"trim", "trimIndent", "trimMargin", "stripIndent"}:
            return replace(value, text=value.text.strip())
    return value
