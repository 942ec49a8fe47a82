"""From call sites to calls: which argument is the event, what it is called, which properties it passes.

What belongs here: argument positions, wrappers, and the records that the scan hands out. What does not: finding call
sites (`syntax.py`), or values (`resolve.py`).

A wrapper is a function that hands a parameter of its own on as the event. Its callers are the calls, one level deep;
the call inside it is reported (as unresolved) only where no caller was found. A wrapper is followed into other files
only if no other function of its name and number of parameters in the tree does something else. A function that has the
name of one of the tracker's methods, and hands on another event than it is given, is followed within its type alone:
there bare calls of that name mean it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice

from upkeep.content.scan.arguments import carried, entry, named_index, paths, typed
from upkeep.content.scan.expression import Expression, Group, Pair, Parameter
from upkeep.content.scan.facts import CallSite, Field, Function
from upkeep.content.scan.model import Call
from upkeep.content.scan.program import File, Program
from upkeep.content.scan.properties import PropertyReader
from upkeep.content.scan.resolve import Resolver
from upkeep.content.scan.values import Bound, Context, Known, Missing, bind
from upkeep.settings.scan import CallPattern, Language, NameStyle, Position, ScanSettings


@dataclass(frozen=True, slots=True)
class Tracked:
    """A call site with what its pattern says of it. `type` is that of Swift's implicit members."""

    file: File
    site: CallSite
    event: Expression
    source: str
    properties: tuple[Expression, ...]
    style: NameStyle
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A function that passes `parameter` on as the event of `inner`."""

    inner: Tracked
    function: Function
    parameter: str


@dataclass(frozen=True, slots=True)
class _Reading:
    """What a call site says, and which names were asked for to know it."""

    names: tuple[Known | Missing, ...]
    properties: tuple[str, ...]
    wanted: frozenset[str]


class CallFinder:
    """Turns the call sites of a program into calls. The program may grow: `forget` says what that may have changed."""

    def __init__(self, program: Program, settings: ScanSettings) -> None:
        self._program = program
        self._settings = settings.root
        self._resolver = Resolver(program)
        self._property_reader = PropertyReader(program, self._resolver)
        self._tracked: list[Tracked] = []
        self._files_read = 0
        self._asked = 0
        self._wrappers: list[Wrapper] | None = None
        self._readings: dict[int, _Reading] = {}
        self._known_shadows: dict[tuple[str, str], frozenset[int]] = {}
        self._methods = {language: {call.method for call in scan.calls} for language, scan in settings.root.items()}

    @property
    def tracked(self) -> list[Tracked]:
        """All sites that are calls of the tracker."""
        if self._files_read < len(self._program.files):
            for file in islice(self._program.files.values(), self._files_read, None):
                found = (self._track(file, site) for site in file.facts.calls)
                self._tracked.extend(tracked for tracked in found if tracked is not None)
            self._files_read = len(self._program.files)
            self._wrappers = None
        return self._tracked

    def ask(self) -> None:
        """Look up the paths that new sites begin with, so that the program knows which names are wanted.

        `read` asks for these and more; done first, most sites need not be read a second time.
        """
        for tracked in self.tracked[self._asked :]:
            for parts in paths((tracked.event, *tracked.properties)):
                # Of `Events.OPENED` the type alone: which members it has is known when it is there.
                head = parts[:1] if parts[0][:1].isupper() else parts
                self._program.find(head, tracked.file, tracked.site.scope)
        self._asked = len(self._tracked)

    def forget(self, names: Collection[str]) -> None:
        """Read again what was unknown, or asked for one of `names`, now that files that declare them are there."""
        stale = [
            key
            for key, reading in self._readings.items()
            if not reading.wanted.isdisjoint(names) or any(isinstance(name, Missing) for name in reading.names)
        ]
        for key in stale:
            del self._readings[key]
            self._wrappers = None

    @property
    def wrappers(self) -> list[Wrapper]:
        """All functions whose callers name the event."""
        tracked = self.tracked
        if self._wrappers is None:
            self._wrappers = [wrapper for each in tracked for wrapper in self._wrappers_of(each)]
        return self._wrappers

    def _wrappers_of(self, tracked: Tracked) -> Iterator[Wrapper]:
        if not self._settings[tracked.file.language].wrappers:
            return
        for name in self._read(tracked).names:
            function = _given_by(tracked, name) if isinstance(name, Missing) else None
            if function is None or (
                function.path[-1] in self._methods[tracked.file.language] and not self._shadowing(tracked)
            ):
                continue
            if isinstance(name, Missing) and any(field.name == name.parameter for field in function.parameters):
                yield Wrapper(tracked, function, name.parameter or "")

    def wrapper_names(self) -> dict[Language, frozenset[str]]:
        """Return the names of functions whose calls are wanted, by family of languages."""
        names: dict[Language, set[str]] = defaultdict(set)
        for wrapper in self.wrappers:
            if not self._shadowing(wrapper.inner):
                names[wrapper.inner.file.family].add(wrapper.function.path[-1])
        return {language: frozenset(found) for language, found in names.items()}

    def read(self, callers: Mapping[str, Iterable[CallSite]]) -> None:
        """Look at every site, so that the program knows which names are wanted."""
        for tracked in self.tracked:
            self._read(tracked)
        for wrapper, file, site in self._wrapped(callers):
            self._caller_names(wrapper, file, site)

    def calls(self, callers: Mapping[str, Iterable[CallSite]]) -> list[Call]:
        """Return every call, sorted by path and line. `callers` are the sites that call wrappers, by path of file."""
        followed: set[int] = set()
        result: list[Call] = []
        for wrapper, file, site in self._wrapped(callers):
            names = self._caller_names(wrapper, file, site)
            if names:
                followed.add(id(wrapper.inner))
            if not self._own_plumbing(file, site, names):
                result.extend(self._caller_calls(wrapper, file, site, names))
        for tracked in self.tracked:
            if not self._own_plumbing(tracked.file, tracked.site, self._read(tracked).names):
                result.extend(self._site_calls(tracked, skip_parameter=id(tracked) in followed))
        unique = dict.fromkeys(result)
        return sorted(unique, key=_order)

    # One site.

    def _track(self, file: File, site: CallSite) -> Tracked | None:
        scan = self._settings[file.language]
        if site.rule is not None:
            bound, *others = site.arguments
            style = scan.names_of(scan.rules[site.rule])
            return Tracked(file, site, bound.value, site.sources[0], tuple(each.value for each in others), style)
        for pattern in scan.calls:
            if pattern.method != site.method or not _receives(pattern, site.receiver) or self._shadowed(file, site):
                continue
            number = self._argument(file, site, scan.event_of(pattern))
            if number is None:
                continue
            position = scan.properties_of(pattern)
            event, source = self._event(site, number, scan.event_of(pattern))
            if event is None:
                continue
            properties = () if position is None else tuple(self._properties(file, site, position, number))
            event = typed(event, pattern.type)
            return Tracked(file, site, event, source, properties, scan.names_of(pattern), pattern.type)
        return None

    @staticmethod
    def _event(site: CallSite, number: int, position: Position) -> tuple[Expression | None, str]:
        argument = site.arguments[number]
        if isinstance(position, str) and argument.name != position and isinstance(argument.value, (Group, Pair)):
            return entry(argument.value, position), site.sources[number]
        return argument.value, site.sources[number]

    def _properties(self, file: File, site: CallSite, position: Position, event: int) -> Iterator[Expression]:
        number = self._argument(file, site, position)
        if number is None or number == event:
            if isinstance(position, str) and isinstance(site.arguments[event].value, (Group, Pair)):
                inner = entry(site.arguments[event].value, position)
                yield from () if inner is None else (inner,)
            return
        yield site.arguments[number].value
        for argument in site.arguments[number + 1 :]:
            if isinstance(argument.value, Pair) or (argument.name is None and number + 1 == len(site.arguments) - 1):
                yield argument.value

    def _argument(self, file: File, site: CallSite, position: Position) -> int | None:
        """Return the index of the argument at `position`, None where the call has none there.

        A position counts parameters. Named arguments may stand in any order, so that the tracker's own declaration, if
        it is in the tree, is asked what stands where.
        """
        labels = [argument.name for argument in site.arguments]
        if isinstance(position, str) and position in labels:
            return labels.index(position)
        if any(labels) or isinstance(position, str):
            for fields in self._declared(file, site):
                index = named_index(fields, labels, position)
                if index is not None:
                    return index
            for name in self._names_at(file, site, position):
                if name in labels:
                    return labels.index(name)
        if isinstance(position, str):
            objects = [n for n, each in enumerate(site.arguments) if isinstance(each.value, (Group, Pair))]
            return next((n for n in objects if entry(site.arguments[n].value, position) is not None), None)
        return position if position < len(labels) else None

    def _names_at(self, file: File, site: CallSite, position: Position) -> list[str]:
        """Return what the method's overloads call the parameter at `position`, the shortest overload first."""
        functions = [function.parameters for _, function in self._program.functions(site.method, file.language)]
        return [
            fields[position].label or fields[position].name
            for fields in sorted(functions, key=len)
            if isinstance(position, int) and position < len(fields)
        ]

    def _declared(self, file: File, site: CallSite) -> Iterator[tuple[Field, ...]]:
        labels = {argument.name for argument in site.arguments if argument.name}
        for _, function in self._program.functions(site.method, file.language):
            names = {field.label or field.name for field in function.parameters}
            if labels <= names and len(function.parameters) >= len(site.arguments):
                yield function.parameters

    def _read(self, tracked: Tracked) -> _Reading:
        reading = self._readings.get(id(tracked))
        if reading is None:
            (names, properties), wanted = self._program.collect(partial(self._said, tracked))
            reading = _Reading(tuple(names), properties, frozenset([name for _, name in wanted]))
            self._readings[id(tracked)] = reading
        return reading

    def _said(self, tracked: Tracked) -> tuple[list[Known | Missing], tuple[str, ...]]:
        context = Context(tracked.file, tracked.site.scope)
        names = self._resolver.names(tracked.event, context, tracked.style)
        return names, self._property_names((*tracked.properties, *carried(tracked.event)), context)

    def _own_plumbing(self, file: File, site: CallSite, names: Iterable[Known | Missing]) -> bool:
        """Whether the call passes on a parameter of a function that is itself one of the tracker's methods."""
        functions = file.facts.functions
        if site.function is None or functions.names[site.function] not in self._methods[file.language]:
            return False
        parameters = {field.name for field in functions[site.function].parameters}
        return all(isinstance(name, Missing) and name.parameter in parameters for name in names)

    def _site_calls(self, tracked: Tracked, *, skip_parameter: bool) -> Iterator[Call]:
        reading = self._read(tracked)
        for name in reading.names:
            if not (skip_parameter and isinstance(name, Missing) and name.parameter):
                yield _call(tracked.file, tracked.site, name, tracked.source, reading.properties)

    def _property_names(self, expressions: Iterable[Expression], context: Context) -> tuple[str, ...]:
        found = (name for each in expressions for name in self._property_reader.properties(each, context))
        return tuple(dict.fromkeys(found))

    # Callers of wrappers.

    def _shadowing(self, tracked: Tracked) -> bool:
        """Whether the call stands in a function that is called like one of the tracker's methods and not one of them:
        for its type, a call of that name without receiver is one of this function."""
        number, functions = tracked.site.function, tracked.file.facts.functions
        return number is not None and number in self._shadows(tracked.file, functions.names[number])

    def _shadowed(self, file: File, site: CallSite) -> bool:
        """Whether a call without receiver is one of a function of its own type, and not the tracker's."""
        if site.receiver or site.rule is not None or site.method not in file.facts.functions.names:
            return False
        functions = file.facts.functions
        scopes = [functions[number].path[:-1] for number in self._shadows(file, site.method)]
        return any(site.scope[: len(scope)] == scope for scope in scopes)

    def _shadows(self, file: File, name: str) -> frozenset[int]:
        """Return the functions called `name`, like one of the tracker's methods, that call the tracker with an event of
        their own making. One that hands its parameter on as it is does what the tracker does."""
        key = (file.path, name)
        if key not in self._known_shadows:
            functions = file.facts.functions
            members = [
                number
                for number, each in enumerate(functions.names)
                if each == name and each in self._methods[file.language] and len(functions[number].path) > 1
            ]
            inner = {
                number: [site for site in file.facts.calls if site.function == number and site.receiver]
                for number in members
            }
            self._known_shadows[key] = frozenset(
                number
                for number, sites in inner.items()
                if sites and not any(self._hands_on(file, site) for site in sites)
            )
        return self._known_shadows[key]

    def _hands_on(self, file: File, site: CallSite) -> bool:
        scan = self._settings[file.language]
        numbers = [self._argument(file, site, scan.event_of(each)) for each in scan.calls if each.method == site.method]
        return any(number is not None and isinstance(site.arguments[number].value, Parameter) for number in numbers)

    def _wrapped(self, callers: Mapping[str, Iterable[CallSite]]) -> Iterator[tuple[Wrapper, File, CallSite]]:
        by_name: dict[tuple[Language, str], list[Wrapper]] = defaultdict(list)
        for wrapper in self.wrappers:
            by_name[wrapper.inner.file.family, wrapper.function.path[-1]].append(wrapper)
            if self._shadowing(wrapper.inner):
                file = wrapper.inner.file
                for site in file.facts.calls:
                    if site.method == wrapper.function.path[-1] and self._shadowed(file, site):
                        yield wrapper, file, site
        unambiguous = {key for key, wrappers in by_name.items() if not self._conflicts(key, wrappers)}
        for path, sites in callers.items():
            file = self._program.files[path]
            for site in sites:
                key = (file.family, site.method)
                wrappers = by_name.get(key, [])
                own = [wrapper for wrapper in wrappers if wrapper.inner.file is file]
                for wrapper in own or (wrappers if key in unambiguous else []):
                    yield wrapper, file, site

    def _conflicts(self, key: tuple[Language, str], wrappers: list[Wrapper]) -> bool:
        shapes = {len(wrapper.function.parameters) for wrapper in wrappers}
        known = {id(wrapper.function) for wrapper in wrappers}
        return any(
            function.body and id(function) not in known and len(function.parameters) in shapes
            for _, function in self._program.functions(key[1], key[0])
        )

    def _caller_names(self, wrapper: Wrapper, file: File, site: CallSite) -> list[Known | Missing]:
        """Return what a caller names the event; nothing where it does not pass the parameter."""
        bindings = self._bindings(wrapper, file, site)
        if wrapper.parameter not in bindings:
            return []
        inner = wrapper.inner
        return self._resolver.names(inner.event, Context(inner.file, inner.site.scope, bindings), inner.style)

    @staticmethod
    def _bindings(wrapper: Wrapper, file: File, site: CallSite) -> dict[str, Bound]:
        """Return what a caller gives to the wrapper's parameters; nothing where its arguments do not fit."""
        bindings = bind(wrapper.function.parameters, site.arguments, Context(file, site.scope)) or {}
        if wrapper.parameter in bindings:
            given = bindings[wrapper.parameter]
            bindings[wrapper.parameter] = Bound(typed(given.value, wrapper.inner.type), given.context)
        return bindings

    def _caller_calls(
        self, wrapper: Wrapper, file: File, site: CallSite, names: Iterable[Known | Missing]
    ) -> Iterator[Call]:
        bindings = self._bindings(wrapper, file, site)
        inner = wrapper.inner
        place = Context(inner.file, inner.site.scope, bindings)
        properties = self._property_names((*inner.properties, *carried(inner.event)), place)
        given = (bind(wrapper.function.parameters, site.arguments, place) or {}).get(wrapper.parameter)
        passed = [
            source
            for argument, source in zip(site.arguments, site.sources, strict=True)
            if given is not None and argument.value is given.value
        ]
        for name in names:
            yield _call(file, site, name, passed[0] if passed else "", properties)


def _order(call: Call) -> tuple[object, ...]:
    return call.path, call.line, call.name is None, call.name or "", call.method, call.expression, call.properties


def _call(file: File, site: CallSite, name: Known | Missing, source: str, properties: tuple[str, ...]) -> Call:
    known = isinstance(name, Known)
    return Call(
        name=name.text if isinstance(name, Known) else None,
        resolution=name.how if isinstance(name, Known) else "template" if name.template else "unresolved",
        expression=source,
        method=site.method or source if not known else site.method,
        path=file.path,
        line=site.line,
        symbol=site.symbol,
        properties=properties,
    )


def _enclosing(tracked: Tracked) -> Function | None:
    number = tracked.site.function
    return None if number is None else tracked.file.facts.functions[number]


def _given_by(tracked: Tracked, name: Missing) -> Function | None:
    """Return the function, or the constructor as one, whose parameter decides the name."""
    if name.parameter is None:
        return None
    if name.owner is None:
        return _enclosing(tracked)
    owner = next(each for each in tracked.file.facts.types if each.path == name.owner)
    return Function(owner.path, owner.parameters)


def _receives(pattern: CallPattern, receiver: str) -> bool:
    return not pattern.receivers or any(fnmatchcase(receiver, glob) for glob in pattern.receivers)
