"""What codex writes, as typed values: the `--json` event stream and the rollout file of a session.

What belongs here: pure functions from lines to records. What does not: starting codex (`codex.py`), prices
(`pricing.py`), or judging success. Recorded streams of real runs, one folder a version, are in
`tests/upkeep/agents/streams/`.

Both formats grow without notice, so unknown types and fields are skipped and a missing number is 0. The `--json` lines
are documented in codex' own repository (docs/exec.md); the rollout is not documented at all and is used for two
things only: usage of a turn that failed (`turn.failed` has none), and what the tools really returned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_SANDBOX_MARK = re.compile(r"^(bwrap: |sandbox-exec: |Failed to write file )|codex-linux-sandbox", re.MULTILINE)
"""What stands in a tool's output when codex' own sandbox could not start the tool, or not let it write to its work
tree. Seen with 0.169.0: "bwrap: execvp codex-linux-sandbox: No such file or directory", while the run exits with 0."""


@dataclass(frozen=True)
class Tokens:
    """Counts as codex reports them: `cached` and `cache_write` are part of `input`, `reasoning` is part of `output`."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class ThreadStarted:
    thread_id: str


@dataclass(frozen=True)
class TurnStarted:
    pass


@dataclass(frozen=True)
class Message:
    """What the agent said; the last one of a turn is its answer."""

    text: str


@dataclass(frozen=True)
class Command:
    command: str
    exit_code: int | None
    status: str


@dataclass(frozen=True)
class FileChange:
    paths: tuple[str, ...]
    status: str


@dataclass(frozen=True)
class Notice:
    """A complaint of codex itself, fatal or not; `reconnecting` is one that it means to get over."""

    message: str
    reconnecting: bool = False


@dataclass(frozen=True)
class TurnCompleted:
    """`tokens` are cumulative over the thread, resumed turns included: take the last, never add."""

    tokens: Tokens


@dataclass(frozen=True)
class TurnFailed:
    message: str


Event = ThreadStarted | TurnStarted | Message | Command | FileChange | Notice | TurnCompleted | TurnFailed


@dataclass(frozen=True)
class Rollout:
    """One session as codex recorded it.

    `requests` holds the tokens of each answered request, in order; `tool_outputs` counts tool calls that returned and
    `sandbox_failures` those among them that never ran, with the first of their messages in `sandbox_message`.
    """

    cli_version: str = ""
    requests: tuple[Tokens, ...] = ()
    tool_outputs: int = 0
    sandbox_failures: int = 0
    sandbox_message: str = ""


def parse_event(line: str) -> Event | None:
    """One line of `codex exec --json`; None for a line that is no event, or none that matters here."""
    record = _object(line)
    match record.get("type"):
        case "thread.started":
            return ThreadStarted(_text(record.get("thread_id")))
        case "turn.started":
            return TurnStarted()
        case "turn.completed":
            return TurnCompleted(parse_tokens(record.get("usage")))
        case "turn.failed":
            return TurnFailed(_text(_as_object(record.get("error")).get("message")))
        case "error":
            message = _text(record.get("message"))
            return Notice(message, reconnecting=message.startswith("Reconnecting"))
        case "item.completed":
            return _item(_as_object(record.get("item")))
        case _:
            return None


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    return (event for line in lines if (event := parse_event(line)) is not None)


def parse_rollout(lines: Iterable[str]) -> Rollout:
    """A session's rollout file. Lines cut short by a kill are skipped."""
    version = ""
    requests: list[Tokens] = []
    outputs = 0
    failures: list[str] = []
    for line in lines:
        record = _object(line)
        payload = _as_object(record.get("payload"))
        match record.get("type"), payload.get("type"):
            case "session_meta", _:
                version = version or _text(payload.get("cli_version"))
            case "token_usage_record", _:
                requests.append(parse_tokens(payload.get("usage")))
            case "response_item", "function_call_output" | "custom_tool_call_output":
                outputs += 1
                output = _output_text(payload.get("output"))
                if _SANDBOX_MARK.search(output):
                    failures.append(output)
            case _:
                pass
    return Rollout(version, tuple(requests), outputs, len(failures), failures[0] if failures else "")


def parse_tokens(value: object) -> Tokens:
    usage = _as_object(value)
    return Tokens(
        input=_count(usage.get("input_tokens")),
        cached=_count(usage.get("cached_input_tokens")),
        cache_write=_count(usage.get("cache_write_input_tokens")),
        output=_count(usage.get("output_tokens")),
        reasoning=_count(usage.get("reasoning_output_tokens")),
    )


def add(tokens: Iterable[Tokens]) -> Tokens:
    """Sum of single requests (never of cumulative figures)."""
    rows = list(tokens)
    return Tokens(
        input=sum(row.input for row in rows),
        cached=sum(row.cached for row in rows),
        cache_write=sum(row.cache_write for row in rows),
        output=sum(row.output for row in rows),
        reasoning=sum(row.reasoning for row in rows),
    )


def _item(item: dict[str, Any]) -> Event | None:
    match item.get("type"):
        case "agent_message":
            return Message(_text(item.get("text")))
        case "error":
            return Notice(_text(item.get("message")))
        case "command_execution":
            code = item.get("exit_code")
            return Command(
                _text(item.get("command")), code if isinstance(code, int) else None, _text(item.get("status"))
            )
        case "file_change":
            changes = item.get("changes")
            paths = (_as_object(change).get("path") for change in changes) if isinstance(changes, list) else ()
            return FileChange(tuple(path for path in paths if isinstance(path, str)), _text(item.get("status")))
        case _:
            return None


def _object(line: str) -> dict[str, Any]:
    try:
        return _as_object(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def _as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    """Numbers only, never negative: a provider behind `base_url` may report anything."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _output_text(value: object) -> str:
    """A tool's output is a string, or a list of typed parts."""
    if isinstance(value, list):
        return "\n".join(_text(_as_object(part).get("text")) for part in value)
    return _text(value)
