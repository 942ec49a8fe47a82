"""What `opencode run --format json` writes, as typed values.

What belongs here: pure functions from lines to records. What does not: starting it (`opencode.py`). Recorded streams of
real runs, one folder a version, are in `tests/upkeep/agents/streams/`.

The format is not documented (https://opencode.ai/docs/cli names the option only): unknown types are skipped. A run is a
row of steps, each a request to the model; the last ends for another reason than `tool-calls`. There is no line for the
end of the run, and the last line can be lost.
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
    text: str


@dataclass(frozen=True)
class Step:
    """A request that was answered. `reason`: why the model stopped (`tool-calls`, `stop`, `length`, …)."""

    reason: str
    usage: Usage


@dataclass(frozen=True)
class Failed:
    message: str


Event = Said | Step | Failed


def parse_event(line: str) -> Event | None:
    """One line; None for one that is no event, or none that matters here."""
    record = parse_object(line)
    part = as_object(record.get("part"))
    match record.get("type"):
        case "text":
            return Said(as_text(part.get("text")))
        case "step_finish":
            return Step(as_text(part.get("reason")), _usage(part))
        case "error":
            error = as_object(record.get("error"))
            detail = as_text(as_object(error.get("data")).get("message"))
            return Failed(detail or as_text(error.get("message")) or as_text(error.get("name")) or "no message")
        case _:
            return None


def ends(event: Event) -> bool:
    """Whether the model has said its last word, or the run failed."""
    return isinstance(event, Failed) or (isinstance(event, Step) and event.reason not in ("tool-calls", ""))


def ending(events: Sequence[Event], *, exited: bool) -> Ending:
    """`exited`: the process ended by itself with status 0, which counts as the end where the last line was lost."""
    said = [event.text for event in events if isinstance(event, Said)]
    steps = [event for event in events if isinstance(event, Step)]
    failures = [event.message for event in events if isinstance(event, Failed)]
    last = next((event for event in reversed(events) if isinstance(event, Step | Failed)), None)
    total = Usage(engine="opencode", basis="events")
    for step in steps:
        total += step.usage
    return Ending(
        finished=(last is not None and ends(last)) or (exited and bool(events)),
        message=said[-1] if said else "",
        error=failures[-1] if isinstance(last, Failed) else "",
        incomplete=isinstance(last, Step) and last.reason == "length",
        # A line that was lost is no gap between two counts.
        reported=total if last is not None and ends(last) and not failures else None,
    )


def _usage(part: dict[str, Any]) -> Usage:
    """`input` is without what came from the cache, `output` without reasoning."""
    tokens = as_object(part.get("tokens"))
    cache = as_object(tokens.get("cache"))
    return Usage(
        engine="opencode",
        requests=1,
        input_uncached=as_count(tokens.get("input")),
        cache_read=as_count(cache.get("read")),
        cache_write=as_count(cache.get("write")),
        output=as_count(tokens.get("output")),
        reasoning=as_count(tokens.get("reasoning")),
        cost_reported_usd=as_money(part.get("cost")) or None,
    )
