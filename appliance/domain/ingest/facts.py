"""What the request tells about its sender, and what the steps count.

Invariant: only headers named in `FACT_HEADERS` get in, with lower-cased names; address and user
agent never leave the request except as derived properties [ingestion 4.6].
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import PropertyValue

CDN_HEADERS: Final = frozenset(
    {
        "cf-connecting-ip",
        "true-client-ip",
        "cf-ipcontinent",
        "cf-ipcountry",
        "cf-region",
        "cf-ipcity",
        "cf-postal-code",
        "cf-metro-code",
        "cf-iplatitude",
        "cf-iplongitude",
        "cf-timezone",
        "cf-bot-score",
        "cf-verified-bot",
    }
)
"""What a content network tells of the caller [ingestion 4.1, 5, 7]."""

FACT_HEADERS: Final = CDN_HEADERS | {"user-agent", "x-forwarded-for"}
"""The only request headers that ingestion reads, lower-cased."""


class RequestFacts(Struct, frozen=True, kw_only=True):
    """Headers and peer of one request, assumed to come from one SDK instance [ingestion 1].

    `place` is what the address tells, found before the chain runs; the address is not in it.
    """

    headers: Mapping[str, str] = {}
    peer: str = ""
    place: Mapping[str, PropertyValue] = {}

    @property
    def user_agent(self) -> str:
        """The raw `User-Agent`, empty when missing."""
        return self.headers.get("user-agent", "")


def gather_facts(headers: Iterable[tuple[str, str]], *, peer: str = "") -> RequestFacts:
    """The facts among a request's headers; of a repeated header the first counts."""
    kept: dict[str, str] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in FACT_HEADERS:
            kept.setdefault(lowered, value)
    return RequestFacts(headers=kept, peer=peer)


class Count(StrEnum):
    """What the steps count: metric name, then the label that tells cases apart [ingestion 15]."""

    IP_STRIPPED = "events.ip_stripped_total:client"
    BOT_SCORE_UNPARSEABLE = "events.cdn_header_parse_failed_total:CF-Bot-Score"
    VERIFIED_BOT_UNPARSEABLE = "events.cdn_header_parse_failed_total:CF-Verified-Bot"
    URL_NOT_WEB = "events.attribution_derive_degraded_total:url_not_web"
    GEO_NOT_A_NUMBER = "events.property_dropped_total:parse_failed"

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.value.partition(":")[0]

    @property
    def label(self) -> str:
        """The value of the label that tells cases of one metric apart."""
        return self.value.partition(":")[2]
