"""Reading one file: what all languages have in common.

What belongs here: finding calls, declarations and local variables in a tree-sitter tree, in terms of a few hooks. What
does not: the grammar of one language (`kotlin.py`, `java.py`, `swift.py`, `typescript.py`), or anything that needs a
second file (`resolve.py`).

A tree-sitter tree exists for every text; where it holds ERROR nodes, the calls and declarations inside are read all the
same, because a grammar that lags behind its language must not hide a call.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ast_grep_py import Config, Rule, SgNode, SgRoot

from upkeep.content.scan.expression import (
    UNKNOWN,
    Argument,
    Choice,
    Component,
    Expression,
    Group,
    Invoke,
    Member,
    Name,
    Parameter,
)
from upkeep.content.scan.facts import CallSite, Constant, Field, FileFacts, Function, Functions, Import, Path, Type
from upkeep.content.scan.nodes import last_name, position, squeezed, unquoted

_MAXIMUM_DEPTH = 60
_NAME_DEPTH = 4
"""How many steps up from a method's name its call is."""
_LONGEST_RETURN = 4000
_LONGEST_CHAIN = 120
_PLAIN_CALLS = re.compile(
    r"(?:(?:new\s+)?(?:[A-Z][\w.]*|\w+Of\w*|build\w*|mutable\w*)|[\w.]+\.(?:associateWith|map))\s*[(<{]"
)
_MAXIMUM_NODES = 4000
"""Of one expression, locals written out: `val b = a + a; val c = b + b; …` doubles with every line."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A call taken apart. `name` is the node that names the method; `arguments` are (label, node)."""

    method: str
    name: SgNode
    receiver: SgNode | None
    arguments: tuple[tuple[str | None, SgNode], ...]


@dataclass(frozen=True, slots=True)
class Local:
    """A local declaration; `value` is None where it is assigned later or cannot be known. `index`: it is one of several
    variables that `value` is taken apart into."""

    name: str
    value: SgNode | None
    known: bool = True
    index: int | None = None


class Reader(ABC):
    """Reads one file of one language into `FileFacts`. One instance a file."""

    identifiers: ClassVar[frozenset[str]]
    calls: ClassVar[frozenset[str]]
    types: ClassVar[frozenset[str]]
    functions: ClassVar[frozenset[str]]
    lambdas: ClassVar[frozenset[str]]
    blocks: ClassVar[frozenset[str]]
    constants: ClassVar[frozenset[str]]
    assignments: ClassVar[frozenset[str]]
    loops: ClassVar[frozenset[str]]

    def __init__(self, text: str, grammar: str) -> None:
        self.root: SgNode = SgRoot(text, grammar).root()
        self._binding: set[tuple[str, int]] = set()
        self._function_numbers: dict[tuple[int, int], int] = {}
        self._depth = 0
        self._nodes = 0
        self._parameters: dict[tuple[int, int], list[Field]] = {}
        self._locals: dict[tuple[int, int], list[tuple[int, Local]]] = {}
        self._lambda_names: dict[tuple[int, int], Collection[str]] = {}

    # What a language says.

    @abstractmethod
    def package(self) -> Path: ...

    @abstractmethod
    def imports(self) -> Iterator[Import]: ...

    @abstractmethod
    def type_name(self, node: SgNode) -> str | None:
        """Return the name that the type at `node` adds to the scope of what is inside, None for none."""

    @abstractmethod
    def type_facts(self, node: SgNode, scope: Path) -> Iterator[Type | Constant]: ...

    @abstractmethod
    def constant_facts(self, node: SgNode, scope: Path) -> Iterator[Constant]:
        """Yield the constants of a declaration that is not local."""

    @abstractmethod
    def function_name(self, node: SgNode) -> str | None: ...

    @abstractmethod
    def function_facts(self, node: SgNode, scope: Path) -> Function: ...

    @abstractmethod
    def parameters(self, node: SgNode) -> list[Field]:
        """Return the parameters of the function at `node`."""

    @abstractmethod
    def lambda_names(self, node: SgNode) -> Collection[str]: ...

    def lambda_value(self, node: SgNode, name: str) -> Expression:
        """Return what the parameter `name` of the lambda at `node` is, where the call that takes it says so."""
        return UNKNOWN

    @abstractmethod
    def loop_names(self, node: SgNode) -> Collection[str]: ...

    @abstractmethod
    def locals(self, node: SgNode) -> Iterator[Local]:
        """Yield what the statement at `node` declares."""

    @abstractmethod
    def assignment(self, node: SgNode) -> tuple[SgNode, SgNode] | None:
        """Return target and value of the assignment at `node`."""

    @abstractmethod
    def call_parts(self, node: SgNode) -> Parts | None: ...

    @abstractmethod
    def read_expression(self, node: SgNode) -> Expression:
        """Return what the expression at `node` is; callers use `expression`."""

    def is_local(self, node: SgNode) -> bool:
        """Whether the declaration at `node` stands in a function."""
        parent = node.parent()
        return parent is not None and parent.kind() in self.blocks and parent.kind() not in {"program", "source_file"}

    # What follows from it.

    @property
    def broken(self) -> bool:
        """Whether the grammar could make nothing of the file."""
        return self.root.kind() == "ERROR"

    def facts(self, methods: Collection[str], rules: Mapping[int, Config]) -> FileFacts:
        """Return everything that this file says; calls of `methods` and matches of `rules` (index to ast-grep rule)."""
        functions = Functions.of(tuple(self._functions()))
        types: list[Type] = []
        constants: list[Constant] = []
        for node in self._find(self.types | self.constants):
            kind, scope = node.kind(), self.scope(node)
            if kind in self.constants and not self.is_local(node):
                constants.extend(self.constant_facts(node, scope))
            if kind in self.types:
                for fact in self.type_facts(node, scope):
                    (types if isinstance(fact, Type) else constants).append(fact)  # type: ignore[arg-type]
        return FileFacts(
            package=self.package(),
            imports=tuple(self.imports()),
            types=tuple(types),
            constants=tuple(constants),
            functions=functions,
            calls=self.call_sites(methods, rules),
        )

    def call_sites(self, methods: Collection[str], rules: Mapping[int, Config]) -> tuple[CallSite, ...]:
        """Return the calls of `methods` and the matches of `rules`, in order of appearance."""
        if not self._function_numbers:
            self._number_functions()
        sites = [*self._method_calls(methods), *self._rule_matches(rules)]
        return tuple(sorted(sites, key=lambda site: site.line))

    def expression(self, node: SgNode) -> Expression:
        """Return what the expression at `node` is, Unknown beyond a depth that no hand-written name has."""
        self._nodes = 1 if self._depth == 0 else self._nodes + 1
        if self._depth > _MAXIMUM_DEPTH or self._nodes > _MAXIMUM_NODES:
            return UNKNOWN
        self._depth += 1
        try:
            return self.read_expression(node)
        finally:
            self._depth -= 1

    def identifier(self, node: SgNode) -> Expression:
        """Return what the identifier at `node` stands for: a local's value, a parameter, or a name to resolve later."""
        name = unquoted(node.text())
        bound = self._bind(name, node)
        return Name((name,)) if bound is None else bound

    def member(self, target: Expression, name: str) -> Expression:
        """Return `target.name`, as one path where it is one."""
        if isinstance(target, Name):
            return Name((*target.parts, name))
        return Member(target, name)

    def invocation(self, node: SgNode) -> Expression:
        """Return the call at `node` as an expression."""
        parts = self.call_parts(node)
        if parts is None:
            return UNKNOWN
        target = None if parts.receiver is None else self.expression(parts.receiver)
        return Invoke(target, parts.method, self.arguments(parts))

    def arguments(self, parts: Parts) -> tuple[Argument, ...]:
        return tuple(Argument(label, self.expression(node)) for label, node in parts.arguments)

    def group(self, nodes: Iterable[SgNode]) -> Expression:
        """Return the statements `nodes` side by side; one alone is itself."""
        items = tuple(self.expression(node) for node in nodes)
        return items[0] if len(items) == 1 else Group(items)

    def returned(self, node: SgNode) -> Expression | None:
        """Return what a function gives back that ends in the expression at `node`.

        Most functions give back nothing that an event is made of, and reading them all doubled the time of a scan: only
        names, strings, branches, constructors and builders of collections are read.
        """
        text = node.text()
        if len(text) > _LONGEST_RETURN:
            return None
        if node.kind() in self.calls and not _PLAIN_CALLS.match(text) and ("{" in text or len(text) > _LONGEST_CHAIN):
            return None
        value = self.expression(node)
        return None if value == UNKNOWN else value

    def scope(self, node: SgNode) -> Path:
        """Return the names of the types around `node`, outermost first."""
        names = [self.type_name(each) for each in node.ancestors() if each.kind() in self.types]
        return tuple(name for name in reversed(names) if name is not None)

    def _find(self, kinds: Collection[str], within: SgNode | None = None) -> list[SgNode]:
        rules: list[Rule] = [{"kind": kind} for kind in sorted(kinds)]
        return (within or self.root).find_all(any=rules)

    def _functions(self) -> Iterator[Function]:
        for node in self._number_functions():
            yield self.function_facts(node, self.scope(node))

    def _number_functions(self) -> list[SgNode]:
        nodes = [node for node in self._find(self.functions) if self.function_name(node) is not None]
        self._function_numbers = {position(node): number for number, node in enumerate(nodes)}
        return nodes

    def _method_calls(self, methods: Collection[str]) -> Iterator[CallSite]:
        if not methods:
            return
        pattern = "^`?(?:" + "|".join(re.escape(method) for method in sorted(methods)) + ")`?$"
        rules: list[Rule] = [{"kind": kind, "regex": pattern} for kind in sorted(self.identifiers)]
        for name in self.root.find_all(any=rules):
            node, parts = self._called(name)
            if node is None or parts is None:
                continue
            receiver = "" if parts.receiver is None else last_name(parts.receiver.text())
            sources = tuple(squeezed(argument.text()) for _, argument in parts.arguments)
            yield self._site(node, parts.name, parts.method, receiver, self.arguments(parts), sources)

    def _called(self, name: SgNode) -> tuple[SgNode | None, Parts | None]:
        """Return the call whose method is the identifier at `name`."""
        place = position(name)
        node: SgNode | None = name
        for _ in range(_NAME_DEPTH):
            node = None if node is None else node.parent()
            if node is not None and node.kind() in self.calls:
                parts = self.call_parts(node)
                found = parts is not None and position(parts.name) == place
                return (node, parts) if found else (None, None)
        return None, None

    def _rule_matches(self, rules: Mapping[int, Config]) -> Iterator[CallSite]:
        for number, config in rules.items():
            for node in self.root.find_all(config):
                event = node.get_match("EVENT")
                if event is None:
                    continue
                single = node.get_match("PROPERTIES")
                others = [single] if single is not None else node.get_multiple_matches("PROPERTIES")
                others = [each for each in others if each.is_named()]
                arguments = [Argument("$EVENT", self.expression(event))]
                if others:
                    arguments.append(Argument("$PROPERTIES", self.group(others)))
                sources = (squeezed(event.text()),)
                yield self._site(node, node, "", "", tuple(arguments), sources, rule=number)

    def _site(
        self,
        node: SgNode,
        name: SgNode,
        method: str,
        receiver: str,
        arguments: tuple[Argument, ...],
        sources: tuple[str, ...],
        rule: int | None = None,
    ) -> CallSite:
        names: list[str] = []
        function = None
        for ancestor in node.ancestors():
            kind = ancestor.kind()
            if kind in self.functions:
                own = self.function_name(ancestor)
                names.extend([own] if own else [])
                if function is None and own:
                    function = self._function_numbers.get(position(ancestor))
            elif kind in self.types:
                names.extend([own] if (own := self.type_name(ancestor)) else [])
        return CallSite(
            method=method,
            receiver=receiver,
            arguments=arguments,
            sources=sources,
            line=name.range().start.line + 1,
            scope=self.scope(node),
            symbol=".".join(reversed(names)),
            function=function,
            rule=rule,
        )

    def _bind(self, name: str, node: SgNode) -> Expression | None:
        """Return what the local variable or parameter `name` is at `node`; None where it is neither."""
        for ancestor in node.ancestors():
            kind = ancestor.kind()
            if kind in self.blocks and (bound := self._local(name, ancestor, node)) is not None:
                return bound
            if kind in self.lambdas and name in self._lambda_names_of(ancestor):
                return self.lambda_value(ancestor, name)
            if kind in self.loops and name in self.loop_names(ancestor):
                return UNKNOWN
            if kind in self.functions:
                for field in self._parameters_of(ancestor):
                    if field.name == name:
                        return Parameter(name, field.default)
            if kind in self.types:
                return None
        return None

    def _lambda_names_of(self, node: SgNode) -> Collection[str]:
        key = position(node)
        if key not in self._lambda_names:
            self._lambda_names[key] = self.lambda_names(node)
        return self._lambda_names[key]

    def _parameters_of(self, function: SgNode) -> list[Field]:
        """Return the parameters of `function`; none while its own default values are being read."""
        key = position(function)
        if key not in self._parameters:
            self._parameters[key] = []
            self._parameters[key] = self.parameters(function)
        return self._parameters[key]

    def _local(self, name: str, block: SgNode, use: SgNode) -> Expression | None:
        if block.kind() in {"program", "source_file"}:
            return None
        found: Local | None = None
        start = position(use)[0]
        for end, local in self._locals_of(block):
            if end > start:
                break
            found = local if local.name == name else found
        if found is None:
            return None
        key = (name, position(block)[0])
        if key in self._binding or not found.known:
            return UNKNOWN
        self._binding.add(key)
        try:
            return self._value(found, block, use)
        finally:
            self._binding.discard(key)

    def _locals_of(self, block: SgNode) -> list[tuple[int, Local]]:
        """Return what `block` declares, each with where its declaration ends."""
        key = position(block)
        if key not in self._locals:
            self._locals[key] = [
                (position(child)[1], local) for child in block.children() for local in self.locals(child)
            ]
        return self._locals[key]

    def _value(self, local: Local, block: SgNode, use: SgNode) -> Expression:
        """Return the values that `local` can have: several only where no one of them is sure to be overwritten."""
        options: list[Expression] = [] if local.value is None else [self.expression(local.value)]
        if local.index is not None:
            options = [Component(each, local.index) for each in options]
        mutations: list[Expression] = []
        kinds = sorted(self.assignments | self.calls)
        rules: list[Rule] = [{"kind": kind, "regex": rf"^`?{re.escape(local.name)}\b"} for kind in kinds]
        for node in block.find_all(any=rules):
            if position(node)[0] >= position(use)[0]:
                break
            parts = self.call_parts(node) if node.kind() in self.calls else None
            if parts is not None and parts.receiver is not None:
                if parts.receiver.text() == local.name and len(parts.arguments) > 1:
                    mutations.append(Invoke(None, parts.method, self.arguments(parts)))
                continue
            target, value = self.assignment(node) or (None, None)
            if target is None or value is None:
                continue
            if target.text() != local.name:
                mutations.append(self.expression(node))
            elif local.value is not None and self._unconditional(node, block):
                return UNKNOWN
            else:
                options.append(self.expression(value))
        result = options[0] if len(options) == 1 else Choice(tuple(options)) if options else UNKNOWN
        return Invoke(result, "apply", (Argument(None, Group(tuple(mutations))),)) if mutations else result

    def _unconditional(self, node: SgNode, block: SgNode) -> bool:
        """Whether the statement at `node` stands in `block` itself, not in a branch or loop inside."""
        parent = node.parent()
        if parent is not None and parent.kind() == "expression_statement":
            parent = parent.parent()
        return parent is not None and position(parent) == position(block)
