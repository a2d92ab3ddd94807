"""What the demo's shoppers hold in their hands, and which version of the app is on it.

Invariant: names are the ones that are stored for real visitors (`Google Chrome`, `macOS`), so that
demo and real traffic have the same filters [workers 6.3]. A release of the app comes every eight
weeks; everybody takes it when they do, which follows from who they are.
"""

import random  # noqa: TID251 repeatable; nothing secret comes from it
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.shop.lines import read_lines

DAY_MS: Final = 86_400_000
EPOCH_MS: Final = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000
"""When the shop opened, and the first release came."""

RELEASE_MS: Final = 56 * DAY_MS
CRASHING_MS: Final = 3 * DAY_MS
"""How long a fresh release crashes more often."""

_ADOPTED_DAYS: Final = 2.0
_LATECOMERS: Final = 0.12
_LATECOMERS_DAYS: Final = 35.0


class Kind(StrEnum):
    """Where a visit takes place."""

    DESKTOP = "desktop"
    MOBILE = "mobile"
    APP = "app"


class Device(Struct, frozen=True, kw_only=True):
    """A device; `platform` is `web`, `ios` or `android`, the sizes are in pixels."""

    kind: Kind
    platform: str
    browser: str
    browser_version: str
    os: str
    os_version: str
    name: str
    width: int
    height: int
    weight: int


_LINES: Final = """
desktop|web|Google Chrome|147|Windows|11||1920|1080|15
desktop|web|Google Chrome|147|Windows|10||1536|864|7
desktop|web|Microsoft Edge|147|Windows|11||1920|1080|6
desktop|web|Firefox|150|Windows|10||1680|1050|3
desktop|web|Google Chrome|147|macOS|15.5|Mac|1728|1117|8
desktop|web|Safari|19.1|macOS|15.5|Mac|1512|982|8
desktop|web|Firefox|150|Linux|||1920|1200|3
desktop|web|Google Chrome|147|Chrome OS|||1366|768|2
mobile|web|Safari|19.1|iOS|19.1|iPhone|390|844|8
mobile|web|Safari|18.6|iOS|18.6|iPhone|375|812|3
mobile|web|Google Chrome|147|Android|16|Pixel 9|412|915|4
mobile|web|Google Chrome|147|Android|15|SM-S931B|360|780|4
mobile|web|Samsung Internet|28.0|Android|15|SM-A556B|360|800|2
mobile|web|Safari|19.1|iOS|19.1|iPad|820|1180|1
app|ios|||iOS|19.1|iPhone17,1|393|852|10
app|ios|||iOS|18.6|iPhone14,5|390|844|5
app|ios|||iOS|19.1|iPad14,3|834|1194|2
app|android|||Android|16|Pixel 9|412|915|6
app|android|||Android|15|SM-S931B|360|780|6
"""


DEVICES: Final = read_lines(_LINES, Device)


def release_at(at_ms: int) -> int:
    """The number of the newest release, counted from 0."""
    return max(0, (at_ms - EPOCH_MS) // RELEASE_MS)


def release_on(owner: str, at_ms: int) -> int:
    """The release that somebody's app has."""
    newest = release_at(at_ms)
    for number in range(newest, max(newest - 3, 0), -1):
        dice = random.Random(f"{owner}/release/{number}")  # noqa: S311 a story, not a secret
        days = _LATECOMERS_DAYS if dice.random() < _LATECOMERS else _ADOPTED_DAYS
        taken_ms = EPOCH_MS + number * RELEASE_MS + int(dice.expovariate(1 / days) * DAY_MS)
        if taken_ms <= at_ms:
            return number
    return max(newest - 3, 0)


def is_fresh(number: int, at_ms: int) -> bool:
    """Whether a release came out within the days in which it crashes more often."""
    return at_ms - (EPOCH_MS + number * RELEASE_MS) < CRASHING_MS


def version_of(number: int) -> str:
    """What a release is called."""
    return f"{2 + number // 6}.{number % 6}.0"
