"""When people come to the demo's shop: hours, weekdays, promotions.

Invariant: hours are those of the visitor's own clock; a day is as busy whenever it is asked about.
Episodes repeat every 42 days from the opening [workers 6.3].
"""

from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from random import Random  # noqa: TID251 the dice of a story
from typing import Final
from zoneinfo import ZoneInfo

from appliance.domain.shop.devices import Kind
from appliance.domain.shop.places import City

OPENED: Final = date(2025, 1, 1)
CYCLE_DAYS: Final = 42
PROMOTION: Final = range(14, 19)
PUSH_DAY: Final = 28
_PROMOTED: Final = 1.45
_PUSHED: Final = 1.15
# Monday to Sunday.
WEEKDAYS: Final = (1.05, 1.0, 1.05, 1.1, 1.3, 1.7, 1.5)
_SATURDAY: Final = 5

# Sessions by hour: at a desk there is work and an evening, with a telephone a commute and a sofa.
_DESK: Final = (2, 1, 1, 1, 1, 2, 3, 5, 8, 11, 12, 12, 11, 11, 12, 11, 10, 9, 9, 11, 13, 12, 8, 4)
_POCKET: Final = (4, 2, 1, 1, 1, 3, 7, 10, 9, 6, 6, 7, 10, 8, 6, 6, 8, 10, 10, 12, 15, 16, 13, 8)
_WEEKEND: Final = (
    5,
    3,
    2,
    1,
    1,
    1,
    2,
    4,
    7,
    10,
    13,
    14,
    13,
    13,
    13,
    13,
    12,
    11,
    11,
    12,
    13,
    13,
    11,
    8,
)
_CURVES: Final = {
    name: tuple(accumulate(curve))
    for name, curve in (("desk", _DESK), ("pocket", _POCKET), ("weekend", _WEEKEND))
}
_HOURS: Final = range(24)
_BLEND: Final = tuple(desk + pocket for desk, pocket in zip(_DESK, _POCKET, strict=True))
_BUSIEST: Final = max(_BLEND) * max(WEEKDAYS)


def is_promotion(day: date) -> bool:
    """Whether the shop has a sale."""
    return _of_cycle(day) in PROMOTION


def is_push_day(day: date) -> bool:
    """Whether members are called by a message on their telephones."""
    return _of_cycle(day) == PUSH_DAY


def day_weight(day: date) -> float:
    """How busy a day is; a quiet Tuesday is 1."""
    weight = WEEKDAYS[day.weekday()]
    if is_promotion(day):
        weight *= _PROMOTED
    return weight * _PUSHED if is_push_day(day) else weight


def busyness(moment: datetime) -> float:
    """The share of the busiest hour's traffic that belongs to an instant, all places together.

    Above 0; above 1 only in promotions.
    """
    return _BLEND[moment.hour] * day_weight(moment.date()) / _BUSIEST


def start_within(day: date, kind: Kind, city: City, dice: Random) -> int:
    """When a session of a local day begins, in milliseconds since 1970."""
    curve = "weekend" if day.weekday() >= _SATURDAY else ""
    curve = curve or ("desk" if kind is Kind.DESKTOP else "pocket")
    (hour,) = dice.choices(_HOURS, cum_weights=_CURVES[curve])
    local = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(city.timezone))
    return int(local.timestamp() * 1000) + dice.randrange(3_600_000)


def suits(at_ms: int, kind: Kind, city: City, dice: Random) -> bool:
    """Whether somebody comes at this instant, by their own clock; for the choice of who does."""
    local = datetime.fromtimestamp(at_ms / 1000, tz=ZoneInfo(city.timezone))
    curve = _WEEKEND if local.weekday() >= _SATURDAY else _POCKET
    if local.weekday() < _SATURDAY and kind is Kind.DESKTOP:
        curve = _DESK
    return dice.random() * max(curve) < curve[local.hour]


def day_of(at_ms: int) -> date:
    """The day of an instant, UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).date()


def _of_cycle(day: date) -> int:
    return (day - OPENED).days % CYCLE_DAYS
