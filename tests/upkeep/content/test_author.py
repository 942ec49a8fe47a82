"""The offline author edits content like a careful person."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pytest

from upkeep.content import evidence
from upkeep.content.author import Authored, author
from upkeep.content.diagrams import parse_diagrams
from upkeep.content.scan.delta import delta
from upkeep.content.scan.model import Call, ScanResult
from upkeep.content.validate import validate

TODAY = date(2026, 3, 4)
CART = "feature/cart/src/main/kotlin/com/example/shop/cart/CartScreen.kt"
PAY = "feature/pay/src/main/kotlin/com/example/shop/pay/PayViewModel.kt"

CART_EVENTS = """{
  "flowId": "cart",
  "flowName": "Cart",
  "description": "What happens in the cart.",
  "propertyDefinitions": {
    "total": { "type": "number", "description": "Sum." },
    "coupon": { "type": "string", "description": "Code." }
  },
  "stages": [
    { "name": "Look", "events": ["cart opened", "cart seen"] },
    { "name": "Leave", "events": ["cart left"] }
  ],
  "events": [
    {
      "name": "cart opened",
      "component": "CartScreen",
      "stage": "Look",
      "source": "cart screen",
      "description": "The cart is shown — café.",
      "properties": [{ "property": "total", "context": "in cents" }],
      "nextEvents": ["cart seen", "cart left"]
    },
    {
      "name": "cart seen",
      "component": "CartScreen",
      "stage": "Look",
      "source": "cart screen",
      "description": "It was seen.",
      "properties": [{ "property": "total" }, { "property": "coupon" }],
      "nextEvents": []
    },
    {
      "name": "cart left",
      "component": "CartScreen",
      "stage": "Leave",
      "source": "cart screen",
      "description": "It was left.",
      "properties": [],
      "x-ours": 1
    }
  ],
  "diagram": { "type": "sequence", "steps": [{ "label": "All", "events": ["cart opened", "cart seen", "cart left"] }] }
}
"""

CART_DIAGRAMS = """# Cart

```mermaid
flowchart LR
  ui([Screen]) --> ev["analytics event name"]
  class ev event;
```

## Main funnel

```mermaid
flowchart TD
  %%chalo:diagram-link ev_left -> flow:pay
  ui_cart([Cart]) --> ev_opened["cart opened"]
  ev_opened --> ev_seen["cart seen"]
  ev_seen --> ev_left["cart left"]

  classDef event fill:#166534;
  classDef ui fill:#fff;
  class ev_opened,ev_seen,ev_left event;
  class ui_cart ui;
```
"""

PAY_EVENTS = """{
  "flowId": "payment",
  "flowName": "Payment",
  "description": "Paying.",
  "events": [
    {
      "name": "pay clicked",
      "description": "User pays.",
      "firingLocation": "feature/pay/PayViewModel.kt:12",
      "funnelPosition": "pay",
      "properties": ["total"]
    },
    {
      "name": "shared shown",
      "description": "Shared.",
      "firingLocation": "feature/pay/PayViewModel.kt:20",
      "funnelPosition": "pay",
      "properties": []
    }
  ]
}
"""

FILES = {
    "flows.json": b"""{
  "_comment": "ours",
  "flows": {
    "cart": { "name": "Cart", "description": "The cart.", "lastAudited": "2026-01-01", "owner": "us" },
    "payment": { "name": "Payment", "description": "Paying.", "lastAudited": "2026-01-02" }
  }
}
""",
    "flow-slug-map.json": b'{\n  "_comment": "map",\n  "cart": "cart",\n  "pay": "payment"\n}\n',
    "cart/events.json": CART_EVENTS.encode(),
    "cart/flow-diagrams.md": CART_DIAGRAMS.encode(),
    "pay/events.json": PAY_EVENTS.encode(),
    "pay/flow-diagrams.md": b'# Main\n\n```mermaid\nflowchart TD\n  A["pay clicked"]:::event\n```\n',
}


def call(
    name: str | None, path: str = CART, line: int = 1, symbol: str = "CartScreen.open", properties: Sequence[str] = ()
) -> Call:
    resolution = "literal" if name else "unresolved"
    expression = json.dumps(name) if name else "event"
    return Call.model_validate(
        {
            "name": name,
            "resolution": resolution,
            "expression": expression,
            "method": "track",
            "path": path,
            "line": line,
            "symbol": symbol,
            "properties": properties,
        }
    )


OPENED = call("cart opened", line=10, properties=["total"])
SEEN = call("cart seen", line=20, symbol="CartScreen.see", properties=["total", "coupon"])
LEFT = call("cart left", line=30, symbol="CartScreen.leave")
CLICKED = call("pay clicked", PAY, 12, "PayViewModel.pay", ["total"])
SHARED = call("shared shown", PAY, 20, "PayViewModel.show")
BASE = (OPENED, SEEN, LEFT, CLICKED, SHARED)


def scan(calls: Sequence[Call], commit: str = "b" * 40, **more: Any) -> ScanResult:
    return ScanResult(commit=commit, calls=tuple(sorted(calls, key=lambda each: (each.path, each.line))), **more)


def written(files: Mapping[str, bytes], authored: Authored) -> dict[str, bytes]:
    merged: dict[str, bytes | None] = {**files, **authored.files}
    return {path: data for path, data in merged.items() if data is not None}


def update(
    calls: Sequence[Call], files: Mapping[str, bytes] = FILES, base: Sequence[Call] = BASE, **more: Any
) -> tuple[dict[str, bytes], Authored]:
    """Author a change from `base` to `calls`, and check what holds for every one: no new error; done once is done."""
    head = scan(calls, **more)
    change = delta(scan(base, "a" * 40), head)
    authored = author(files, change, head, today=TODAY)
    after = written(files, authored)
    assert validate(after, base=files).errors == ()
    assert author(after, change, head, today=date(2027, 1, 1)).files == {}
    return after, authored


def diff(before: Mapping[str, bytes], after: Mapping[str, bytes], path: str) -> list[str]:
    old, new = before.get(path, b"").decode().splitlines(), after.get(path, b"").decode().splitlines()
    lines = difflib.unified_diff(old, new, lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def entries(files: Mapping[str, bytes], slug: str) -> dict[str, dict[str, Any]]:
    return {event["name"]: event for event in json.loads(files[f"{slug}/events.json"])["events"]}


def test_nothing_new_changes_nothing() -> None:
    moved = [call.model_copy(update={"line": call.line + 7}) for call in BASE]
    after, authored = update(moved)
    assert after == FILES
    assert authored.summary.no_change
    assert authored.summary.reason


def test_a_new_event_goes_beside_its_neighbour_in_the_style_of_the_file() -> None:
    new = call("cart emptied", line=22, symbol="CartScreen.see", properties=["total", "reason"])
    after, authored = update([*BASE, new])
    entry = """    {
      "name": "cart emptied",
      "component": "CartScreen",
      "stage": "Look",
      "source": "cart screen",
      "description": "Cart emptied; sent from CartScreen.see.",
      "properties": [{ "property": "total" }, { "property": "reason" }]
    },
"""
    left = '    {\n      "name": "cart left"'
    expected = CART_EVENTS.replace(left, entry + left)
    expected = expected.replace('"cart seen"] },\n', '"cart seen", "cart emptied"] },\n')
    expected = expected.replace('"cart seen", "cart left"] }] }', '"cart seen", "cart emptied", "cart left"] }] }')
    assert after["cart/events.json"].decode() == expected
    assert diff(FILES, after, "cart/flow-diagrams.md") == [
        '+  ev_seen --> ev_cartEmptied["cart emptied"]',
        "-  class ev_opened,ev_seen,ev_left event;",
        "+  class ev_opened,ev_seen,ev_left,ev_cartEmptied event;",
    ]
    assert diff(FILES, after, "flows.json") == [
        '-    "cart": { "name": "Cart", "description": "The cart.", "lastAudited": "2026-01-01", "owner": "us" },',
        '+    "cart": { "name": "Cart", "description": "The cart.", "lastAudited": "2026-03-04", "owner": "us" },',
    ]
    assert sorted(authored.files) == ["cart/events.json", "cart/flow-diagrams.md", "flows.json"]
    assert authored.summary.flows_changed == ["cart"]
    assert [(ref.flow, ref.name) for ref in authored.summary.events_added] == [("cart", "cart emptied")]


def test_another_file_has_another_style() -> None:
    new = call("pay failed", PAY, 14, "PayViewModel.pay", ["code"])
    after, _ = update([*BASE, new])
    assert entries(after, "pay")["pay failed"] == {
        "name": "pay failed",
        "description": "Pay failed; sent from PayViewModel.pay.",
        "firingLocation": f"{PAY}:14",
        "funnelPosition": "pay",
        "properties": ["code"],
    }
    assert diff(FILES, after, "pay/flow-diagrams.md") == ['+  A --> ev_payFailed["pay failed"]:::event']


def test_a_new_event_takes_the_type_of_a_property_from_flows_that_agree() -> None:
    defined = PAY_EVENTS.replace('"events": [', '"propertyDefinitions": {},\n  "events": [')
    files = {**FILES, "pay/events.json": defined.encode()}
    after, _ = update([*BASE, call("pay failed", PAY, 14, "PayViewModel.pay", ["total", "code"])], files)
    assert json.loads(after["pay/events.json"])["propertyDefinitions"] == {"total": {"type": "number"}}


def test_a_renamed_event_keeps_everything_but_its_name() -> None:
    after, authored = update([OPENED, SEEN.model_copy(update={"name": "cart viewed"}), LEFT, CLICKED, SHARED])
    old, new = CART_EVENTS, after["cart/events.json"].decode()
    assert new == old.replace('"cart seen"', '"cart viewed"')
    assert after["cart/flow-diagrams.md"].decode() == CART_DIAGRAMS.replace('"cart seen"', '"cart viewed"')
    assert [(ref.flow, ref.before, ref.after) for ref in authored.summary.events_renamed] == [
        ("cart", "cart seen", "cart viewed")
    ]


def test_words_of_ours_follow_a_new_name_and_a_persons_are_told_of() -> None:
    first, _ = update([*BASE, call("cart emptied", CART, 30, "CartScreen.empty")])
    ours = json.loads(first["cart/events.json"])
    described = {event["name"]: event["description"] for event in ours["events"]}
    assert described["cart emptied"].startswith("Cart emptied; sent from ")
    theirs = first["cart/events.json"].decode().replace('"Cart emptied; ', '"When cart emptied was asked for; ')
    for text, follows in ((first["cart/events.json"], True), (theirs.encode(), False)):
        files = {**first, "cart/events.json": text}
        base = [*BASE, call("cart emptied", CART, 30, "CartScreen.empty")]
        head = [*BASE, call("cart cleared", CART, 30, "CartScreen.empty")]
        after, authored = update(head, files, base=base)
        (said,) = [
            one["description"]
            for one in json.loads(after["cart/events.json"])["events"]
            if one["name"] == "cart cleared"
        ]
        assert said.startswith("Cart cleared; sent from ") == follows
        told = "cart: the entry of 'cart cleared' still speaks of 'cart emptied' in its description."
        assert (told in authored.summary.doubts) != follows


def test_a_name_that_differs_in_case_only_is_believed_where_the_source_spells_it() -> None:
    other = SEEN.model_copy(update={"name": "Cart Seen"})
    head = scan([OPENED, other, LEFT, CLICKED, SHARED])
    change = delta(scan(BASE, "a" * 40), head)
    authored = author(FILES, change, head, today=TODAY)
    after = written(FILES, authored)
    assert "Cart Seen" in entries(after, "cart")
    built, _ = evidence.build(after, head, "shop", head.commit)
    with_evidence = {**after, "_evidence.json": evidence.write(built)}
    text = 'track("Cart Seen") // cart opened, cart left, pay, show\n' * 40
    assert validate(with_evidence, base=FILES, evidence=lambda path: text).errors == ()
    assert validate(after, base=FILES, evidence=lambda path: text).errors != ()


def test_a_constant_that_changed_in_case_only_is_a_doubt_and_a_new_event() -> None:
    before = SEEN.model_copy(update={"resolution": "constant", "expression": "Events.SEEN"})
    other = before.model_copy(update={"name": "Cart Seen"})
    base = [OPENED, before, LEFT, CLICKED, SHARED]
    after, authored = update([OPENED, other, LEFT, CLICKED, SHARED], base=base)
    assert {"cart seen", "Cart Seen"} <= entries(after, "cart").keys()
    assert any("'Cart Seen' in place of 'cart seen'" in doubt for doubt in authored.summary.doubts)


def test_a_removed_event_goes_with_every_reference_and_its_node_is_bridged() -> None:
    after, authored = update([OPENED, LEFT, CLICKED, SHARED])
    data = json.loads(after["cart/events.json"])
    assert [event["name"] for event in data["events"]] == ["cart opened", "cart left"]
    assert data["events"][0]["nextEvents"] == ["cart left"]
    assert data["stages"][0]["events"] == ["cart opened"]
    assert data["diagram"]["steps"][0]["events"] == ["cart opened", "cart left"]
    assert list(data["propertyDefinitions"]) == ["total"]
    assert diff(FILES, after, "cart/flow-diagrams.md") == [
        '-  ev_opened --> ev_seen["cart seen"]',
        '-  ev_seen --> ev_left["cart left"]',
        '+  ev_opened --> ev_left["cart left"]',
        "-  class ev_opened,ev_seen,ev_left event;",
        "+  class ev_opened,ev_left event;",
    ]
    assert [(ref.flow, ref.name) for ref in authored.summary.events_removed] == [("cart", "cart seen")]


def test_a_node_with_a_directive_stays_when_its_event_goes() -> None:
    after, _ = update([OPENED, SEEN, CLICKED, SHARED])
    assert "%%chalo:diagram-link ev_left -> flow:pay" in after["cart/flow-diagrams.md"].decode()
    assert "class ui_cart,ev_left ui;" in after["cart/flow-diagrams.md"].decode()


def test_the_last_event_of_a_flow_leaves_an_empty_flow_and_a_doubt() -> None:
    after, authored = update([CLICKED, SHARED])
    assert json.loads(after["cart/events.json"])["events"] == []
    assert "The flow cart documents no event any more; it was kept." in authored.summary.doubts


def test_nothing_is_removed_while_a_file_could_not_be_read() -> None:
    after, authored = update([OPENED, LEFT, CLICKED, SHARED], files_failed=("app/Broken.kt",))
    assert after == FILES
    assert authored.summary.no_change
    assert any("app/Broken.kt" in doubt and "'cart seen'" in doubt for doubt in authored.summary.doubts)


@pytest.mark.parametrize("symbol", ["CartScreen.see", "CartScreen.other"])
def test_an_event_whose_call_became_unreadable_is_kept(symbol: str) -> None:
    unknown = call(None, line=21, symbol=symbol)
    after, authored = update([OPENED, unknown, LEFT, CLICKED, SHARED])
    assert ("cart seen" in entries(after, "cart")) == (symbol == "CartScreen.see")
    assert any(f"{CART}:21" in doubt for doubt in authored.summary.doubts)


def test_an_event_that_is_still_called_elsewhere_stays() -> None:
    twice = [*BASE, call("cart seen", PAY, 40, "PayViewModel.see", ["total", "coupon"])]
    after, authored = update([call for call in twice if call is not SEEN], base=twice)
    assert after == FILES
    assert authored.summary.no_change


def _in_two_flows() -> dict[str, bytes]:
    pay = json.loads(PAY_EVENTS)
    pay["events"].append({"name": "cart seen", "description": "Also here.", "properties": []})
    return {**FILES, "pay/events.json": (json.dumps(pay, indent=2) + "\n").encode()}


def test_an_event_of_several_flows_goes_where_its_evidence_was() -> None:
    place = evidence.Place(path=CART, line=20)
    recorded = evidence.Evidence(repository="shop", commit="a" * 40, events={"cart": {"cart seen": (place,)}})
    files = {**_in_two_flows(), "_evidence.json": evidence.write(recorded)}
    after, authored = update([OPENED, LEFT, CLICKED, SHARED], files)
    assert "cart seen" not in entries(after, "cart")
    assert "cart seen" in entries(after, "pay")
    assert any("kept there" in doubt for doubt in authored.summary.doubts)


def test_an_event_of_several_flows_stays_where_nothing_tells_them_apart() -> None:
    after, authored = update([OPENED, LEFT, CLICKED, SHARED], _in_two_flows())
    assert after == _in_two_flows()
    assert authored.summary.no_change


def test_properties_follow_in_the_style_of_the_entry() -> None:
    now = SEEN.model_copy(update={"properties": ("total", "items")})
    after, authored = update([OPENED, now, LEFT, CLICKED.model_copy(update={"properties": ("total", "code")}), SHARED])
    assert '"properties": [{ "property": "total" }, { "property": "items" }],' in after["cart/events.json"].decode()
    assert entries(after, "pay")["pay clicked"]["properties"] == ["total", "code"]
    assert "coupon" not in json.loads(after["cart/events.json"])["propertyDefinitions"]
    assert entries(after, "cart")["cart opened"] == entries(FILES, "cart")["cart opened"]
    assert {(ref.flow, ref.name) for ref in authored.summary.events_changed} == {
        ("cart", "cart seen"),
        ("pay", "pay clicked"),
    }


def test_an_empty_list_of_properties_is_filled_in_the_style_of_the_file() -> None:
    after, _ = update([OPENED, SEEN, LEFT.model_copy(update={"properties": ("total",)}), CLICKED, SHARED])
    assert '"properties": [{ "property": "total" }],\n      "x-ours": 1' in after["cart/events.json"].decode()


def test_a_new_feature_becomes_a_new_flow() -> None:
    path = "feature/loyalty/src/main/kotlin/com/example/shop/loyalty/LoyaltyViewModel.kt"
    calls = [
        call("points shown", path, 5, "LoyaltyViewModel.show", ["points"]),
        call("points spent", path.replace("LoyaltyViewModel", "SpendScreen"), 8, "SpendScreen.spend"),
    ]
    after, authored = update([*BASE, *calls])
    assert json.loads(after["flows.json"])["flows"]["loyalty"] == {
        "name": "Loyalty",
        "description": "Events sent from the Loyalty part of the app.",
        "lastAudited": "2026-03-04",
    }
    assert json.loads(after["flow-slug-map.json"])["loyalty"] == "loyalty"
    data = json.loads(after["loyalty/events.json"])
    assert (data["flowId"], data["flowName"]) == ("loyalty", "Loyalty")
    assert list(entries(after, "loyalty")) == ["points shown", "points spent"]
    page = parse_diagrams(after["loyalty/flow-diagrams.md"].decode())
    assert page.blocks[0].is_legend
    assert [node.title for node in page.blocks[1].event_nodes()] == ["points shown", "points spent"]
    assert "main" in page.blocks[1].title.text.lower()  # type: ignore[union-attr]
    assert authored.summary.flows_added == ["loyalty"]
    assert diff(FILES, after, "cart/events.json") == []


def test_an_event_between_two_flows_is_left_unassigned() -> None:
    between = "feature/common/src/main/kotlin/com/example/shop/common/Banner.kt"
    known = [
        call("cart opened", between, 3, "Banner.show", ["total"]),
        call("pay clicked", between, 5, "Banner.show", ["total"]),
    ]
    after, authored = update([*BASE, *known, call("banner shown", between, 7, "Banner.show")], base=[*BASE, *known])
    assert json.loads(after["unassigned.json"])["events"] == [
        {
            "name": "banner shown",
            "suspectedFlows": ["cart", "pay"],
            "callsites": [{"path": between, "line": 7}],
            "reason": f"the events around {between} belong equally to cart, pay",
        }
    ]
    assert [event.name for event in authored.summary.unassigned] == ["banner shown"]
    gone, _ = update([*BASE, *known], after, base=[*BASE, *known, call("banner shown", between, 7, "Banner.show")])
    assert json.loads(gone["unassigned.json"])["events"] == []


def test_an_unassigned_event_follows_its_new_name() -> None:
    waiting = {"events": [{"name": "banner shown", "suspectedFlows": [], "callsites": [], "reason": "?"}]}
    files = {**FILES, "unassigned.json": json.dumps(waiting).encode()}
    before = call("banner shown", "x/Banner.kt", 1, "Banner.show")
    after, _ = update([*BASE, before.model_copy(update={"name": "banner seen"})], files, base=[*BASE, before])
    assert json.loads(after["unassigned.json"])["events"][0]["name"] == "banner seen"


def test_a_bootstrap_adds_only_what_the_content_does_not_know() -> None:
    new = call("cart emptied", line=22, symbol="CartScreen.see")
    head = scan([*BASE, new, call(None, line=40)])
    authored = author(FILES, delta(None, head), head, today=TODAY)
    assert [(ref.flow, ref.name) for ref in authored.summary.events_added] == [("cart", "cart emptied")]
    assert authored.summary.doubts == [
        "1 calls send names that only the running app knows; none of them is documented by this."
    ]


def test_a_bootstrap_of_nothing_makes_a_dashboard_by_path() -> None:
    head = scan(
        [*BASE, call("app opened", "app/src/main/kotlin/com/example/shop/MainActivity.kt", 3, "MainActivity.start")]
    )
    authored = author({}, delta(None, head), head, today=TODAY)
    after = written({}, authored)
    assert sorted(json.loads(after["flows.json"])["flows"]) == ["app", "cart", "pay"]
    report = validate(after)
    assert report.findings == ()
    assert report.events == 6
    assert author(after, delta(None, head), head, today=TODAY).files == {}


def test_broken_files_are_left_alone_and_said() -> None:
    files = {**FILES, "cart/events.json": b"{", "flows.json": b"[]"}
    head = scan(
        [*BASE, call("cart emptied", line=22, symbol="CartScreen.see"), call("x", "feature/new/A.kt", 1, "A.b")]
    )
    authored = author(files, delta(scan(BASE, "a" * 40), head), head, today=TODAY)
    assert "cart/events.json" not in authored.files
    assert "flows.json" not in authored.files
    assert any("cart/events.json is no valid JSON" in doubt for doubt in authored.summary.doubts)
    assert [event.name for event in authored.summary.unassigned] == ["x"]


def test_line_ends_byte_order_mark_and_escapes_stay() -> None:
    text = "\ufeff" + CART_EVENTS.replace("—", "\\u2014").replace("é", "\\u00e9").replace("\n", "\r\n")
    files = {**FILES, "cart/events.json": text.encode()}
    new = call("cart émptied", line=22, symbol="CartScreen.see")
    head = scan([*BASE, new])
    authored = author(files, delta(scan(BASE, "a" * 40), head), head, today=TODAY)
    edited = written(files, authored)["cart/events.json"].decode()
    assert edited.startswith("\ufeff{\r\n")
    assert edited.count("\n") == edited.count("\r\n")
    assert '"name": "cart \\u00e9mptied"' in edited


def test_a_family_of_names_covers_its_members() -> None:
    pay = json.loads(PAY_EVENTS)
    pay["events"].append({"name": "Exp: {experiment}", "namePattern": "Exp: {experiment}"})
    files = {**FILES, "pay/events.json": json.dumps(pay).encode()}
    after, authored = update([*BASE, call("Exp: blue button", PAY, 90, "PayViewModel.exp")], files)
    assert after == files
    assert authored.summary.no_change


def test_a_name_with_characters_that_cannot_be_seen_is_a_doubt() -> None:
    hidden = call("cart \u202eopened", line=22, symbol="CartScreen.see")
    after, authored = update([*BASE, hidden, call("cart emptied", line=23, properties=["id", "i\u200bd"])])
    assert any("characters that cannot be seen" in doubt for doubt in authored.summary.doubts)
    assert "cart \u202eopened" not in entries(after, "cart")
    assert entries(after, "cart")["cart emptied"]["properties"] == [{"property": "id"}]


def test_an_entry_in_each_of_two_flows_tells_its_own_place() -> None:
    calls = [call("help opened", line=22, symbol="CartScreen.see"), call("help opened", PAY, 21, "PayViewModel.show")]
    after, _ = update([*BASE, *calls])
    assert entries(after, "cart")["help opened"]["description"] == "Help opened; sent from CartScreen.see."
    assert entries(after, "pay")["help opened"]["description"] == "Help opened; sent from PayViewModel.show."
