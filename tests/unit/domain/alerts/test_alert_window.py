"""Only complete buckets count, and alerts are due when they are complete."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.alerts.window import (
    PERIODS_MAX,
    SETTLE,
    Frequency,
    Watched,
    find_spans,
    instant,
    next_evaluation,
)
from appliance.domain.insights.spec import Granularity
from appliance.domain.insights.window import load_zone

ZONES = ("", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("granularity", "periods", "zone", "now", "span"),
    [
        ("day", 1, "", "2026-05-10T09:30", "2026-05-09T00:00/2026-05-10T00:00"),
        ("day", 1, "", "2026-05-10T00:01", "2026-05-08T00:00/2026-05-09T00:00"),
        ("day", 1, "", "2026-05-10T00:02", "2026-05-09T00:00/2026-05-10T00:00"),
        ("day", 7, "Europe/Berlin", "2026-05-10T09:30", "2026-05-02T22:00/2026-05-09T22:00"),
        ("hour", 1, "Asia/Kathmandu", "2026-05-10T09:30", "2026-05-10T08:15/2026-05-10T09:15"),
        ("hour", 24, "", "2026-05-10T09:30", "2026-05-09T09:00/2026-05-10T09:00"),
        ("minute", 5, "", "2026-05-10T09:30", "2026-05-10T09:23/2026-05-10T09:28"),
        ("week", 1, "", "2026-05-10T09:30", "2026-05-03T00:00/2026-05-10T00:00"),
        ("month", 1, "", "2026-05-10T09:30", "2026-04-01T00:00/2026-05-01T00:00"),
        ("day", 1, "Europe/Berlin", "2026-03-30T09:30", "2026-03-28T23:00/2026-03-29T22:00"),
    ],
)
def test_spans(granularity: str, periods: int, zone: str, now: str, span: str) -> None:
    watched = Watched(granularity=Granularity(granularity), periods=periods)
    spans = find_spans(watched, zone, at(now))
    begin, end = span.split("/")
    assert instant(spans.current.start_ms) == at(begin)
    assert instant(spans.current.end_ms) == at(end)
    assert spans.previous.end_ms == spans.current.start_ms


def test_the_period_before_has_as_many_buckets() -> None:
    """A month is compared with the month before, however long that was."""
    spans = find_spans(Watched(granularity=Granularity.MONTH, periods=1), "", at("2026-03-10T09"))
    assert instant(spans.previous.start_ms) == at("2026-01-01T00")
    assert instant(spans.current.start_ms) == at("2026-02-01T00")


@given(
    now=st.datetimes(
        min_value=datetime(2001, 1, 1),  # noqa: DTZ001 the strategy adds the zone
        max_value=datetime(2037, 1, 1),  # noqa: DTZ001 the strategy adds the zone
        timezones=st.just(UTC),
    ),
    zone=st.sampled_from(ZONES),
    granularity=st.sampled_from(list(Granularity)),
    fraction=st.floats(0, 1),
)
def test_no_open_bucket_is_looked_at(
    now: datetime, zone: str, granularity: Granularity, fraction: float
) -> None:
    """What is looked at is over, and nothing that is over is left out."""
    periods = max(1, round(PERIODS_MAX[granularity] * fraction))
    spans = find_spans(Watched(granularity=granularity, periods=periods), zone, now)
    end = instant(spans.current.end_ms)
    assert end <= now - SETTLE
    widest = {Granularity.MINUTE: 60, Granularity.HOUR: 3600, Granularity.DAY: 49 * 3600}
    seconds = widest.get(granularity, 32 * 86400)
    assert now - SETTLE - end < timedelta(seconds=seconds)
    assert spans.previous.start_ms < spans.previous.end_ms < spans.current.end_ms


@given(
    now=st.datetimes(
        min_value=datetime(2001, 1, 1),  # noqa: DTZ001 the strategy adds the zone
        max_value=datetime(2037, 1, 1),  # noqa: DTZ001 the strategy adds the zone
        timezones=st.just(UTC),
    ),
    zone=st.sampled_from(ZONES),
    frequency=st.sampled_from(list(Frequency)),
)
def test_due_times(now: datetime, zone: str, frequency: Frequency) -> None:
    """The next evaluation lies ahead, by no more than its period."""
    due = next_evaluation(frequency, zone, now)
    assert now < due <= now + timedelta(hours=50)
    if frequency is not Frequency.DAILY:
        assert due - now <= timedelta(hours=1)
    else:
        local = (due - SETTLE).astimezone(load_zone(zone))
        assert local.hour in {7, 8}


def test_due_when_the_hour_counts() -> None:
    assert next_evaluation(Frequency.HOURLY, "", at("2026-05-10T09:30")) == at("2026-05-10T10:02")
    assert next_evaluation(Frequency.DAILY, "Europe/Berlin", at("2026-05-10T05:02")) == at(
        "2026-05-11T05:02"
    )
    assert next_evaluation(Frequency.EVERY_5_MINUTES, "", at("2026-05-10T09:30")) == at(
        "2026-05-10T09:32"
    )
