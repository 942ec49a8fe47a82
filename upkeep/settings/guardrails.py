"""The `guardrails` section, of the whole file and of a watch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from upkeep.settings.base import Section


class Guardrails(Section):
    """Limits of one patch. None: the pipeline's own default (architecture.md)."""

    max_lines: int | None = Field(default=None, gt=0)
    max_files: int | None = Field(default=None, gt=0)
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    protected: Literal["default"] | tuple[str, ...] = "default"
