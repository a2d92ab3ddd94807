"""Time buckets: from a range, a width and a zone to edges.

Invariant: bucket edges are local wall-clock edges, kept as UTC instants, strictly ascending; the
last edge closes the last bucket. The engine only looks up between which edges an instant lies: it
knows no zones, so its zone data can never disagree with ours, and daylight saving is decided here
once [insights 3.2]. Labels are what is sent: the edge, or for weeks and months the local date.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.spec import Granularity, TimeRange

ZONE_NAME_CHARACTERS_MAX: Final = 64
BUCKETS_MAX: Final = 400
"""More than any allowed range has: 365 days touch 366 local days, 6 h touch 361 minutes."""

_ZONE_NAME: Final = re.compile(r"[A-Za-z0-9_+/-]*")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_INSTANT_MIN_MS: Final = -62_135_596_800_000 + 40 * 86_400_000
_INSTANT_MAX_MS: Final = 253_402_300_799_999 - 40 * 86_400_000


class Buckets(Struct, frozen=True, kw_only=True):
    """`edges_ms` has one element more than `labels_ms`; both in milliseconds since 1970 UTC.

    The first edge may lie before the range [insights 3.2].
    """

    edges_ms: tuple[int, ...]
    labels_ms: tuple[int, ...]

    @property
    def starts_ms(self) -> tuple[int, ...]:
        return self.edges_ms[:-1]


def load_zone(name: str) -> ZoneInfo:
    """The zone of that name, UTC for an empty one; InvalidInputError if none can be loaded."""
    if not name:
        return ZoneInfo("UTC")
    if len(name) <= ZONE_NAME_CHARACTERS_MAX and _ZONE_NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise _unknown_zone() from error
    raise _unknown_zone()


def make_buckets(window: TimeRange, granularity: Granularity, zone: ZoneInfo) -> Buckets:
    """The buckets that a range touches, in order, at least one [insights 3.2].

    Raises InvalidInputError for ranges at the ends of the calendar or longer than the caps.
    """
    if window.start_ms < _INSTANT_MIN_MS or window.end_ms > _INSTANT_MAX_MS:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "the time range is outside the calendar")
    match granularity:
        case Granularity.MINUTE:
            return _clock_buckets(window, 60, zone)
        case Granularity.HOUR:
            return _clock_buckets(window, 3600, zone)
        case Granularity.DAY | Granularity.WEEK | Granularity.MONTH:
            return _calendar_buckets(window, granularity, zone)
        case _:
            assert_never(granularity)


def _unknown_zone() -> InvalidInputError:
    return InvalidInputError(
        "INVALID_INSIGHT_QUERY",
        "the project's reporting time zone is not known here",
        hint="set the project's time zone to an IANA name such as Europe/Vienna",
    )


def _too_many() -> InvalidInputError:
    return InvalidInputError(
        "INVALID_INSIGHT_QUERY", "the time range has too many buckets of this granularity"
    )


def _clock_buckets(window: TimeRange, width: int, zone: ZoneInfo) -> Buckets:
    """Minutes or hours of the local clock, as intervals of real time.

    A clock that jumps back opens a bucket at the jump, so the repeated hour is two buckets.
    """
    first = window.start_ms // 1000
    edge = _clock_bucket_start(first, width, zone)
    edges = [edge]
    while edge * 1000 < window.end_ms or len(edges) == 1:
        edge = _next_clock_edge(edge, width, zone)
        edges.append(edge)
        if len(edges) > BUCKETS_MAX:
            raise _too_many()
    starts = tuple(second * 1000 for second in edges)
    return Buckets(edges_ms=starts, labels_ms=starts[:-1])


def _clock_bucket_start(second: int, width: int, zone: ZoneInfo) -> int:
    aligned = second - (second + _offset(second, zone)) % width
    if _offset(aligned, zone) == _offset(second, zone):
        return aligned
    edge = _clock_bucket_start(aligned, width, zone)
    following = _next_clock_edge(edge, width, zone)
    while following <= second:
        edge, following = following, _next_clock_edge(following, width, zone)
    return edge


def _next_clock_edge(second: int, width: int, zone: ZoneInfo) -> int:
    before = _offset(second, zone)
    aligned = second + width - (second + before) % width
    if _offset(aligned, zone) == before:
        return aligned
    jump = _find_jump(second, aligned, zone)
    after = _offset(jump, zone)
    is_same_bucket = after > before and (jump + after) // width == (second + before) // width
    return jump + width - (jump + after) % width if is_same_bucket else jump


def _calendar_buckets(window: TimeRange, granularity: Granularity, zone: ZoneInfo) -> Buckets:
    day = _bucket_date(_local_date(window.start_ms // 1000, zone), granularity)
    edges: list[int] = []
    dates: list[date] = []
    while True:
        edge = _first_second_of(day, zone)
        if edges and edges[-1] >= edge:  # a local day that a zone left out altogether
            edges.pop()
            dates.pop()
        edges.append(edge)
        if dates and edge * 1000 >= window.end_ms:
            break
        dates.append(day)
        if len(dates) > BUCKETS_MAX:
            raise _too_many()
        day = _next_date(day, granularity)
    edges_ms = tuple(second * 1000 for second in edges)
    labels_ms = (
        edges_ms[:-1] if granularity is Granularity.DAY else tuple(map(_utc_midnight_ms, dates))
    )
    return Buckets(edges_ms=edges_ms, labels_ms=labels_ms)


def _bucket_date(day: date, granularity: Granularity) -> date:
    if granularity is Granularity.WEEK:
        return day - timedelta(days=day.isoweekday() % 7)
    return day.replace(day=1) if granularity is Granularity.MONTH else day


def _next_date(day: date, granularity: Granularity) -> date:
    if granularity is Granularity.WEEK:
        return day + timedelta(days=7)
    if granularity is Granularity.DAY:
        return day + timedelta(days=1)
    return day.replace(day=1, month=day.month % 12 + 1, year=day.year + day.month // 12)


def _utc_midnight_ms(day: date) -> int:
    return (day.toordinal() - _EPOCH_DAY) * 86_400_000


def _first_second_of(day: date, zone: ZoneInfo) -> int:
    """The first instant of a local day: midnight, or the jump that skipped it."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    second = _seconds(midnight)
    if _local(second, zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return second
    return _find_jump(_seconds(midnight.replace(fold=1)) - 1, second, zone)


def _find_jump(low: int, high: int, zone: ZoneInfo) -> int:
    """The first second in (low, high] whose offset is not that of `low`."""
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _local(second: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(seconds=second)).astimezone(zone)


def _local_date(second: int, zone: ZoneInfo) -> date:
    return _local(second, zone).date()


def _offset(second: int, zone: ZoneInfo) -> int:
    offset = _local(second, zone).utcoffset()
    assert offset is not None, "a zone always knows its offset"
    return round(offset.total_seconds())


def _seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)
