"""`upkeep doctor`: is this machine ready, and if not, what to do.

What belongs here: printing and the exit code. What does not: the probes (`probes.py`).
"""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False) -> None:
    """Probe tools, versions, credentials, sandbox, database, clock and disk; each failure with its fix.

    Exit codes: 0 ready, 1 something failed.

    Example: `upkeep doctor`
    """
    from cli.output import emit_json, stdout
    from cli.probes import probe_all

    probes = []
    console = stdout()
    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for probe in probe_all():
        probes.append(probe)
        if not json:
            console.print(f"[{colours[probe.status]}]{probe.status:8}[/] {probe.name:20} ", end="", soft_wrap=True)
            console.print(probe.found, markup=False, soft_wrap=True)
            if probe.fix:
                console.print(f"{'next:':>15}  {probe.fix}", markup=False, soft_wrap=True)
    failed = [probe for probe in probes if probe.status == "failed"]
    if json:
        emit_json({"ready": not failed, "probes": [probe.as_record() for probe in probes]})
    else:
        console.print(f"{len(failed)} of {len(probes)} probes failed" if failed else "ready", markup=False)
    raise typer.Exit(1 if failed else 0)
