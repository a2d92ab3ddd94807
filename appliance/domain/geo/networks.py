"""The operator's own networks: what a table of them looks like, and whose an address is.

Invariant: the smallest network that holds an address decides, alone; a table with one bad line is
refused as a whole, with every bad line named. An address of no network belongs to none.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError, Violation
from appliance.domain.geo.place import TEXT_CHARACTERS_MAX, Place, is_on_earth
from appliance.domain.ingest.event import Properties
from appliance.domain.ingest.geo import SITE_KEY

NETWORKS_MAX: Final = 100_000
TABLE_BYTES_MAX: Final = 64 << 20
PROBLEMS_TOLD_MAX: Final = 20
COLUMNS: Final = (
    "network",
    "site",
    "continent",
    "country",
    "region",
    "city",
    "postal_code",
    "timezone",
    "latitude",
    "longitude",
)
"""Columns of the table; only the first must be there, and their order is free."""

_TEXTS: Final = ("site", "continent", "country", "region", "city", "postal_code", "timezone")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_NO_COUNTRY: Final = ("XX", "T1")
"""What [ingestion 5] takes for "unknown"."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_HEADINGS: Final = {"cidr": "network", "lat": "latitude", "lon": "longitude", "lng": "longitude"}

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class OwnNetwork(Struct, frozen=True, kw_only=True):
    """A network of the operator, the site it belongs to and where that is."""

    network: str
    site: str = ""
    place: Place = Place()


def parse_networks(content: bytes) -> tuple[OwnNetwork, ...]:
    """The networks of a CSV table (UTF-8, comma or semicolon) with a line of headings.

    Raises InvalidInputError (`INVALID_NETWORKS`) naming every bad line, the first twenty of them.
    """
    if len(content) > TABLE_BYTES_MAX:
        raise _refused("the table is larger than 64 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("the table is not UTF-8 text") from error
    first, _, _ = text.partition("\n")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise _refused(f"line {reader.line_num} is not CSV: {error}") from error
    if not numbered:
        raise _refused("the table is empty")
    return _read_rows(_check_headings(numbered[0][1]), numbered[1:])


def _check_headings(row: list[str]) -> list[str]:
    found = [heading.strip().lower().replace(" ", "_") for heading in row]
    headings = [_HEADINGS.get(heading, heading) for heading in found]
    unknown = [heading for heading in headings if heading not in COLUMNS]
    if "network" not in headings or unknown or len(set(headings)) != len(headings):
        told = f"; {unknown[0]!r} is none of them" if unknown else ""
        raise _refused(f"the first line names the columns, of {', '.join(COLUMNS)}{told}")
    return headings


def _read_rows(
    headings: list[str], numbered: Iterable[tuple[int, list[str]]]
) -> tuple[OwnNetwork, ...]:
    found: dict[str, OwnNetwork] = {}
    problems: list[Violation] = []
    for line, row in numbered:
        if not any(cell.strip() for cell in row):
            continue
        try:
            if len(row) != len(headings):
                raise ValueError(f"{len(row)} cells under {len(headings)} headings")  # noqa: TRY301 the line's problem
            own = _read_row({key: cell.strip() for key, cell in zip(headings, row, strict=True)})
            if own.network in found:
                raise ValueError(f"{own.network} stands there twice")  # noqa: TRY301 the line's problem
        except ValueError as error:
            problems.append(Violation(field=f"line {line}", description=str(error)))
            continue
        found[own.network] = own
        if len(found) > NETWORKS_MAX:
            raise _refused(f"the table has more than {NETWORKS_MAX} networks")
    if problems:
        told = "; ".join(f"{one.field}: {one.description}" for one in problems[:PROBLEMS_TOLD_MAX])
        raise _refused(f"{len(problems)} bad lines: {told}", tuple(problems[:PROBLEMS_TOLD_MAX]))
    return tuple(found.values())


def _read_row(cells: Mapping[str, str]) -> OwnNetwork:
    texts = {key: cells.get(key, "") for key in _TEXTS}
    for key, text in texts.items():
        if len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
            raise ValueError(f"{key} is printable text of at most {TEXT_CHARACTERS_MAX} characters")
    country = texts["country"].upper()
    if country and (not _COUNTRY.fullmatch(country) or country in _NO_COUNTRY):
        raise ValueError(f"{texts['country']!r} is no country of two letters, like AT")
    continent = texts["continent"].upper()
    if continent and not _COUNTRY.fullmatch(continent):
        raise ValueError(f"{texts['continent']!r} is no continent of two letters, like EU")
    latitude, longitude = _read_coordinates(cells.get("latitude", ""), cells.get("longitude", ""))
    own = OwnNetwork(
        network=str(_read_network(cells["network"])),
        site=texts["site"],
        place=Place(
            continent=continent,
            country=country,
            region=texts["region"],
            city=texts["city"],
            postal_code=texts["postal_code"],
            timezone=texts["timezone"],
            latitude=latitude,
            longitude=longitude,
        ),
    )
    if not own.site and not own.place.properties:
        raise ValueError("says nothing about the network")
    return own


def _read_network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network like 10.1.0.0/16 or fd00:1::/32") from error
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} is an IPv4 network; write it as one")
    return network


def _read_coordinates(latitude: str, longitude: str) -> tuple[float | None, float | None]:
    if not latitude and not longitude:
        return None, None
    if not (_NUMBER.fullmatch(latitude) and _NUMBER.fullmatch(longitude)):
        raise ValueError("coordinates are two numbers like 47.0707 and 15.4395, or none")
    if not is_on_earth(float(latitude), float(longitude)):
        raise ValueError("latitude is -90 to 90, longitude -180 to 180")
    return float(latitude), float(longitude)


def _refused(problem: str, violations: tuple[Violation, ...] = ()) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_NETWORKS",
        problem,
        hint="see docs/geo.md; nothing was changed",
        violations=violations,
    )


class NetworkTable:
    """Finds the smallest network of an address: one look-up for each length of prefix in use.

    `add` may be called while nobody asks yet.
    """

    def __init__(self, networks: Iterable[OwnNetwork] = ()) -> None:
        self._by_length: dict[int, dict[int, dict[int, OwnNetwork]]] = {4: {}, 6: {}}
        self._shifts: dict[int, tuple[tuple[int, dict[int, OwnNetwork]], ...]] = {4: (), 6: ()}
        self.add(networks)

    def add(self, networks: Iterable[OwnNetwork]) -> None:
        """Take in more networks."""
        for own in networks:
            network = ip_network(own.network)
            host_bits = network.max_prefixlen - network.prefixlen
            same = self._by_length[network.version].setdefault(host_bits, {})
            same[int(network.network_address) >> host_bits] = own
        for version, lengths in self._by_length.items():
            self._shifts[version] = tuple(sorted(lengths.items(), key=lambda one: one[0]))

    def __len__(self) -> int:
        return sum(len(same) for by in self._by_length.values() for same in by.values())

    def find(self, address: Address) -> OwnNetwork | None:
        """The smallest network that holds an address, or None."""
        number = int(address)
        for host_bits, same in self._shifts[address.version]:
            own = same.get(number >> host_bits)
            if own is not None:
                return own
        return None


def parse_address(text: str) -> Address:
    """An address literal, IPv4 in IPv6 clothes unwrapped; raises InvalidInputError."""
    try:
        address = ip_address(text.strip())
    except ValueError as error:
        raise InvalidInputError("INVALID_ADDRESS", f"{text!r} is no address") from error
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def own_properties(own: OwnNetwork) -> Properties:
    """What the operator says about a network: the place and the name of the site."""
    known = own.place.properties
    if own.site:
        known[SITE_KEY] = own.site
    return known
