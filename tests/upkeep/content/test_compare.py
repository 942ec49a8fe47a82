"""What differs between two states of content, in the words of its readers."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.compare import ContentDelta, EventChange, EventRename, PropertyChange, compare


def event(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "component": "CartScreen", "description": f"Says {name}.", "properties": ["id"], **more}


def folder(events: list[Any], diagrams: str = "# Cart\n", **more: Any) -> dict[str, bytes]:
    entry = {"name": "Cart", "description": "The cart.", "lastAudited": "2026-01-01"}
    data = {"flowId": "cart", "flowName": "Cart", "events": events, **more}
    return {
        "flows.json": json.dumps({"flows": {"cart": entry}}).encode(),
        "cart/events.json": json.dumps(data).encode(),
        "cart/flow-diagrams.md": diagrams.encode(),
    }


def test_equal_folders_differ_in_nothing() -> None:
    files = folder([event("a")])
    assert compare(files, dict(files)) == ContentDelta()
    assert compare(files, files).empty


def test_evidence_alone_is_a_file_but_no_change_for_readers() -> None:
    files = folder([event("a")])
    delta = compare(files, {**files, "_evidence.json": b"{}"})
    assert delta.empty
    assert delta.files == ("_evidence.json",)
    assert not compare(files, {**files, "unassigned.json": b"{}"}).empty


def test_events_come_go_and_change() -> None:
    before = folder([event("a"), event("b"), event("c", stage="Entry")])
    after = folder([event("a"), event("c", stage="Exit", notes="new"), event("d", component="Other", properties=[])])
    (flow,) = compare(before, after).flows
    assert (flow.slug, flow.name, flow.status) == ("cart", "Cart", "changed")
    assert flow.events_added == ("d",)
    assert flow.events_removed == ("b",)
    assert flow.events_changed == (EventChange(name="c", fields=("notes", "stage")),)
    delta = compare(before, after)
    assert (delta.events_added, delta.events_removed, delta.events_changed, delta.events_renamed) == (1, 1, 1, 0)


def test_an_entry_that_is_the_same_but_for_the_name_is_renamed() -> None:
    before = folder([event("a", description="Opens."), event("b", description="Pays.")])
    after = folder([event("b", description="Pays."), event("z", description="Opens.", notes="n")])
    (flow,) = compare(before, after).flows
    assert flow.events_renamed == (EventRename(before="a", after="z", fields=("notes",)),)
    assert flow.events_added == flow.events_removed == ()


def test_entries_without_anything_in_common_are_not_taken_for_renamed() -> None:
    (flow,) = compare(folder([{"name": "a"}]), folder([{"name": "b"}])).flows
    assert (flow.events_added, flow.events_removed, flow.events_renamed) == (("b",), ("a",), ())


def test_properties_are_compared_by_name_in_any_style() -> None:
    before = folder([event("a", properties=["id", {"property": "total", "context": "x"}, {"name": "old"}])])
    after = folder([event("a", properties=[{"property": "id"}, {"property": "total"}, {"name": "new"}])])
    (flow,) = compare(before, after).flows
    change = PropertyChange(event="a", added=("new",), removed=("old",), changed=("id", "total"))
    assert flow.properties == (change,)
    assert compare(before, after).properties_changed == 1


def test_entries_of_one_name_are_told_apart_by_component_and_stage() -> None:
    one, two = event("a", component="One"), event("a", component="Two")
    (flow,) = compare(folder([one, two]), folder([{**two, "notes": "n"}, one])).flows
    assert flow.events_changed == (EventChange(name="a", fields=("notes",)),)
    (flow,) = compare(folder([one, two]), folder([two])).flows
    assert (flow.events_removed, flow.events_changed) == (("a",), ())


def test_diagrams_are_named_by_their_heading() -> None:
    block = "```mermaid\nflowchart TD\n  a --> {}\n```\n"
    before = folder([event("a")], "# Main\n" + block.format("b") + "# Gone\n" + block.format("b"))
    after = folder([event("a")], "# Main\n" + block.format("c") + "# New\n" + block.format("b"))
    (flow,) = compare(before, after).flows
    assert {change.title: change.status for change in flow.diagrams} == {
        "Main": "changed",
        "New": "added",
        "Gone": "removed",
    }


def test_flows_come_and_go_with_their_events() -> None:
    files = folder([event("a"), event("b")])
    (added,) = compare({}, files).flows
    assert (added.status, added.events_added, added.events_removed) == ("added", ("a", "b"), ())
    (removed,) = compare(files, {}).flows
    assert (removed.status, removed.events_added, removed.events_removed) == ("removed", (), ("a", "b"))
    assert compare({}, files).flows_added == ("cart",)
    assert compare(files, {}).flows_removed == ("cart",)


def test_fields_of_the_flow_and_of_the_catalogue_are_told_apart() -> None:
    before = folder([event("a")])
    after = folder([event("a")], stages=[], propertyDefinitions={})
    after["flows.json"] = before["flows.json"].replace(b"2026-01-01", b"2026-02-02")
    (flow,) = compare(before, after).flows
    assert flow.fields == ("propertyDefinitions", "stages")
    assert flow.catalogue == ("lastAudited",)


def test_unassigned_events_come_and_go() -> None:
    def unassigned(*names: str) -> dict[str, bytes]:
        return {"unassigned.json": json.dumps({"events": [{"name": name} for name in names]}).encode()}

    delta = compare(unassigned("a", "b"), unassigned("b", "c"))
    assert (delta.unassigned_added, delta.unassigned_removed) == (("c",), ("a",))


def test_a_broken_file_is_said_and_stops_nothing() -> None:
    before = folder([event("a")])
    other = {"pay/events.json": json.dumps({"events": [event("p")]}).encode()}
    after = {**before, "cart/events.json": b"{"}
    delta = compare(before, {**after, **other})
    assert [(flow.slug, flow.unreadable) for flow in delta.flows] == [("cart", True), ("pay", False)]
    assert delta.flows[0].events_removed == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "properties", "x"]), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(old=st.lists(JSON, max_size=4), new=st.lists(JSON, max_size=4), raw=st.binary(max_size=8))
def test_whatever_files_hold_is_compared(old: list[Any], new: list[Any], raw: bytes) -> None:
    before, after = folder(old), folder(new)
    delta = compare(before, {**after, "flows.json": raw, "unassigned.json": raw})
    assert "flows.json" in delta.files
    back = compare(after, before)
    forth = compare(before, after)
    assert forth.events_added == back.events_removed
    assert forth.events_changed == back.events_changed


@settings(deadline=None, max_examples=60)
@given(names=st.lists(st.sampled_from("abcdef"), max_size=6), shuffled=st.randoms(use_true_random=False))
def test_order_alone_is_no_change_of_events(names: list[str], shuffled: Any) -> None:
    other = list(names)
    shuffled.shuffle(other)
    delta = compare(folder([event(name) for name in names]), folder([event(name) for name in other]))
    assert (delta.events_added, delta.events_removed, delta.events_changed, delta.events_renamed) == (0, 0, 0, 0)
