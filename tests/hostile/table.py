"""The table at the end of a run of the hostile suite: attack × engine.

What belongs here: printing it. It is a plug-in of its own, named in `tests/conftest.py`, for under pytest-xdist the
process that prints never collects the suite and does not load its `conftest.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

WORDS = {"passed": "held", "failed": "BROKEN", "skipped": "skipped", "error": "error"}


@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One row an attack, one column an engine, from what the tests recorded of themselves (xdist passes that on)."""
    rows: dict[str, dict[str, str]] = {}
    for word, said in WORDS.items():
        for report in terminalreporter.stats.get(word, []):
            known = dict(getattr(report, "user_properties", []))
            if "attack" in known:
                rows.setdefault(known["attack"], {})[known["engine"]] = said
    if not rows:
        return
    engines = sorted({engine for row in rows.values() for engine in row})
    width = max(map(len, rows))
    terminalreporter.section(f"hostile model: {len(rows)} attacks × {len(engines)} engines")
    terminalreporter.write_line(f"{'':{width}}  " + "  ".join(f"{engine:10}" for engine in engines))
    for attack, row in sorted(rows.items()):
        cells = "  ".join(f"{row.get(engine, '-'):10}" for engine in engines)
        terminalreporter.write_line(f"{attack:{width}}  {cells}")
