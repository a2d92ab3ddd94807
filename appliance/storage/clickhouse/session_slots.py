"""What a session keeps of its first and last event, in one place for all who read it.

Invariant: the order is that of the texts in migration 0003 and of the columns in 0008; a later
value is appended.
"""

from typing import Final, LiteralString

from appliance.domain.insights.dimensions import Promoted

SLOTS: Final[dict[Promoted, LiteralString]] = {
    Promoted.COUNTRY: "country",
    Promoted.REGION: "region",
    Promoted.CITY: "city",
    Promoted.BROWSER: "browser",
    Promoted.OS: "os",
    Promoted.DEVICE: "device",
    Promoted.PLATFORM: "platform",
    Promoted.URL: "url",
    Promoted.UTM_SOURCE: "utm_source",
    Promoted.UTM_MEDIUM: "utm_medium",
    Promoted.UTM_CAMPAIGN: "utm_campaign",
    Promoted.PATHNAME: "pathname",
    Promoted.REFERRER_DOMAIN: "referrer_domain",
    Promoted.CHANNEL: "channel",
    Promoted.UTM_TERM: "utm_term",
    Promoted.UTM_CONTENT: "utm_content",
}
"""Each value and its column."""

ENDS: Final[tuple[tuple[LiteralString, LiteralString], ...]] = (
    ("entry", r"splitByChar('\0', substring(min(entry), 25))"),
    ("exit", r"splitByChar('\0', substring(max(exit), 25))"),
)
"""Both ends of a session, and how their values are read out of the roll-up, as one list."""
