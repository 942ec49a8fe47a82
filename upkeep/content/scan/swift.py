"""Reading Swift."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ast_grep_py import SgNode

from upkeep.content.scan.escapes import swift_block, unescape
from upkeep.content.scan.expression import (
    NOTHING,
    UNKNOWN,
    Case,
    Choice,
    Expression,
    Group,
    Invoke,
    Match,
    Name,
    Pair,
    Text,
    join,
)
from upkeep.content.scan.facts import Constant, Field, Function, Import, Path, Supertype, Type
from upkeep.content.scan.nodes import child_of, named, unquoted
from upkeep.content.scan.syntax import Local, Parts, Reader

_STRINGS = frozenset({"line_string_literal", "multi_line_string_literal", "raw_string_literal"})
_INNER = frozenset({"postfix_expression", "try_expression", "await_expression", "as_expression", "optional_chain"})


class SwiftReader(Reader):
    identifiers = frozenset({"simple_identifier"})
    calls = frozenset({"call_expression"})
    types = frozenset({"class_declaration", "protocol_declaration"})
    functions = frozenset({"function_declaration", "init_declaration"})
    lambdas = frozenset({"lambda_literal"})
    blocks = frozenset({"statements"})
    constants = frozenset({"property_declaration"})
    assignments = frozenset({"assignment"})
    loops = frozenset({"for_statement", "guard_statement", "if_statement"})

    def __init__(self, text: str) -> None:
        super().__init__(text, "swift")

    def package(self) -> Path:
        return ()

    def imports(self) -> Iterator[Import]:
        yield from ()

    def type_name(self, node: SgNode) -> str | None:
        name = node.field("name")
        return None if name is None else name.text().split("<", 1)[0]

    def type_facts(self, node: SgNode, scope: Path) -> Iterator[Type | Constant]:
        name = self.type_name(node)
        if name is None:
            return
        path = (*scope, *name.split("."))
        body = node.field("body")
        keywords = {child.kind() for child in node.children()}
        inherited = tuple(
            Supertype(tuple(specifier.text().split("<", 1)[0].split(".")))
            for specifier in node.children()
            if specifier.kind() == "inheritance_specifier"
        )
        if "extension" not in keywords:
            kind = "enum" if "enum" in keywords else "class"
            yield Type(path, kind, tuple(self._stored(node, body)) if kind == "class" else (), inherited)
        raw = any(each.path == ("String",) for each in inherited)
        for entry in [] if body is None else body.children():
            if entry.kind() == "enum_entry":
                yield from self._members(entry, path, raw=raw)

    def constant_facts(self, node: SgNode, scope: Path) -> Iterator[Constant]:
        scope = tuple(part for name in scope for part in name.split("."))
        name, value, computed = _pattern(node), node.field("value"), node.field("computed_value")
        if name is None:
            return
        known: Expression = UNKNOWN
        if computed is not None:
            known = self._computed(computed)
        elif value is not None and _binding(node) == "let":
            known = self.expression(value)
        yield Constant((*scope, name), known, static=_static(node))

    def function_name(self, node: SgNode) -> str | None:
        if node.kind() == "init_declaration":
            return "init"
        name = node.field("name")
        return None if name is None else unquoted(name.text())

    def function_facts(self, node: SgNode, scope: Path) -> Function:
        body = node.field("body")
        name = self.function_name(node) or ""
        returns = None if body is None else self._returned(body)
        return Function((*scope, name), tuple(self.parameters(node)), returns, body is not None)

    def parameters(self, node: SgNode) -> list[Field]:
        fields = []
        children = node.children()
        for number, child in enumerate(children):
            if child.kind() != "parameter":
                continue
            names = [unquoted(each.text()) for each in child.children() if each.kind() == "simple_identifier"]
            default = None
            if number + 2 < len(children) and children[number + 1].kind() == "=":
                default = self.expression(children[number + 2])
            if names:
                fields.append(Field(names[-1], label=names[0], default=default, vararg="..." in child.text()))
        return fields

    def lambda_names(self, node: SgNode) -> Collection[str]:
        parameters = node.find_all(kind="lambda_parameter")
        return {parameter.text().split(":", 1)[0].strip() for parameter in parameters}

    def loop_names(self, node: SgNode) -> Collection[str]:
        """Names bound by `for x in`, `if let x`, `guard let x`: their values are not followed."""
        patterns = [child for child in node.children() if child.kind() in {"pattern", "value_binding_pattern"}]
        if node.kind() != "for_statement" and not patterns:
            return set()
        names = [name.text() for each in patterns for name in each.find_all(kind="simple_identifier")]
        bound = [
            following.text()
            for child in node.children()
            if child.kind() == "value_binding_pattern" and (following := child.next()) is not None
        ]
        return {*names, *bound}

    def locals(self, node: SgNode) -> Iterator[Local]:
        if node.kind() != "property_declaration":
            return
        name = _pattern(node)
        if name is not None:
            yield Local(name, node.field("value"), known=node.field("computed_value") is None)

    def assignment(self, node: SgNode) -> tuple[SgNode, SgNode] | None:
        target, value = node.field("target"), node.field("result")
        if target is None or value is None or child_of(node, "=") is None:
            return None
        return target, value

    def call_parts(self, node: SgNode) -> Parts | None:
        children = named(node)
        if len(children) < 2 or children[-1].kind() != "call_suffix":
            return None
        callee = children[0]
        arguments: list[tuple[str | None, SgNode]] = []
        for part in children[-1].children():
            if part.kind() == "value_arguments":
                arguments.extend(_value_arguments(part))
            elif part.kind() == "lambda_literal":
                arguments.append((None, part))
        if callee.kind() == "simple_identifier":
            return Parts(unquoted(callee.text()), callee, None, tuple(arguments))
        if callee.kind() == "prefix_expression" and callee.text().startswith("."):
            name = named(callee)[-1]
            return Parts(unquoted(name.text()), name, None, tuple(arguments))
        if callee.kind() != "navigation_expression":
            return None
        target, suffix = callee.field("target"), callee.field("suffix")
        name_node = None if suffix is None else child_of(suffix, "simple_identifier")
        if target is None or name_node is None:
            return None
        return Parts(unquoted(name_node.text()), name_node, target, tuple(arguments))

    def read_expression(self, node: SgNode) -> Expression:
        kind = node.kind()
        if kind in _STRINGS:
            return self._string(node)
        if kind == "simple_identifier":
            return self.identifier(node)
        if kind == "navigation_expression":
            target, suffix = node.field("target"), node.field("suffix")
            name = None if suffix is None else child_of(suffix, "simple_identifier")
            if target is None or name is None:
                return UNKNOWN
            return self.member(self.expression(target), unquoted(name.text()))
        if kind == "call_expression":
            return self._call(node)
        if kind in {"self_expression", "super_expression"}:
            return Name(("self",))
        children = named(node)
        if not children:
            return NOTHING if kind == "nil" else UNKNOWN
        if kind == "prefix_expression":
            return Name(("", unquoted(children[-1].text()))) if node.text().startswith(".") else UNKNOWN
        if kind == "value_argument":
            return self.expression(children[-1])
        if kind in _INNER or (kind == "tuple_expression" and len(children) == 1):
            return self.expression(children[0])
        if kind == "additive_expression" and child_of(node, "+") is not None:
            return join([self.expression(child) for child in children])
        return self._compound(kind, node, children)

    def _compound(self, kind: str, node: SgNode, children: list[SgNode]) -> Expression:
        if kind == "ternary_expression" and len(children) == 3:
            return Choice((self.expression(children[1]), self.expression(children[2])))
        if kind == "nil_coalescing_expression":
            return Choice(tuple(self.expression(child) for child in children))
        if kind == "dictionary_literal":
            keys, values = node.field_children("key"), node.field_children("value")
            pairs = zip(keys, values, strict=False)
            return Group(tuple(Pair(self.expression(key), self.expression(value)) for key, value in pairs))
        if kind == "array_literal":
            return Group(tuple(self.expression(child) for child in children))
        if kind == "if_statement":
            bodies = [child for child in children if child.kind() in {"statements", "if_statement"}]
            return Choice(tuple(self.expression(body) for body in bodies)) if len(bodies) > 1 else UNKNOWN
        if kind == "switch_statement":
            return self._switch(node, children)
        if kind == "control_transfer_statement":
            return self.expression(children[-1]) if node.text().startswith("return") else UNKNOWN
        if kind == "lambda_literal":
            return self.group([child for child in children if child.kind() == "statements"])
        if kind == "statements":
            return self.group(children)
        if kind == "assignment":
            return self._assigned_key(node)
        return UNKNOWN

    def _call(self, node: SgNode) -> Expression:
        call = self.invocation(node)
        implicit = named(node)[0].kind() == "prefix_expression"
        return Invoke(Name(("",)), call.method, call.arguments) if isinstance(call, Invoke) and implicit else call

    def _assigned_key(self, node: SgNode) -> Expression:
        """Return `dictionary[key] = value` as a pair."""
        change = self.assignment(node)
        arguments = [] if change is None else change[0].find_all(kind="value_argument")
        if change is None or not arguments:
            return UNKNOWN
        return Pair(self.expression(named(arguments[0])[-1]), self.expression(change[1]))

    def _switch(self, node: SgNode, children: list[SgNode]) -> Expression:
        subject = node.field("expr") or children[0]
        cases = []
        for entry in children:
            if entry.kind() != "switch_entry":
                continue
            body = child_of(entry, "statements")
            patterns = [_case_name(each) for each in entry.children() if each.kind() == "switch_pattern"]
            cases.append(Case(tuple(patterns), UNKNOWN if body is None else self.expression(body)))
        return Match(self.expression(subject), tuple(cases))

    def _computed(self, computed: SgNode) -> Expression:
        getter = child_of(computed, "computed_getter")
        statements = child_of(getter or computed, "statements")
        return UNKNOWN if statements is None or len(named(statements)) != 1 else self.expression(statements)

    def _returned(self, body: SgNode) -> Expression | None:
        statements = child_of(body, "statements")
        if statements is None or len(named(statements)) != 1:
            return None
        return self.returned(named(statements)[0])

    def _string(self, node: SgNode) -> Expression:
        source = node.text()
        if node.kind() == "raw_string_literal":
            inner = source.strip("#")
            block = inner.startswith('"""')
            return Text(swift_block(inner[3:-3]) if block else inner[1:-1])
        parts: list[Expression] = []
        for child in node.children():
            if child.kind() in {"line_str_text", "multi_line_str_text", "str_escaped_char"}:
                parts.append(Text(child.text()))
            elif child.kind() == "interpolated_expression":
                inner_nodes = named(child)
                parts.append(self.expression(inner_nodes[-1]) if len(inner_nodes) == 1 else UNKNOWN)
        if not any(not isinstance(part, Text) for part in parts):
            plain = source[1:-1] if node.kind() == "line_string_literal" else swift_block(source[3:-3])
            return Text(unescape(plain))
        return join([Text(unescape(part.value)) if isinstance(part, Text) else part for part in parts])

    def _members(self, entry: SgNode, path: Path, *, raw: bool) -> Iterator[Type | Constant]:
        """Yield the cases of one `case` line; a case of a `String` enum has its own name as raw value."""
        children = [child for child in entry.children() if child.kind() not in {"modifiers", "case", ","}]
        for number, child in enumerate(children):
            if child.kind() != "simple_identifier" or (number and children[number - 1].kind() == "="):
                continue
            name = unquoted(child.text())
            assigned = number + 2 < len(children) and children[number + 1].kind() == "="
            yield Type((*path, name), "member", (), (Supertype(path),))
            if assigned:
                yield Constant((*path, name, "rawValue"), self.expression(children[number + 2]))
            elif raw:
                yield Constant((*path, name, "rawValue"), Text(name))

    def _stored(self, node: SgNode, body: SgNode | None) -> Iterator[Field]:
        """Yield the parameters of a type's one initialiser, or of the one that a struct has by itself."""
        declared = [] if body is None else [each for each in body.children() if each.kind() == "init_declaration"]
        if len(declared) == 1:
            for field in self.parameters(declared[0]):
                yield Field(field.name, field.label, field.default, property=True, vararg=field.vararg)
            return
        if declared or body is None or child_of(node, "struct") is None:
            return
        for child in body.children():
            name = _pattern(child) if child.kind() == "property_declaration" else None
            modifiers = child_of(child, "modifiers")
            if (
                name
                and child.field("computed_value") is None
                and "static" not in (modifiers.text() if modifiers else "")
            ):
                yield Field(name, label=name, property=True)


def _value_arguments(node: SgNode) -> Iterator[tuple[str | None, SgNode]]:
    for argument in node.children():
        if argument.kind() != "value_argument":
            continue
        label = child_of(argument, "value_argument_label")
        parts = [part for part in argument.children() if part.kind() not in {"value_argument_label", ":", "comment"}]
        if parts:
            yield (None if label is None else unquoted(label.text())), parts[-1]


def _pattern(node: SgNode) -> str | None:
    pattern = child_of(node, "pattern")
    name = None if pattern is None else child_of(pattern, "simple_identifier")
    return None if name is None else unquoted(name.text())


def _static(node: SgNode) -> bool:
    modifiers = child_of(node, "modifiers")
    return modifiers is not None and not {"static", "class"}.isdisjoint(modifiers.text().split())


def _binding(node: SgNode) -> str:
    pattern = child_of(node, "value_binding_pattern")
    return "" if pattern is None else pattern.text().split()[0]


def _case_name(pattern: SgNode) -> str:
    names = pattern.find_all(kind="simple_identifier")
    return unquoted(names[0].text()) if names else pattern.text()
