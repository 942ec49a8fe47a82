"""Which schedules are refused before the daemon meets them."""

from __future__ import annotations

import warnings

import pytest
from dagster import DagsterInvalidDefinitionError, ScheduleDefinition, job, op
from hypothesis import given, settings
from hypothesis import strategies as st

from upkeep.cron import WORDS, fault_in

field = st.text("0123456789*/,-", min_size=1, max_size=6)
likely = st.sampled_from(["*", "0", "5", "*/2", "1-5", "31", "30", "2", "1,15", "7", "0-7", "59", "23"])
lines = st.lists(likely | field, min_size=5, max_size=5).map(" ".join)


@op
def nothing() -> None:
    pass


@job
def idle() -> None:
    nothing()


def dagster_takes(line: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ScheduleDefinition(name="x", job=idle, cron_schedule=line, execution_timezone="UTC")
    except (DagsterInvalidDefinitionError, UserWarning):
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(lines)
def test_what_is_accepted_dagster_takes_without_a_warning(line: str) -> None:
    if fault_in(line) is None:
        assert dagster_takes(line)


@pytest.mark.parametrize(
    "line",
    ["0 5 * * *", "*/15 6-20 * * mon-fri", "0 0 1,15 JAN-jun *", "0 0 29 2 *", "30 4 * * 7", *WORDS],
)
def test_ordinary_schedules_are_accepted(line: str) -> None:
    assert fault_in(line) is None
    assert dagster_takes(line)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 5 * *", "five fields"),
        ("", "five fields"),
        ("60 5 * * *", "the minute '60' is wrong: '60' is not between 0 and 59"),
        ("0 5-1 * * *", "the hour '5-1' is wrong: the range '5-1' runs backwards"),
        ("0 0 31 2 *", "there is never a day 31"),
        ("0 0 31 4,6 *", "there is never a day 31"),
        ("0 0 31 2 1", "there is never a day 31"),
        ("*/0 * * * *", "a step is from 1 to 59"),
        ("*/90 * * * *", "a step is from 1 to 59"),
        ("5/10 * * * *", "a step needs a range: 5-59/10"),
        ("0 0 L * *", "the day of month 'L' is wrong: 'L' is not between 1 and 31"),
        ("0 5 ? * *", "'?' is no number, range or step"),
        ("0 5 * * fri#1", "'fri#1' is no number, range or step"),
        ("0 0 5 * * *", "five fields"),
        ("0 5 * feb *x", "'*x' is no number"),
    ],
)
def test_what_is_wrong_is_named(line: str, says: str) -> None:
    assert says in (fault_in(line) or "")
