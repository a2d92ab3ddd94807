"""Rates and months."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.ingest.allowance import (
    BURST_SECONDS,
    Bucket,
    month_of,
    seconds_to_next_month,
)


def test_a_batch_larger_than_everything_is_taken_and_owed():
    """A thousand events at ten a second go through once; then there is a wait, and an end of it."""
    bucket = Bucket(10, now=0.0)
    assert bucket.wait_seconds(0.0) == 0
    bucket.take(1000, 0.0)
    wait = bucket.wait_seconds(0.0)
    assert wait == pytest.approx((1000 - 10 * BURST_SECONDS + 1) / 10)
    assert bucket.wait_seconds(wait - 0.2) > 0
    assert bucket.wait_seconds(wait) == 0


@given(
    rate=st.integers(1, 10_000),
    batches=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 1000)), max_size=60),
)
def test_never_more_than_the_rate(rate: int, batches: list[tuple[float, int]]):
    """Whatever comes when: what passes is at most the rate, one burst and one batch."""
    bucket = Bucket(rate, now=0.0)
    now, passed = 0.0, 0
    for pause, events in batches:
        now += pause
        if not bucket.wait_seconds(now):
            bucket.take(events, now)
            passed += events
    assert passed <= rate * (now + BURST_SECONDS) + 1000


def test_who_waits_as_told_is_let_in():
    """Obeying the wait is enough, always."""
    bucket, now, passed = Bucket(7, now=0.0), 0.0, 0
    for _ in range(200):
        now += bucket.wait_seconds(now)
        assert bucket.wait_seconds(now) == 0
        bucket.take(100, now)
        passed += 100
    assert passed / now == pytest.approx(7, rel=0.05)


def test_months_are_those_of_utc():
    """The first hour of a month in Vienna still belongs to the month before."""
    vienna = timezone(timedelta(hours=1))
    assert month_of(datetime(2026, 3, 1, 0, 30, tzinfo=vienna)) == date(2026, 2, 1)
    assert seconds_to_next_month(datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)) == 1
    assert seconds_to_next_month(datetime(2026, 12, 31, tzinfo=UTC)) == 86400
