"""How quick the validator is, beside the tool that people would take for its schema part.

Generates content (200 flows, 10,000 events, each in a diagram), then times in one run:

- `upkeep validate --node no`: every rule, diagrams included, as a process from start to end;
- `check-jsonschema` with a JSON Schema of events.json, which is a small part of that;
- the validator within this process on 5,000, 10,000 and 20,000 events: time an event should stay the same.

    python -P bench/validate.py [--json FILE] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upkeep.content.folder import read_folder
from upkeep.content.validate import validate

EVENTS_A_FLOW = 50
DEFINITIONS_A_FLOW = 60
"""As in the dashboard that the format is from: 1.2 property definitions, 3 properties and 760 bytes an event."""

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_COMMENTS = {"^_": True}


def _object(properties: dict[str, Any], *required: str, closed: bool = True) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties, "patternProperties": _COMMENTS}
    return {**schema, "required": list(required), "additionalProperties": not closed}


_PROPERTY = {
    "oneOf": [
        _TEXT,
        _object({"property": _TEXT, "context": _TEXT, "description": _TEXT}, "property"),
        _object({"name": _TEXT, "description": _TEXT, "required": {"type": "boolean"}}, "name"),
    ]
}
_EVENT = _object(
    {
        "name": {"type": "string", "minLength": 1},
        **dict.fromkeys(("stage", "funnelPosition", "component", "firingLocation", "source", "description"), _TEXT),
        **dict.fromkeys(("trigger", "fires", "additionalProperties", "namePattern", "eventString", "notes"), _TEXT),
        **dict.fromkeys(("triggers", "nextEvents"), _TEXTS),
        **{key: {"type": "array", "items": _PROPERTY} for key in ("properties", "autoProperties")},
        "userAction": {"type": "boolean"},
    },
    "name",
)
_DEFINITION = _object({"type": _TEXT, "description": _TEXT, "values": {"type": "array"}}, "type")
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "flowId": {"type": "string", "minLength": 1},
            "flowName": {"type": "string", "minLength": 1},
            "description": _TEXT,
            "propertyDefinitions": {"type": "object", "additionalProperties": _DEFINITION},
            "stages": {
                "type": "array",
                "items": _object({"name": _TEXT, "description": _TEXT, "events": _TEXTS}, "name"),
            },
            "diagram": {"type": "object"},
            "eventGroups": {"type": "object"},
            "events": {"type": "array", "items": _EVENT},
        },
        "flowId",
        "flowName",
        "events",
        closed=False,
    ),
}
"""What a schema can say of events.json: the shapes that the validator's rules on that file know."""


def generate(folder: Path, flows: int) -> int:
    """Write content of that many flows; return how many events it has."""
    slugs = [f"flow-{number:03}" for number in range(flows)]
    catalogue = {slug: {"name": slug, "description": f"All of {slug}.", "lastAudited": "2025-01-31"} for slug in slugs}
    _write(folder / "flows.json", {"_version": "2.0", "flows": catalogue})
    _write(folder / "flow-slug-map.json", {slug: slug for slug in slugs})
    for slug in slugs:
        _write(folder / slug / "events.json", _flow(slug))
        (folder / slug / "flow-diagrams.md").write_text(_diagrams(slug), encoding="utf-8")
    return flows * EVENTS_A_FLOW


def _name(slug: str, number: int) -> str:
    return f"{slug} screen {number // 10} button {number % 10} clicked"


def _flow(slug: str) -> dict[str, Any]:
    names = [f"property{number}" for number in range(DEFINITIONS_A_FLOW)]
    return {
        "flowId": slug,
        "flowName": slug.title(),
        "description": f"What people do in {slug}.",
        "propertyDefinitions": {
            name: {"type": "string", "description": f"What the app knows of {name} when the event is sent."}
            for name in names
        },
        "stages": [
            {
                "name": f"Stage {stage}",
                "description": "A part of the way through the flow.",
                "events": [_name(slug, stage * 10 + number) for number in range(10)],
            }
            for stage in range(EVENTS_A_FLOW // 10)
        ],
        "events": [_event(slug, number, names) for number in range(EVENTS_A_FLOW)],
    }


def _event(slug: str, number: int, names: list[str]) -> dict[str, Any]:
    return {
        "name": _name(slug, number),
        "stage": f"Stage {number // 10}",
        "component": f"Component{number % 7}Presenter",
        "source": "screen source name",
        "description": f"Sent when button {number % 10} of screen {number // 10} is clicked by somebody.",
        "properties": [
            {"property": names[number]},
            {"property": names[number + 1], "context": "Only after the first time."},
            names[number + 2],
        ],
    }


def _diagrams(slug: str) -> str:
    """One diagram a stage, in the proportions of a real dashboard: about as many screens as events."""
    parts = [f"# {slug} diagrams\n\nGreen nodes are events.\n"]
    for stage in range(EVENTS_A_FLOW // 10):
        numbers = range(stage * 10, stage * 10 + 10)
        edges = "".join(
            f'  ui_{n}([Screen {n} shown]) -->|tap {n}| ev_{n}["{_name(slug, n)}"]\n  ev_{n} --> ui_{n + 1}\n'
            for n in numbers
        )
        parts.append(
            f"\n## Funnel: stage {stage}\n\n```mermaid\nflowchart TD\n{edges}\n"
            "  classDef event fill:#166534,stroke:#166534,color:#ffffff;\n"
            "  classDef ui fill:#f3f4f6,stroke:#6b7280,stroke-dasharray: 5 5,color:#111827;\n"
            f"  class {','.join(f'ev_{n}' for n in numbers)} event;\n"
            f"  class {','.join(f'ui_{n}' for n in [*numbers, numbers[-1] + 1])} ui;\n```\n"
        )
    return "".join(parts)


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def timed(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def timed_process(argv: list[str], rounds: int) -> dict[str, float]:
    """Return the median wall and CPU seconds of a program, from its start to its end.

    CPU time is what holds on a machine that others use too. A program that fails must not look quick: it raises.
    """
    # Both programs run from compiled modules, as they do on a user's machine; the first run writes them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    wall, cpu = [], []
    for _ in range(rounds + 1):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env=environment)
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"seconds": statistics.median(wall[1:]), "cpu_seconds": statistics.median(cpu[1:])}


def measure(rounds: int) -> dict[str, Any]:
    programs = Path(sys.executable).parent
    upkeep, checker = (shutil.which(name, path=str(programs)) for name in ("upkeep", "check-jsonschema"))
    if upkeep is None or checker is None:
        raise SystemExit("upkeep and check-jsonschema must be installed beside this Python (`make test` installs them)")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        _write(root / "schema.json", SCHEMA)
        content = root / "content"
        events = generate(content, 200)
        files = sorted(str(path) for path in content.glob("*/events.json"))
        empty = root / "empty"
        generate(empty, 1)
        result: dict[str, Any] = {
            "events": events,
            "flows": 200,
            "upkeep": timed_process([upkeep, "validate", "--node", "no", str(content)], rounds),
            "check_jsonschema": timed_process([checker, "--schemafile", str(root / "schema.json"), *files], rounds),
            "upkeep_start": timed_process([upkeep, "validate", "--node", "no", str(empty)], rounds),
            "linearity": [],
        }
        for flows in (100, 200, 400):
            folder = root / f"linear-{flows}"
            count = generate(folder, flows)
            read = read_folder(folder)
            seconds = timed(lambda read=read: validate(read), rounds)
            result["linearity"].append(
                {"events": count, "seconds": seconds, "microseconds_an_event": seconds / count * 1e6}
            )
    result["ratio"] = result["check_jsonschema"]["seconds"] / result["upkeep"]["seconds"]
    result["cpu_ratio"] = result["check_jsonschema"]["cpu_seconds"] / result["upkeep"]["cpu_seconds"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    print(f"{result['events']:,} events in {result['flows']} flows, median of {arguments.rounds} rounds\n")
    rows = {
        "check_jsonschema": "check-jsonschema, schema of events.json only",
        "upkeep": "upkeep validate --node no, every rule",
        "upkeep_start": "upkeep validate --node no, one flow (its start)",
    }
    print("| what | seconds | CPU seconds |\n| --- | ---: | ---: |")
    for name, title in rows.items():
        print(f"| {title} | {result[name]['seconds']:.2f} | {result[name]['cpu_seconds']:.2f} |")
    print(f"| ratio of the first two | {result['ratio']:.1f} | {result['cpu_ratio']:.1f} |\n")
    print("| events | seconds within the process | µs an event |\n| ---: | ---: | ---: |")
    for row in result["linearity"]:
        print(f"| {row['events']:,} | {row['seconds']:.2f} | {row['microseconds_an_event']:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
