"""Everything here is long: `make test-long`. A raid tries all attacks in one test, so each may take a while."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture
def row(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """A row of the table for a test that is an attack of its own: its name below the module's THREAT."""
    values = dict(request.node.callspec.params)
    engine = values.pop("engine")
    name = request.node.originalname.removeprefix("test_").replace("_", " ")
    record_property("attack", f"{request.module.THREAT}: {' '.join([name, *map(str, values.values())])}")
    record_property("engine", engine)
