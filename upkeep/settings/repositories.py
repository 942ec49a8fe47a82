"""The `repositories` section: repositories whose workplans agree with the hub."""

from __future__ import annotations

from upkeep.settings.base import LocalPath, Name, Section


class Goal(Section):
    title: str
    description: str = ""


class ManagedRepository(Section):
    """A repository whose workplans agree with the hub. Read here, acted on by the sync system."""

    path: LocalPath
    forge: Name | None = None
    repo: str | None = None
    domain: str = ""
    workplans: tuple[str, ...] = ("workplans/*.md",)
    fix: bool = False
    goal: Goal | None = None
