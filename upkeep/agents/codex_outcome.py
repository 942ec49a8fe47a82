"""What one run of codex amounts to: an error, an answer or none, and what it used.

What belongs here: pure functions over what the run left. What does not: running it (`codex.py`) and its formats
(`codex_events.py`).

Exit code 0 with `turn.completed` was seen when every tool call had failed, so neither counts as success here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upkeep.agents import codex_events as events
from upkeep.agents import pricing
from upkeep.agents.base import Basis, Usage
from upkeep.errors import AgentError, AgentTimedOut
from upkeep.process import Completed

PROVIDER = "openai"

_SHOWN = 2000
_UNKNOWN_ARGUMENT = re.compile(r"unknown (configuration field|feature flag)|unexpected argument", re.IGNORECASE)
# By codex' own message: (pattern, code, remedy, whether to try again may help).
_FAILURES = (
    (r"\b40[13]\b", "agent.authentication", "check agents.{agent}.api_key: the provider refused it", False),
    (r"\b402\b|quota|billing", "agent.quota", "check the billing of the provider's account", False),
    (r"\b429\b|rate limit", "agent.rate_limited", "try again later, or let fewer agents run at once", True),
    (
        r"^Incomplete response",
        "agent.incomplete",
        "the model's own limit cut its answer: look into the transcript",
        False,
    ),
    (
        r"high demand|\b5\d\d\b|[Cc]onnection|stream disconnected|error sending request",
        "agent.unavailable",
        "the provider did not answer: try again later, check agents.{agent}.base_url and the network",
        True,
    ),
)


@dataclass(frozen=True)
class Remains:
    """What a run left: how its process ended, the events it printed, the session it recorded."""

    completed: Completed
    seen: Sequence[events.Event]
    rollout: events.Rollout


def failure(remains: Remains, *, agent: str, timeout_minutes: float, idle_minutes: float) -> AgentError | None:
    """The error, unless a turn was completed and its tools could run."""
    endings = [e for e in remains.seen if isinstance(e, events.TurnCompleted | events.TurnFailed)]
    match endings[-1] if endings else None, remains.completed.outcome:
        case events.TurnFailed(message), _:
            return _turn_failed(message, agent)
        case None, "deadline":
            return _timed_out("deadline", agent, f"was still at work after {timeout_minutes:g} minutes")
        case None, "idle":
            return _timed_out("idle", agent, f"said nothing for {idle_minutes:g} minutes")
        case None, _:
            return _no_turn(remains)
        case _:
            return _tools_never_ran(remains.rollout)


def answer_text(written: str, seen: Sequence[events.Event]) -> str:
    """The final message: what codex wrote to its answer file, else the last message of the stream."""
    messages = [event.text for event in seen if isinstance(event, events.Message)]
    return written.strip() or (messages[-1].strip() if messages else "")


def as_answer(text: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The answer, if it is an object with the properties that the schema requires. Values are for the caller to
    validate: a provider behind `base_url` may not enforce the schema."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not set(schema.get("required", ())) <= value.keys():
        return None
    return value


def usage(remains: Remains, *, model: str, version: str) -> Usage:
    """Usage in the normal form: from the event stream, from the session where the turn did not complete.

    `complete` is False where a request may be missing: the one in flight when the turn ended, or a difference between
    the two sources. Each request is priced by itself where the session tells them apart.
    """
    completions = [event.tokens for event in remains.seen if isinstance(event, events.TurnCompleted)]
    requests = remains.rollout.requests
    counted = events.add(requests)
    total = completions[-1] if completions else counted
    basis: Basis = "events" if completions else "rollout"
    priced = requests if counted == total else (total,)
    price, source = _price([_normal(tokens, model) for tokens in priced], model)
    return _normal(total, model).model_copy(
        update={
            "engine_version": remains.rollout.cli_version or version,
            "requests": len(requests),
            "basis": "none" if total == events.Tokens() else basis,
            "complete": bool(completions) and (counted == total or not requests),
            "cost_priced_usd": price,
            "price_source": source,
        }
    )


def shorten(text: str) -> str:
    """The end of a message, on one line."""
    return " ".join(text.split())[-_SHOWN:]


def _turn_failed(message: str, agent: str) -> AgentError:
    for pattern, code, remedy, retryable in _FAILURES:
        if re.search(pattern, message):
            text = f"agent {agent} failed: {shorten(message)}"
            return AgentError(text, code=code, remedy=remedy.format(agent=agent), retryable=retryable)
    return AgentError(f"agent {agent} failed: {shorten(message)}", remedy="look into the transcript", retryable=False)


def _timed_out(limit: str, agent: str, doing: str) -> AgentError:
    key = "timeout_minutes" if limit == "deadline" else "idle_minutes"
    return AgentTimedOut(
        f"agent {agent} {doing} and was ended",
        code=f"agent.timed_out.{limit}",
        remedy=f"look into the transcript; raise agents.{agent}.{key} if the work needs it",
        retryable=True,
    )


def _no_turn(remains: Remains) -> AgentError:
    """codex ended without a final event: it did not take its arguments, or somebody ended it."""
    notices = [event.message for event in remains.seen if isinstance(event, events.Notice)]
    said = shorten(remains.completed.error_text) or shorten("\n".join(notices)) or "nothing on standard error"
    if _UNKNOWN_ARGUMENT.search(said):
        return AgentError(
            f"this version of codex does not take Upkeep's arguments: {said}",
            code="agent.version",
            remedy="install the version that `upkeep doctor` names",
        )
    return AgentError(
        f"codex ended with status {remains.completed.returncode} and without a result: {said}",
        remedy="look into the transcript and the events beside it",
        retryable=True,
    )


def _tools_never_ran(rollout: events.Rollout) -> AgentError | None:
    if not rollout.tool_outputs or rollout.sandbox_failures < rollout.tool_outputs:
        return None
    return AgentError(
        f"none of the agent's {rollout.tool_outputs} tool calls could run: {shorten(rollout.sandbox_message)}",
        code="agent.sandbox",
        remedy="run `upkeep doctor`: codex' sandbox does not start here",
    )


def _normal(tokens: events.Tokens, model: str) -> Usage:
    return Usage(
        engine="codex",
        model=model,
        input_uncached=max(0, tokens.input - tokens.cached - tokens.cache_write),
        cache_read=tokens.cached,
        cache_write=tokens.cache_write,
        output=max(0, tokens.output - tokens.reasoning),
        reasoning=tokens.reasoning,
    )


def _price(requests: Sequence[Usage], model: str) -> tuple[float | None, str]:
    try:
        return pricing.cost_usd(requests, model=model, provider=PROVIDER), pricing.price_source()
    except AgentError:
        # Only without a budget: with one the run was refused before it began.
        return None, ""
