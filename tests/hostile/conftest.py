"""The table at the end: attack × engine. Everything here is long: `make test-long`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
WORDS = {"passed": "held", "failed": "BROKEN", "skipped": "skipped", "error": "error"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.long)


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
    terminalreporter.section("hostile model: attack × engine")
    terminalreporter.write_line(f"{'':{width}}  " + "  ".join(f"{engine:10}" for engine in engines))
    for attack, row in sorted(rows.items()):
        cells = "  ".join(f"{row.get(engine, '-'):10}" for engine in engines)
        terminalreporter.write_line(f"{attack:{width}}  {cells}")
