"""What an expression is made of: the elements of a collection, the parts of a pair, a condition that is decided.

What belongs here: following names, parameters and functions to the expression that they stand for. What does not: the
string that an expression is (`resolve.py`).

Where the source does not say what something is made of, it is left as it is: the resolver then finds nothing, or the
parameter whose callers know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from upkeep.content.scan.expression import (
    FALSE,
    TRUE,
    UNKNOWN,
    Choice,
    Expression,
    Group,
    Invoke,
    Match,
    Name,
    Pair,
    Parameter,
)
from upkeep.content.scan.facts import Constant, Type
from upkeep.content.scan.program import Program
from upkeep.content.scan.values import Context, Entity

if TYPE_CHECKING:
    from upkeep.content.scan.resolve import Resolver

_DEPTH = 24
_COLLECTIONS = frozenset(
    ("setOf", "listOf", "arrayOf", "listOfNotNull", "setOfNotNull", "mutableListOf", "mutableSetOf", "sequenceOf", "of")
)
_MAPPED = frozenset({"map", "mapNotNull", "associateWith"})
_SAME_ELEMENTS = frozenset(
    ("filter", "filterNotNull", "toSet", "toList", "asSequence", "sorted", "reversed", "distinct", "onEach", "orEmpty")
)

Leaf = tuple[Expression, Context]


class Structure:
    """Holds no state of its own."""

    def __init__(self, program: Program, resolver: Resolver) -> None:
        self._program = program
        self._resolver = resolver

    def leaves(self, expression: Expression, context: Context) -> Iterator[Leaf]:
        """Yield the expressions that `expression` can stand for, each with its place; itself where nothing is known."""
        if context.depth > _DEPTH:
            yield UNKNOWN, context
            return
        context = context.at(context.depth + 1)
        match expression:
            case Choice(options):
                for option in options:
                    yield from self.leaves(option, context)
            case Match():
                for case in self._resolver.chosen(expression, context):
                    yield from self.leaves(case.value, context)
            case Group(items) if items:
                yield from self.leaves(items[-1], context)
            case Parameter(name, default):
                bound = context.bindings.get(name)
                if bound is not None:
                    yield from self.leaves(bound.value, bound.context.at(context.depth))
                elif context.bindings and default is not None:
                    yield from self.leaves(default, context)
                else:
                    yield expression, context
            case Name((name,)) | Name(("this" | "self", name)):
                yield from self._named(name, expression, context)
            case Invoke():
                found = self._resolver.body_of(expression, context)
                if found is None:
                    yield expression, context
                for body, place in found or ():
                    yield from self.leaves(body, place)
            case _:
                yield expression, context

    def elements(self, collection: Expression, context: Context) -> Iterator[Leaf]:
        """Yield the elements of a collection or the values of a map; itself where they are not known."""
        for leaf, place in self.leaves(collection, context):
            match leaf:
                case Invoke(_, method, arguments) if method in _COLLECTIONS:
                    yield from ((argument.value, place) for argument in arguments)
                case Invoke(_, "mapOf" | "linkedMapOf", arguments):
                    for argument in arguments:
                        yield (argument.value.value if isinstance(argument.value, Pair) else UNKNOWN), place
                case Invoke(target, method, arguments) if method in _MAPPED and target is not None and arguments:
                    yield arguments[-1].value, place
                case Invoke(target, method, _) if method in _SAME_ELEMENTS and target is not None:
                    yield from self.elements(target, place.at(place.depth + 1))
                case _:
                    yield leaf, place

    def components(self, value: Expression, index: int, context: Context) -> Iterator[Leaf]:
        """Yield what destructuring `value` gives the variable at `index`; Unknown where that is not known."""
        for leaf, place in self.leaves(value, context):
            match leaf:
                case Pair(first, second) if index < 2:
                    yield (second if index else first), place
                case Invoke(None, "Pair" | "Triple", arguments) if index < len(arguments):
                    yield arguments[index].value, place
                case _:
                    yield UNKNOWN, place

    def flag(self, condition: Expression, context: Context) -> bool | None:
        """Return what a condition is, None where it may be either."""
        found = {leaf if leaf in (TRUE, FALSE) else UNKNOWN for leaf, _ in self.leaves(condition, context)}
        return None if len(found) != 1 or UNKNOWN in found else TRUE in found

    def _named(self, name: str, expression: Name, context: Context) -> Iterator[Leaf]:
        bound = context.bindings.get(name)
        if bound is not None:
            yield from self.leaves(bound.value, bound.context.at(context.depth))
            return
        default = self._default(context.this, name)
        if default is not None:
            yield from self.leaves(default, context)
            return
        symbols, rest = self._program.find(expression.parts[-1:], context.file, context.scope)
        if len(symbols) == 1 and not rest and isinstance(symbols[0].fact, Constant):
            symbol = symbols[0]
            yield from self.leaves(symbols[0].fact.value, Context(symbol.file, symbol.scope, depth=context.depth))
            return
        yield expression, context

    def _default(self, entity: Entity | None, name: str) -> Expression | None:
        """Return the default of a constructor's parameter."""
        for each in self._resolver.chain(entity) if entity is not None else ():
            fact = each.symbol.fact
            for parameter in fact.parameters if isinstance(fact, Type) else ():
                if parameter.name == name:
                    return parameter.default
        return None
