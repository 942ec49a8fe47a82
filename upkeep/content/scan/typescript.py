"""Reading TypeScript and JavaScript, with JSX."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ast_grep_py import Rule, SgNode

from upkeep.content.scan.escapes import unescape
from upkeep.content.scan.expression import (
    NOTHING,
    UNKNOWN,
    Choice,
    Expression,
    Group,
    Name,
    Pair,
    Text,
    join,
)
from upkeep.content.scan.facts import Constant, Field, Function, Import, Path, Supertype, Type
from upkeep.content.scan.nodes import child_of, named
from upkeep.content.scan.syntax import Local, Parts, Reader

_FUNCTIONS = frozenset({"arrow_function", "function_expression"})
_BOUND: list[Rule] = [{"kind": "identifier"}, {"kind": "shorthand_property_identifier_pattern"}]
_INNER = frozenset({
    "parenthesized_expression", "as_expression", "satisfies_expression", "non_null_expression", "await_expression",
    "expression_statement", "return_statement", "type_assertion",
})  # fmt: skip


class TypeScriptReader(Reader):
    identifiers = frozenset({"identifier", "property_identifier"})
    calls = frozenset({"call_expression", "new_expression"})
    types = frozenset({"class_declaration", "abstract_class_declaration", "enum_declaration", "internal_module"})
    functions = frozenset({
        "function_declaration", "generator_function_declaration", "method_definition", "variable_declarator",
        "public_field_definition", "pair",
    })  # fmt: skip
    lambdas = _FUNCTIONS
    blocks = frozenset({"statement_block"})
    constants = frozenset({"lexical_declaration", "public_field_definition", "variable_declaration"})
    assignments = frozenset({"assignment_expression"})
    loops = frozenset({"for_in_statement", "catch_clause"})

    def package(self) -> Path:
        return ()

    def imports(self) -> Iterator[Import]:
        for node in self.root.find_all(kind="import_statement"):
            source, clause = node.field("source"), child_of(node, "import_clause")
            if source is None or clause is None:
                continue
            module = unescape(source.text()[1:-1])
            for part in named(clause):
                if part.kind() == "identifier":
                    yield Import(part.text(), (module, "default"))
                elif part.kind() == "namespace_import":
                    yield from (Import(name.text(), (module,)) for name in named(part)[:1])
                else:
                    for specifier in named(part):
                        names = [each.text() for each in named(specifier)]
                        if names:  # what the grammar could not read has none
                            yield Import(names[-1], (module, names[0]))

    def type_name(self, node: SgNode) -> str | None:
        name = node.field("name")
        return None if name is None else name.text()

    def type_facts(self, node: SgNode, scope: Path) -> Iterator[Type | Constant]:
        name = self.type_name(node)
        if name is None:
            return
        path = (*scope, name)
        heritage = child_of(node, "class_heritage")
        extended = [] if heritage is None else heritage.find_all(kind="extends_clause")
        supertypes = tuple(Supertype(tuple(named(kind)[0].text().split("."))) for kind in extended)
        enum = node.kind() == "enum_declaration"
        yield Type(path, "enum" if enum else "class", (), supertypes)
        body = node.field("body")
        for member in named(body) if enum and body is not None else []:
            value = member.field("value") if member.kind() == "enum_assignment" else None
            key = (member.field("name") or member) if member.kind() == "enum_assignment" else member
            yield Constant((*path, _key(key)), UNKNOWN if value is None else self.expression(value))

    def constant_facts(self, node: SgNode, scope: Path) -> Iterator[Constant]:
        if node.kind() == "public_field_definition":
            name, value = node.field("name"), node.field("value")
            fixed = child_of(node, "readonly") is not None
            if name is not None:
                known = fixed and value is not None
                yield Constant((*scope, name.text()), self.expression(value) if known and value else UNKNOWN)
            return
        fixed = child_of(node, "const") is not None
        for declarator in node.children():
            name = declarator.field("name") if declarator.kind() == "variable_declarator" else None
            value = declarator.field("value") if name is not None else None
            if name is None or name.kind() != "identifier":
                continue
            yield from self._flattened((*scope, name.text()), value if fixed else None)
            if self._exported_default(name.text()):
                yield from self._flattened((*scope, "default"), value if fixed else None)

    def is_local(self, node: SgNode) -> bool:
        parent = node.parent()
        return parent is not None and parent.kind() not in {"program", "export_statement", "class_body", "ERROR"}

    def function_name(self, node: SgNode) -> str | None:
        name = node.field("key") if node.kind() == "pair" else node.field("name")
        if node.kind() in {"variable_declarator", "public_field_definition", "pair"} and self._function(node) is None:
            return None
        return None if name is None else _key(name)

    def function_facts(self, node: SgNode, scope: Path) -> Function:
        inner = self._function(node) or node
        body = inner.field("body")
        returns = None
        if body is not None and body.kind() != "statement_block":
            returns = self.returned(body)
        elif body is not None and named(body) and named(body)[-1].kind() == "return_statement":
            value = named(named(body)[-1])
            if value and len(body.find_all(kind="return_statement")) == 1:
                returns = self.returned(value[0])
        name = self.function_name(node) or ""
        return Function((*scope, name), tuple(self.parameters(node)), returns, body is not None)

    def parameters(self, node: SgNode) -> list[Field]:
        inner = self._function(node) or node
        single = inner.field("parameter")
        if single is not None:
            return [Field(single.text())]
        values = inner.field("parameters")
        fields = []
        for child in [] if values is None else named(values):
            pattern = child.field("pattern") or child.field("left") or child
            default = child.field("value") or child.field("right")
            rest = pattern.kind() == "rest_pattern"
            known = None if default is None else self.expression(default)
            fields.append(Field(pattern.text().lstrip("."), default=known, vararg=rest))
        return fields

    def lambda_names(self, node: SgNode) -> Collection[str]:
        parent = node.parent()
        if parent is not None and parent.kind() in self.functions and self.function_name(parent) is not None:
            return set()
        parameters = node.field("parameters") or node.field("parameter")
        if parameters is None:
            return set()
        kinds = parameters.find_all(any=_BOUND)
        return {name.text() for name in kinds} | {parameters.text()}

    def loop_names(self, node: SgNode) -> Collection[str]:
        left = node.field("left") or node.field("parameter")
        return set() if left is None else {left.text(), *(name.text() for name in left.find_all(kind="identifier"))}

    def locals(self, node: SgNode) -> Iterator[Local]:
        if node.kind() not in {"lexical_declaration", "variable_declaration"}:
            return
        for declarator in node.children():
            name = declarator.field("name") if declarator.kind() == "variable_declarator" else None
            if name is None:
                continue
            if name.kind() == "identifier":
                yield Local(name.text(), declarator.field("value"))
            else:
                for each in name.find_all(any=_BOUND):
                    yield Local(each.text(), None, known=False)

    def assignment(self, node: SgNode) -> tuple[SgNode, SgNode] | None:
        target, value = node.field("left"), node.field("right")
        return None if target is None or value is None else (target, value)

    def call_parts(self, node: SgNode) -> Parts | None:
        callee = node.field("constructor") if node.kind() == "new_expression" else node.field("function")
        values = node.field("arguments")
        if callee is None:
            return None
        if values is not None and values.kind() != "arguments":
            return None
        arguments = () if values is None else tuple((None, child) for child in named(values))
        if callee.kind() == "non_null_expression":
            callee = named(callee)[0]
        if callee.kind() == "identifier":
            return Parts(callee.text(), callee, None, arguments)
        if callee.kind() != "member_expression":
            return None
        target, name = callee.field("object"), callee.field("property")
        return None if target is None or name is None else Parts(name.text(), name, target, arguments)

    def read_expression(self, node: SgNode) -> Expression:
        kind = node.kind()
        if kind in {"string", "template_string"}:
            return self._string(node)
        if kind in {"identifier", "shorthand_property_identifier"}:
            return self.identifier(node)
        if kind in {"member_expression", "subscript_expression"}:
            return self._member(node)
        if kind in self.calls:
            return self.invocation(node)
        if kind in {"this", "super"}:
            return Name(("this",))
        if kind in {"null", "undefined", "throw_statement"}:
            return NOTHING
        children = named(node)
        if kind == "object":
            return Group(tuple(self._entry(child) for child in children))
        if kind in _INNER:
            return self.expression(children[0]) if children else UNKNOWN
        if kind == "binary_expression" and len(children) == 2:
            operator = next((child.text() for child in node.children() if not child.is_named()), "")
            if operator == "+":
                return join([self.expression(child) for child in children])
            return Choice(tuple(self.expression(child) for child in children)) if operator in {"??", "||"} else UNKNOWN
        if kind == "ternary_expression" and len(children) == 3:
            return Choice((self.expression(children[1]), self.expression(children[2])))
        if kind == "assignment_expression":
            return self._assigned_key(node)
        if kind in _FUNCTIONS:
            body = node.field("body")
            return UNKNOWN if body is None else self.expression(body)
        if kind in {"array", "statement_block", "spread_element"}:
            return self.group(children) if children else UNKNOWN
        return UNKNOWN

    def _member(self, node: SgNode) -> Expression:
        target, name = node.field("object"), node.field("property")
        index = node.field("index")
        if target is None:
            return UNKNOWN
        if index is not None:
            key = self.expression(index)
            return self.member(self.expression(target), key.value) if isinstance(key, Text) else UNKNOWN
        return UNKNOWN if name is None else self.member(self.expression(target), name.text())

    def _entry(self, node: SgNode) -> Expression:
        """Return one entry of an object literal."""
        if node.kind() == "shorthand_property_identifier":
            return Pair(Text(node.text()), self.identifier(node))
        if node.kind() == "spread_element":
            return self.expression(named(node)[0])
        key, value = node.field("key"), node.field("value")
        if node.kind() != "pair" or key is None or value is None:
            return UNKNOWN
        name: Expression = Text(_key(key))
        if key.kind() == "computed_property_name":
            name = self.expression(named(key)[0])
        return Pair(name, self.expression(value))

    def _assigned_key(self, node: SgNode) -> Expression:
        """Return `object.key = value` and `object["key"] = value` as a pair."""
        target, value = node.field("left"), node.field("right")
        if target is None or value is None:
            return UNKNOWN
        name, index = target.field("property"), target.field("index")
        if index is not None:
            return Pair(self.expression(index), self.expression(value))
        return UNKNOWN if name is None else Pair(Text(name.text()), self.expression(value))

    def _string(self, node: SgNode) -> Expression:
        source = node.text()
        if node.kind() == "string":
            return Text(unescape(source[1:-1]))
        parts: list[Expression] = []
        for child in node.children():
            if child.kind() in {"string_fragment", "escape_sequence"}:
                parts.append(Text(unescape(child.text())))
            elif child.kind() == "template_substitution":
                inner = named(child)
                parts.append(self.expression(inner[0]) if inner else UNKNOWN)
        return join(parts)

    def _flattened(self, path: Path, value: SgNode | None) -> Iterator[Constant]:
        """Yield a constant, and for an object literal one for each of its entries."""
        while value is not None and value.kind() in {"as_expression", "satisfies_expression"}:
            value = named(value)[0]
        if value is not None and value.kind() == "call_expression" and value.text().startswith("Object.freeze("):
            arguments = value.field("arguments")
            value = named(arguments)[0] if arguments is not None and named(arguments) else value
        yield Constant(path, UNKNOWN if value is None else self.expression(value))
        if value is None or value.kind() != "object":
            return
        for entry in named(value):
            key, inner = entry.field("key"), entry.field("value")
            if entry.kind() == "pair" and key is not None and key.kind() != "computed_property_name":
                yield from self._flattened((*path, _key(key)), inner)

    def _exported_default(self, name: str) -> bool:
        return any(
            child_of(node, "default") is not None
            and (value := node.field("value")) is not None
            and value.text() == name
            for node in self.root.children()
            if node.kind() == "export_statement"
        )

    @staticmethod
    def _function(node: SgNode) -> SgNode | None:
        value = node.field("value")
        return value if value is not None and value.kind() in _FUNCTIONS else None


def _key(node: SgNode) -> str:
    text = node.text()
    return unescape(text[1:-1]) if node.kind() == "string" else text
