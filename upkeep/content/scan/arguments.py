"""Small questions to the arguments of a call.

What belongs here: functions of expressions alone. What does not: which argument a setting means (`calls.py`), or what
it is at run time (`resolve.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from upkeep.content.scan.expression import Case, Choice, Expression, Group, Invoke, Match, Name, Pair, Text
from upkeep.content.scan.facts import Field
from upkeep.settings.scan import Position


def typed(event: Expression, type: str | None) -> Expression:
    """Return `event` with the implicit type of a Swift member written out."""
    if type is None:
        return event
    match event:
        case Name(("", *rest)):
            return Name((*type.split("."), *rest))
        case Invoke(Name(("",)), method, arguments):
            return Invoke(Name(tuple(type.split("."))), method, arguments)
        case Choice(options):
            return Choice(tuple(typed(option, type) for option in options))
        case Match(subject, cases):
            return Match(subject, tuple(Case(case.names, typed(case.value, type)) for case in cases))
    return event


def carried(event: Expression) -> tuple[Expression, ...]:
    """Return the event itself where it is an object that may hold properties."""
    return (event,) if isinstance(event, Invoke) else ()


def paths(expressions: Iterable[Expression]) -> Iterator[tuple[str, ...]]:
    """Yield the dotted paths that events and the keys of properties are made of, where they are written out."""
    for each in expressions:
        match each:
            case Name(parts):
                yield parts
            case Pair(key, _):
                yield from paths((key,))
            case Choice(items) | Group(items):
                yield from paths(items)
            case Match(_, cases):
                yield from paths(case.value for case in cases)
            case Invoke(Name(parts), method, arguments):
                yield (*parts, method)
                yield from paths(argument.value for argument in arguments if isinstance(argument.value, Pair))
            case Invoke(None, method, arguments):
                yield (method,)
                yield from paths(argument.value for argument in arguments if isinstance(argument.value, Pair))


def entry(value: Expression, key: str) -> Expression | None:
    """Return the value of `key` in a dictionary or object that is written out, None where it has none."""
    items = value.items if isinstance(value, Group) else (value,)
    return next((each.value for each in items if isinstance(each, Pair) and each.key == Text(key)), None)


def named_index(fields: tuple[Field, ...], labels: list[str | None], position: Position) -> int | None:
    """Return where in the call the parameter at `position` is passed."""
    names = [field.label or field.name for field in fields]
    if isinstance(position, str):
        if position not in names:
            return None
        position = names.index(position)
    if position >= len(names):
        return None
    if names[position] in labels:
        return labels.index(names[position])
    return position if position < len(labels) and labels[position] in {None, "_"} else None
