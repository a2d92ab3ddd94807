"""Events, days and sums as messages of `shared.activity.v1` [dashboards 12 to 14].

Invariant: a property is sent as it was stored, integers as doubles, instants as RFC 3339 text;
promoted columns stand among the auto properties again, as text.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from msgspec import Struct
from protobuf.wkt import Struct as JsonObject

from appliance.domain.cursors import instant
from appliance.domain.ingest.event import Broken, Instant, PropertyValue
from appliance.domain.people.answers import timestamp_of
from appliance.domain.people.person import Activity
from appliance.gen.shared.activity.v1.activity_pb import ActivityEvent, HeatmapDay, ProfileStats


class StoredEvent(Struct, frozen=True, kw_only=True):
    """An event as the store has it, promoted columns already among the auto properties."""

    event_id: str
    kind: str
    distinct_id: str
    occur_ms: int
    session_id: str
    auto: Mapping[str, PropertyValue]
    custom: Mapping[str, PropertyValue]


class Day(Struct, frozen=True, kw_only=True):
    """How many events somebody had on a UTC day."""

    day: date
    events: int


def render_event(event: StoredEvent) -> ActivityEvent:
    """An event of the feed or the explorer."""
    return ActivityEvent(
        event_id=event.event_id,
        kind=event.kind,
        distinct_id=event.distinct_id,
        occur_time=timestamp_of(event.occur_ms * 1000),
        session_id=event.session_id,
        auto_properties=_properties(event.auto),
        custom_properties=_properties(event.custom),
    )


def render_days(days: Sequence[Day]) -> list[HeatmapDay]:
    """The days of a heatmap."""
    return [HeatmapDay(date=each.day.isoformat(), count=each.events) for each in days]


def render_stats(activity: Activity) -> ProfileStats:
    """What somebody did, summed up."""
    return ProfileStats(
        first_seen=timestamp_of(activity.first_ms * 1000),
        last_seen=timestamp_of(activity.last_ms * 1000),
        total_events=activity.events,
        browser=activity.browser,
        browser_version=activity.browser_version,
        os=activity.os,
        os_version=activity.os_version,
        device=activity.device,
        country=activity.country,
        city=activity.city,
    )


def _properties(values: Mapping[str, PropertyValue]) -> JsonObject:
    return JsonObject.from_python({key: _sent(value) for key, value in values.items()})


def _sent(value: PropertyValue) -> str | float | bool:
    if isinstance(value, Instant):
        return instant(value.milliseconds * 1000)
    assert not isinstance(value, Broken), "a broken value was stored"
    return value
