"""All files' facts together: which declaration a name stands for.

What belongs here: the table of declarations and the rules of scope, import and package. What does not: the value of a
declaration (`resolve.py`), or reading a file (`syntax.py`).

A name is looked up as its language does: in the enclosing types and what they inherit, among the imports, in its
package, through imports of everything. Only then, and only for names that look like types or constants, is it taken to
be the one declaration of that name in the tree; where there are several it stays unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from upkeep.content.scan.facts import Constant, FileFacts, Function, Path, Supertype, Type
from upkeep.settings.scan import Language

_DEPTH = 6

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class File:
    path: str
    language: Language
    facts: FileFacts
    aliases: Mapping[str, Path]
    """What is imported, by the name that it has here."""
    family: Language = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", family(self.language))


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A declaration. `path` is its whole path, package first."""

    file: File
    path: Path
    fact: Type | Constant

    @property
    def scope(self) -> Path:
        """Where the declaration stands in its file."""
        return self.fact.path[:-1]


class Program:
    """The declarations of the files that were given to `add`; `wanted` collects names that more files might declare."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.wanted: set[tuple[Language, str]] = set()
        self._symbols: dict[tuple[Language, Path], list[Symbol]] = defaultdict(list)
        self._names: dict[tuple[Language, str], list[Symbol]] = defaultdict(list)
        self._functions: dict[tuple[Language, str], list[tuple[File, int]]] = defaultdict(list)
        self._own: dict[tuple[str, Path], list[Symbol]] = defaultdict(list)
        self._found: dict[tuple[str, Path, Path], tuple[list[Symbol], Path, set[tuple[Language, str]]]] = {}
        self._heads: dict[tuple[str, Path, str], tuple[list[Symbol], set[tuple[Language, str]]]] = {}

    def add(self, file: File) -> None:
        """Take in a file; one that is there already is left alone."""
        if file.path in self.files:
            return
        self.files[file.path] = file
        self._found.clear()
        self._heads.clear()
        language, package = file.family, file.facts.package
        declarations: tuple[Type | Constant, ...] = (*file.facts.types, *file.facts.constants)
        for fact in declarations:
            symbol = Symbol(file, (*package, *fact.path), fact)
            self._symbols[language, symbol.path].append(symbol)
            self._names[language, fact.path[-1]].append(symbol)
            if isinstance(fact, Constant):
                self._own[file.path, fact.path[:-1]].append(symbol)
        for number, name in enumerate(file.facts.functions.names):
            self._functions[language, name].append((file, number))

    def collect(self, look: Callable[[], T]) -> tuple[T, set[tuple[Language, str]]]:
        """Return what `look` returns, and the names that it wants."""
        outer, self.wanted = self.wanted, set()
        try:
            return look(), self.wanted
        finally:
            outer |= self.wanted
            self.wanted = outer

    def find(self, parts: Path, file: File, scope: Path) -> tuple[list[Symbol], Path]:
        """Return the declarations that `parts` can stand for at `scope` of `file`, and what of it they leave over.

        Several are returned where one path is declared more than once (build variants); an unknown name gives none.
        """
        key = (file.path, scope, parts)
        known = self._found.get(key)
        if known is None:
            found, wanted = self.collect(lambda: self._find(parts, file, scope))
            known = self._found[key] = (*found, wanted)
        symbols, rest, wanted = known
        self.wanted |= wanted
        return symbols, rest

    def _find(self, parts: Path, file: File, scope: Path) -> tuple[list[Symbol], Path]:
        parts = tuple(part for part in parts if part != "Companion")
        symbols, consumed = self._head(parts[0], file, scope), 1
        if not symbols and len(parts) > 1 and parts[0] in file.aliases:  # a module as a whole
            symbols, consumed = self._imported((*file.aliases[parts[0]], parts[1]), file), 2
        if not symbols:
            symbols, consumed = self._qualified(parts, file)
        while symbols and consumed < len(parts):
            inner = self._children(symbols, parts[consumed])
            if not inner:
                break
            symbols, consumed = inner, consumed + 1
        return symbols, parts[consumed:]

    def functions(self, name: str, language: Language) -> list[tuple[File, Function]]:
        """Return the functions called `name`, wherever they stand."""
        found = self._functions.get((family(language), name), ())
        return [(file, file.facts.functions[number]) for file, number in found]

    def overriding(self, file: File, function: Function) -> list[tuple[File, Function]]:
        """Return the bodies of an abstract function, in the types below its own."""
        self._want(file, function.path[-1])
        return [
            (each, candidate)
            for each, candidate in self.functions(function.path[-1], file.language)
            if candidate.body and self._below(each, candidate.path[:-1], file, function.path[:-1])
        ]

    def constructed_with(self, name: str, file: File, scope: Path) -> Path | None:
        """Return the innermost type around `scope` whose constructor keeps a parameter called `name`."""
        for fact in file.facts.types:
            if fact.path == scope and any(stored.name == name and stored.property for stored in fact.parameters):
                return fact.path
        return self.constructed_with(name, file, scope[:-1]) if scope else None

    def _below(self, file: File, path: Path, above: File, top: Path, depth: int = 0) -> bool:
        for symbol in self._symbols.get((file.family, (*file.facts.package, *path)), []):
            for _, parent in self.supertypes(symbol):
                if (parent.file is above and parent.fact.path == top) or (
                    depth < _DEPTH and self._below(parent.file, parent.fact.path, above, top, depth + 1)
                ):
                    return True
        return False

    def type_at(self, file: File, scope: Path) -> Symbol | None:
        """Return the type whose members `scope` of `file` are."""
        found = self._symbols.get((file.family, (*file.facts.package, *scope)), []) if scope else []
        return next((each for each in found if each.file is file and isinstance(each.fact, Type)), None)

    def constants_of(self, symbol: Symbol, name: str | None = None) -> list[Symbol]:
        """Return the properties of a type (all, or those called `name`), those of extensions too."""
        language = symbol.file.family
        if name is not None:
            found = self._symbols.get((language, (*symbol.path, name)), [])
            extended = self._extensions(symbol, name)
            return [each for each in (*found, *extended) if isinstance(each.fact, Constant)]
        return self._own.get((symbol.file.path, symbol.fact.path), [])

    def supertypes(self, symbol: Symbol) -> list[tuple[Supertype, Symbol]]:
        """Return the supertypes that are declared in the tree, with what they are given."""
        if not isinstance(symbol.fact, Type):
            return []
        result = []
        for supertype in symbol.fact.supertypes:
            found, rest = self.find(supertype.path, symbol.file, symbol.scope)
            if found and not rest and found[0] is not symbol:
                result.append((supertype, found[0]))
        return result

    def _extensions(self, symbol: Symbol, name: str) -> list[Symbol]:
        """Return extension properties: they are declared under the type's simple name, in any package."""
        self._want(symbol.file, name)
        owner = (symbol.fact.path[-1], name)
        candidates = self._names.get((symbol.file.family, name), [])
        return [
            each
            for each in candidates
            if each.fact.path == owner and each.path != (*symbol.path, name) and not self._declares(each)
        ]

    def _declares(self, symbol: Symbol) -> bool:
        """Whether the file of a property declares its owner too: then that owner is another type of the same name."""
        owners = self._symbols.get((symbol.file.family, symbol.path[:-1]), [])
        return any(owner.file is symbol.file and isinstance(owner.fact, Type) for owner in owners)

    def _head(self, name: str, file: File, scope: Path) -> list[Symbol]:
        """Return what the first name of a path stands for: many paths of a file begin with the same one."""
        key = (file.path, scope, name)
        known = self._heads.get(key)
        if known is None:
            known = self._heads[key] = self.collect(lambda: self._first(name, file, scope))
        symbols, wanted = known
        self.wanted |= wanted
        return symbols

    def _first(self, name: str, file: File, scope: Path) -> list[Symbol]:
        package, language = file.facts.package, file.family
        for length in range(len(scope), -1, -1):
            found = self._symbols.get((language, (*package, *scope[:length], name)), [])
            own = [symbol for symbol in found if symbol.file is file]
            if own or (found and length):
                return own or found
            if length and (inherited := self._inherited(file, scope[:length], name)):
                return inherited
        imported = file.aliases.get(name)
        if imported is not None:
            return self._imported(imported, file)
        if not _distinctive(name):
            return self._symbols.get((language, (*package, name)), [])
        self._want(file, name)
        if found := self._symbols.get((language, (*package, name)), []):
            return found
        for each in file.facts.imports:
            if each.alias == "*":
                self._want(file, each.path[-1])
                if found := self._symbols.get((language, (*each.path, name)), []):
                    return found
        candidates = [symbol for symbol in self._names.get((language, name), []) if not _member(symbol)]
        return candidates if len({symbol.path for symbol in candidates}) == 1 else []

    def _inherited(self, file: File, scope: Path, name: str, depth: int = 0) -> list[Symbol]:
        owners = self._symbols.get((file.family, (*file.facts.package, *scope)), [])
        for owner in owners:
            if owner.file is not file or not isinstance(owner.fact, Type) or depth > _DEPTH:
                continue
            for supertype in owner.fact.supertypes:
                if supertype.path == scope[-1:] or supertype.path[-1] == name:
                    continue
                found, rest = self.find(supertype.path, file, scope[:-1])
                for symbol in found if not rest else []:
                    if inner := self._children([symbol], name) or self._inherited(
                        symbol.file, symbol.fact.path, name, depth + 1
                    ):
                        return inner
        return []

    def _imported(self, path: Path, file: File) -> list[Symbol]:
        language = file.family
        for part in path[-3:]:
            self._want(file, part)
        if found := self._symbols.get((language, path), []):
            return found
        if language != "typescript":
            return []
        candidates = [symbol for symbol in self._names.get((language, path[-1]), []) if len(symbol.fact.path) == 1]
        exact = [symbol for symbol in candidates if symbol.file.facts.package[0] in _modules(path[0])]
        if exact or path[0].startswith("./"):
            return exact
        return candidates if len({symbol.path for symbol in candidates}) == 1 else []

    def _qualified(self, parts: Path, file: File) -> tuple[list[Symbol], int]:
        """Look up a path that begins with its package."""
        language = file.family
        for length in range(len(parts), 1, -1):
            if found := self._symbols.get((language, parts[:length]), []):
                return found, length
        if parts[0][:1].islower():
            for part in parts[1:]:
                if part[:1].isupper():
                    self._want(file, part)
                    break
        return [], 0

    def _children(self, symbols: Iterable[Symbol], name: str) -> list[Symbol]:
        result = []
        for symbol in symbols:
            inner = self._symbols.get((symbol.file.family, (*symbol.path, name)), [])
            if _instance(symbol):
                inner = [each for each in inner if isinstance(each.fact, Type)]
            result.extend(inner)
        return result

    def _want(self, file: File, name: str) -> None:
        self.wanted.add((file.language, name))


def family(language: Language) -> Language:
    """Return the language whose declarations `language` sees: Kotlin and Java see each other's."""
    return "kotlin" if language == "java" else language


def _distinctive(name: str) -> bool:
    return name[:1].isupper() or (name[:1] == "_" and name[1:2].isupper())


def _member(symbol: Symbol) -> bool:
    return isinstance(symbol.fact, Type) and symbol.fact.kind == "member"


def _instance(symbol: Symbol) -> bool:
    return isinstance(symbol.fact, Type) and symbol.fact.kind in {"member", "object"}


def _modules(module: str) -> Collection[str]:
    module = module.removeprefix("./")
    return {module, f"{module}/index"}
