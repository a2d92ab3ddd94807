"""Geography from the headers of a content delivery network [ingestion 5].

Invariant: `$ip` never passes; a usable header overwrites what the client sent, an unusable one
leaves it alone. Pure; another provider would be another function of this shape.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import Properties

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
