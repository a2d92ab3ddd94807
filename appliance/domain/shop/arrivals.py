"""How visitors find the demo's shop: campaigns, search, friends, or by heart.

Invariant: what a visit says of its source is what a browser would say, an address and a referrer;
the channel is derived as for everybody [workers 6.3].
"""

from itertools import accumulate
from random import Random  # noqa: TID251 the dice of a story
from typing import Final

from msgspec import Struct

CAMPAIGN_SHARE: Final = 0.25
PROMOTION_SHARE: Final = 0.45

_CAMPAIGNS: Final = (
    ("utm_source=newsletter&utm_medium=email&utm_campaign=green-letter", "", 26),
    ("utm_source=google&utm_medium=cpc&utm_campaign=brand&utm_term=plants", "google", 22),
    ("utm_source=instagram&utm_medium=paid_social&utm_campaign=shelves", "instagram", 14),
    ("utm_source=facebook&utm_medium=cpc&utm_campaign=back-again", "facebook", 9),
    ("utm_source=youtube&utm_medium=cpc&utm_campaign=repotting", "youtube", 6),
    ("utm_source=leafnews&utm_medium=display&utm_campaign=banner", "leafnews", 6),
    ("utm_source=partner&utm_medium=affiliate&utm_campaign=plant-blogs", "blog", 6),
    ("utm_source=instagram&utm_medium=social&utm_campaign=tips&utm_content=story", "instagram", 6),
    ("utm_source=parcel&utm_medium=qr&utm_campaign=leaflet", "", 3),
    ("utm_source=maps&utm_medium=ppc&utm_campaign=near-you", "", 2),
)
_SITES: Final = (
    ("", 33),
    ("google", 27),
    ("bing", 4),
    ("duckduckgo", 4),
    ("instagram", 7),
    ("pinterest", 5),
    ("reddit", 4),
    ("youtube", 5),
    ("blog", 5),
    ("own", 6),
)
_REFERRERS: Final = {
    "": "",
    "google": "https://www.google.com/",
    "bing": "https://www.bing.com/",
    "duckduckgo": "https://duckduckgo.com/",
    "instagram": "https://l.instagram.com/",
    "facebook": "https://m.facebook.com/",
    "pinterest": "https://www.pinterest.com/",
    "reddit": "https://www.reddit.com/r/houseplants",
    "youtube": "https://www.youtube.com/",
    "leafnews": "https://leafnews.example/",
    "blog": "https://windowsill.example/ten-ferns",
    "own": "https://journal.shop.example/",
}
_CAMPAIGN_SHARES: Final = tuple(accumulate(weight for *_, weight in _CAMPAIGNS))
_SITE_SHARES: Final = tuple(accumulate(weight for _, weight in _SITES))


class Arrival(Struct, frozen=True):
    """The query of the first address, and the page before it; both may be empty."""

    query: str
    referrer: str


def arrive(dice: Random, *, promoted: bool) -> Arrival:
    """How somebody comes this time."""
    if dice.random() < (PROMOTION_SHARE if promoted else CAMPAIGN_SHARE):
        query, site, _ = dice.choices(_CAMPAIGNS, cum_weights=_CAMPAIGN_SHARES)[0]
        return Arrival(query, _REFERRERS[site])
    site, _ = dice.choices(_SITES, cum_weights=_SITE_SHARES)[0]
    return Arrival("", _REFERRERS[site])
