"""The `watches` section: upstreams whose commits become pull requests on dashboards."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from upkeep.settings.base import LocalPath, Name, Section
from upkeep.settings.guardrails import Guardrails
from upkeep.settings.scan import ScanSettings

Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$", to_lower=True)]


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or {"..", ".git"} & {part.casefold() for part in parts}:
        raise ValueError("must be a folder inside the repository, such as content/analytics")
    return str(PurePosixPath(*parts))


class Upstream(Section):
    """`path`: a working copy that we may pull; or `url`: we keep our own mirror."""

    path: LocalPath | None = None
    url: str | None = None
    branch: str = "main"
    web: str | None = Field(default=None, description="Where a person sees it; commit links are WEB/commit/SHA.")

    @model_validator(mode="after")
    def one_place(self) -> Upstream:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either path (a working copy) or url (our own mirror), not both and not neither")
        return self


class Target(Section):
    url: str
    base: str = "main"
    forge: Name
    repo: str


class Watch(Section):
    """One upstream whose commits become pull requests on one dashboard."""

    upstream: Upstream
    target: Target
    content: Annotated[str, AfterValidator(_inside)] = "content/analytics"
    agent: Name = "scan"
    instructions: str | None = None
    relevance: Literal["any", "calls"] | None = None
    begin_after: Sha | None = None
    poll_minutes: float = Field(default=10, gt=0)
    attempts: int = Field(default=3, gt=0)
    scan: ScanSettings = ScanSettings()
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def scan_where_calls_count(self) -> Watch:
        if self.relevance == "calls" and not self.scan.root:
            raise ValueError("`relevance: calls` goes by what the scan sees: say under `scan` which calls there are")
        return self
