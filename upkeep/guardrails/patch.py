"""What is about to be published, and under which policy: the input of a review.

What belongs here: the records, and the few facts about them that several rules need. What does not: rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from upkeep.settings.guardrails import Guardrails

PLAIN_MODE = "100644"

DEFAULT_MAX_LINES = 500
DEFAULT_MAX_FILES = 10
WATCH_MAX_LINES = 20_000
WATCH_MAX_FILES = 200


class FileChange(BaseModel):
    """One file: `old` None is a new file, `new` None a deleted one. Modes are git's, six octal digits."""

    model_config = ConfigDict(frozen=True)

    path: str
    old: bytes | None = Field(default=None, repr=False)
    new: bytes | None = Field(default=None, repr=False)
    old_mode: str = PLAIN_MODE
    mode: str = PLAIN_MODE

    @cached_property
    def added(self) -> tuple[tuple[int, str], ...]:
        """Lines of `new` that `old` does not hold anywhere, with their numbers from 1.

        Bytes that are no UTF-8 become U+FFFD here; the text rule reports them by themselves. Lines end at LF alone:
        any other line break is a character that rules look at.
        """
        known = set(_lines(self.old))
        return tuple((number, line) for number, line in enumerate(_lines(self.new), 1) if line not in known)


class Patch(BaseModel):
    """Everything that leaves with one publish. `texts`: what the forge and the log will show, by what it is
    ("title", "body", "branch", "commit message")."""

    model_config = ConfigDict(frozen=True)

    files: tuple[FileChange, ...] = ()
    texts: Mapping[str, str] = Field(default_factory=dict)


class Policy(BaseModel):
    """What a pipeline lets pass. `allow`, `deny` and `protected` are globs over the whole path (`**` crosses folders).

    `max_lines` None: no limit, for the reason in `lines_exempt`, which the report repeats. `protected` None: the list
    in `paths.py`; a protected path passes only where `allow` names it without a wildcard. `secrets` are the values that
    we hold ourselves.
    """

    model_config = ConfigDict(frozen=True)

    max_lines: int | None = DEFAULT_MAX_LINES
    lines_exempt: str = ""
    max_files: int = DEFAULT_MAX_FILES
    allow: tuple[str, ...] = ("**",)
    deny: tuple[str, ...] = ()
    protected: tuple[str, ...] | None = None
    secrets: tuple[SecretStr, ...] = ()


def watch_policy(settings: Guardrails, *, content: str, bootstrap: bool, secrets: tuple[SecretStr, ...] = ()) -> Policy:
    """The policy of a watch: generous limits, its content folder alone, no limit of lines for a bootstrap.

    `content` is the folder relative to the repository. What `settings` say wins over the defaults.
    """
    return Policy(
        max_lines=None if bootstrap else settings.max_lines or WATCH_MAX_LINES,
        lines_exempt="a bootstrap writes the whole content at once" if bootstrap else "",
        max_files=settings.max_files or WATCH_MAX_FILES,
        allow=(f"{content}/**",) if settings.allow is None else settings.allow,
        deny=settings.deny,
        protected=None if settings.protected == "default" else settings.protected,
        secrets=secrets,
    )


def _lines(data: bytes | None) -> list[str]:
    if data is None:
        return []
    return [line.removesuffix("\r") for line in data.decode(errors="replace").split("\n")]
