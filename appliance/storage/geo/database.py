"""The database of places that an operator imports: a file in MaxMind's format, mapped into memory.

Invariant: the file in use is never written to: another one takes its name, and whoever has the old
one open reads it to the end. A record that cannot be read tells no place; only opening can fail.
Records of MaxMind's shape and flat ones (`country_code`, `city`, ...) are understood.

The driver's reader in C writes beyond its memory on damaged files, so the one in Python is used;
`_Records` makes up for the time by decoding each record once.
"""

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from typing import Final, cast

from maxminddb.const import MODE_MMAP
from maxminddb.reader import Reader
from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.base.files import PRIVATE_FILE, ensure_folder, flush_folder, unwritable
from appliance.domain.geo.place import TEXT_CHARACTERS_MAX, Place, is_on_earth

DATABASE_BYTES_MAX: Final = 1 << 30
PROBES: Final = 1 << 12
"""Addresses that an import looks up, spread over all there are, and records it reads in order."""

RECORDS_KEPT_MAX: Final = 20_000
"""Places that a reader remembers, by where they stand in the file; about ten megabytes."""

_Record = Mapping[str, object]
_Address = IPv4Address | IPv6Address
_BOTH: Final = 6
"""The `ip_version` of a database with addresses of both kinds."""
_LANGUAGE: Final = "en"
_DAMAGE: Final = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)
"""What the driver raises on the way through a damaged file; InvalidDatabaseError is the first."""


class DatabaseFacts(Struct, frozen=True, kw_only=True):
    """What a database says about itself; `nodes` are those of its search tree."""

    type: str
    built_at: datetime
    ip_version: int
    nodes: int
    bytes: int


class _Records(Reader):
    """The driver's reader, with decoded places remembered by their position, never by address."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, MODE_MMAP)  # pyright: ignore[reportUnknownMemberType] # the driver's records are open
        self._places: dict[int, Place] = {}

    def find(self, address: _Address) -> Place | None:
        """The place of an address; raises one of `_DAMAGE`."""
        pointer, _ = self._find_address_in_tree(bytearray(address.packed))
        if not pointer:
            return None
        place = self._places.get(pointer)
        if place is None:
            record = cast("object", self._resolve_data_pointer(pointer))  # pyright: ignore[reportUnknownMemberType] # as above
            place = _place_of(record)
            if len(self._places) >= RECORDS_KEPT_MAX:
                self._places.clear()
            self._places[pointer] = place
        return place

    def samples(self) -> Iterator[Place]:
        """Places of the first networks, then of addresses from everywhere; raises as `find`."""
        pairs = cast("Iterator[tuple[object, object]]", iter(self))
        for _, record in islice(pairs, PROBES):
            yield _place_of(record)
        for address in _everywhere(both=self._metadata.ip_version == _BOTH):
            yield self.find(address) or Place()


class PlaceDatabase:
    """An opened database; close it once nobody asks any more."""

    def __init__(self, path: Path) -> None:
        """Open a file; raises InvalidInputError (`INVALID_GEO_DATABASE`) for one that is none."""
        try:
            size = path.stat().st_size
            self._records = _Records(path)
            found = self._records.metadata()
            self.facts = DatabaseFacts(
                type=str(found.database_type),
                built_at=datetime.fromtimestamp(found.build_epoch, UTC),
                ip_version=int(found.ip_version),
                nodes=int(found.node_count),
                bytes=size,
            )
        except (OSError, *_DAMAGE) as error:
            raise _refused(f"{path} is no database in MaxMind's format (.mmdb)") from error

    def find(self, address: _Address) -> Place | None:
        """The place of an address; None when the database knows none."""
        if isinstance(address, IPv6Address) and self.facts.ip_version != _BOTH:
            return None
        try:
            return self._records.find(address)
        except _DAMAGE:
            return None

    def check(self) -> int:
        """Read records from everywhere; how many of them have a place.

        Raises InvalidInputError (`INVALID_GEO_DATABASE`) when the file is damaged there.
        """
        try:
            return sum(bool(place.properties) for place in self._records.samples())
        except _DAMAGE as error:
            raise _refused("the database is damaged") from error

    def close(self) -> None:
        """Let go of the file."""
        self._records.close()


def open_places(path: Path) -> PlaceDatabase | None:
    """The imported database, or None where none was; raises InvalidInputError for a broken one."""
    return PlaceDatabase(path) if path.exists() else None


def install_places(source: Path, place: Path) -> DatabaseFacts:
    """Check a file and let it take its place; raises InvalidInputError, MisconfiguredError.

    Written by root it belongs to whom the folder beside, `run`, belongs: the processes that read.
    """
    if not source.is_file():
        raise InvalidInputError("INVALID_GEO_DATABASE", f"there is no file {source}")
    if source.stat().st_size > DATABASE_BYTES_MAX:
        raise _refused(f"{source} is larger than 1 GiB")
    folder = ensure_folder(place.parent)
    beside = _copy_beside(source, place)
    try:
        facts = _checked(beside)
        _hand_over(folder, beside)
        beside.replace(place)
        flush_folder(folder)
    except OSError as error:
        raise unwritable(place, error) from error
    finally:
        beside.unlink(missing_ok=True)
    return facts


def remove_places(place: Path) -> bool:
    """Remove the imported database; whether there was one."""
    try:
        place.unlink()
        flush_folder(place.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unwritable(place, error) from error
    return True


def _copy_beside(source: Path, place: Path) -> Path:
    """A copy that survives a power cut; mapping the operator's own file could end the process."""
    try:
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        with os.fdopen(descriptor, "wb") as target, source.open("rb") as file:
            os.fchmod(descriptor, PRIVATE_FILE)
            shutil.copyfileobj(file, target, 1 << 20)
            target.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise unwritable(place, error) from error
    return Path(name)


def _checked(path: Path) -> DatabaseFacts:
    opened = PlaceDatabase(path)
    try:
        if not opened.check():
            raise _refused(
                f"the database (type {opened.facts.type}) tells no places; one of cities or "
                "countries is needed"
            )
        return opened.facts
    finally:
        opened.close()


def _hand_over(folder: Path, file: Path) -> None:
    if os.geteuid() != 0:
        return
    run = folder.parent / "run"
    owner = (run if run.is_dir() else folder.parent).stat()
    for path in (folder, file):
        os.chown(path, owner.st_uid, owner.st_gid)


def _everywhere(*, both: bool) -> Iterator[_Address]:
    for number in range(PROBES):
        yield IPv4Address((number << 20) | 0x1234)
    if both:
        for number in range(PROBES):
            yield IPv6Address((0x2000 << 112) | (number << 113) | 1)


def _place_of(record: object) -> Place:
    return read_place(cast("_Record", record)) if isinstance(record, dict) else Place()


def read_place(record: _Record) -> Place:
    """The place in a record, of whichever shape."""
    country = _map(record, "country")
    location = _map(record, "location")
    latitude = _degrees(location.get("latitude", record.get("latitude", record.get("lat"))))
    longitude = _degrees(location.get("longitude", record.get("longitude", record.get("lng"))))
    on_earth = latitude is not None and longitude is not None and is_on_earth(latitude, longitude)
    return Place(
        continent=_text(_map(record, "continent"), "code") or _text(record, "continent_code"),
        country=_country(
            _text(country, "iso_code") or _text(record, "country_code", "country").upper()
        ),
        region=_name(_first(record, "subdivisions")) or _text(record, "region", "state1"),
        city=_name(_map(record, "city")) or _text(record, "city"),
        postal_code=_text(_map(record, "postal"), "code")
        or _text(record, "postal_code", "postcode", "postal", "zip_code"),
        timezone=_text(location, "time_zone") or _text(record, "timezone", "time_zone"),
        metro_code=_text(location, "metro_code"),
        latitude=latitude if on_earth else None,
        longitude=longitude if on_earth else None,
    )


def _map(record: _Record, key: str) -> _Record:
    found = record.get(key)
    return cast("_Record", found) if isinstance(found, dict) else {}


def _first(record: _Record, key: str) -> _Record:
    found = record.get(key)
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return cast("_Record", found[0])
    return {}


def _name(record: _Record) -> str:
    names = _map(record, "names")
    return _text(names, _LANGUAGE) or next((_text(names, key) for key in sorted(names)), "")


def _text(record: _Record, *keys: str) -> str:
    for key in keys:
        found = record.get(key)
        if type(found) is int:
            return str(found)
        if isinstance(found, str) and 0 < len(found) <= TEXT_CHARACTERS_MAX:
            return found
    return ""


def _country(text: str) -> str:
    usable = len(text) == 2 and text.isascii() and text.isalpha() and text != "XX"  # noqa: PLR2004 letters
    return text if usable else ""


def _degrees(found: object) -> float | None:
    if isinstance(found, (int, float, str)):
        with suppress(ValueError):
            return float(found)
    return None


def _refused(problem: str) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_GEO_DATABASE",
        problem,
        hint="import a City or Country database, see docs/geo.md; nothing was changed",
    )
