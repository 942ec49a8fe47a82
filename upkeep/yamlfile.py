"""Reading a YAML file that a person wrote, so that every later complaint can name the line.

What belongs here: text → plain values with positions, `${NAME}` from the environment, `.env`. What does not: what the
keys mean (`settings/`).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from upkeep.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})")
_WHOLE_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """`values` are plain dicts, lists and scalars with variables filled in; `from_environment` lists the places whose
    whole value was one `${NAME}`: the only form in which a secret may stand in a file."""

    path: Path
    values: dict[str, Any]
    from_environment: frozenset[Location]
    _tree: CommentedMap = field(repr=False)

    def line(self, location: Iterable[str | int]) -> int | None:
        """Line (from 1) of the key at `location`, else of its nearest existing parent. Steps that are no key of the
        file, such as the tag of a tagged union, are passed over."""
        node: Any = self._tree
        line: int | None = None
        for step in location:
            if isinstance(node, CommentedMap) and step in node:
                line = node.lc.key(step)[0] + 1
                node = node[step]
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and 0 <= step < len(node):
                line = node.lc.item(step)[0] + 1
                node = node[step]
        return line


def read(path: Path, environment: Mapping[str, str] = os.environ) -> YamlFile:
    """Read `path`; variables come from `environment`, then from a `.env` beside the file.

    A value that is just `${NAME}` with NAME unset or empty becomes None. `$$` is a dollar sign. Raises ConfigError:
    `config.unreadable`, `config.syntax`, `config.duplicate_key`, `config.variable_unset`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}",
            code="config.unreadable",
            remedy="Check the path and its permissions; the file must be UTF-8.",
        ) from error
    tree = _parse(text, path)
    variables = {**_dotenv(path.parent / ".env"), **environment}
    found: set[Location] = set()
    values = _fill(tree, (), variables, found, path)
    return YamlFile(path, values, frozenset(found), tree)


def _dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}


def _parse(text: str, path: Path) -> CommentedMap:
    try:
        tree = YAML(typ="rt", pure=True).load(io.StringIO(text))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(
            f"{path}:{line}: {str(error.problem).split(' with value')[0]}",
            code="config.duplicate_key",
            remedy="Keep one of the two entries.",
            line=line,
        ) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        where = f"{path}:{line}:{mark.column + 1}" if mark else str(path)
        raise ConfigError(
            f"{where}: this is not valid YAML: {error.problem or error.context}",
            code="config.syntax",
            remedy="Mend the syntax there; indentation is by spaces, and a value with ': ' or '#' needs quotes.",
            line=line,
        ) from error
    except YAMLError as error:
        raise ConfigError(f"{path}: this is not valid YAML: {error}", code="config.syntax") from error
    if tree is None:
        return CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path}: the file must hold keys and values at its top level", code="config.syntax")
    return tree


def _fill(node: Any, at: Location, variables: Mapping[str, str], found: set[Location], path: Path) -> Any:
    if isinstance(node, CommentedMap):
        return {str(key): _fill(value, (*at, str(key)), variables, found, path) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_fill(value, (*at, index), variables, found, path) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node
    if whole := _WHOLE_VARIABLE.match(node):
        found.add(at)
        return variables.get(whole[1]) or None

    def value_of(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        if name not in variables:
            raise ConfigError(
                f"{path}: {'.'.join(map(str, at))} uses ${{{name}}}, which is not set",
                code="config.variable_unset",
                remedy=f"Set {name} in the environment or in {path.parent / '.env'}.",
            )
        return variables[name]

    return _VARIABLE.sub(value_of, str(node))
