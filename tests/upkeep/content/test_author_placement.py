"""To which flow a new event belongs, and what a path says about it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from upkeep.content.authoring.features import Features
from upkeep.content.authoring.placement import Placement
from upkeep.content.evidence import Evidence, Place
from upkeep.content.folder import Content
from upkeep.content.scan.model import Call, ScanResult

SHOP = "app/src/main/java/com/example/shop"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("feature/checkout/src/main/kotlin/com/example/shop/ui/A.kt", "checkout"),
        ("features/network/impl/src/commonMain/kotlin/X.kt", "network"),
        ("feature-gift-cards/src/main/java/com/example/A.kt", "gift-cards"),
        ("shared/orderHistory/src/commonMain/kotlin/A.kt", "order-history"),
        (f"{SHOP}/ui/cart/CartViewModel.kt", "cart"),
        (f"{SHOP}/data/orders/remote/Api.kt", "orders"),
        (f"{SHOP}/MainActivity.kt", "app"),
        (f"{SHOP}/ui/common/Base.kt", "app"),
        ("Sources/Wallet/Views/WalletView.swift", "wallet"),
        ("src/features/search/Search.tsx", "search"),
        ("src/pages/profile/index.ts", "profile"),
        ("src/components/Button.tsx", "app"),
        ("Main.kt", "app"),
    ],
)
def test_a_path_names_its_feature(path: str, expected: str) -> None:
    features = Features([path, f"{SHOP}/ui/cart/A.kt", f"{SHOP}/ui/home/B.kt", f"{SHOP}/MainActivity.kt"])
    assert features.of(path).slug == expected


def test_an_upstream_that_is_one_feature_is_named_by_its_package() -> None:
    assert (
        Features(["src/main/kotlin/com/acme/shop/checkout/ui/A.kt"])
        .of("src/main/kotlin/com/acme/shop/checkout/ui/A.kt")
        .slug
        == "checkout"
    )


def call(name: str, path: str, symbol: str = "", line: int = 1) -> Call:
    return Call(name=name, resolution="literal", expression=name, method="track", path=path, line=line, symbol=symbol)


def content(**flows: list[Any]) -> Content:
    files = {}
    for slug, events in flows.items():
        entries = [event if isinstance(event, dict) else {"name": event} for event in events]
        files[f"{slug}/events.json"] = json.dumps({"flowName": slug, "events": entries}).encode()
    return Content(files)


def place(view: Content, calls: list[Call], *new: Call, evidence: Evidence | None = None) -> Any:
    head = ScanResult(commit="b" * 40, calls=(*calls, *new))
    return Placement(view, head, evidence).place(new[0].name or "", new)


def test_the_function_decides_before_the_file() -> None:
    calls = [call("a", "x/A.kt", "A.f"), call("b", "x/A.kt", "A.g"), call("c", "x/A.kt", "A.g")]
    view = content(cart=["a"], pay=["b", "c"])
    assert place(view, calls, call("new", "x/A.kt", "A.f")).flows == ("cart",)
    assert place(view, calls, call("new", "x/A.kt", "A.h")).flows == ("pay",)


def test_evidence_says_which_flow_a_shared_event_is_of() -> None:
    calls = [call("shared", "x/A.kt", "A.f")]
    evidence = Evidence(
        repository="r", commit="a" * 40, events={"pay": {"shared": (Place(path="x/A.kt", line=1, symbol="A.f"),)}}
    )
    view = content(cart=["shared"], pay=["shared"])
    assert place(view, calls, call("new", "x/A.kt", "A.f"), evidence=evidence).flows == ("pay",)
    assert place(view, calls, call("new", "x/A.kt", "A.f")).suspected == ("cart", "pay")


def test_an_entry_that_names_the_type_decides_where_the_scan_knows_no_neighbour() -> None:
    view = content(
        cart=[{"name": "a", "component": "CartScreen (drawer)"}], pay=[{"name": "b", "component": "PayScreen"}]
    )
    assert place(view, [], call("new", "somewhere/Else.kt", "CartScreen.f")).flows == ("cart",)
    assert place(view, [], call("new", "somewhere/PayScreen.kt")).flows == ("pay",)


def test_a_flow_named_like_the_feature_takes_the_event() -> None:
    view = content(**{"order-history": ["a"], "pay": ["b"]})
    assert place(view, [], call("new", "feature/orderHistory/src/main/kotlin/A.kt", "A.f")).flows == ("order-history",)


def test_the_area_of_the_feature_decides_where_folder_and_name_do_not() -> None:
    calls = [call("a", "feature/basket/src/main/kotlin/one/A.kt", "A.f")]
    view = content(cart=["a"], pay=["b"])
    assert place(view, calls, call("new", "feature/basket/src/main/kotlin/two/B.kt", "B.f")).flows == ("cart",)


def test_words_of_the_name_decide_last() -> None:
    view = content(cart=["cart item added", "cart item removed"], pay=["pay clicked"])
    assert place(view, [], call("cart item moved", "feature/unheard/A.kt", "A.f")).flows == ("cart",)
    assert place(view, [], call("cart closed", "feature/unheard/A.kt", "A.f")).flows == ("unheard",)


def test_a_majority_that_is_not_clear_is_no_decision() -> None:
    calls = [call(name, "x/A.kt", "A.f") for name in ("a", "b", "c", "d", "e")]
    assert place(content(cart=["a", "b", "c"], pay=["d", "e"]), calls, call("new", "x/A.kt", "A.f")).flows == ("cart",)
    tied = place(
        content(cart=["a", "b", "c", "f"], pay=["d", "e", "g"]),
        [*calls, call("f", "x/A.kt", "A.f"), call("g", "x/A.kt", "A.f")],
        call("new", "x/A.kt", "A.f"),
    )
    assert tied.suspected == ("cart", "pay")
    assert "x/A.kt" in tied.reason


def test_a_later_sign_decides_between_what_earlier_ones_left() -> None:
    calls = [call("a", "x/A.kt", "A.f"), call("b", "x/A.kt", "A.f"), call("c", "x/B.kt", "B.f")]
    assert place(content(cart=["a"], pay=["b", "c"]), calls, call("new", "x/A.kt", "A.f")).flows == ("pay",)


def test_an_event_of_two_places_is_documented_in_both() -> None:
    calls = [call("a", "x/A.kt", "A.f"), call("b", "y/B.kt", "B.f")]
    view = content(cart=["a"], pay=["b"])
    new = (call("new", "x/A.kt", "A.f"), call("new", "y/B.kt", "B.f"), call("new", "feature/unheard/C.kt", "C.f"))
    assert place(view, calls, *new).flows == ("cart", "pay")


def test_a_decision_holds_for_what_comes_after() -> None:
    path = "feature/unheard/src/main/kotlin/A.kt"
    new = [call("one", path, "A.f"), call("two", path, "A.g")]
    placement = Placement(content(cart=["a"]), ScanResult(commit="b" * 40, calls=tuple(new)), None)
    assert [placement.place(each.name or "", [each]).flows for each in new] == [("unheard",), ("unheard",)]


def test_a_module_that_is_most_of_the_app_is_read_by_its_packages() -> None:
    root = "MyShop/src/main/kotlin/com/acme/shop/ui"
    paths = [f"{root}/{name}/{file}.kt" for name in ("orders", "products", "payments") for file in "ABC"]
    wear = "MyShop-Wear/src/main/kotlin/com/acme/shop/ui/stats/A.kt"
    features = Features([*paths, wear])
    assert {features.of(path).slug for path in paths} == {"orders", "products", "payments"}
    assert features.of(wear).slug == "my-shop-wear"


def test_modules_of_like_size_are_features() -> None:
    paths = [
        f"{module}/src/main/kotlin/com/acme/{part}/A.kt"
        for module in ("Cart", "Home")
        for part in ("a1x", "b1x", "c1x")
    ]
    assert {Features(paths).of(path).slug for path in paths} == {"cart", "home"}


def test_what_all_names_of_the_app_begin_with_is_no_likeness() -> None:
    names = [f"shop_android_{word}_{what}" for word in ("domain", "account", "theme") for what in ("shown", "tapped")]
    names += [
        f"shop_android_custom_{what}" for what in ("domain_bought", "domain_failed", "theme_shown", "theme_tapped")
    ]
    calls = [call(name, f"{SHOP}/ui/prefs/Prefs.kt", "Prefs.f") for name in names]
    view = content(prefs=names)
    fields = call("shop_android_field_edited", f"{SHOP}/ui/fields/Fields.kt", "Fields.f")
    assert place(view, calls, fields).flows == ("fields",)
    fields = call("shop_android_custom_field_edited", f"{SHOP}/ui/fields/Fields.kt", "Fields.f")
    assert place(view, calls, fields).flows == ("fields",)
    assert place(view, calls, call("shop_android_custom_field_edited", f"{SHOP}/Main.kt", "Main.f")).flows == ("prefs",)
    custom = call("shop_android_custom_domain_renewed", f"{SHOP}/ui/domains/Domains.kt", "Domains.f")
    assert place(view, calls, custom).flows == ("prefs",)
    assert place(view, calls, call("domain_shown", f"{SHOP}/ui/domains/Domains.kt", "Domains.f")).flows == ("domains",)
