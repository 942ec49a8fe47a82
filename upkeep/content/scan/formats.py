"""Format strings: `String.format("%s opened", name)`, `"%s opened".format(name)`, Swift's `String(format:)`.

What belongs here: which argument is the pattern, and filling it in. What does not: what the arguments are
(`resolve.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from upkeep.content.scan.expression import Argument, Expression, Invoke, Name
from upkeep.content.scan.values import Known, Missing, Value

_SPECIFIER = re.compile(r"%(?:(\d+)\$)?([-+#0,( ]*\d*(?:\.\d+)?)([A-Za-z@%])")


def formatted(call: Invoke) -> tuple[Expression, tuple[Argument, ...]] | None:
    """Return the pattern of a call that formats, and what is put into it."""
    arguments = tuple(each for each in call.arguments if not _is_locale(each.value))
    if call.target is None:
        if call.method == "String" and arguments and arguments[0].name == "format":
            return arguments[0].value, arguments[1:]
        return None
    if call.method not in ("format", "formatted"):
        return None
    if call.target == Name(("String",)):
        return (arguments[0].value, arguments[1:]) if arguments else None
    return call.target, arguments


def fill(pattern: Value, values: Sequence[Value]) -> Value:
    """Return `pattern` with `values` in it; a template where one of them is not known, or is no plain `%s`."""
    if not isinstance(pattern, Known):
        return pattern
    used = iter(values)
    parts: list[str] = []
    end = 0
    for found in _SPECIFIER.finditer(pattern.text):
        parts.append(pattern.text[end : found.start()])
        end = found.end()
        number, flags, kind = found.groups()
        if kind in "%n":
            parts.append("%" if kind == "%" else "\n")
            continue
        value = next(used, None) if number is None else values[int(number) - 1] if int(number) <= len(values) else None
        if not isinstance(value, Known) or flags or kind not in "sS@":
            given = value if isinstance(value, Missing) else Missing()
            return Missing(True, given.parameter, given.owner)
        parts.append(value.text.upper() if kind == "S" else value.text)
    return Known("".join([*parts, pattern.text[end:]]), "constant")


def _is_locale(value: Expression) -> bool:
    return isinstance(value, Name) and (value.parts[0] == "Locale" or value.parts[-1] in ("ROOT", "US", "ENGLISH"))
