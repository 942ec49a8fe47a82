"""What codex writes, as typed values: the `--json` event stream and the rollout file of a session.

What belongs here: pure functions from lines to records, and what they amount to. What does not: starting codex
(`codex.py`). Recorded streams of real runs, one folder a version, are in `tests/upkeep/agents/streams/`.

Both formats grow without notice, so unknown types and fields are skipped. The `--json` lines are documented in codex'
own repository (docs/exec.md); the rollout is not documented at all and is asked one thing only: what the tools really
returned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from upkeep.agents.answers import shorten
from upkeep.agents.base import Usage
from upkeep.agents.fields import as_count, as_object, as_text, parse_object
from upkeep.agents.headless import Ending
from upkeep.errors import AgentError
from upkeep.process import Completed

_SANDBOX_MARK = re.compile(r"^(bwrap: |sandbox-exec: |Failed to write file )|codex-linux-sandbox", re.MULTILINE)
"""What stands in a tool's output when codex' own sandbox could not start the tool, or not let it write to its work
tree. Seen with 0.169.0: "bwrap: execvp codex-linux-sandbox: No such file or directory", while the run exits with 0."""
_UNKNOWN_ARGUMENT = re.compile(r"unknown (configuration field|feature flag)|unexpected argument", re.IGNORECASE)


@dataclass(frozen=True)
class Message:
    """What the agent said; the last one of a turn is its answer."""

    text: str


@dataclass(frozen=True)
class Notice:
    """A complaint of codex itself, fatal or not."""

    message: str


@dataclass(frozen=True)
class TurnCompleted:
    """`usage` is cumulative over the thread, resumed turns included: take the last, never add."""

    usage: Usage


@dataclass(frozen=True)
class TurnFailed:
    message: str


Event = Message | Notice | TurnCompleted | TurnFailed


@dataclass(frozen=True)
class Rollout:
    """One session as codex recorded it: `tool_outputs` counts tool calls that returned and `sandbox_failures` those
    among them that never ran, with the first of their messages in `sandbox_message`."""

    tool_outputs: int = 0
    sandbox_failures: int = 0
    sandbox_message: str = ""


def parse_event(line: str) -> Event | None:
    """One line of `codex exec --json`; None for a line that is no event, or none that matters here."""
    record = parse_object(line)
    match record.get("type"):
        case "turn.completed":
            return TurnCompleted(_usage(record.get("usage")))
        case "turn.failed":
            return TurnFailed(as_text(as_object(record.get("error")).get("message")))
        case "error":
            return Notice(as_text(record.get("message")))
        case "item.completed":
            return _item(as_object(record.get("item")))
        case _:
            return None


def parse_rollout(lines: Iterable[str]) -> Rollout:
    """A session's rollout file. Lines cut short by a kill are skipped."""
    outputs = [
        _output_text(payload.get("output"))
        for record in map(parse_object, lines)
        if record.get("type") == "response_item"
        and (payload := as_object(record.get("payload"))).get("type")
        in ("function_call_output", "custom_tool_call_output")
    ]
    failures = [output for output in outputs if _SANDBOX_MARK.search(output)]
    return Rollout(len(outputs), len(failures), failures[0] if failures else "")


def ending(seen: Sequence[Event], completed: Completed, *, written: str, rollout: Rollout) -> Ending:
    """`written`: what codex put into its answer file."""
    last = next((event for event in reversed(seen) if isinstance(event, TurnCompleted | TurnFailed)), None)
    messages = [event.text for event in seen if isinstance(event, Message)]
    message = written.strip() or (messages[-1].strip() if messages else "")
    match last:
        case TurnCompleted(usage):
            return Ending(finished=True, message=message, reported=usage, failure=_tools_never_ran(rollout))
        case TurnFailed(error):
            incomplete = error.startswith("Incomplete response")
            return Ending(finished=True, message=message, error=error or "no message", incomplete=incomplete)
        case None:
            notices = "\n".join(event.message for event in seen if isinstance(event, Notice))
            said = completed.error_text.strip() or notices
            return Ending(finished=False, message=message, error=said, failure=_unknown_arguments(said))


def _tools_never_ran(rollout: Rollout) -> AgentError | None:
    """Exit code 0 with `turn.completed` was seen when every tool call had failed."""
    if not rollout.tool_outputs or rollout.sandbox_failures < rollout.tool_outputs:
        return None
    return AgentError(
        f"none of the agent's {rollout.tool_outputs} tool calls could run: {shorten(rollout.sandbox_message)}",
        code="agent.sandbox",
        remedy="run `upkeep doctor`: codex' sandbox does not start here",
        retryable=False,
    )


def _unknown_arguments(said: str) -> AgentError | None:
    if _UNKNOWN_ARGUMENT.search(said) is None:
        return None
    return AgentError(
        f"this version of codex does not take Upkeep's arguments: {shorten(said)}",
        code="agent.version",
        remedy="install the version that `upkeep doctor` names",
        retryable=False,
    )


def _usage(value: object) -> Usage:
    """`cached` and `cache_write` are part of codex' `input`, `reasoning` is part of its `output`."""
    figures = as_object(value)
    given, made = as_count(figures.get("input_tokens")), as_count(figures.get("output_tokens"))
    cached, written = as_count(figures.get("cached_input_tokens")), as_count(figures.get("cache_write_input_tokens"))
    reasoning = as_count(figures.get("reasoning_output_tokens"))
    return Usage(
        engine="codex",
        input_uncached=max(0, given - cached - written),
        cache_read=cached,
        cache_write=written,
        output=max(0, made - reasoning),
        reasoning=reasoning,
        basis="events",
    )


def _item(item: dict[str, Any]) -> Event | None:
    match item.get("type"):
        case "agent_message":
            return Message(as_text(item.get("text")))
        case "error":
            return Notice(as_text(item.get("message")))
        case _:
            return None


def _output_text(value: object) -> str:
    """A tool's output is a string, or a list of typed parts."""
    if isinstance(value, list):
        return "\n".join(as_text(as_object(part).get("text")) for part in value)
    return as_text(value)
