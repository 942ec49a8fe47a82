"""Age bands, at their borders and with a clock that jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from upkeep.sync.ages import band, words

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "wanted", "said"),
    [
        (timedelta(0), "fresh", "0 s"),
        (timedelta(minutes=59, seconds=59), "fresh", "59 min"),
        (timedelta(hours=1), "ageing", "1 h"),
        (timedelta(hours=24), "ageing", "1 d"),
        (timedelta(hours=24, seconds=1), "stale", "1 d"),
        (timedelta(days=400), "stale", "400 d"),
        # Ahead of the clock: it was set back since.
        (timedelta(days=-400), "fresh", "0 s"),
    ],
)
def test_fresh_under_an_hour_ageing_to_a_day_stale_after_that(age: timedelta, wanted: str, said: str) -> None:
    assert band(NOW - age, NOW) == wanted
    assert words(NOW - age, NOW) == said


def test_never_is_stale() -> None:
    assert (band(None, NOW), words(None, NOW)) == ("stale", "never")
