"""What `claude -p --output-format stream-json` writes, as typed values.

What belongs here: pure functions from lines to records. What does not: starting it (`claude.py`). Recorded streams of
real runs, one folder a version, are in `tests/upkeep/agents/streams/`.

The format is documented at https://docs.claude.com/en/docs/claude-code/sdk/sdk-headless and grows without notice:
unknown types and fields are skipped, a missing number is 0. An API error gives `subtype: "success"` with
`is_error: true`; `usage` of the last line is that of the main loop, `modelUsage` of everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upkeep.agents.base import Usage
from upkeep.agents.fields import as_count, as_money, as_object, as_text, parse_object
from upkeep.agents.headless import Ending


@dataclass(frozen=True)
class Said:
    """Words of the model; the last ones are its answer where there is no structured one."""

    text: str


@dataclass(frozen=True)
class Result:
    """The last line. `status` is the API's where that was the reason; `incomplete`: the model ran into its limit."""

    error: bool
    subtype: str
    text: str
    answer: dict[str, Any] | None
    status: int | None
    incomplete: bool
    usage: Usage


Event = Said | Result


def parse_event(line: str) -> Event | None:
    """One line; None for one that is no event, or none that matters here."""
    record = parse_object(line)
    match record.get("type"):
        case "assistant":
            message = as_object(record.get("message"))
            blocks = message.get("content")
            texts = [as_text(as_object(block).get("text")) for block in blocks] if isinstance(blocks, list) else []
            return Said(words) if (words := "\n".join(filter(None, texts))) else None
        case "result":
            return _result(record)
        case _:
            return None


def ending(events: Sequence[Event]) -> Ending:
    results = [event for event in events if isinstance(event, Result)]
    said = [event.text for event in events if isinstance(event, Said)]
    if not results:
        return Ending(finished=False, message=said[-1] if said else "")
    last = results[-1]
    error = ""
    if last.error or last.subtype != "success":
        error = last.text or last.subtype or "an error without a name"
    return Ending(
        finished=True,
        message=last.text or (said[-1] if said else ""),
        answer=last.answer,
        error="" if last.incomplete else error,
        incomplete=last.incomplete,
        reported=last.usage,
    )


def _result(record: dict[str, Any]) -> Result:
    answer = record.get("structured_output")
    status = record.get("api_error_status")
    text = as_text(record.get("result"))
    return Result(
        error=record.get("is_error") is True,
        subtype=as_text(record.get("subtype")),
        text=text,
        answer=answer if isinstance(answer, dict) else None,
        status=status if isinstance(status, int) else None,
        incomplete=record.get("stop_reason") == "max_tokens" or "output token maximum" in text,
        usage=_usage(record),
    )


def _usage(record: dict[str, Any]) -> Usage:
    """Sum over all models. Their price is a guess where `costBasis` says so, and then not taken."""
    models = [as_object(entry) for entry in as_object(record.get("modelUsage")).values()]
    guessed = any(entry.get("costBasis") == "unknown" for entry in models)
    return Usage(
        engine="claude",
        input_uncached=sum(as_count(entry.get("inputTokens")) for entry in models),
        cache_read=sum(as_count(entry.get("cacheReadInputTokens")) for entry in models),
        cache_write=sum(as_count(entry.get("cacheCreationInputTokens")) for entry in models),
        output=sum(as_count(entry.get("outputTokens")) for entry in models),
        cost_reported_usd=None if guessed else as_money(record.get("total_cost_usd")),
        basis="events",
    )
