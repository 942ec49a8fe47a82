"""The typed final answer of whoever writes analytics content: a model, or the offline agent.

What belongs here: the answer and its JSON Schema. It is a claim, shown escaped in the PR and stored; what really
changed is computed from the content itself (`compare.py`).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from upkeep.agents.asking import strict_schema


class EventRef(BaseModel):
    """An event in a flow, by the flow's folder slug and the event's exact name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flow: str
    name: str


class RenamedEvent(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    flow: str
    before: str
    after: str


class UnassignedEvent(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    reason: str


class UpdateSummary(BaseModel):
    """What the author says it did. `no_change` with a `reason`: the upstream change needs no change of content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    no_change: bool = False
    reason: str = ""
    summary: str = ""
    flows_changed: list[str] = Field(default_factory=list)
    flows_added: list[str] = Field(default_factory=list)
    events_added: list[EventRef] = Field(default_factory=list)
    events_changed: list[EventRef] = Field(default_factory=list)
    events_renamed: list[RenamedEvent] = Field(default_factory=list)
    events_removed: list[EventRef] = Field(default_factory=list)
    unassigned: list[UnassignedEvent] = Field(default_factory=list)
    doubts: list[str] = Field(default_factory=list)


def answer_schema() -> dict[str, Any]:
    """JSON Schema of the answer, as a model gets it."""
    return strict_schema(UpdateSummary)
