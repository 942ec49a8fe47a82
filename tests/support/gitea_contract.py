"""What went between us and the fake Gitea, held against the vendor's own description of its API (Swagger 2.0).

What belongs here: finding the operation, and judging parameters, bodies and statuses. What does not: the description,
which is the vendor's and not of this project: UPKEEP_SPECS_DIR names the folder that holds `gitea-swagger.json`.

Stricter than the description on purpose: an object may have no field that its definition does not name.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft4Validator, FormatChecker

from tests.support.gitea_http import Exchange

FILE = "gitea-swagger.json"
OUTSIDE = frozenset({307, 401, 403, 404})
"""Statuses that Gitea gives for any operation, whether its description lists them or not: a renamed repository, a token
that is wrong or lacks a scope, a repository that the account may not see."""

_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


class Contract:
    """The description, ready to judge."""

    def __init__(self, description: Mapping[str, Any]) -> None:
        self.description = description
        self.definitions = {name: _closed(schema) for name, schema in description["definitions"].items()}

    def violations(self, exchange: Exchange) -> list[str]:
        """What is wrong with one exchange, in words; empty where it is as described."""
        request = exchange.request
        found = self._operation(request.method, urlsplit(request.target).path)
        if found is None:
            return [f"{request}: there is no such operation"]
        template, values, operation = found
        what = f"{request.method} {template}"
        problems = [*self._parameters(operation, values, exchange), *self._body(operation, exchange)]
        if not exchange.faulty:
            problems += self._answer(operation, exchange)
        return [f"{what}: {problem}" for problem in problems]

    @cached_property
    def _operations(self) -> list[tuple[str, re.Pattern[str], Mapping[str, Any]]]:
        found = []
        for template, methods in self.description["paths"].items():
            pattern = re.sub(r"\\\{([\w-]+)\\\}", r"(?P<\1>[^/]+)", re.escape(template).replace(r"\-", "-"))
            found.append((template, re.compile(re.sub(r"\?P<([^>]*)-([^>]*)>", r"?P<\1_\2>", pattern)), methods))
        # A fixed word comes before a placeholder: /repos/search before /repos/{owner}/{repo}.
        return sorted(found, key=lambda each: each[0].count("{"))

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, str], Mapping[str, Any]] | None:
        path = path.removeprefix(self.description["basePath"])
        for template, pattern, methods in self._operations:
            match = pattern.fullmatch(path)
            if match is not None and method.lower() in methods:
                return template, match.groupdict(), methods[method.lower()]
        return None

    def _parameters(self, operation: Mapping[str, Any], values: Mapping[str, str], exchange: Exchange) -> Iterator[str]:
        declared = {(each["in"], each["name"]): each for each in operation.get("parameters", ())}
        given = {("path", name): [value] for name, value in values.items()}
        query = parse_qs(urlsplit(exchange.request.target).query, keep_blank_values=True)
        given |= {("query", name): texts for name, texts in query.items()}
        for (place, name), texts in given.items():
            parameter = declared.get((place, name))
            if parameter is None:
                yield f"{name} in the {place} is no parameter"
            else:
                yield from (
                    f"{name} in the {place}: {problem}" for text in texts for problem in _value(parameter, text)
                )
        for (place, name), parameter in declared.items():
            if parameter.get("required") and place in ("path", "query") and (place, name) not in given:
                yield f"{name} is missing in the {place}"

    def _body(self, operation: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
        body = exchange.request.body
        declared = next((each for each in operation.get("parameters", ()) if each["in"] == "body"), None)
        if declared is None:
            if body is not None:
                yield "a body was sent where none is taken"
        elif body is not None:
            if not exchange.content_type.startswith("application/json"):
                yield f"the body was sent as {exchange.content_type or 'nothing'}"
            yield from (f"request body: {problem}" for problem in self._schema(declared["schema"], body))

    def _answer(self, operation: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
        declared = operation["responses"].get(str(exchange.status))
        if declared is None:
            if exchange.status not in OUTSIDE:
                yield f"status {exchange.status} is not described"
            return
        if "$ref" in declared:
            declared = self.description["responses"][declared["$ref"].rpartition("/")[2]]
        if "schema" in declared:
            problems = self._schema(declared["schema"], exchange.answer)
            yield from (f"answer {exchange.status}: {problem}" for problem in problems)

    def _schema(self, schema: Mapping[str, Any], value: Any) -> Iterator[str]:
        validator = Draft4Validator({**schema, "definitions": self.definitions}, format_checker=_FORMATS)
        for error in validator.iter_errors(value):
            yield f"{'/'.join(map(str, error.absolute_path)) or 'it'}: {error.message[:200]}"


def _closed(schema: Any) -> Any:
    """The schema with every object closed that lists its properties."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _value(parameter: Mapping[str, Any], text: str) -> Iterator[str]:
    """A value in path or query is text; what it must be stands in its parameter."""
    kind = parameter.get("type")
    if kind == "integer":
        if not re.fullmatch(r"-?\d+", text):
            yield f"{text!r} is no integer"
        elif "minimum" in parameter and int(text) < parameter["minimum"]:
            yield f"{text} is below {parameter['minimum']}"
    elif kind == "boolean" and text not in ("true", "false"):
        yield f"{text!r} is no boolean"
    if "enum" in parameter and text not in parameter["enum"]:
        yield f"{text!r} is none of {', '.join(parameter['enum'])}"


def described() -> Path | None:
    """The vendor's description; None where UPKEEP_SPECS_DIR names no folder that has it."""
    folder = os.environ.get("UPKEEP_SPECS_DIR")
    file = Path(folder) / FILE if folder else None
    return file if file is not None and file.is_file() else None


@cache
def contract(file: Path) -> Contract:
    return Contract(json.loads(file.read_text()))
