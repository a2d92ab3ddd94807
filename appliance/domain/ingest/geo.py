"""Geography from the headers of a content delivery network, or from the address [ingestion 5].

Invariant: `$ip` never passes; a usable value overwrites what the client sent, an unusable one
leaves it alone. Headers that name any place are believed alone: the place of the address then only
adds the operator's site. Pure; which headers get here is decided in `api/address.py`, what an
address tells in `services/places.py`.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import Properties, PropertyValue

SITE_KEY: Final = "$site"
"""The name of the operator's site; ours, beside the contract's keys."""

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class GeoHeader(Struct, frozen=True):
    """One header, the property it becomes, and the values that mean "unknown" (exact letters)."""

    header: str
    property: str
    sentinels: tuple[str, ...] = ()
    is_number: bool = False


GEO_HEADERS: Final = (
    GeoHeader("cf-ipcontinent", "$continent"),
    GeoHeader("cf-ipcountry", "$country", ("XX", "T1")),
    GeoHeader("cf-region", "$region", ("Unknown",)),
    GeoHeader("cf-ipcity", "$city", ("Unknown",)),
    GeoHeader("cf-postal-code", "$postalCode"),
    GeoHeader("cf-metro-code", "$metroCode"),
    GeoHeader("cf-iplatitude", "$latitude", is_number=True),
    GeoHeader("cf-iplongitude", "$longitude", is_number=True),
    GeoHeader("cf-timezone", "$timezone"),
)


class Geography(Struct, frozen=True):
    """Properties to write on every event of a request, and how many numbers did not parse."""

    properties: Properties
    numbers_unparseable: int = 0


def properties_to_write(
    geography: Geography, place: Mapping[str, PropertyValue]
) -> Mapping[str, PropertyValue]:
    """What is written on every event: the place that headers name, else that of the address."""
    if not geography.properties:
        return place
    site = place.get(SITE_KEY)
    return geography.properties if site is None else {**geography.properties, SITE_KEY: site}


def locate(headers: Mapping[str, str]) -> Geography:
    """The geography that lower-cased request headers tell [ingestion 5, geo_headers].

    A coordinate that is no finite number is kept as text, NaN and infinities too [ingestion 16.7].
    """
    properties: Properties = {}
    unparseable = 0
    for rule in GEO_HEADERS:
        value = headers.get(rule.header, "")
        if not value or value in rule.sentinels:
            continue
        number = _finite(value) if rule.is_number else None
        properties[rule.property] = value if number is None else number
        unparseable += rule.is_number and number is None
    return Geography(properties, unparseable)


def _finite(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None
