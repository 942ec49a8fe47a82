"""The scan of one commit: which files to read, in which order, and what the cache already knows.

What belongs here: driving the readers and the resolver over a tree. What does not: the languages (`languages.py`),
finding strings (`resolve.py`), the cache's form (`cache.py`).

Few files are parsed: those that may hold a call by the bytes of their text, then those that declare a name which a call
needs, until nothing more is needed, then those that call a wrapper. Which these are depends on the tree alone, never on
what the cache holds, so that a rescan finds what a first scan finds.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from ast_grep_py import Config, SgRoot

from upkeep.content.scan.cache import BlobCache, BlobKey, Entry
from upkeep.content.scan.calls import CallFinder
from upkeep.content.scan.facts import VERSION, CallSite, FileFacts
from upkeep.content.scan.languages import declared_names, file_of, grammar_of, language_of, mentions, reader
from upkeep.content.scan.model import ScanResult
from upkeep.content.scan.program import Program, family
from upkeep.errors import ConfigError, GitError
from upkeep.settings.scan import Language, LanguageScan, ScanSettings

MAXIMUM_BYTES = 2_000_000
"""A longer file is generated: it is listed as failed, not parsed."""

_REMEMBERED_BYTES = 256_000_000

T = TypeVar("T")


class TreeEntry(Protocol):
    """One entry of a tree, as `upkeep.git` has it."""

    @property
    def mode(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def sha(self) -> str: ...
    @property
    def path(self) -> str: ...


class Source(Protocol):
    """What the scan needs of a repository; `upkeep.git.Repository` has it."""

    def resolve(self, rev: str) -> str | None: ...
    def tree(self, rev: str, prefix: str = "") -> Sequence[TreeEntry]: ...
    def blobs(self, shas: Iterable[str]) -> Iterator[tuple[str, bytes]]: ...


def scan(repository: Source, rev: str, settings: ScanSettings, *, cache: Path | None = None) -> ScanResult:
    """Return all tracker calls of the tree at `rev`.

    `cache` is a file that may exist or not, be damaged, or be shared with other scans of the same watch. Files that
    cannot be read (binary, not UTF-8, longer than `MAXIMUM_BYTES`, not parseable) are listed, never fatal.

    Raises ConfigError (`config.scan_rule`) for a raw rule that ast-grep refuses, GitError (`git.unknown_revision`) if
    there is no such commit, and what `repository` raises.
    """
    started = time.monotonic()
    _check_rules(settings)
    commit = repository.resolve(rev)
    if commit is None:
        raise GitError(
            f"there is no commit {rev}", remedy="Fetch it first, or check the name.", code="git.unknown_revision"
        )
    with _collector_paused():
        result = _Survey(repository, commit, settings, cache).run()
    return result.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cycle collector from walking a million records that are all alive: a fifth of a scan's time.

    They have to be gone at the end of it, or the first collection afterwards walks them all the same.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _File(NamedTuple):
    path: str
    language: Language
    key: BlobKey


class _Survey:
    """The state of one scan."""

    def __init__(self, repository: Source, commit: str, settings: ScanSettings, cache: Path | None) -> None:
        self._repository = repository
        self._commit = commit
        self._settings = settings
        self._cache = BlobCache(cache, f"{VERSION}-{version('ast-grep-py')}-{settings.fingerprint()}")
        self.entries: dict[BlobKey, Entry] = self._cache.load()
        self._changed: set[BlobKey] = set()
        self._contents: dict[str, bytes] = {}
        self._remembered = 0
        self.parsed: set[BlobKey] = set()
        self.files = list(_files(repository.tree(commit), settings))
        self._callers: dict[str, tuple[CallSite, ...]] = {}
        self._program = Program()
        self._sought: set[tuple[Language, str]] = set()
        self._unloaded: list[tuple[_File, tuple[str, ...]]] | None = None
        self._finder = CallFinder(self._program, settings)
        self._methods = {language: {call.method for call in scan.calls} for language, scan in settings.root.items()}
        self._rules: dict[Language, dict[int, Config]] = {
            language: {number: rule.config() for number, rule in enumerate(scan.rules)}
            for language, scan in settings.root.items()
        }

    def run(self) -> ScanResult:
        """Return what was found; how long it took is for the caller to say."""
        self._inspect()
        self._load(file for file in self.files if self.entries[file.key].hit)
        self._settle()
        self._follow()
        self._settle()
        calls = self._finder.calls(self._callers)
        self._cache.save({key: self.entries[key] for key in self._changed}, {file.key for file in self.files})
        return ScanResult(
            commit=self._commit,
            calls=tuple(calls),
            files_seen=len(self.files),
            files_parsed=len(self.parsed),
            files_failed=tuple(sorted(file.path for file in self.files if self.entries[file.key].failed)),
            seconds=0.0,
        )

    def _inspect(self) -> None:
        """Look at the bytes of every blob that the cache does not know."""
        unknown = {file.key: file for file in self.files if file.key not in self.entries}
        may_hit = {language: self._may_hit(language) for language in self._settings.root}
        for file, content in self._read(list(unknown.values())):
            language = file.language
            entry = Entry(failed=len(content) > MAXIMUM_BYTES or b"\0" in content[:8000])
            if not entry.failed:
                entry.declared = declared_names(content, language)
                entry.hit = may_hit[language](content)
            self.entries[file.key] = entry
            self._changed.add(file.key)

    def _may_hit(self, language: Language) -> Callable[[bytes], bool]:
        scan = self._settings.root[language]
        words = [rule.words() for rule in scan.rules]
        if not all(words):
            return lambda content: True
        encoded = [word.encode() for several in words for word in several]
        called = mentions(self._methods[language])
        return lambda content: called(content) or any(word in content for word in encoded)

    def _load(self, files: Iterable[_File]) -> None:
        """Add the facts of `files` to the program, parsing what the cache does not hold."""
        wanted = {file.path: file for file in files if file.path not in self._program.files}
        known: dict[str, FileFacts] = {}
        for path, file in wanted.items():
            facts = _undamaged(partial(_facts, self.entries[file.key]))
            if facts is not None:
                known[path] = facts
        for file, content in self._read([file for path, file in wanted.items() if path not in known]):
            known[file.path] = self._parse(file, content)
        for path in sorted(known):
            self._program.add(file_of(path, wanted[path].language, known[path]))

    def _parse(self, file: _File, content: bytes, wrappers: frozenset[str] | None = None) -> FileFacts:
        """Read a file's facts into its entry, and with `wrappers` its calls of those."""
        entry = self.entries[file.key]
        facts = FileFacts()
        callers: tuple[CallSite, ...] = ()
        if not entry.failed:
            self.parsed.add(file.key)
            try:
                parsed = reader(content.decode("utf-8-sig"), file.key[1])
                facts = parsed.facts(self._methods[file.language], self._rules[file.language])
                callers = parsed.call_sites(wrappers or (), {})
                entry.failed = parsed.broken
            except Exception:  # noqa: BLE001 - one odd file among thousands is listed, whatever is odd about it
                facts, callers, entry.failed = FileFacts(), (), True
        entry.keep_facts(facts)
        if wrappers is not None:
            entry.keep_callers(_digest(wrappers), callers)
        self._changed.add(file.key)
        return facts

    def _settle(self) -> None:
        """Load files that declare what a call needs until nothing more is needed."""
        for look in (self._finder.ask, partial(self._finder.read, self._callers)):
            look()
            while needed := self._needed():
                self._load(needed)
                self._finder.forget({name for file in needed for name in self.entries[file.key].declared})
                look()

    def _needed(self) -> list[_File]:
        """Return the files that declare a name which was asked for since the last time, and are not loaded."""
        names: dict[Language, set[str]] = defaultdict(set)
        for language, name in self._program.wanted - self._sought:
            names[family(language)].add(name)
        self._sought |= self._program.wanted
        if not names:
            return []
        if self._unloaded is None:
            self._unloaded = [(file, self.entries[file.key].declared) for file in self.files]
        loaded = self._program.files
        self._unloaded = [pair for pair in self._unloaded if pair[0].path not in loaded]
        return [file for file, declared in self._unloaded if not names[family(file.language)].isdisjoint(declared)]

    def _follow(self) -> None:
        """Find the calls of wrappers, in every file that may hold one."""
        names = self._finder.wrapper_names()
        unread = []
        keys = {language: _digest(found) for language, found in names.items()}
        for file in self.files:
            key = keys.get(family(file.language))
            if key is not None and not self.entries[file.key].failed:
                entry = self.entries[file.key]
                sites = _undamaged(partial(_callers, entry)) if entry.wrappers == key else None
                if sites is None:
                    unread.append(file)
                elif sites:
                    self._callers[file.path] = sites
        may_call = {language: mentions(found) for language, found in names.items()}
        for file, content in self._read(unread):
            language, entry = family(file.language), self.entries[file.key]
            if may_call[language](content):
                self._parse(file, content, names[language])
            else:
                entry.keep_callers(keys[language], ())
                self._changed.add(file.key)
            if entry.callers:
                self._callers[file.path] = entry.callers
        self._load(file for file in self.files if file.path in self._callers)

    def _read(self, files: Sequence[_File]) -> Iterator[tuple[_File, bytes]]:
        """Yield the files' contents; a blob that was read before is kept while memory allows."""
        unread = {file.key[0] for file in files} - self._contents.keys()
        by_sha: dict[str, list[_File]] = defaultdict(list)
        for file in files:
            by_sha[file.key[0]].append(file)
        for sha in by_sha.keys() - unread:
            yield from ((file, self._contents[sha]) for file in by_sha[sha])
        for sha, content in self._repository.blobs(sorted(unread)) if unread else ():
            if self._remembered + len(content) <= _REMEMBERED_BYTES:
                self._contents[sha] = content
                self._remembered += len(content)
            yield from ((file, content) for file in by_sha[sha])


def _files(tree: Iterable[TreeEntry], settings: ScanSettings) -> Iterator[_File]:
    wanted = {language: _selection(scan) for language, scan in settings.root.items()}
    for entry in tree:
        language = language_of(entry.path)
        if language not in wanted or entry.type != "blob" or entry.mode == "120000":
            continue
        if wanted[language](entry.path):
            yield _File(entry.path, language, (entry.sha, grammar_of(entry.path, language)))


def _selection(scan: LanguageScan) -> Callable[[str], bool]:
    include, exclude = _globs(scan.include), _globs(scan.exclude)
    return lambda path: (not scan.include or include(path)) and not exclude(path)


def _globs(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of paths. What ends in `/**` is asked once a folder, and what names files of any folder sees their
    names only: most patterns are of these two, and a tree has few folders.
    """
    folders = _alternatives([pattern for pattern in patterns if pattern.endswith("/**")])
    rest = [pattern for pattern in patterns if not pattern.endswith("/**")]
    anywhere = [
        pattern for pattern in rest if pattern.startswith("**/") and "/" not in pattern[3:] and pattern != "**/**"
    ]
    names = _alternatives([pattern[3:] for pattern in anywhere])
    paths = _alternatives([pattern for pattern in rest if pattern not in anywhere])
    known: dict[str, bool] = {}

    def matches(path: str) -> bool:
        at = path.rfind("/") + 1
        folder = path[:at]
        if folder not in known:
            known[folder] = folders(folder + "x")
        return known[folder] or names(path[at:]) or paths(path)

    return matches


def _alternatives(patterns: Sequence[str]) -> Callable[[str], bool]:
    if not patterns:
        return lambda path: False
    compiled = re.compile("|".join(_glob(pattern) for pattern in patterns))
    return lambda path: compiled.fullmatch(path) is not None


def _glob(pattern: str) -> str:
    """Return a glob as a regular expression: `*` and `?` stay in a folder, `**/` crosses any number of them."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("/"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "(?:" + "".join(known.get(part, re.escape(part)) for part in parts) + ")"


def _check_rules(settings: ScanSettings) -> None:
    """Let ast-grep look at every raw rule, so that a wrong one is told before anything is read.

    Raises ConfigError.
    """
    for language, scan in settings.root.items():
        for number, rule in enumerate(scan.rules):
            try:
                SgRoot("", language).root().find_all(rule.config())
            except (RuntimeError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"scan.{language}.rules[{number}] is no rule that ast-grep accepts: {error}",
                    remedy="Correct the rule; `ast-grep run --pattern` shows what a pattern matches.",
                    code="config.scan_rule",
                    rule=rule.rule,
                ) from error


def _facts(entry: Entry) -> FileFacts | None:
    return entry.facts


def _callers(entry: Entry) -> tuple[CallSite, ...]:
    return entry.callers


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:16]


def _undamaged(read: Callable[[], T | None]) -> T | None:
    """Return what `read` finds in the cache, None where that is damaged: it is read again from the blob."""
    try:
        return read()
    except ValueError:
        return None
