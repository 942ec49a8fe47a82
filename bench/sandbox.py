"""What the sandbox adds to a program's start: the same program by `upkeep.process.run`, without it and in it.

Both ways alternate, so that whatever else the machine does falls on both; medians are compared. The work tree has 2,000
files, some of which have to be hidden, and the way to a gateway is open, as for an agent. The probe, which a process
makes once before its first agent, is measured by itself.
Run `python -P bench/sandbox.py [--times 40] [--json FILE]` from the repository.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from upkeep.agents.profile import Profile
from upkeep.agents.sandbox import Sandbox, probe
from upkeep.process import run

TARGET_MS = 150.0


def lay_out(folder: Path) -> Profile:
    work, home = folder / "work", folder / "home"
    home.mkdir()
    for number in range(2000):
        part = work / f"folder-{number % 50}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}.json").write_text("{}")
    for number in range(5):
        (work / f"folder-{number}" / "AGENTS.md").write_text("instructions")
    return Profile(directory=work, home=home, write=(work,), private=(home,), gateway=folder / "gateway.sock")


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def measure(times: int) -> dict[str, float]:
    """Milliseconds."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as gateway:
        folder = Path(name).resolve()
        gateway.bind(str(folder / "gateway.sock"))
        gateway.listen()
        sandbox = Sandbox(lay_out(folder))
        plain, contained = [], []
        for _ in range(times):
            plain.append(timed(lambda: run(["true"], deadline=60)))
            contained.append(timed(lambda: sandbox.run(["true"], deadline=60)))
        command = [timed(lambda: sandbox.command(["true"])) for _ in range(times)]
    probes = [timed(probe) for _ in range(max(3, times // 10))]
    median = statistics.median
    return {
        "plain_ms": median(plain),
        "contained_ms": median(contained),
        "added_ms": median(contained) - median(plain),
        "added_least_ms": min(contained) - min(plain),
        "of_which_command_line_ms": median(command),
        "probe_ms": median(probes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {name: round(value, 1) for name, value in measure(options.times).items()}
    for name, value in found.items():
        print(f"{name:26} {value:8.1f}")
    met = found["added_ms"] <= TARGET_MS
    print(f"target: the sandbox adds at most {TARGET_MS:.0f} ms: {'met' if met else 'MISSED'}")
    if options.json:
        options.json.write_text(json.dumps({**found, "target_ms": TARGET_MS, "met": met}, indent=1))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
