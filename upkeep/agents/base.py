"""What every agent engine takes and gives back, whatever its CLI looks like.

What belongs here: the protocol, the task, the result, and the one normal form of usage. What does not: anything that
knows one engine (its own module), one system's prompt or answer (that system's package), or where output is taken from
a work tree (`harvest.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Basis = Literal["gateway", "events", "rollout", "estimate", "none"]

GAP_ALLOWED = 0.05
"""Between the gateway's count of tokens and the CLI's own."""


class Usage(BaseModel):
    """Tokens and money of one agent run. Tokens are counts, money is US dollars.

    `input_uncached`, `cache_read` and `cache_write` are disjoint and add up to what was sent; `reasoning` is part of
    no other number. `cost_reported_usd` is what the CLI said (None: it says nothing), `cost_priced_usd` what the public
    price list makes of the tokens (None: the model has no price). `complete` is False when a request may be missing.
    `gap` is the share by which the CLI's own count of tokens differs from this one (None: it has none to compare).
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    engine_version: str = ""
    model: str = ""
    requests: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    cost_reported_usd: float | None = None
    cost_priced_usd: float | None = None
    price_source: str = ""
    basis: Basis = "none"
    complete: bool = True
    gap: float | None = None

    @property
    def alarming(self) -> bool:
        """Whether the two counts differ by more than they may: one of the two does not see every request."""
        return self.gap is not None and self.gap > GAP_ALLOWED

    @property
    def unpriced(self) -> bool:
        """Whether nobody knows what it cost: the price list does not know the model."""
        return self.basis == "gateway" and self.cost_priced_usd is None

    @property
    def alarm(self) -> str:
        """What of these figures needs a person's eye; "": nothing."""
        if self.alarming:
            return f"the agent's own count of tokens differs by {self.gap:.0%}: it, or its tools, made other requests"
        if self.unpriced:
            return "the model has no known price, so no budget held its cost (`unsafe_no_budget: true`)"
        return "" if self.complete else "a request may be missing or was booked at the most that it can have cost"

    def checked(self, reported: Usage | None) -> Usage:
        """This count, with what the CLI itself reported as a cross-check."""
        if reported is None or not reported.tokens or not self.complete:
            return self
        gap = abs(self.tokens - reported.tokens) / max(self.tokens, reported.tokens)
        return self.model_copy(update={"gap": round(gap, 4), "cost_reported_usd": reported.cost_reported_usd})

    @property
    def cost_usd(self) -> float:
        """The best known cost: priced from tokens, else as reported, else 0."""
        return self.cost_priced_usd or self.cost_reported_usd or 0.0

    @property
    def tokens(self) -> int:
        return self.input_uncached + self.cache_read + self.cache_write + self.output + self.reasoning

    def __add__(self, other: Usage) -> Usage:
        """Sum of two runs of one engine (attempts of one task). A missing cost stays missing only if both miss it."""

        def money(a: float | None, b: float | None) -> float | None:
            return None if a is None and b is None else (a or 0.0) + (b or 0.0)

        return self.model_copy(
            update={
                "requests": self.requests + other.requests,
                "input_uncached": self.input_uncached + other.input_uncached,
                "cache_read": self.cache_read + other.cache_read,
                "cache_write": self.cache_write + other.cache_write,
                "output": self.output + other.output,
                "reasoning": self.reasoning + other.reasoning,
                "cost_reported_usd": money(self.cost_reported_usd, other.cost_reported_usd),
                "cost_priced_usd": money(self.cost_priced_usd, other.cost_priced_usd),
                "basis": other.basis if self.basis == "none" else self.basis,
                "complete": self.complete and other.complete,
                "gap": max((gap for gap in (self.gap, other.gap) if gap is not None), default=None),
            }
        )


class AgentTask(BaseModel):
    """One piece of work for an agent.

    `work` is the folder it may write, `reads` the folders and files it may only read (name → path); everything else
    of this machine beyond the system's own folders is hidden from it, so what the prompt names must stand here.
    `prompt` is complete: engines add nothing to it. `answer_schema` is the JSON Schema of the final answer.
    `offline` is the same work done by a deterministic procedure of the calling system, for the engine `scan`, which
    has no model: it edits `work` and returns the answer as plain JSON values.
    `log_dir` receives transcript and event files, numbered by run; it lies outside `work` and `reads`.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    subject: str
    work: Path
    reads: dict[str, Path] = Field(default_factory=dict)
    prompt: str
    answer_schema: dict[str, Any]
    log_dir: Path
    offline: Callable[[], dict[str, Any]] | None = Field(default=None, exclude=True)


class AgentResult(BaseModel):
    """What came of it. Success is for the caller to judge: an exit code of 0 proves nothing.

    `outcome`: `answered` (the final message is JSON of `answer_schema`; `answer` holds it), or `said_nothing`
    (it ended by itself without a usable answer; `message` holds what it did say, shortened).
    `sandbox` names what held the agent in: "upkeep" for ours; where that does not work and the configuration lets it
    pass, the engine's own ("codex") or "none"; "" for an engine that needs none. A reader of the pull request is told
    of anything but "upkeep" and "". `profile` is what that sandbox was, for people: `Profile.summary`.
    """

    model_config = ConfigDict(frozen=True)

    outcome: Literal["answered", "said_nothing"]
    answer: dict[str, Any] | None = None
    message: str = ""
    usage: Usage
    seconds: float
    exit_code: int | None = None
    transcript: Path | None = None
    sandbox: str = ""
    profile: dict[str, Any] | None = None


class Agent(Protocol):
    """An engine with its settings.

    `name` is the key under `agents:` in the configuration, `engine` the plug-in, `model` the model's name or "".
    `writes_with_model` is False for deterministic engines: their output may be published without the checks that
    exist because models err.
    """

    @property
    def name(self) -> str: ...

    @property
    def engine(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def writes_with_model(self) -> bool: ...

    def run(self, task: AgentTask) -> AgentResult:
        """Do the task. Raises AgentError and its children (timeout, missing CLI, budget).

        Where the agent had started, the error's `details` hold `usage` (a Usage as JSON), `seconds` and `transcript`:
        what failed was paid for too.
        """
        ...
