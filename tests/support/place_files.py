"""Databases of places in MaxMind's format, written for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mmdb_writer import MMDBWriter
from netaddr import IPSet

LONDON: Final[dict[str, Any]] = {  # a record as MaxMind's City databases have it
    "continent": {"code": "EU", "names": {"en": "Europe"}},
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "subdivisions": [
        {"iso_code": "ENG", "names": {"de": "England", "en": "England"}},
        {"iso_code": "WBK", "names": {"en": "West Berkshire"}},
    ],
    "city": {"names": {"de": "London", "en": "London"}},
    "postal": {"code": "W1"},
    "location": {"latitude": 51.5142, "longitude": -0.0931, "time_zone": "Europe/London"},
}
GRAZ: Final[dict[str, Any]] = {  # a flat record, as some makers have it
    "country_code": "AT",
    "state1": "Styria",
    "city": "Graz",
    "postcode": "8010",
    "latitude": "47.0707",
    "longitude": "15.4395",
    "timezone": "Europe/Vienna",
}
LONDON_ADDRESS: Final = "81.2.69.142"
GRAZ_ADDRESS: Final = "2001:db8:8010::1"
WORLD: Final[dict[str, Mapping[str, object]]] = {
    "81.2.69.0/24": LONDON,
    "2001:db8:8010::/48": GRAZ,
}


def write_places(
    path: Path, places: Mapping[str, Mapping[str, object]] = WORLD, *, ip_version: int = 6
) -> Path:
    """A database of these networks and records."""
    writer = MMDBWriter(
        ip_version=ip_version,
        database_type="Test-City",
        languages=["en"],
        ipv4_compatible=ip_version == 6,
    )
    for network, record in places.items():
        writer.insert_network(IPSet([network]), dict(record))
    writer.to_db_file(str(path))
    return path
