"""Which property names a call passes.

What belongs here: finding keys in what builds a map. What does not: the strings that keys stand for (`resolve.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from upkeep.content.scan.expression import (
    Choice,
    Component,
    Expression,
    Group,
    Invoke,
    Join,
    Match,
    Name,
    Pair,
    Parameter,
)
from upkeep.content.scan.facts import Constant, Path
from upkeep.content.scan.program import Program
from upkeep.content.scan.resolve import MAXIMUM_DEPTH, Resolver
from upkeep.content.scan.values import Context, Entity, Known, bind
from upkeep.settings.scan import NameStyle

_PLAIN = NameStyle()
_PUT = re.compile(
    r"^(put|add|with|set|append)?(Param|Parameter|Property|Attribute|Extra|String|Int|Integer|Long|Boolean|Bool|Double"
    r"|Float|Number|Value|Pair|Entry|Arg|Argument|Field|Key)?$",
    re.IGNORECASE,
)
"""Methods whose first of two arguments is a key: `put`, `putString`, `addProperty`, `with`, `Pair`, …"""


class PropertyReader:
    """Collects property names. Holds no state of its own."""

    def __init__(self, program: Program, resolver: Resolver) -> None:
        self._program = program
        self._resolver = resolver

    def properties(self, expression: Expression, context: Context) -> Iterator[str]:
        """Yield the names of the properties that `expression` sets, in order of appearance; repeats happen."""
        if context.depth > MAXIMUM_DEPTH:
            return
        context = context.at(context.depth + 1)
        match expression:
            case Pair(key, _):
                yield from self._keys(key, context)
            case Group(items) | Join(items) | Choice(items):
                for item in items:
                    yield from self.properties(item, context)
            case Match(_, cases):
                for each in cases:
                    yield from self.properties(each.value, context)
            case Invoke():
                yield from self._invoked_properties(expression, context)
            case Component(whole, index):
                for leaf, place in self._resolver.structure.components(whole, index, context):
                    yield from self.properties(leaf, place)
            case Parameter(name, default):
                bound = context.bindings.get(name)
                if bound is not None:
                    yield from self.properties(bound.value, bound.context.at(context.depth))
                elif default is not None:
                    yield from self.properties(default, context)
            case Name(parts):
                yield from self._named_properties(parts, context)

    def _keys(self, key: Expression, context: Context) -> Iterator[str]:
        for value in self._resolver.names(key, context, _PLAIN):
            if isinstance(value, Known):
                yield value.text

    def _invoked_properties(self, call: Invoke, context: Context) -> Iterator[str]:
        if call.target is not None:
            yield from self.properties(call.target, context)
        if len(call.arguments) >= 2 and call.method and _PUT.match(call.method):
            yield from self._keys(call.arguments[0].value, context)
            return
        for argument in call.arguments:
            if isinstance(argument.value, (Pair, Group, Invoke, Choice, Match)):
                yield from self.properties(argument.value, context)
        functions = self._program.functions(call.method, context.file.language)
        for value in self._resolver.invoked(call, context) if functions or call.method[:1].isupper() else ():
            if isinstance(value, Entity):
                for owner in list(self._resolver.chain(value))[1:]:
                    for argument in owner.arguments:
                        yield from self.properties(argument.value, owner.context or context)
        for file, function in functions:
            if file is context.file and function.returns is not None:
                bindings = bind(function.parameters, call.arguments, context) or {}
                inner = Context(file, function.path[:-1], bindings, None, context.depth)
                yield from self.properties(function.returns, inner)

    def _named_properties(self, parts: Path, context: Context) -> Iterator[str]:
        symbols, rest = self._program.find(parts, context.file, context.scope)
        if len(symbols) == 1 and not rest and isinstance(symbols[0].fact, Constant):
            symbol = symbols[0]
            inner = Context(symbol.file, symbol.scope, depth=context.depth)
            yield from self.properties(symbols[0].fact.value, inner)
