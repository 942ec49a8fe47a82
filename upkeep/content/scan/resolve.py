"""What an expression is at run time, as far as the source says so.

What belongs here: following names, members, constructors and functions to strings. What does not: which declaration a
name means (`program.py`), which expressions are asked for (`calls.py`), properties (`properties.py`).

Nothing is guessed: where two values are possible without a branch that says so, or a declaration is not in the tree,
the result is `Missing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product

from upkeep.content.scan.expression import (
    TRUE,
    Argument,
    Case,
    Choice,
    Component,
    Element,
    Expression,
    Group,
    Invoke,
    Join,
    Match,
    Member,
    Name,
    Parameter,
    Text,
)
from upkeep.content.scan.facts import Constant, Function, Path, Type
from upkeep.content.scan.formats import fill, formatted
from upkeep.content.scan.program import File, Program, Symbol
from upkeep.content.scan.structure import Leaf, Structure
from upkeep.content.scan.values import (
    TRANSFORMING,
    Bound,
    Context,
    Entity,
    Known,
    Missing,
    Value,
    bind,
    transformed,
)
from upkeep.settings.scan import NameStyle

MAXIMUM_DEPTH = 24
_MOST = 64
_USUAL = ("eventName", "event_name", "event", "rawValue", "name")
_SELF = ("this", "self")
_THIS = Name(("this",))
_NAMING = frozenset({"name", "setName", "withName", "event", "setEvent", "eventName", "setEventName", "withEventName"})


class Resolver:
    """Evaluates expressions over a program. Holds no state of its own."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.structure = Structure(program, self)

    def names(self, expression: Expression, context: Context, style: NameStyle) -> list[Known | Missing]:
        """Return the event names that `expression` can be, each once, in order of appearance."""
        if isinstance(expression, Text):  # most are
            return [Known(style.apply(expression.value))]
        result: list[Known | Missing] = []
        for value in self.values(expression, context):
            atoms = self.name_of(value, style) if isinstance(value, Entity) else [value]
            for atom in atoms:
                final = Known(style.apply(atom.text), atom.how) if isinstance(atom, Known) else atom
                if final not in result:
                    result.append(final)
        return result or [Missing()]

    def values(self, expression: Expression, context: Context) -> list[Value]:
        """Return everything that `expression` can be; more than a handful of branches is no knowledge."""
        if context.depth > MAXIMUM_DEPTH:
            return [Missing()]
        values = self._values(expression, context.at(context.depth + 1))
        return values if len(values) <= _MOST else [Missing()]

    def name_of(self, entity: Entity, style: NameStyle) -> list[Known | Missing]:
        """Return the event name of an object: the property that the settings name, or its only string."""
        if style.of is not None:
            return [_from_entity(value) for value in self.member(entity, style.of)]
        declared = self._property_names(entity)
        usual = next((name for name in _USUAL if name in declared), None)
        if usual is not None:
            return [_from_entity(value) for value in self.member(entity, usual)]
        strings = set()
        for name in declared:
            values = [_from_entity(value) for value in self.member(entity, name, builtin=False)]
            if values and all(isinstance(value, Known) for value in values):
                strings.add(tuple(values))
        return list(strings.pop()) if len(strings) == 1 else [Missing()]

    def member(self, entity: Entity, name: str, *, builtin: bool = True, depth: int = 0) -> list[Value]:
        """Return the property `name` of `entity`: its own, a constructor argument, or inherited."""
        symbol = entity.symbol
        if not isinstance(symbol.fact, Type) or depth > 8:
            return [Missing()]
        if entity.context is not None and entity.context.depth > MAXIMUM_DEPTH:
            return [Missing()]
        own = self._context(entity)
        declared = self._program.constants_of(symbol, name)
        if declared:
            return self._agreed([self._constant(each, own) for each in declared])
        stored = next((each for each in symbol.fact.parameters if each.name == name and each.property), None)
        if stored is not None and name in own.bindings:
            return self.values(own.bindings[name].value, own.bindings[name].context)
        if stored is not None and stored.default is not None:
            return self.values(stored.default, own)
        for supertype, parent in self._program.supertypes(symbol):
            above = Entity(parent, supertype.arguments, own)
            found = self._through(above, entity, name, depth + 1)
            if found is not None:
                return found
        if builtin and symbol.fact.kind == "member" and name in {"name", "toString", "rawValue"}:
            return [Known(symbol.fact.path[-1], "enum")]
        return [Missing()]

    # Values.

    def _values(self, expression: Expression, context: Context) -> list[Value]:
        match expression:
            case Text(value):
                return [Known(value)]
            case Join(parts):
                return self._joined(parts, context)
            case Choice(options):
                return [value for option in options for value in self.values(option, context)]
            case Match():
                return [
                    value for case in self.chosen(expression, context) for value in self.values(case.value, context)
                ]
            case Element(collection):
                return self._each(self.structure.elements(collection, context))
            case Component(whole, index):
                return self._each(self.structure.components(whole, index, context))
            case Parameter(name, default):
                return self._parameter(name, default, context)
            case Name(parts):
                return self._named(parts, context)
            case Member(target, name):
                return [each for value in self.values(target, context) for each in self._accessed(value, (name,))]
            case Invoke():
                return self.invoked(expression, context)
            case Group(items):
                return self.values(items[-1], context) if items else [Missing()]
        return [Missing()]

    def _joined(self, parts: Sequence[Expression], context: Context) -> list[Value]:
        results: list[tuple[str, bool]] = [("", True)]
        literal = any(isinstance(part, Text) and part.value for part in parts)
        for part in parts:
            values = self.values(part, context)
            known = [value for value in values if isinstance(value, Known)]
            if len(known) != len(values):
                first = next((value for value in values if isinstance(value, Missing)), Missing())
                return [Missing(literal, first.parameter, first.owner)]
            results = [
                (text + value.text, plain and value.how == "literal") for text, plain in results for value in known
            ][:_MOST]
        return [Known(text, "literal" if plain else "constant") for text, plain in results]

    def _each(self, leaves: Iterable[Leaf]) -> list[Value]:
        return [value for leaf, place in leaves for value in self.values(leaf, place)] or [Missing()]

    def chosen(self, expression: Match, context: Context) -> list[Case]:
        """Return the cases that can be the one: that of the subject, where the source says what it is."""
        chosen = list(expression.cases)
        if expression.subject is not None and chosen[0].names == TRUE.parts:
            flag = self.structure.flag(expression.subject, context)
            return chosen if flag is None else [chosen[not flag]]
        if expression.subject is None or (expression.subject == _THIS and context.this is None):
            return chosen
        subject = self.values(expression.subject, context)
        if len(subject) == 1 and isinstance(subject[0], Entity):
            own = subject[0].symbol.fact.path[-1]
            exact = [case for case in chosen if own in case.names]
            chosen = exact[:1] or [case for case in chosen if not case.names]
        return chosen

    def _parameter(self, name: str, default: Expression | None, context: Context) -> list[Value]:
        bound = context.bindings.get(name)
        if bound is not None:
            return self.values(bound.value, bound.context.at(context.depth))
        if context.bindings and default is not None:
            return self.values(default, context)
        return [Missing(parameter=name)]

    def _named(self, parts: Path, context: Context) -> list[Value]:
        if parts[0] in _SELF:
            if context.this is None and len(parts) > 1:
                return self._named(parts[1:], context)
            if context.this is None:
                own = self._program.type_at(context.file, context.scope)
                return [Missing() if own is None else Entity(own)]
            return self._accessed(context.this, parts[1:])
        if parts[0] in context.bindings:
            bound = context.bindings[parts[0]]
            given = self.values(bound.value, bound.context.at(context.depth))
            return [each for value in given for each in self._accessed(value, parts[1:])]
        if context.this is not None and (parts[0] == "name" or self._is_property(context.this, parts[0])):
            return [each for value in self.member(context.this, parts[0]) for each in self._accessed(value, parts[1:])]
        symbols, rest = self._program.find(parts, context.file, context.scope)
        if not symbols:
            owner = self._program.constructed_with(parts[0], context.file, context.scope)
            return [Missing(parameter=None if owner is None else parts[0], owner=owner)]
        candidates = []
        for symbol in symbols:
            if isinstance(symbol.fact, Constant):
                values = self._constant(symbol, Context(symbol.file, symbol.scope, depth=context.depth))
            else:
                values = [Entity(symbol, (), Context(context.file, context.scope, depth=context.depth))]
            candidates.append([each for value in values for each in self._accessed(value, rest)])
        return self._agreed(candidates)

    def _constant(self, symbol: Symbol, context: Context) -> list[Value]:
        fact = symbol.fact
        if not isinstance(fact, Constant):
            return [Missing()]
        place = Context(symbol.file, symbol.scope, context.bindings, context.this, context.depth)
        return [
            Known(value.text, "constant") if isinstance(value, Known) and value.how == "literal" else value
            for value in self.values(fact.value, place)
        ]

    def _agreed(self, candidates: Sequence[list[Value]]) -> list[Value]:
        """Return what all declarations of one name say; where they differ, nothing is known."""
        first = candidates[0]
        if len(candidates) == 1:
            return first
        texts = [self._comparable(values) for values in candidates]
        return first if all(each == texts[0] for each in texts) else [Missing()]

    @staticmethod
    def _comparable(values: list[Value]) -> list[object]:
        return [value.symbol.path if isinstance(value, Entity) else value for value in values]

    def _accessed(self, value: Value, rest: Path) -> list[Value]:
        if not rest:
            return [value]
        if not isinstance(value, Entity):
            return [value if isinstance(value, Missing) else Missing()]
        found = self.member(value, rest[0])
        return [each for inner in found for each in self._accessed(inner, rest[1:])]

    # Calls.

    def invoked(self, call: Invoke, context: Context) -> list[Value]:
        """Return what a call gives back."""
        if call.target is not None and call.method in TRANSFORMING:
            return [transformed(value, call.method) for value in self.values(call.target, context)]
        pattern = formatted(call)
        if pattern is not None:
            return self._formatted(*pattern, context)
        path = (*call.target.parts, call.method) if isinstance(call.target, Name) else None
        if call.target is None:
            path = (call.method,)
        if path is not None:
            symbols, rest = self._program.find(path, context.file, context.scope)
            types = [symbol for symbol in symbols if isinstance(symbol.fact, Type)]
            if types and not rest:
                return [Entity(types[0], call.arguments, context)]
        targets = [] if call.target is None else self.values(call.target, context)
        returned = self._returned(call, targets, context)
        if returned is not None:
            return returned
        given = [each for each in targets if isinstance(each, Missing) and each.parameter is not None]
        if given and not call.arguments:
            return [given[0]]  # whoever gives that parameter decides
        return self._constructed(call, context)

    def _formatted(self, pattern: Expression, arguments: Sequence[Argument], context: Context) -> list[Value]:
        texts = self.values(pattern, context)
        given = [self.values(argument.value, context) for argument in arguments]
        if not all(isinstance(text, Known) for text in texts):
            return texts
        results: list[Value] = []
        for text in texts:
            results.extend(fill(text, chosen) for chosen in islice(product(*given), _MOST))
        return results

    def _returned(self, call: Invoke, targets: Sequence[Value], context: Context) -> list[Value] | None:
        """Return what a function of the tree gives back, None where there is no such function."""
        entities = [target for target in targets if isinstance(target, Entity)]
        if entities:
            results: list[Value] = []
            for entity in entities:
                results.extend(self._method(entity, call, context))
            return results if any(not isinstance(each, Missing) for each in results) else None
        returned = [self._body(file, function, call, context) for file, function in self._near(call, context)]
        return [value for values in returned for value in values] or None

    def _near(self, call: Invoke, context: Context) -> list[tuple[File, Function]]:
        """Return the function that a call without a known receiver means: of its file, or imported."""
        near = [
            (file, function)
            for file, function in self._program.functions(call.method, context.file.language)
            if file is context.file or call.method in context.file.aliases
        ]
        if len(near) != 1 or (isinstance(call.target, Name) and call.target.parts[0][:1].isupper()):
            return []
        return self._program.overriding(*near[0]) if not near[0][1].body else near

    def body_of(self, call: Invoke, context: Context) -> list[Leaf] | None:
        """Return what the functions that a call means consist of, where it is one expression; None for no function."""
        targets = [] if call.target is None else self.values(call.target, context)
        entities = [target for target in targets if isinstance(target, Entity)]
        found = [self._body_of_method(entity, call, context) for entity in entities]
        if any(each is not None for each in found):
            return [each for each in found if each is not None]
        bodies = []
        for file, function in [] if call.target is not None and call.target != _THIS else self._near(call, context):
            bindings = bind(function.parameters, call.arguments, context)
            if function.returns is None or bindings is None:
                return None
            bodies.append((function.returns, Context(file, function.path[:-1], bindings, context.this, context.depth)))
        return bodies or None

    def _body(self, file: File, function: Function, call: Invoke, context: Context) -> list[Value]:
        bindings = bind(function.parameters, call.arguments, context)
        if function.returns is None or bindings is None:
            return [Missing()]
        return self.values(function.returns, Context(file, function.path[:-1], bindings, context.this, context.depth))

    def _method(self, entity: Entity, call: Invoke, context: Context) -> list[Value]:
        found = self._body_of_method(entity, call, context)
        if found is not None:
            return self.values(*found)
        if not call.arguments:
            getter = re.match(r"^(?:get|is)([A-Z]\w*)$", call.method)
            name = getter[1][0].lower() + getter[1][1:] if getter else call.method
            return self.member(entity, name)
        return [Missing()]

    def _body_of_method(self, entity: Entity, call: Invoke, context: Context) -> Leaf | None:
        for owner in self.chain(entity):
            for file, function in self._program.functions(call.method, owner.symbol.file.language):
                if function.returns is None or function.path[:-1] != owner.symbol.fact.path:
                    continue
                if file.facts.package != owner.symbol.file.facts.package:
                    continue
                own = self._context(owner)
                bindings = bind(function.parameters, call.arguments, context)
                inner = replace(own, bindings={**own.bindings, **(bindings or {})}, this=entity, depth=context.depth)
                return function.returns, inner
        return None

    def _constructed(self, call: Invoke, context: Context) -> list[Value]:
        """Return the event of a constructor or builder that the tree does not declare: what it was named with."""
        if call.method in _NAMING and call.target is not None and len(call.arguments) == 1:
            return self._as_constant(call.arguments[0].value, context)
        if isinstance(call.target, Invoke):
            return self._constructed(call.target, context.at(context.depth + 1))
        if not call.method[:1].isupper() or not call.arguments:
            return [Missing()]
        labelled = next((each for each in call.arguments if each.name in {"name", "event", "eventName"}), None)
        return self._as_constant((labelled or call.arguments[0]).value, context)

    def _as_constant(self, expression: Expression, context: Context) -> list[Value]:
        return self.values(expression, context) if context.depth <= MAXIMUM_DEPTH else [Missing()]

    # Objects.

    def _context(self, entity: Entity) -> Context:
        """Return the context in which the members of `entity` are evaluated."""
        fact, outer = entity.symbol.fact, entity.context
        bindings: Mapping[str, Bound] = {}
        if isinstance(fact, Type) and outer is not None:
            bindings = self._constructing(entity.symbol.file, fact, entity.arguments, outer)
        depth = 0 if outer is None else outer.depth + 1
        return Context(entity.symbol.file, fact.path, bindings, entity, depth)

    @staticmethod
    def _constructing(file: File, fact: Type, given: Sequence[Argument], outer: Context) -> Mapping[str, Bound]:
        """Return what the type's own constructor is given, through another one where only that takes the arguments."""
        bindings = bind(fact.parameters, given, outer)
        for other in fact.constructors if bindings is None else ():
            inner = bind(other.parameters, given, outer)
            if inner is not None:
                defaults = {each.name: Bound(each.default, outer) for each in other.parameters if each.default}
                place = Context(file, fact.path, {**defaults, **inner}, None, outer.depth + 1)
                return bind(fact.parameters, other.arguments, place) or {}
        return bindings or {}

    def chain(self, entity: Entity, depth: int = 0) -> Iterator[Entity]:
        """Yield an object as its own type sees it, then as each of its supertypes does."""
        yield entity
        if depth < 8:
            for supertype, parent in self._program.supertypes(entity.symbol):
                yield from self.chain(Entity(parent, supertype.arguments, self._context(entity)), depth + 1)

    def _through(self, above: Entity, entity: Entity, name: str, depth: int) -> list[Value] | None:
        """Return what a supertype says of `name`, evaluated for `entity`; None where it says nothing."""
        declared = self._program.constants_of(above.symbol, name)
        if declared:
            outer = self._context(above)
            inner = Context(outer.file, outer.scope, outer.bindings, entity, outer.depth)
            return self._agreed([self._constant(each, inner) for each in declared])
        found = self.member(above, name, builtin=False, depth=depth)
        return None if found == [Missing()] else found

    def _is_property(self, entity: Entity, name: str) -> bool:
        return any(
            isinstance(each.symbol.fact, Type)
            and (
                any(parameter.name == name for parameter in each.symbol.fact.parameters)
                or any(constant.fact.path[-1] == name for constant in self._program.constants_of(each.symbol))
            )
            for each in self.chain(entity)
        )

    def _property_names(self, entity: Entity) -> dict[str, None]:
        """Return what an instance has by name: constructor parameters that it keeps, and properties."""
        names: dict[str, None] = {}
        for each in self.chain(entity):
            if isinstance(each.symbol.fact, Type):
                names.update((stored.name, None) for stored in each.symbol.fact.parameters if stored.property)
                names.update((name, None) for name in _USUAL if self._program.constants_of(each.symbol, name))
                for constant in self._program.constants_of(each.symbol):
                    if isinstance(constant.fact, Constant) and not constant.fact.static:
                        names[constant.fact.path[-1]] = None
        return names


def _from_entity(value: Value) -> Known | Missing:
    """Return a string that was reached through an object: it counts as an enum's."""
    if isinstance(value, Entity):
        return Missing()
    return Known(value.text, "enum") if isinstance(value, Known) else value
