"""The promoted properties, and which of them the roll-ups know.

Invariant: the three sets are exactly those of [storage 2.2]: 26 promoted properties, 20 dimensions
of the event roll-up, 16 of the session roll-up. `storage/clickhouse/columns.py` gives each member
its column and ends its match with `assert_never`.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError

COHORT: Final = "$cohort"
"""The reserved name of a filter on membership (docs/decisions/0034)."""


class Promoted(StrEnum):
    """Properties with a column of their own, by the key that clients send."""

    BOT_SCORE = "$bot_score"
    VERIFIED_BOT = "$verified_bot"
    MOBILE = "$mobile"
    COUNTRY = "$country"
    REGION = "$region"
    CITY = "$city"
    BROWSER = "$browser"
    BROWSER_VERSION = "$browserVersion"
    OS = "$os"
    OS_VERSION = "$osVersion"
    DEVICE = "$device"
    PLATFORM = "$platform"
    URL = "$url"
    UTM_SOURCE = "$utmSource"
    UTM_MEDIUM = "$utmMedium"
    UTM_CAMPAIGN = "$utmCampaign"
    PATHNAME = "$pathname"
    HOSTNAME = "$hostname"
    REFERRER = "$referrer"
    REFERRER_DOMAIN = "$referrerDomain"
    CHANNEL = "$channel"
    LOCALE = "$locale"
    SCREEN_SIZE = "$screenSize"
    UTM_TERM = "$utmTerm"
    UTM_CONTENT = "$utmContent"
    PAGE_TITLE = "$pageTitle"


_TYPED: Final = frozenset({Promoted.BOT_SCORE, Promoted.VERIFIED_BOT, Promoted.MOBILE})

EVENT_DIMENSIONS: Final = frozenset(Promoted) - {
    *_TYPED,
    Promoted.URL,
    Promoted.REFERRER,
    Promoted.PAGE_TITLE,
}
"""What the event roll-up can be split by."""

SESSION_DIMENSIONS: Final = frozenset(Promoted) - {
    *_TYPED,
    Promoted.BROWSER_VERSION,
    Promoted.OS_VERSION,
    Promoted.HOSTNAME,
    Promoted.REFERRER,
    Promoted.LOCALE,
    Promoted.SCREEN_SIZE,
    Promoted.PAGE_TITLE,
}
"""What the session roll-up can be split by, for the first and the last event alike."""

_BY_KEY: Final = {str(promoted): promoted for promoted in Promoted}


class PromotedProperty(Struct, frozen=True):
    """A property in its own column."""

    promoted: Promoted


class AutoProperty(Struct, frozen=True):
    """A `$` key that is in the auto map only."""

    key: str


class CustomProperty(Struct, frozen=True):
    """A key without `$`.

    The auto map never has such a key [ingestion 2], so the rule "auto map first, else custom map"
    [insights 4.1] means the custom map, and half the bytes are read.
    """

    key: str


class ProfileProperty(Struct, frozen=True):
    """A property of the person; dots lead into nested objects."""

    path: tuple[str, ...]


EventProperty = PromotedProperty | AutoProperty | CustomProperty
Property = EventProperty | ProfileProperty


def resolve_property(key: str) -> EventProperty:
    """Where the value of an event's property is looked up [insights 4.1].

    Raises InvalidInputError (`INVALID_INSIGHT_QUERY`) for the name that no property has.
    """
    if key == COHORT:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "$cohort can be filtered by only")
    promoted = _BY_KEY.get(key)
    if promoted is not None:
        return PromotedProperty(promoted)
    return AutoProperty(key) if key.startswith("$") else CustomProperty(key)


def find_promoted(key: str) -> Promoted | None:
    """The promoted property of that key, if it is one."""
    return _BY_KEY.get(key)
