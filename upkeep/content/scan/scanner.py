"""The scan of one commit: which files to read, in which order, and what the cache already knows.

What belongs here: driving the readers and the resolver over a tree. What does not: the languages (`syntax.py`), finding
strings (`resolve.py`), the cache's form (`cache.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from upkeep.content.scan.model import ScanResult
from upkeep.content.scan.settings import ScanSettings


class Entry(Protocol):
    """One entry of a tree, as `upkeep.git.TreeEntry` has it."""

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

    def resolve(self, rev: str) -> str: ...
    def tree(self, rev: str, prefix: str = "") -> Sequence[Entry]: ...
    def blobs(self, shas: Iterable[str]) -> Iterator[tuple[str, bytes]]: ...


def scan(repository: Source, rev: str, settings: ScanSettings, *, cache: Path | None = None) -> ScanResult:
    """Return all tracker calls of the tree at `rev`."""
    raise NotImplementedError
