"""The ten thousand people of the demo: everything about one follows from their number.

Invariant: back-fill, live traffic and a restart agree about everybody without telling one another
anything [workers 6.3]. Nobody here is real; addresses are of a domain that no one can own.
"""

import random  # noqa: TID251 repeatable; nothing secret comes from it
from datetime import UTC, datetime
from functools import cache
from itertools import accumulate
from typing import Final

from msgspec import Struct

from appliance.domain.people.traits import Properties
from appliance.domain.shop.catalogue import CATEGORIES
from appliance.domain.shop.devices import DAY_MS, DEVICES, EPOCH_MS, Device
from appliance.domain.shop.places import CITIES, City

SHOPPERS: Final = 10_000
JOIN_DAYS: Final = 3 * 365
_LOYAL_SHARE: Final = 0.4
_LOYAL_DAYS: Final = 3650.0
_STAY_DAYS: Final = 45.0
_ACTIVITY: Final = (0.25, 12.0)
_ACTIVITY_SIGMA: Final = 0.9
_MEMBERS: Final = 0.3
_NAMED: Final = 0.6
_MERGED: Final = 0.3
"""Of those with a name, who were strangers for a while first."""
_STRANGER_DAYS: Final = 14.0
_FURTHER_DEVICE: Final = 0.35
_DEVICES_MAX: Final = 3
_RICH: Final = 0.2
_FIRST_VISIT_MS: Final = 36 * 3_600_000
_CITY_SHARES: Final = tuple(accumulate(city.weight for city in CITIES))
_DEVICE_SHARES: Final = tuple(accumulate(device.weight for device in DEVICES))
_FIRST_NAMES: Final = (
    "Ada",
    "Bela",
    "Cleo",
    "Dario",
    "Edda",
    "Falk",
    "Gita",
    "Hugo",
    "Ines",
    "Kaia",
)
_LAST_NAMES: Final = (
    "Ahorn",
    "Birk",
    "Cole",
    "Dorn",
    "Farn",
    "Grove",
    "Holm",
    "Ilex",
    "Moss",
    "Linden",
)


class Shopper(Struct, frozen=True, kw_only=True):
    """Somebody; times in milliseconds since 1970.

    `first_ms` begins their first visit, in which they sign up; `named_ms` is when the shop learns
    who they are, None for those who never say.
    """

    number: int
    city: City
    devices: tuple[Device, ...]
    is_member: bool
    first_ms: int
    gone_ms: int
    activity: float
    named_ms: int | None

    @property
    def stranger_id(self) -> str:
        """The id that their client made, whoever they are."""
        return f"user-{self.number:05d}"

    @property
    def external_id(self) -> str:
        """The shop's own number of them."""
        return f"cust_{self.number:06d}"

    @property
    def was_stranger(self) -> bool:
        """Whether they said who they are later than at their first visit."""
        return self.named_ms is not None and self.named_ms > self.first_ms

    def id_at(self, at_ms: int) -> str:
        """The id of what they do at an instant.

        The client of most keeps the id it made; that of late ones takes the shop's own number, as a
        client does that is told on the way.
        """
        changed = self.was_stranger and self.named_ms is not None and self.named_ms <= at_ms
        return self.external_id if changed else self.stranger_id

    def is_around(self, at_ms: int) -> bool:
        """Whether they may come at an instant."""
        return self.first_ms <= at_ms < self.gone_ms


@cache
def shopper(number: int) -> Shopper:
    """Somebody by their number, from 0 to `SHOPPERS - 1`."""
    dice = random.Random(f"shopper/{number}")  # noqa: S311 a story, not a secret
    joined_ms = EPOCH_MS + int(dice.random() * JOIN_DAYS * DAY_MS)
    loyal = dice.random() < _LOYAL_SHARE
    days = _LOYAL_DAYS if loyal else max(1.0, dice.expovariate(1 / _STAY_DAYS))
    activity = min(max(dice.lognormvariate(0, _ACTIVITY_SIGMA), _ACTIVITY[0]), _ACTIVITY[1])
    first_ms = joined_ms + int(dice.random() * _FIRST_VISIT_MS)
    (city,) = dice.choices(CITIES, cum_weights=_CITY_SHARES)
    return Shopper(
        number=number,
        city=city,
        devices=_devices(dice),
        is_member=dice.random() < _MEMBERS,
        first_ms=first_ms,
        gone_ms=first_ms + int(days * DAY_MS),
        activity=activity,
        named_ms=_named_ms(dice, first_ms),
    )


def number_of(distinct_id: str) -> int | None:
    """Whose id this is; None for one that is nobody's, like a bot's."""
    kind, _, digits = distinct_id.replace("cust_", "user-").partition("-")
    if kind != "user" or not digits.isdecimal() or int(digits) >= SHOPPERS:
        return None
    return int(digits)


def traits_of(one: Shopper) -> Properties:
    """What the shop knows of somebody with a name."""
    dice = random.Random(f"shopper/{one.number}/traits")  # noqa: S311 a story, not a secret
    first, last = dice.choice(_FIRST_NAMES), dice.choice(_LAST_NAMES)
    traits: Properties = {
        "name": f"{first} {last}",
        "email": f"{first}.{last}.{one.number}@mail.example".lower(),
        "plan": "member" if one.is_member else "free",
        "city": one.city.name,
        "country": one.city.country,
        "joined": datetime.fromtimestamp(one.first_ms // 1000, tz=UTC).isoformat(),
    }
    if dice.random() < _RICH:
        traits |= {
            "favouriteCategory": dice.choice(CATEGORIES),
            "newsletter": dice.random() < 0.5,  # noqa: PLR2004 a coin
            "loyaltyPoints": dice.randrange(0, 2500, 10),
            "plantsAtHome": dice.randint(1, 60),
            "language": one.city.locale.partition("-")[0],
        }
    return traits


def _devices(dice: random.Random) -> tuple[Device, ...]:
    found: list[Device] = dice.choices(DEVICES, cum_weights=_DEVICE_SHARES)
    while len(found) < _DEVICES_MAX and dice.random() < _FURTHER_DEVICE:
        taken = {(one.kind, one.platform) for one in found}
        others = [one for one in DEVICES if (one.kind, one.platform) not in taken]
        found += dice.choices(others, weights=[one.weight for one in others])
    return tuple(found)


def _named_ms(dice: random.Random, first_ms: int) -> int | None:
    if dice.random() >= _NAMED:
        return None
    if dice.random() >= _MERGED:
        return first_ms
    return first_ms + int(dice.expovariate(1 / _STRANGER_DAYS) * DAY_MS)
