"""The budget tree: what fits, and what a ledger in memory holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from upkeep.agents.budget import Account, MemoryLedger, Purse, granted, usd
from upkeep.errors import BudgetExhausted
from upkeep.settings.agents import Budgets

BUDGETS = Budgets(per_run_usd=1, per_subject_day_usd=5, per_agent_month_usd=100)


@pytest.fixture
def account() -> Account:
    return Purse(SecretStr("postgresql://u:s3cret@h/d"), "run-1", BUDGETS).account("writer", "watch:app")


def test_limits_hold_for_the_run_the_subjects_day_and_the_agents_month_in_utc(account: Account) -> None:
    scopes = account.scopes(datetime(2026, 11, 30, 22, 0, tzinfo=timezone(timedelta(hours=-5))))
    assert [(*scope.key, scope.limit) for scope in scopes] == [
        ("run", "run-1", "", Decimal(1)),
        ("subject_day", "watch:app", "2026-12-01", Decimal(5)),
        ("agent_month", "writer", "2026-12", Decimal(100)),
    ]


def test_the_database_password_shows_only_on_the_way_to_the_gateway(account: Account) -> None:
    assert "s3cret" not in repr(account)
    assert Account.model_validate_json(account.model_dump_json()) == account


def test_the_narrowest_limit_decides_and_is_named(account: Account) -> None:
    run, day, month = account.scopes(datetime.now(UTC))
    room = [(run, Decimal("0.2")), (day, Decimal("4.5")), (month, Decimal(0))]
    assert granted(room, Decimal("0.1"), Decimal(2)) == Decimal("0.5")
    with pytest.raises(BudgetExhausted, match=r"watch:app today is 5\.0000 USD, of which 4\.5000 USD") as caught:
        granted(room, Decimal("0.6"), Decimal(2))
    assert caught.value.details == {"scope": "subject_day", "limit_usd": 5.0, "taken_usd": 4.5}


def test_nothing_fits_into_a_limit_that_is_used_up_not_even_what_costs_nothing(account: Account) -> None:
    with pytest.raises(BudgetExhausted):
        granted([(account.scopes(datetime.now(UTC))[0], Decimal(1))], Decimal(0), Decimal(0))
    with pytest.raises(BudgetExhausted, match="one run of the agent"):
        MemoryLedger(0).reserve(Decimal(0), Decimal(0), model="m")


def test_amounts_are_rounded_against_us() -> None:
    assert usd(0.1) == Decimal("0.1")
    assert usd(Decimal("0.00000000012")) == Decimal("0.000000001")


def test_without_a_limit_everything_is_granted() -> None:
    ledger = MemoryLedger(None)
    assert ledger.reserve(Decimal(1), Decimal(10**6), model="m").amount == 10**6


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(0, 3)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_what_is_spent_never_passes_the_limit_while_no_request_costs_more_than_was_reserved(
    requests: list[tuple[int, int, int]],
) -> None:
    ledger = MemoryLedger(1.0)
    open_ones = []
    for least, more, share in requests:
        try:
            open_ones.append(ledger.reserve(Decimal(least) / 100, Decimal(least + more) / 100, model="m"))
        except BudgetExhausted:
            assert ledger.spent + ledger.reserved + Decimal(least) / 100 > 1
        if share and open_ones:
            reservation = open_ones.pop()
            if share == 1:
                ledger.release(reservation)
            else:
                ledger.settle(reservation, reservation.amount / share, None)
        assert ledger.spent + ledger.reserved <= 1
        assert ledger.reserved == sum(reservation.amount for reservation in open_ones)
