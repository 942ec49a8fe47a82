"""The languages: which grammar and reader a file needs, and what can be told of it without parsing.

What belongs here: the table of languages, and cheap looks at bytes. What does not: parsing (the readers).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from upkeep.content.scan.facts import FileFacts, Import
from upkeep.content.scan.java import JavaReader
from upkeep.content.scan.kotlin import KotlinReader
from upkeep.content.scan.program import File
from upkeep.content.scan.swift import SwiftReader
from upkeep.content.scan.syntax import Reader
from upkeep.content.scan.typescript import TypeScriptReader
from upkeep.settings.scan import EXTENSIONS, Language

_DECLARATIONS: dict[Language, re.Pattern[bytes]] = {
    "kotlin": re.compile(rb"\b(?:class|object|interface|val|fun)\s+(?:<[^>\n]*>\s*)?(?:[\w.]+\.)?(\w+)"),
    "java": re.compile(rb"\b(?:class|interface|enum|record|String|Object)\s+(\w+)"),
    "swift": re.compile(rb"\b(?:class|struct|enum|extension|protocol|let|var|case)\s+(?:[\w.]+\.)?(\w+)"),
    "typescript": re.compile(rb"\b(?:class|enum|namespace|interface|const|let|var|readonly|function)\s+(\w+)"),
}
_SWIFT_CASES = re.compile(rb"\bcase\s+(\w+(?:\s*=\s*\"[^\"\n]*\")?(?:\s*,\s*\w+(?:\s*=\s*\"[^\"\n]*\")?)+)")
_LANGUAGES = {extension: language for language, extensions in EXTENSIONS.items() for extension in extensions}
_GRAMMARS = {".tsx": "tsx", ".jsx": "tsx", ".js": "tsx", ".mjs": "tsx", ".cjs": "tsx"}
_READERS: dict[str, Callable[[str, str], Reader]] = {
    "kotlin": lambda text, grammar: KotlinReader(text),
    "java": lambda text, grammar: JavaReader(text),
    "swift": lambda text, grammar: SwiftReader(text),
    "typescript": TypeScriptReader,
    "tsx": TypeScriptReader,
}


def language_of(path: str) -> Language | None:
    """Return which language the file at `path` is written in."""
    return _LANGUAGES.get(_extension(path))


def grammar_of(path: str, language: Language) -> str:
    """Return ast-grep's name of the grammar for the file at `path`."""
    return _GRAMMARS.get(_extension(path), language)


def _extension(path: str) -> str:
    return path[path.rfind(".") :] if "." in path else ""


def reader(text: str, grammar: str) -> Reader:
    """Return a reader of `text`."""
    return _READERS[grammar](text, grammar)


def declared_names(content: bytes, language: Language) -> tuple[str, ...]:
    """Return names that `content` may declare outside functions: all that it does, and more."""
    names = set(_DECLARATIONS[language].findall(content))
    if language == "swift":
        for several in _SWIFT_CASES.findall(content):
            names.update(re.findall(rb"(?:^|,)\s*(\w+)", several))
    return tuple(sorted(name.decode(errors="replace") for name in names))


def mentions(names: Iterable[str]) -> Callable[[bytes], bool]:
    """Return a test whether a text may call one of `names`."""
    words = sorted({name.encode() for name in names})
    if not words:
        return lambda content: False
    pattern = re.compile(rb"(?<!\w)(?:" + b"|".join(map(re.escape, words)) + rb")\s*[(<{?!]")
    return lambda content: any(word in content for word in words) and pattern.search(content) is not None


def file_of(path: str, language: Language, facts: FileFacts) -> File:
    """Return the file with what its path adds: a TypeScript file is a module, and its imports are relative to it."""
    if language != "typescript":
        return File(path, language, facts, {each.alias: each.path for each in facts.imports})
    module = posixpath.splitext(path)[0]
    folder = posixpath.dirname(module)
    imports = tuple(
        replace(each, path=(_module(each, folder), *each.path[1:])) if each.path else each for each in facts.imports
    )
    aliases = {each.alias: each.path for each in imports}
    return File(path, language, replace(facts, package=(module,), imports=imports), aliases)


def _module(each: Import, folder: str) -> str:
    module = each.path[0]
    if not module.startswith("."):
        return module
    joined = posixpath.normpath(posixpath.join(folder, module))
    stem, extension = posixpath.splitext(joined)
    return "./" + (stem if extension in EXTENSIONS["typescript"] else joined)
