"""What the tests of all forges over HTTP have in common.

What belongs here: the repository that they work on, opening a pull request on it, a forge that does not wait. What does
not: any one forge (`github.py`, `gitea.py`).
"""

from __future__ import annotations

from typing import Any

from tests.support.repositories import MakeRepository, RepoBuilder

REPO = "o/dashboard"
SILENT = {"delay": 3, "after": True}


def source(make_repository: MakeRepository) -> RepoBuilder:
    """A repository with `main` and the branches `bot/1`, `bot/2`, `other`, each a commit ahead."""
    made = make_repository("dashboard")
    made.commit({"README.md": "A dashboard\n"})
    for branch in ("bot/1", "bot/2", "other"):
        made.switch(branch, "main")
        made.commit({"file.txt": branch})
    return made


def create(forge: Any, branch: str = "bot/1", **over: Any) -> Any:
    return forge.create_pull_request(
        REPO, **{"head": branch, "base": "main", "title": "Update", "body": "What changed\n"} | over
    )


def quick(host: Any, naps: list[float] | None = None, **settings: Any) -> Any:
    """A forge that does not really wait."""
    return host.forge(sleep=(naps if naps is not None else []).append, jitter=lambda: 0.0, **settings)
