"""Reading Java."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ast_grep_py import SgNode

from upkeep.content.scan.escapes import text_block, unescape
from upkeep.content.scan.expression import (
    NOTHING,
    UNKNOWN,
    Argument,
    Case,
    Choice,
    Expression,
    Group,
    Invoke,
    Match,
    Name,
    Pair,
    Parameter,
    Text,
    join,
)
from upkeep.content.scan.facts import Constant, Field, Function, Import, Path, Supertype, Type
from upkeep.content.scan.nodes import child_of, named
from upkeep.content.scan.syntax import Local, Parts, Reader

_PAIRED = frozenset({"Map", "ImmutableMap"})


class JavaReader(Reader):
    identifiers = frozenset({"identifier", "type_identifier"})
    calls = frozenset({"method_invocation", "object_creation_expression"})
    types = frozenset({
        "class_declaration", "interface_declaration", "enum_declaration", "record_declaration", "enum_constant",
    })  # fmt: skip
    functions = frozenset({"method_declaration", "constructor_declaration"})
    lambdas = frozenset({"lambda_expression"})
    blocks = frozenset({"block", "constructor_body", "switch_block_statement_group"})
    constants = frozenset({"field_declaration", "constant_declaration"})
    assignments = frozenset({"assignment_expression"})
    loops = frozenset({"enhanced_for_statement", "catch_clause"})

    def __init__(self, text: str) -> None:
        super().__init__(text, "java")

    def package(self) -> Path:
        header = child_of(self.root, "package_declaration")
        return () if header is None else _dotted(named(header)[-1])

    def imports(self) -> Iterator[Import]:
        for node in self.root.children():
            if node.kind() != "import_declaration":
                continue
            path = _dotted(named(node)[0])
            yield Import("*" if child_of(node, "asterisk") is not None else path[-1], path)

    def type_name(self, node: SgNode) -> str | None:
        name = node.field("name")
        return None if name is None else name.text()

    def type_facts(self, node: SgNode, scope: Path) -> Iterator[Type | Constant]:
        name = self.type_name(node)
        if name is None:
            return
        path = (*scope, name)
        if node.kind() == "enum_constant":
            yield Type(path, "member", (), (Supertype(scope, self._arguments(node.field("arguments"))),))
            return
        kind = "enum" if node.kind() == "enum_declaration" else "class"
        body = node.field("body")
        constructor = None if body is None else self._constructor(body)
        holder = node if node.kind() == "record_declaration" else constructor
        fields = () if holder is None else tuple(self._fields(holder, property=node.kind() == "record_declaration"))
        yield Type(path, kind, fields, tuple(self._supertypes(node, constructor)))
        if constructor is not None:
            yield from self._assigned(constructor, path)

    def constant_facts(self, node: SgNode, scope: Path) -> Iterator[Constant]:
        modifiers = child_of(node, "modifiers")
        words = [] if modifiers is None else modifiers.text().split()
        static = node.kind() == "constant_declaration" or "static" in words
        final = node.kind() == "constant_declaration" or "final" in words
        for declarator in node.field_children("declarator"):
            name, value = declarator.field("name"), declarator.field("value")
            if name is None or (value is None and final):
                continue
            known = self.expression(value) if final and value is not None else UNKNOWN
            yield Constant((*scope, name.text()), known, static=static)

    def function_name(self, node: SgNode) -> str | None:
        name = node.field("name")
        return None if name is None else name.text()

    def function_facts(self, node: SgNode, scope: Path) -> Function:
        body = node.field("body")
        returns = None
        if body is not None and named(body) and named(body)[-1].kind() == "return_statement":
            value = named(named(body)[-1])
            if value and len(body.find_all(kind="return_statement")) == 1:
                returns = self.returned(value[0])
        name = self.function_name(node) or ""
        return Function((*scope, name), tuple(self.parameters(node)), returns, body is not None)

    def parameters(self, node: SgNode) -> list[Field]:
        return list(self._fields(node, property=False))

    def lambda_names(self, node: SgNode) -> Collection[str]:
        parameters = node.field("parameters")
        if parameters is None:
            return set()
        if parameters.kind() == "identifier":
            return {parameters.text()}
        return {name.text() for name in parameters.find_all(kind="identifier")}

    def loop_names(self, node: SgNode) -> Collection[str]:
        parameter = child_of(node, "catch_formal_parameter")
        name = (parameter or node).field("name")
        return set() if name is None else {name.text()}

    def locals(self, node: SgNode) -> Iterator[Local]:
        if node.kind() != "local_variable_declaration":
            return
        for declarator in node.field_children("declarator"):
            name = declarator.field("name")
            if name is not None:
                yield Local(name.text(), declarator.field("value"))

    def assignment(self, node: SgNode) -> tuple[SgNode, SgNode] | None:
        target, value = node.field("left"), node.field("right")
        if target is None or value is None or child_of(node, "=") is None:
            return None
        return target, value

    def call_parts(self, node: SgNode) -> Parts | None:
        arguments = self._argument_nodes(node.field("arguments"))
        if node.kind() == "object_creation_expression":
            kind = node.field("type")
            names = [] if kind is None else [kind, *kind.find_all(kind="type_identifier")]
            plain = [name for name in names if name.kind() == "type_identifier"]
            if kind is None or not plain:
                return None
            name = plain[0] if kind.kind() != "scoped_type_identifier" else plain[-1]
            body = child_of(node, "class_body")
            extra = [] if body is None else [(None, child) for child in named(body) if child.kind() == "block"]
            return Parts(name.text(), name, None, (*arguments, *extra))
        named_by = node.field("name")
        if named_by is None:
            return None
        return Parts(named_by.text(), named_by, node.field("object"), arguments)

    def read_expression(self, node: SgNode) -> Expression:
        kind = node.kind()
        if kind in {"string_literal", "character_literal"}:
            return self._string(node)
        if kind in {"identifier", "type_identifier"}:
            return self.identifier(node)
        if kind == "field_access":
            target, name = node.field("object"), node.field("field")
            return UNKNOWN if target is None or name is None else self.member(self.expression(target), name.text())
        if kind == "method_invocation":
            return self._method(node)
        if kind == "object_creation_expression":
            return self._creation(node)
        if kind in {"this", "super"}:
            return Name(("this",))
        if kind in {"null_literal", "throw_statement"}:
            return NOTHING
        children = named(node)
        if kind in {"parenthesized_expression", "expression_statement", "cast_expression", "return_statement"}:
            return self.expression(children[-1]) if children else UNKNOWN
        if kind == "binary_expression" and child_of(node, "+") is not None:
            return join([self.expression(child) for child in children])
        if kind == "ternary_expression" and len(children) == 3:
            return Choice((self.expression(children[1]), self.expression(children[2])))
        if kind == "switch_expression":
            return self._switch(node)
        if kind in {"block", "array_initializer"}:
            return self.group(children) if children else UNKNOWN
        if kind == "lambda_expression":
            body = node.field("body")
            return UNKNOWN if body is None else self.expression(body)
        return UNKNOWN

    def _creation(self, node: SgNode) -> Expression:
        kind, call = node.field("type"), self.invocation(node)
        if isinstance(call, Invoke) and kind is not None and kind.kind() == "scoped_type_identifier":
            return Invoke(Name(_dotted(kind)[:-1]), call.method, call.arguments)
        return call

    def _method(self, node: SgNode) -> Expression:
        call = self.invocation(node)
        if not isinstance(call, Invoke) or not isinstance(call.target, Name):
            return call
        if call.method == "of" and call.target.parts[-1] in _PAIRED:
            values = [argument.value for argument in call.arguments]
            return Group(tuple(Pair(key, value) for key, value in zip(values[::2], values[1::2], strict=False)))
        if call.method == "valueOf" and call.target.parts == ("String",) and call.arguments:
            return call.arguments[0].value
        return call

    def _switch(self, node: SgNode) -> Expression:
        subject, body = node.field("condition"), node.field("body")
        cases = []
        for rule in [] if body is None else named(body):
            label = child_of(rule, "switch_label")
            parts = named(rule)
            if rule.kind() != "switch_rule" or label is None:
                return UNKNOWN
            names = tuple(part.text().rsplit(".", 1)[-1] for part in named(label))
            cases.append(Case(names, self.expression(parts[-1])))
        return Match(None if subject is None else self.expression(subject), tuple(cases))

    def _string(self, node: SgNode) -> Expression:
        source = node.text()
        if source.startswith('"""'):
            return Text(unescape(text_block(source[3:-3].lstrip(" \t"))))
        return Text(unescape(source[1:-1]))

    def _fields(self, node: SgNode, *, property: bool) -> Iterator[Field]:
        values = node.field("parameters")
        for child in [] if values is None else named(values):
            if child.kind() not in {"formal_parameter", "spread_parameter"}:
                continue
            name = child.field("name")
            if name is None:
                declarator = child_of(child, "variable_declarator")
                name = None if declarator is None else declarator.field("name")
            if name is not None:
                yield Field(name.text(), property=property, vararg=child.kind() == "spread_parameter")

    def _constructor(self, body: SgNode) -> SgNode | None:
        """Return the only constructor; with several nothing is known of an argument's meaning."""
        holder = child_of(body, "enum_body_declarations") or body
        found = [child for child in holder.children() if child.kind() == "constructor_declaration"]
        return found[0] if len(found) == 1 else None

    def _assigned(self, constructor: SgNode, path: Path) -> Iterator[Constant]:
        """Yield the fields that a constructor stores its parameters in."""
        names = {field.name for field in self._fields(constructor, property=False)}
        for node in constructor.find_all(kind="assignment_expression"):
            change = self.assignment(node)
            if change is None:
                continue
            target = change[0].text().removeprefix("this.")
            if change[1].kind() == "identifier" and change[1].text() in names:
                yield Constant((*path, target), Parameter(change[1].text()))

    def _supertypes(self, node: SgNode, constructor: SgNode | None) -> Iterator[Supertype]:
        given: tuple[Argument, ...] = ()
        if constructor is not None:
            explicit = next(iter(constructor.find_all(kind="explicit_constructor_invocation")), None)
            given = () if explicit is None else self._as_names(explicit.field("arguments"))
        for child in node.children():
            if child.kind() in {"superclass", "super_interfaces", "extends_interfaces"}:
                arguments = given if child.kind() == "superclass" else ()
                for kind in child.find_all(any=[{"kind": "type_identifier"}, {"kind": "scoped_type_identifier"}]):
                    yield Supertype(_dotted(kind), arguments)

    def _as_names(self, values: SgNode | None) -> tuple[Argument, ...]:
        return self._arguments(values)

    def _arguments(self, values: SgNode | None) -> tuple[Argument, ...]:
        return tuple(Argument(None, self.expression(node)) for _, node in self._argument_nodes(values))

    @staticmethod
    def _argument_nodes(values: SgNode | None) -> tuple[tuple[str | None, SgNode], ...]:
        return () if values is None else tuple((None, node) for node in named(values))


def _dotted(node: SgNode) -> Path:
    return tuple(part.strip() for part in node.text().split("."))
