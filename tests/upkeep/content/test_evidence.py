"""Evidence is carried from commit to commit by code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.content.evidence import Evidence, Place, Source, build, read, write
from upkeep.content.scan.model import Call, ScanResult
from upkeep.errors import ContentInvalid

OLD, NEW = "a" * 40, "b" * 40
CART, PAY = "app/cart/Cart.kt", "app/pay/Pay.kt"


def call(name: str, path: str = CART, line: int = 1, symbol: str = "Cart.open") -> Call:
    return Call(name=name, resolution="literal", expression=name, method="track", path=path, line=line, symbol=symbol)


def flows(**events: Sequence[str]) -> dict[str, bytes]:
    return {
        f"{slug}/events.json": json.dumps({"events": [{"name": name} for name in names]}).encode()
        for slug, names in events.items()
    }


def source(texts: Mapping[str, str]) -> Source:
    return texts.get


def previous(slug: str, name: str, *places: Place) -> Evidence:
    return Evidence(repository="app", commit=OLD, events={slug: {name: places}})


def test_the_file_is_sorted_and_reads_back() -> None:
    places = (Place(path=PAY, line=3), Place(path=CART, line=9, symbol="Cart"), Place(path=CART, line=2))
    evidence = Evidence(
        repository="app", commit=NEW, events={"pay": {"b": places, "a": places[:1], "none": ()}, "ads": {}}
    )
    data = write(evidence)
    assert list(json.loads(data)["events"]["pay"]) == ["a", "b"]
    assert [(place["path"], place["line"]) for place in json.loads(data)["events"]["pay"]["b"]] == [
        (CART, 2),
        (CART, 9),
        (PAY, 3),
    ]
    assert "ads" not in json.loads(data)["events"]
    assert write(read(data)) == data
    assert data.endswith(b"}\n")


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b'{"repository": "a"}', b'{"repository": "a", "commit": 1, "events": 2}']
)
def test_a_file_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(ContentInvalid, match=r"_evidence\.json cannot be read") as caught:
        read(data)
    assert caught.value.reason == "content.evidence"


def test_calls_of_documented_events_are_their_evidence() -> None:
    scan = ScanResult(commit=NEW, calls=(call("opened", line=4), call("opened", line=9), call("unknown", line=5)))
    evidence, findings = build(flows(cart=["opened", "silent"]), scan, "app", NEW)
    assert evidence.repository == "app"
    assert evidence.commit == NEW
    assert evidence.events == {
        "cart": {"opened": (Place(path=CART, line=4, symbol="Cart.open"), Place(path=CART, line=9, symbol="Cart.open"))}
    }
    assert findings == ()


def test_a_moved_line_is_followed() -> None:
    old = "class Cart {\n  fun open() {\n    send(name)\n  }\n}\n"
    new = "// new\nimport x\n\nclass Cart {\n  fun open() {\n      send(name)\n  }\n}\n"
    evidence, findings = build(
        flows(cart=["opened"]),
        ScanResult(commit=NEW),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=3, symbol="Cart.open")),
        base_source=source({CART: old}),
        head_source=source({CART: new}),
    )
    assert evidence.of("cart", "opened") == (Place(path=CART, line=6, symbol="Cart.open"),)
    assert findings == ()


def test_a_vanished_line_is_a_finding() -> None:
    for head in ({CART: "class Cart {\n}\n"}, {}):
        evidence, findings = build(
            flows(cart=["opened"]),
            ScanResult(commit=NEW),
            "app",
            NEW,
            previous("cart", "opened", Place(path=CART, line=2)),
            base_source=source({CART: "class Cart {\n  send(name)\n}\n"}),
            head_source=source(head),
        )
        assert evidence.events == {}
        (finding,) = findings
        assert (finding.code, finding.severity, finding.pointer) == (
            "evidence_vanished",
            "warning",
            "/events/cart/opened",
        )
        assert f"{CART}:2" in finding.message


def test_a_vanished_line_of_an_event_that_another_flow_still_sends_says_so() -> None:
    other = "feature/home/Home.kt"
    before = Evidence(
        repository="app",
        commit=OLD,
        events={"cart": {"opened": (Place(path=CART, line=2),)}, "home": {"opened": (Place(path=other, line=1),)}},
    )
    sent = Call(name="opened", resolution="literal", expression='"opened"', method="send", path=other, line=1)
    evidence, (finding,) = build(
        flows(cart=["opened"], home=["opened"]),
        ScanResult(commit=NEW, calls=(sent,)),
        "app",
        NEW,
        before,
        base_source=source({CART: "class Cart {\n  send(name)\n}\n", other: 'send("opened")\n'}),
        head_source=source({CART: "class Cart {\n}\n", other: 'send("opened")\n'}),
    )
    assert evidence.of("cart", "opened") == ()
    assert "where the scan sees it now belongs to other flows: see whether the app still sends it there" in (
        finding.message
    )


def test_a_vanished_line_of_an_event_that_is_seen_elsewhere_is_none() -> None:
    evidence, findings = build(
        flows(cart=["opened"]),
        ScanResult(commit=NEW, calls=(call("opened", PAY, 7, "Pay.go"),)),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=1)),
        base_source=source({CART: 'track("opened")'}),
        head_source=source({PAY: "\n" * 9}),
    )
    assert evidence.of("cart", "opened") == (Place(path=PAY, line=7, symbol="Pay.go"),)
    assert findings == ()


def test_a_line_where_the_scan_reads_another_name_is_no_evidence_any_more() -> None:
    text = "track(Events.OPEN)\n"
    evidence, findings = build(
        flows(cart=["opened", "shown"]),
        ScanResult(commit=NEW, calls=(call("shown", line=1),)),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=1)),
        base_source=source({CART: text}),
        head_source=source({CART: text}),
    )
    assert list(evidence.events["cart"]) == ["shown"]
    assert [finding.pointer for finding in findings] == ["/events/cart/opened"]


def test_without_the_old_text_the_name_itself_is_looked_for() -> None:
    evidence, _ = build(
        flows(cart=["opened"]),
        ScanResult(commit=NEW),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=5)),
        head_source=source({CART: 'send("opened")\n\n\nsend("opened")\n'}),
    )
    assert evidence.of("cart", "opened") == (Place(path=CART, line=4),)


def test_evidence_of_events_that_are_documented_no_more_goes() -> None:
    evidence, findings = build(
        flows(cart=["other"]),
        ScanResult(commit=NEW),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=1)),
        base_source=source({CART: "x"}),
        head_source=source({CART: "x"}),
    )
    assert evidence.events == {}
    assert findings == ()


def test_a_call_belongs_to_the_flow_that_had_evidence_in_its_file() -> None:
    files = flows(cart=["shared"], pay=["shared"])
    scan = ScanResult(commit=NEW, calls=(call("shared", CART, 3), call("shared", PAY, 4)))
    before = Evidence(
        repository="app",
        commit=OLD,
        events={"cart": {"shared": (Place(path=CART, line=1),)}, "pay": {"shared": (Place(path=PAY, line=1),)}},
    )
    evidence, _ = build(files, scan, "app", NEW, before)
    assert [place.path for place in evidence.of("cart", "shared")] == [CART]
    assert [place.path for place in evidence.of("pay", "shared")] == [PAY]


def test_a_call_belongs_to_the_flow_whose_other_events_are_near() -> None:
    files = flows(cart=["shared", "opened"], pay=["shared", "paid"], ads=["shared"])
    calls = (
        call("opened", CART, 1),
        call("shared", CART, 3),
        call("paid", PAY, 1),
        call("shared", "app/pay/Other.kt", 4, "Other"),
        call("shared", "app/else/Far.kt", 4, "Far"),
    )
    evidence, _ = build(files, ScanResult(commit=NEW, calls=calls), "app", NEW)
    assert [place.path for place in evidence.of("cart", "shared")] == [CART, "app/else/Far.kt"]
    assert [place.path for place in evidence.of("pay", "shared")] == ["app/else/Far.kt", "app/pay/Other.kt"]
    assert [place.path for place in evidence.of("ads", "shared")] == ["app/else/Far.kt"]


def test_an_entry_with_an_event_string_is_found_by_it_and_filed_under_its_name() -> None:
    files = {"cart/events.json": json.dumps({"events": [{"name": "Cart Opened", "eventString": "opened"}]}).encode()}
    evidence, _ = build(files, ScanResult(commit=NEW, calls=(call("opened", line=2),)), "app", NEW)
    assert evidence.of("cart", "Cart Opened") == (Place(path=CART, line=2, symbol="Cart.open"),)


LINES = st.lists(st.sampled_from(["a()", "b()", "c()", "", "}"]), max_size=8)


@settings(deadline=None, max_examples=80)
@given(above=LINES, below=LINES, new_above=LINES, new_below=LINES)
def test_a_line_of_its_own_kind_is_always_followed(
    above: list[str], below: list[str], new_above: list[str], new_below: list[str]
) -> None:
    old, new = [*above, "send(name)", *below], [*new_above, "\tsend(name) ", *new_below]
    evidence, findings = build(
        flows(cart=["opened"]),
        ScanResult(commit=NEW),
        "app",
        NEW,
        previous("cart", "opened", Place(path=CART, line=len(above) + 1)),
        base_source=source({CART: "\n".join(old)}),
        head_source=source({CART: "\r\n".join(new)}),
    )
    assert evidence.of("cart", "opened") == (Place(path=CART, line=len(new_above) + 1),)
    assert findings == ()
    again, lost = build(
        flows(cart=["opened"]),
        ScanResult(commit=NEW),
        "app",
        NEW,
        evidence,
        base_source=source({CART: "\n".join(new)}),
        head_source=source({CART: "\n".join(new)}),
    )
    assert (again, lost) == (evidence, ())
