"""Buckets [insights 3.2]."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.spec import Granularity, TimeRange
from appliance.domain.insights.window import BUCKETS_MAX, load_zone, make_buckets

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _ms(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def _utc(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.strftime("%Y-%m-%d %H:%M")


def _buckets(start: str, end: str, granularity: Granularity, zone: str):
    window = TimeRange(start_ms=_ms(start), end_ms=_ms(end))
    return make_buckets(window, granularity, load_zone(zone))


def _edges(start: str, end: str, granularity: Granularity, zone: str) -> list[str]:
    return [_utc(edge) for edge in _buckets(start, end, granularity, zone).edges_ms]


CASES = [
    (
        "a range inside a bucket keeps the bucket's full start",
        ("2025-05-01T12:30:00Z", "2025-05-01T12:31:00Z", Granularity.HOUR, ""),
        ["2025-05-01 12:00", "2025-05-01 13:00"],
    ),
    (
        "the autumn hour happens twice",
        ("2025-11-02T05:00:00Z", "2025-11-02T07:00:00Z", Granularity.HOUR, "America/New_York"),
        ["2025-11-02 05:00", "2025-11-02 06:00", "2025-11-02 07:00"],
    ),
    (
        "a quarter-hour zone",
        ("2025-05-01T00:00:00Z", "2025-05-01T01:00:00Z", Granularity.HOUR, "Asia/Kathmandu"),
        ["2025-04-30 23:15", "2025-05-01 00:15", "2025-05-01 01:15"],
    ),
    (
        "a clock that goes back by half an hour opens a short bucket",
        ("2025-04-05T14:00:00Z", "2025-04-05T16:00:00Z", Granularity.HOUR, "Australia/Lord_Howe"),
        ["2025-04-05 14:00", "2025-04-05 15:00", "2025-04-05 15:30", "2025-04-05 16:30"],
    ),
    (
        "a range that opens after the half hour finds the bucket before it",
        ("2025-04-05T15:10:00Z", "2025-04-05T15:20:00Z", Granularity.HOUR, "Australia/Lord_Howe"),
        ["2025-04-05 15:00", "2025-04-05 15:30"],
    ),
    (
        "a spring day of 23 hours",
        ("2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z", Granularity.DAY, "America/New_York"),
        ["2025-03-09 05:00", "2025-03-10 04:00"],
    ),
    (
        "a day without midnight starts at its first instant",
        ("2025-03-29T22:00:00Z", "2025-03-30T21:00:00Z", Granularity.DAY, "Asia/Beirut"),
        ["2025-03-29 22:00", "2025-03-30 21:00"],
    ),
    (
        "a day that a zone left out has no bucket",
        ("2011-12-29T10:00:00Z", "2011-12-31T10:00:00Z", Granularity.DAY, "Pacific/Apia"),
        ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"],
    ),
    (
        "a midnight that happens twice starts its day once",
        ("2010-11-07T02:00:00Z", "2010-11-08T03:30:00Z", Granularity.DAY, "America/St_Johns"),
        ["2010-11-06 02:30", "2010-11-07 02:30", "2010-11-08 03:30"],
    ),
    (
        "months of a leap year",
        ("2024-02-10T00:00:00Z", "2024-03-01T00:00:00Z", Granularity.MONTH, ""),
        ["2024-02-01 00:00", "2024-03-01 00:00"],
    ),
    (
        "a year's end",
        ("2024-12-10T00:00:00Z", "2025-01-02T00:00:00Z", Granularity.MONTH, "UTC"),
        ["2024-12-01 00:00", "2025-01-01 00:00", "2025-02-01 00:00"],
    ),
    (
        "less than a millisecond is still a bucket",
        ("2025-05-01T00:00:00Z", "2025-05-01T00:00:00Z", Granularity.MINUTE, ""),
        ["2025-05-01 00:00", "2025-05-01 00:01"],
    ),
]


@pytest.mark.parametrize(
    ("question", "edges"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_edges(question, edges) -> None:
    """Edges are local wall-clock edges, kept as UTC instants."""
    assert _edges(*question) == edges


def test_weeks_are_labelled_with_the_local_sunday_as_a_utc_date() -> None:
    """[insights 22.1] The bucket begins at local midnight, its label does not."""
    found = _buckets(
        "2025-03-01T18:30:00Z", "2025-03-08T18:30:00Z", Granularity.WEEK, "Asia/Kolkata"
    )
    assert [_utc(edge) for edge in found.starts_ms] == ["2025-03-01 18:30"]
    assert [_utc(label) for label in found.labels_ms] == ["2025-03-02 00:00"]


@pytest.mark.parametrize(
    "name", ["Mars/Base", "../etc/passwd", "America", "A" * 65, "Europe/Vienna\0"]
)
def test_a_zone_that_does_not_load_is_refused(name: str) -> None:
    """[insights 3.2] `INVALID_INSIGHT_QUERY`, whatever the reason."""
    with pytest.raises(InvalidInputError) as caught:
        load_zone(name)
    assert caught.value.reason == "INVALID_INSIGHT_QUERY"


@pytest.mark.parametrize(
    ("start", "end", "granularity"),
    [
        ("2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", Granularity.MINUTE),
        ("2020-01-01T00:00:00Z", "2025-02-01T00:00:00Z", Granularity.DAY),
        ("0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z", Granularity.DAY),
        ("9999-12-30T00:00:00Z", "9999-12-31T00:00:00Z", Granularity.MONTH),
    ],
)
def test_ranges_that_no_validator_lets_pass_are_refused(start, end, granularity) -> None:
    """A list of buckets is always short, and always inside the calendar."""
    with pytest.raises(InvalidInputError):
        _buckets(start, end, granularity, "")


_WIDEST = {
    Granularity.MINUTE: timedelta(hours=6),
    Granularity.HOUR: timedelta(hours=336),
    Granularity.DAY: timedelta(hours=8760),
    Granularity.WEEK: timedelta(hours=35_064),
    Granularity.MONTH: timedelta(hours=87_660),
}


@given(
    start_ms=st.integers(_ms("1950-01-01T00:00:00Z"), _ms("2060-01-01T00:00:00Z")),
    granularity=st.sampled_from(list(Granularity)),
    share=st.floats(0, 1),
    name=st.sampled_from(
        ["", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Beirut",
         "America/Havana", "Africa/Casablanca", "Antarctica/Troll", "America/Sao_Paulo"]
    ),
)  # fmt: skip
def test_buckets_cover_every_range_without_gap(start_ms, granularity, share, name) -> None:
    """Strictly ascending, from at or before the range to its end, never more than the bound."""
    length_ms = int(_WIDEST[granularity] * share / timedelta(milliseconds=1)) + 1
    window = TimeRange(start_ms=start_ms, end_ms=start_ms + length_ms)
    zone = load_zone(name)
    found = make_buckets(window, granularity, zone)
    assert found.edges_ms[0] <= window.start_ms < found.edges_ms[1]
    assert found.edges_ms[-2] < window.end_ms <= found.edges_ms[-1]
    assert all(low < high for low, high in pairwise(found.edges_ms))
    assert len(found.labels_ms) == len(found.edges_ms) - 1 <= BUCKETS_MAX
    assert len(set(found.labels_ms)) == len(found.labels_ms)
    for edge in found.starts_ms:
        local = (_EPOCH + timedelta(milliseconds=edge)).astimezone(zone)
        before = (_EPOCH + timedelta(milliseconds=edge - 1000)).astimezone(zone)
        is_jump = local.utcoffset() != before.utcoffset()
        assert is_jump or local.second == 0
        assert is_jump or granularity is Granularity.MINUTE or local.minute == 0
