"""What a session keeps of its first and last event, in one place for all who read it.

Invariant: the order is that of the texts in migration 0003 and of the columns in 0008; a later
value is appended.
"""

from typing import Final, LiteralString

from appliance.domain.insights.dimensions import Promoted
from appliance.storage.clickhouse.columns import COLUMNS

SLOTS: Final[dict[Promoted, LiteralString]] = {
    promoted: COLUMNS[promoted]
    for promoted in (
        *(Promoted.COUNTRY, Promoted.REGION, Promoted.CITY, Promoted.BROWSER, Promoted.OS),
        *(Promoted.DEVICE, Promoted.PLATFORM, Promoted.URL, Promoted.UTM_SOURCE),
        *(Promoted.UTM_MEDIUM, Promoted.UTM_CAMPAIGN, Promoted.PATHNAME),
        *(Promoted.REFERRER_DOMAIN, Promoted.CHANNEL, Promoted.UTM_TERM, Promoted.UTM_CONTENT),
    )
}
"""Each value and its column."""

FREE_TEXTS: Final = frozenset({Promoted.CITY, Promoted.URL, Promoted.PATHNAME})
"""Values of which there are too many for a dictionary; their columns in 0008 are plain texts."""

ENDS: Final[tuple[tuple[LiteralString, LiteralString], ...]] = (
    ("entry", r"splitByChar('\0', substring(min(entry), 25))"),
    ("exit", r"splitByChar('\0', substring(max(exit), 25))"),
)
"""Both ends of a session, and how their values are read out of the roll-up, as one list."""
