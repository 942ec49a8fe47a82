"""A repository in memory, so that a scan of a few lines needs no git."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from upkeep.content.scan.model import Call, ScanResult
from upkeep.content.scan.scanner import scan
from upkeep.settings.scan import ScanSettings

Scan = Callable[..., ScanResult]


@dataclass(frozen=True)
class Entry:
    mode: str
    type: str
    sha: str
    path: str


@dataclass
class MemoryRepository:
    """Files of one commit. `read` counts the blobs that were asked for."""

    files: dict[str, bytes]
    read: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)

    def resolve(self, rev: str) -> str | None:
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest() if rev == "HEAD" else None

    def tree(self, rev: str, prefix: str = "") -> list[Entry]:
        return [
            Entry(self.modes.get(path, "100644"), "blob", hashlib.sha1(content).hexdigest(), path)
            for path, content in sorted(self.files.items())
        ]

    def blobs(self, shas: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        contents = {hashlib.sha1(content).hexdigest(): content for content in self.files.values()}
        for sha in shas:
            self.read.append(sha)
            yield sha, contents[sha]


def repository_of(files: Mapping[str, str | bytes]) -> MemoryRepository:
    return MemoryRepository(
        {path: content if isinstance(content, bytes) else content.encode() for path, content in files.items()}
    )


@pytest.fixture
def memory() -> Callable[[Mapping[str, str | bytes]], MemoryRepository]:
    return repository_of


@pytest.fixture
def scan_files() -> Scan:
    """`scan_files({path: source}, kotlin={…})`: scan files as `upkeep.yaml` would configure it."""

    def run(files: Mapping[str, str | bytes], cache: Path | None = None, **languages: Any) -> ScanResult:
        return scan(repository_of(files), "HEAD", ScanSettings.model_validate(languages), cache=cache)

    return run


@pytest.fixture
def found(scan_files: Scan) -> Callable[..., list[tuple[int, str | None, tuple[str, ...]]]]:
    """Scan one file; return (line, name, properties) of its calls."""

    def run(path: str, source: str, *, others: Mapping[str, str] | None = None, **languages: Any) -> list[Any]:
        result = scan_files({path: source, **(others or {})}, **languages)
        assert result.files_failed == ()
        return [shown(call) for call in result.calls if call.path == path]

    return run


def shown(call: Call) -> tuple[int, str | None, tuple[str, ...]]:
    return call.line, call.name, call.properties
