"""A place as properties of events: what each source may say, and in which words.

Invariant: an address is never part of a place; a source names a place as a whole or not at all, so
that the city of one source never stands beside the country of another. The name of the operator's
site is no place and stands beside any. Who asks which source: `services/places.py`.
"""

import math
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import Properties

TEXT_CHARACTERS_MAX: Final = 1024
"""As long as a property may be that a client sends [ingestion 2]."""


class Place(Struct, frozen=True, kw_only=True):
    """Where something is; what is not known is empty or None.

    `country` is ISO 3166-1 alpha-2, `continent` two letters, coordinates are degrees.
    """

    continent: str = ""
    country: str = ""
    region: str = ""
    city: str = ""
    postal_code: str = ""
    timezone: str = ""
    metro_code: str = ""
    latitude: float | None = None
    longitude: float | None = None

    @property
    def properties(self) -> Properties:
        """What is known, under the names of [ingestion 5]."""
        texts = (
            ("$continent", self.continent),
            ("$country", self.country),
            ("$region", self.region),
            ("$city", self.city),
            ("$postalCode", self.postal_code),
            ("$metroCode", self.metro_code),
            ("$timezone", self.timezone),
        )
        known: Properties = {key: text for key, text in texts if text}
        if self.latitude is not None and self.longitude is not None:
            known["$latitude"] = self.latitude
            known["$longitude"] = self.longitude
        return known


def is_on_earth(latitude: float, longitude: float) -> bool:
    """Whether two numbers are degrees of a place; not-a-number is none."""
    return (
        math.isfinite(latitude)
        and math.isfinite(longitude)
        and abs(latitude) <= 90  # noqa: PLR2004 degrees
        and abs(longitude) <= 180  # noqa: PLR2004 degrees
    )
