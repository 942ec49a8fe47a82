"""The upstream at both ends of a change set: what the scan sees there, and its texts.

What belongs here: reading, each thing once. What does not: what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from upkeep.content import evidence
from upkeep.content.desk import Desk
from upkeep.content.records import ChangeSet
from upkeep.content.scan.delta import delta as scan_delta
from upkeep.content.scan.model import ScanDelta, ScanResult
from upkeep.content.scan.scanner import scan


@dataclass(frozen=True)
class Upstream:
    """Lazy: nothing is read before it is asked for, and nothing twice."""

    desk: Desk
    change_set: ChangeSet

    @cached_property
    def head(self) -> ScanResult:
        return self._scan(self.change_set.head)

    @cached_property
    def base(self) -> ScanResult | None:
        described = self.change_set.described
        return self._scan(described) if described is not None else None

    @cached_property
    def delta(self) -> ScanDelta:
        return scan_delta(self.base, self.head, self._renames())

    def _scan(self, sha: str) -> ScanResult:
        return scan(self.desk.upstream, sha, self.desk.watch.scan, cache=self.desk.scan_cache)

    def _renames(self) -> dict[str, str]:
        described = self.change_set.described
        if described is None:
            return {}
        changes = self.desk.upstream.changes(described, self.change_set.head)
        return {
            change.old_path: change.path for change in changes if change.old_path and change.old_path != change.path
        }

    def source(self, sha: str | None) -> evidence.Source | None:
        """Texts of the upstream at a commit, remembered: evidence and validation ask for the same files."""
        if sha is None or self.desk.upstream.resolve(f"{sha}^{{commit}}") is None:
            return None
        repository = self.desk.upstream

        @lru_cache(maxsize=512)
        def read(path: str) -> str | None:
            data = repository.read(sha, path)
            try:
                return None if data is None else data.decode()
            except UnicodeDecodeError:
                return None

        return read
