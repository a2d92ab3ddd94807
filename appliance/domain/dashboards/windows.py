"""The window of a board: a named span that ends now [dashboards 4].

Invariant: `to` is always `now`; hour spans are exact, day spans begin at a local midnight. A name
nobody knows means the last thirty days, as it does where it is stored.
"""

from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.window import load_zone


class Preset(StrEnum):
    """The named spans; the value is the stored name."""

    LAST_1_HOUR = "TIME_RANGE_PRESET_LAST_1_HOUR"
    LAST_6_HOURS = "TIME_RANGE_PRESET_LAST_6_HOURS"
    LAST_24_HOURS = "TIME_RANGE_PRESET_LAST_24_HOURS"
    LAST_7_DAYS = "TIME_RANGE_PRESET_LAST_7_DAYS"
    LAST_14_DAYS = "TIME_RANGE_PRESET_LAST_14_DAYS"
    LAST_30_DAYS = "TIME_RANGE_PRESET_LAST_30_DAYS"
    LAST_90_DAYS = "TIME_RANGE_PRESET_LAST_90_DAYS"
    LAST_180_DAYS = "TIME_RANGE_PRESET_LAST_180_DAYS"
    LAST_365_DAYS = "TIME_RANGE_PRESET_LAST_365_DAYS"


_HOURS: Final = {Preset.LAST_1_HOUR: 1, Preset.LAST_6_HOURS: 6, Preset.LAST_24_HOURS: 24}
_DAYS: Final = {
    Preset.LAST_7_DAYS: 7,
    Preset.LAST_14_DAYS: 14,
    Preset.LAST_30_DAYS: 30,
    Preset.LAST_90_DAYS: 90,
    Preset.LAST_180_DAYS: 180,
    Preset.LAST_365_DAYS: 365,
}


def parse_preset(name: str) -> Preset:
    """The span of that name; thirty days for any other name."""
    try:
        return Preset(name)
    except ValueError:
        return Preset.LAST_30_DAYS


def zone_or_utc(name: str) -> ZoneInfo:
    """The zone of that name; UTC for one that cannot be loaded: each tile then tells why."""
    try:
        return load_zone(name)
    except InvalidInputError:
        return load_zone("")


def resolve_preset(preset: Preset, now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From when to when, in UTC.

    Days are stepped back on the UTC clock and then cut to the local date [dashboards 4].
    """
    hours = _HOURS.get(preset)
    if hours is not None:
        return now - timedelta(hours=hours), now
    earliest = (now - timedelta(days=_DAYS[preset] - 1)).astimezone(zone)
    midnight = datetime.combine(earliest.date(), time(), tzinfo=zone)
    return midnight.astimezone(UTC), now
