"""Reading Kotlin."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

from ast_grep_py import SgNode

from upkeep.content.scan.escapes import kotlin_text
from upkeep.content.scan.expression import (
    FALSE,
    NOTHING,
    TRUE,
    UNKNOWN,
    Case,
    Choice,
    Element,
    Expression,
    Match,
    Name,
    Pair,
    Text,
    join,
)
from upkeep.content.scan.facts import Constant, Constructor, Field, Function, Import, Path, Supertype, Type
from upkeep.content.scan.nodes import child_of, named, unquoted
from upkeep.content.scan.syntax import Local, Parts, Reader

_BARE_OBJECT = re.compile(r"^(object\s+\w+\s*\{)", re.MULTILINE)
"""At top level the grammar takes `object Names {` for an infix call on an anonymous object; a modifier helps it."""

_WITHOUT_IT = frozenset(
    re.split(
        r"\s+",
        "launch async withContext runBlocking coroutineScope supervisorScope withTimeout withTimeoutOrNull "
        "launchWhenCreated launchWhenStarted launchWhenResumed repeatOnLifecycle apply run with runCatching buildMap "
        "buildList buildSet buildString lazy flow synchronized withLock post postDelayed runOnUiThread remember "
        "LaunchedEffect",
    )
)
"""Functions whose lambda has no parameter: `it` inside is that of a lambda around it."""

_OVER_ELEMENTS = frozenset(("map", "mapNotNull", "flatMap", "forEach", "onEach", "filter", "associateWith"))

_TRANSPARENT = frozenset({"parenthesized_expression", "postfix_expression", "as_expression"})


class KotlinReader(Reader):
    identifiers = frozenset({"simple_identifier", "type_identifier"})
    calls = frozenset({"call_expression", "constructor_invocation"})
    types = frozenset({"class_declaration", "object_declaration", "companion_object", "enum_entry"})
    functions = frozenset({"function_declaration"})
    lambdas = frozenset({"lambda_literal"})
    blocks = frozenset({"statements"})
    constants = frozenset({"property_declaration"})
    assignments = frozenset({"assignment"})
    loops = frozenset({"for_statement"})

    def __init__(self, text: str) -> None:
        super().__init__(_BARE_OBJECT.sub(r"public \1", text), "kotlin")

    def package(self) -> Path:
        header = child_of(self.root, "package_header")
        return () if header is None else _path(header)

    def imports(self) -> Iterator[Import]:
        for header in self.root.find_all(kind="import_header"):
            path = tuple(part for part in _path(header) if part != "Companion")
            alias = child_of(header, "import_alias")
            if child_of(header, "wildcard_import") is not None:
                yield Import("*", path)
            elif path:
                yield Import(path[-1] if alias is None else alias.children()[-1].text(), path)

    def type_name(self, node: SgNode) -> str | None:
        if node.kind() == "companion_object":
            return None
        name = child_of(node, "type_identifier", "simple_identifier")
        return None if name is None else unquoted(name.text())

    def type_facts(self, node: SgNode, scope: Path) -> Iterator[Type | Constant]:
        name = self.type_name(node)
        if name is None:
            return
        if node.kind() == "enum_entry":
            arguments = Parts("", node, None, self._value_arguments(child_of(node, "value_arguments")))
            yield Type((*scope, name), "member", (), (Supertype(scope, self.arguments(arguments)),))
            return
        keywords = {child.kind() for child in node.children()}
        kind = "object" if node.kind() == "object_declaration" else "enum" if "enum" in keywords else "class"
        constructor = child_of(node, "primary_constructor")
        parameters = () if constructor is None else tuple(self._fields(constructor, "class_parameter"))
        yield Type((*scope, name), kind, parameters, tuple(self._supertypes(node)), tuple(self._constructors(node)))

    def constant_facts(self, node: SgNode, scope: Path) -> Iterator[Constant]:
        name = self._variable(node)
        if name is None:
            return
        receiver = child_of(node, "receiver_type", "user_type")
        owner = (
            None
            if receiver is None
            else receiver
            if receiver.kind() == "user_type"
            else child_of(receiver, "user_type")
        )
        path = (*(scope if owner is None else (_type_path(owner)[-1],)), name)
        companion = next((each.kind() for each in node.ancestors() if each.kind() in self.types), "")
        yield Constant(path, self._property_value(node), static=companion == "companion_object")

    def _property_value(self, node: SgNode) -> Expression:
        getter = child_of(node, "getter") or _sibling_getter(node)
        body = None if getter is None else child_of(getter, "function_body")
        value, delegate = _assigned(node), child_of(node, "property_delegate")
        if body is not None:
            return self._body(body) or UNKNOWN
        if delegate is not None:
            return self._lazy(delegate)
        return UNKNOWN if value is None or _keyword(node) == "var" else self.expression(value)

    def function_name(self, node: SgNode) -> str | None:
        name = child_of(node, "simple_identifier")
        return None if name is None else unquoted(name.text())

    def function_facts(self, node: SgNode, scope: Path) -> Function:
        body = child_of(node, "function_body")
        receiver = child_of(node, "user_type")
        children = node.children()
        extends = receiver is not None and any(
            child.kind() == "user_type" and following.kind() == "." for child, following in pairwise(children)
        )
        owner = (_type_path(receiver)[-1],) if extends and receiver is not None else scope
        return Function(
            path=(*owner, self.function_name(node) or ""),
            parameters=tuple(self.parameters(node)),
            returns=None if body is None else self._body(body),
            body=body is not None,
        )

    def parameters(self, node: SgNode) -> list[Field]:
        values = child_of(node, "function_value_parameters")
        return [] if values is None else list(self._fields(values, "parameter"))

    def lambda_names(self, node: SgNode) -> Collection[str]:
        parameters = child_of(node, "lambda_parameters")
        if parameters is None:
            parts = self._taker(node)
            return () if parts is not None and parts.method in _WITHOUT_IT else {"it"}
        return {name.text() for name in parameters.find_all(kind="simple_identifier")}

    def lambda_value(self, node: SgNode, name: str) -> Expression:
        """`x.let { … it … }` and `also` hand on their receiver, `map` and `forEach` its elements; of a map's entries
        `{ (key, value) -> … }` the values."""
        parts = self._taker(node)
        if parts is None or parts.receiver is None:
            return UNKNOWN
        if parts.method in {"let", "also"}:
            return self.expression(parts.receiver)
        if parts.method not in _OVER_ELEMENTS:
            return UNKNOWN
        declared = child_of(node, "lambda_parameters")
        names = [] if declared is None else [each.text() for each in declared.find_all(kind="simple_identifier")]
        if len(names) > 1 and (len(names) != 2 or name != names[1]):
            return UNKNOWN
        return Element(self.expression(parts.receiver))

    def _taker(self, node: SgNode) -> Parts | None:
        """Return the call that takes the lambda at `node`."""
        call = next((each for each in node.ancestors() if each.kind() in {"call_expression", "statements"}), None)
        return None if call is None or call.kind() == "statements" else self.call_parts(call)

    def loop_names(self, node: SgNode) -> Collection[str]:
        declared = child_of(node, "variable_declaration", "multi_variable_declaration")
        return set() if declared is None else {name.text() for name in declared.find_all(kind="simple_identifier")}

    def locals(self, node: SgNode) -> Iterator[Local]:
        if node.kind() != "property_declaration":
            return
        name = self._variable(node)
        if name is not None:
            yield Local(name, _assigned(node), known=child_of(node, "property_delegate") is None)
        several = child_of(node, "multi_variable_declaration")
        if several is not None:
            for index, each in enumerate(several.find_all(kind="variable_declaration")):
                variable = child_of(each, "simple_identifier")
                if variable is not None:
                    yield Local(unquoted(variable.text()), _assigned(node), index=index)

    def assignment(self, node: SgNode) -> tuple[SgNode, SgNode] | None:
        target = child_of(node, "directly_assignable_expression")
        if target is None or child_of(node, "=") is None:
            return None
        return target, named(node)[-1]

    def call_parts(self, node: SgNode) -> Parts | None:
        if node.kind() == "constructor_invocation":
            kind = child_of(node, "user_type")
            names = [] if kind is None else kind.find_all(kind="type_identifier")
            if not names:
                return None
            return Parts(names[-1].text(), names[-1], None, self._value_arguments(child_of(node, "value_arguments")))
        children = named(node)
        if len(children) < 2 or children[-1].kind() != "call_suffix":
            return None
        callee, suffix = children[0], children[-1]
        arguments = self._value_arguments(child_of(suffix, "value_arguments"))
        trailing = child_of(suffix, "annotated_lambda")
        if trailing is not None:
            arguments = (*arguments, (None, trailing))
        if callee.kind() == "simple_identifier":
            return Parts(unquoted(callee.text()), callee, None, arguments)
        if callee.kind() != "navigation_expression":
            return None
        target, name = _navigation(callee)
        return None if name is None else Parts(unquoted(name.text()), name, target, arguments)

    def read_expression(self, node: SgNode) -> Expression:
        kind = node.kind()
        if kind in {"string_literal", "character_literal"}:
            return self._string(node)
        if kind == "simple_identifier":
            return self.identifier(node)
        if kind == "navigation_expression":
            target, name = _navigation(node)
            return UNKNOWN if name is None else self.member(self.expression(target), unquoted(name.text()))
        if kind == "call_expression":
            return self.invocation(node)
        if kind in {"this_expression", "super_expression"}:
            return Name(("this",))
        if kind == "boolean_literal":
            return TRUE if node.text() == "true" else FALSE
        children = named(node)
        if not children:
            return NOTHING if kind in {"null", "null_literal", "jump_expression"} or node.text() == "null" else UNKNOWN
        if kind in _TRANSPARENT:
            return self.expression(children[0])
        if kind in {"annotated_lambda", "value_argument"}:
            return self.expression(children[-1])
        if kind == "additive_expression" and child_of(node, "+") is not None:
            return join([self.expression(child) for child in children])
        if kind == "infix_expression":
            infix = len(children) == 3 and children[1].text() == "to"
            return Pair(self.expression(children[0]), self.expression(children[2])) if infix else UNKNOWN
        if kind == "elvis_expression":
            return Choice(tuple(self.expression(child) for child in children))
        return self._control(kind, node, children)

    def _control(self, kind: str, node: SgNode, children: list[SgNode]) -> Expression:
        if kind == "if_expression":
            bodies = [self.expression(child) for child in children if child.kind() == "control_structure_body"]
            if child_of(node, "else") is None:
                bodies.append(UNKNOWN)
            if len(bodies) == 2 and children[0].kind() == "simple_identifier":
                return Match(self.expression(children[0]), (Case(TRUE.parts, bodies[0]), Case((), bodies[1])))
            return Choice(tuple(bodies))
        if kind == "when_expression":
            return self._when(children)
        if kind in {"control_structure_body", "lambda_literal", "statements"}:
            inner = [child for child in children if child.kind() != "lambda_parameters"]
            return self.group(inner) if inner else UNKNOWN
        if kind == "jump_expression":
            returns = node.children()[0].text().startswith("return")
            return self.expression(children[-1]) if returns else NOTHING
        if kind == "assignment":
            return self._stored(node)
        if kind in {"spread_expression", "collection_literal"}:
            return self.group(children)
        return UNKNOWN

    def _when(self, children: list[SgNode]) -> Expression:
        subject: Expression | None = None
        cases = []
        for child in children:
            if child.kind() == "when_subject":
                subject = self.expression(named(child)[-1])
            if child.kind() != "when_entry":
                continue
            parts = named(child)
            conditions = [part for part in parts if part.kind() == "when_condition"]
            names = tuple(unquoted(part.text().removeprefix("is ").rsplit(".", 1)[-1].strip()) for part in conditions)
            cases.append(Case(names, self.expression(parts[-1])))
        return Match(subject, tuple(cases))

    def _stored(self, node: SgNode) -> Expression:
        """Return `map[key] = value` as a pair."""
        change = self.assignment(node)
        index = None if change is None else child_of(change[0], "indexing_suffix")
        if change is None or index is None:
            return UNKNOWN
        return Pair(self.expression(named(index)[0]), self.expression(change[1]))

    def _string(self, node: SgNode) -> Expression:
        source = node.text()
        raw = source.startswith('"""')
        parts: list[Expression] = []
        for child in node.children():
            kind = child.kind()
            if kind in {"string_content", "character_escape_seq"}:
                parts.append(Text(kotlin_text(child.text(), raw=raw)))
            elif kind == "interpolated_identifier":
                parts.append(self.identifier(child))
            elif kind == "interpolated_expression":
                inner = named(child)
                parts.append(self.expression(inner[0]) if inner else UNKNOWN)
        if not parts and node.kind() == "character_literal":
            return Text(kotlin_text(source[1:-1], raw=False))
        return join(parts)

    def _body(self, body: SgNode) -> Expression | None:
        """Return the value of a body that is one expression or one `return`."""
        inner = named(body)
        if not inner:
            return None
        if child_of(body, "=") is not None:
            return self.returned(inner[-1])
        statements = named(inner[0]) if inner[0].kind() == "statements" else inner
        last = statements[-1] if statements else body
        if last.kind() != "jump_expression" or not named(last) or len(body.find_all(kind="jump_expression")) != 1:
            return None
        return self.returned(named(last)[-1])

    def _lazy(self, delegate: SgNode) -> Expression:
        inner = named(delegate)
        parts = self.call_parts(inner[-1]) if inner and inner[-1].kind() == "call_expression" else None
        return self.expression(parts.arguments[-1][1]) if parts and parts.method == "lazy" else UNKNOWN

    def _fields(self, values: SgNode, kind: str) -> Iterator[Field]:
        children = [child for child in values.children() if child.kind() not in {"comment", "multiline_comment"}]
        kinds = [child.kind() for child in children]
        for number, child in enumerate(children):
            if kinds[number] != kind:
                continue
            name = child_of(child, "simple_identifier")
            default = _assigned(child)
            if default is None and kinds[number + 1 : number + 2] == ["="] and number + 2 < len(children):
                default = children[number + 2]
            before = children[number - 1].text() if number else ""
            yield Field(
                name="" if name is None else unquoted(name.text()),
                default=None if default is None else self.expression(default),
                property=child_of(child, "binding_pattern_kind") is not None,
                vararg="vararg" in before or child.text().startswith("vararg"),
            )

    def _supertypes(self, node: SgNode) -> Iterator[Supertype]:
        for specifier in node.children():
            if specifier.kind() != "delegation_specifier":
                continue
            invocation = child_of(specifier, "constructor_invocation") or specifier
            kind = child_of(invocation, "user_type")
            if kind is not None:
                arguments = self._value_arguments(child_of(invocation, "value_arguments"))
                yield Supertype(_type_path(kind), self.arguments(Parts("", node, None, arguments)))

    def _constructors(self, node: SgNode) -> Iterator[Constructor]:
        body = child_of(node, "class_body", "enum_class_body")
        for child in () if body is None else body.children():
            if child.kind() != "secondary_constructor":
                continue
            call, values = child_of(child, "constructor_delegation_call"), child_of(child, "function_value_parameters")
            if call is None or values is None or not call.text().startswith("this"):
                continue
            arguments = Parts("", call, None, self._value_arguments(child_of(call, "value_arguments")))
            yield Constructor(tuple(self._fields(values, "parameter")), self.arguments(arguments))

    def _value_arguments(self, values: SgNode | None) -> tuple[tuple[str | None, SgNode], ...]:
        if values is None:
            return ()
        arguments: list[tuple[str | None, SgNode]] = []
        for argument in values.children():
            if argument.kind() != "value_argument":
                continue
            parts = [part for part in named(argument) if part.kind() != "annotation"]
            labelled = child_of(argument, "=") is not None and len(parts) > 1
            if parts:
                arguments.append((unquoted(parts[0].text()) if labelled else None, parts[-1]))
        return tuple(arguments)

    def _variable(self, node: SgNode) -> str | None:
        variable = child_of(node, "variable_declaration")
        name = None if variable is None else child_of(variable, "simple_identifier")
        return None if name is None else unquoted(name.text())


def _navigation(node: SgNode) -> tuple[SgNode, SgNode | None]:
    children = named(node)
    suffix = children[-1]
    name = child_of(suffix, "simple_identifier") if child_of(suffix, "::") is None else None
    return children[0], name


def _path(header: SgNode) -> Path:
    identifier = child_of(header, "identifier")
    return () if identifier is None else tuple(unquoted(part.text()) for part in named(identifier))


def _type_path(node: SgNode) -> Path:
    return tuple(child.text() for child in node.children() if child.kind() == "type_identifier") or ("",)


def _assigned(node: SgNode) -> SgNode | None:
    """Return the node after `=`."""
    children = node.children()
    for number, child in enumerate(children[:-1]):
        if child.kind() == "=":
            rest = [each for each in children[number + 1 :] if each.is_named()]
            return rest[0] if rest else None
    return None


def _keyword(node: SgNode) -> str:
    pattern = child_of(node, "binding_pattern_kind")
    return "" if pattern is None else pattern.text()


def _sibling_getter(node: SgNode) -> SgNode | None:
    """Return the getter that the grammar sometimes puts beside its property."""
    following = node.next()
    return following if following is not None and following.kind() == "getter" else None
