"""The `forks` section: forks that are rebased on their upstream, and the gates before a push."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from upkeep.cron import fault_in
from upkeep.settings.base import LocalPath, Name, Section


class Version(Section):
    file: str
    pattern: str
    source: Literal["file", "tag"] = "file"
    tag: str | None = None
    template: str = "{upstream}"


class Gate(Section):
    run: str
    prepare: str | None = None
    fix: bool = False
    timeout_minutes: float = Field(default=30, gt=0)
    directory: str = "."


def _gate(value: Any) -> Any:
    return {"run": value} if isinstance(value, str) else value


def _cron(value: str | None) -> str | None:
    if value is not None and (fault := fault_in(value)) is not None:
        raise ValueError(fault)
    return value


def _zone(value: str | None) -> str | None:
    if value is not None and value not in zoneinfo.available_timezones():
        raise ValueError(f"there is no time zone {value!r}; an example is Europe/Berlin")
    return value


class Remotes(Section):
    fork: str = "origin"
    upstream: str = "upstream"


class Fork(Section):
    """A fork whose trunk is rebased on its upstream."""

    path: LocalPath | None = None
    url: str | None = None
    remotes: Remotes = Remotes()
    trunk: str
    upstream_branch: str = "main"
    next_branches: tuple[str, ...] = ()
    mirror_branch: str = "main"
    version: Version | None = None
    gates: tuple[Annotated[Gate, BeforeValidator(_gate)], ...] = ()
    gate_mounts: tuple[LocalPath, ...] = ()
    baseline: bool = False
    stack: Literal["auto", "graphite", "plain", "none"] = "auto"
    stack_branches: tuple[str, ...] = ()
    push_stack: bool = False
    on_conflict: Literal["stop", "agent"] = "stop"
    agent: Name = "scan"
    escalate: tuple[str, ...] = ()
    forge: Name
    repo: str
    delta_pull_request: bool = True
    max_days_behind: int = Field(default=3, gt=0)
    schedule: Annotated[str | None, AfterValidator(_cron)] = Field(
        default="0 5 * * *", description="Cron line of the daily run. null: only by hand."
    )
    time_zone: Annotated[str | None, AfterValidator(_zone)] = Field(
        default=None, description="In which `schedule` is read. Unset: the machine's own."
    )

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.path is None and self.url is None:
            raise ValueError(
                "give `path`, a working copy of the fork, or `url`, of which Upkeep keeps a mirror of its own"
            )
        if self.path is None and not {"/", ":"} & set(self.remotes.upstream):
            raise ValueError("without a working copy `remotes.upstream` is the address of upstream, and no name")
        if self.trunk == self.mirror_branch:
            raise ValueError(
                f"trunk and mirror_branch are both {self.trunk!r}: the mirror is a plain copy of upstream's branch, "
                "trunk holds the patches on top of it"
            )
        return self

    @model_validator(mode="after")
    def _has_a_checkout(self) -> Self:
        if self.stack == "graphite" and self.path is None:
            raise ValueError("stack: graphite needs a checkout, which a fork by url has not; give `path`")
        return self
