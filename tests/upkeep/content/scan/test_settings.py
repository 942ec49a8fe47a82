"""The `scan` key: short and long forms, and errors that help."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from upkeep.content.scan.scanner import scan
from upkeep.errors import ConfigError
from upkeep.settings.scan import CallPattern, NameStyle, ScanSettings


def parse(**languages: Any) -> ScanSettings:
    return ScanSettings.model_validate(languages)


def test_the_contract_of_upkeep_yaml_is_understood() -> None:
    kotlin = parse(kotlin={"calls": ["track", "logEvent"], "event": 0, "properties": 1}).root["kotlin"]
    assert [call.method for call in kotlin.calls] == ["track", "logEvent"]
    assert (kotlin.event_of(kotlin.calls[0]), kotlin.properties_of(kotlin.calls[0])) == (0, 1)


def test_nothing_to_scan_is_allowed() -> None:
    assert parse().root == {}


def test_a_call_may_have_its_own_shape() -> None:
    kotlin = parse(kotlin={"calls": ["a", {"method": "b", "event": "name", "properties": None}]}).root["kotlin"]
    assert kotlin.calls[1] == CallPattern(method="b", event="name", properties=None)
    assert (kotlin.event_of(kotlin.calls[1]), kotlin.properties_of(kotlin.calls[1])) == ("name", None)
    assert kotlin.properties_of(kotlin.calls[0]) == 1


def test_rules_may_be_patterns_rules_or_whole_entries() -> None:
    pattern, rule, entry = (
        "emit($EVENT, $$$PROPERTIES)",
        {"kind": "call_expression", "has": {"pattern": "$EVENT"}},
        {"rule": "raise($EVENT)", "constraints": {"EVENT": {"kind": "string_literal"}}, "contains": ["raise"]},
    )
    rules = parse(kotlin={"rules": [pattern, rule, entry]}).root["kotlin"].rules
    assert [each.words() for each in rules] == [("emit",), (), ("raise",)]
    assert rules[2].config() == {"rule": {"pattern": "raise($EVENT)"}, "constraints": entry["constraints"]}


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({"kotln": {"calls": ["track"]}}, "kotlin"),
        ({"kotlin": {"call": ["track"]}}, "Extra inputs"),
        ({"kotlin": {"calls": "track"}}, r"a list is needed: \[track\]"),
        ({"kotlin": {"calls": ["tracker.track"]}}, "bare name"),
        ({"kotlin": {"calls": []}}, "nothing to look for"),
        ({"kotlin": {"calls": ["track"], "event": -1}}, "greater than or equal"),
        ({"kotlin": {"calls": ["track"], "rules": ["emit($NAME)"]}}, r"must bind \$EVENT"),
        ({"kotlin": {"calls": [{"method": "track", "evnt": 1}]}}, "Extra inputs"),
        ({"kotlin": {"calls": ["track"], "names": {"case": "camel"}}}, "keep"),
    ],
)
def test_mistakes_are_named(languages: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parse(**languages)


def test_a_rule_that_ast_grep_refuses_is_told_before_anything_is_read(memory: Any) -> None:
    settings = parse(kotlin={"rules": [{"kind": "no_such_kind", "has": {"pattern": "$EVENT"}}]})
    with pytest.raises(ConfigError, match=r"scan.kotlin.rules\[0\]") as error:
        scan(memory({}), "HEAD", settings)
    assert error.value.reason == "config.scan_rule"


def test_the_fingerprint_follows_every_setting() -> None:
    one, two = parse(kotlin={"calls": ["track"]}), parse(kotlin={"calls": ["track"], "wrappers": False})
    assert one.fingerprint() == parse(kotlin={"calls": ["track"]}).fingerprint() != two.fingerprint()


@pytest.mark.parametrize(
    ("style", "name", "sent"),
    [
        ({"case": "lower"}, "ORDER_OPENED", "order_opened"),
        ({"case": "upper"}, "order", "ORDER"),
        ({"case": "snake"}, "OrderListOpened", "order_list_opened"),
        ({"case": "snake"}, "HTTPError", "http_error"),
        ({"prefix": "app_"}, "Kept As Is", "app_Kept As Is"),
    ],
)
def test_names_are_written_as_the_tracker_does(style: dict[str, Any], name: str, sent: str) -> None:
    assert NameStyle(**style).apply(name) == sent
