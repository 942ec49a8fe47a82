"""Coverage as a figure, never as a verdict."""

from __future__ import annotations

import json

from upkeep.content.coverage import Place, measure
from upkeep.content.scan.model import Call, ScanResult


def call(name: str | None, line: int, expression: str = "") -> Call:
    return Call(
        name=name,
        resolution="literal" if name else "unresolved",
        expression=expression or json.dumps(name),
        method="track",
        path="app/Cart.kt",
        line=line,
    )


def flow(*events: dict[str, str]) -> dict[str, bytes]:
    return {"cart/events.json": json.dumps({"flowId": "cart", "flowName": "Cart", "events": events}).encode()}


def test_names_and_calls_are_counted_apart() -> None:
    files = flow({"name": "opened"}, {"name": "paid"}, {"name": "from the server"})
    scan = ScanResult(
        commit="c1",
        calls=(call("opened", 1), call("opened", 2), call("paid", 3), call("new", 4), call(None, 5, "event")),
    )
    coverage = measure(files, scan)
    assert (coverage.names_found, coverage.names_documented, coverage.names_in_content) == (3, 2, 3)
    assert (coverage.calls, coverage.calls_resolved, coverage.calls_documented) == (5, 4, 3)
    assert coverage.undocumented == ("new",)
    assert coverage.not_found == ("from the server",)
    assert coverage.unresolved == (Place(path="app/Cart.kt", line=5, expression="event"),)
    assert coverage.share == 2 / 3
    assert coverage.calls_share == 3 / 5


def test_the_string_that_is_sent_counts_not_the_title_of_the_entry() -> None:
    coverage = measure(
        flow({"name": "Cart Opened", "eventString": "opened"}), ScanResult(commit="c", calls=(call("opened", 1),))
    )
    assert (coverage.names_documented, coverage.not_found, coverage.undocumented) == (1, (), ())


def test_nothing_found_has_no_share() -> None:
    coverage = measure({"cart/events.json": b"{"}, ScanResult(commit="c"))
    assert coverage.share is None
    assert coverage.calls_share is None
    assert coverage.names_in_content == 0
