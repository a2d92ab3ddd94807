"""Files in MaxMind's format: what is read from them, and what is refused."""

from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.geo.place import Place
from appliance.storage.geo.database import (
    PlaceDatabase,
    install_places,
    open_places,
    read_place,
    remove_places,
)
from tests.support.place_files import GRAZ_ADDRESS, LONDON_ADDRESS, write_places


def test_both_shapes_of_records(tmp_path: Path) -> None:
    """MaxMind's nested one with English names, and the flat one with numbers as texts."""
    database = PlaceDatabase(write_places(tmp_path / "world.mmdb"))
    assert database.find(ip_address(LONDON_ADDRESS)) == Place(
        continent="EU",
        country="GB",
        region="England",
        city="London",
        postal_code="W1",
        timezone="Europe/London",
        latitude=51.5142,
        longitude=-0.0931,
    )
    assert database.find(ip_address(GRAZ_ADDRESS)) == Place(
        country="AT",
        region="Styria",
        city="Graz",
        postal_code="8010",
        timezone="Europe/Vienna",
        latitude=47.0707,
        longitude=15.4395,
    )
    assert database.find(ip_address("10.0.0.1")) is None
    assert (database.facts.type, database.facts.ip_version) == ("Test-City", 6)
    database.close()


def test_a_database_of_one_kind_of_address(tmp_path: Path) -> None:
    """An IPv6 address in an IPv4 database is nowhere; it is not an error."""
    path = write_places(tmp_path / "4.mmdb", {"10.0.0.0/8": {"country_code": "AT"}}, ip_version=4)
    database = PlaceDatabase(path)
    assert database.find(ip_address(GRAZ_ADDRESS)) is None
    found = database.find(ip_address("10.1.1.1"))
    assert found is not None
    assert found.country == "AT"
    database.close()


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"country": {"iso_code": "AUT"}},
        {"country_code": "XX"},
        {"country": ["AT"], "city": 5.5, "location": "here", "subdivisions": [[]]},
        {"city": "x" * 1025},
        {"location": {"latitude": 91.0, "longitude": 0.0}},
        {"latitude": "nan", "longitude": "0"},
        {"latitude": 47.0},
    ],
)
def test_what_says_nothing_usable_is_no_place(record: dict[str, object]) -> None:
    assert read_place(record).properties == {}


def test_installed_it_is_a_private_copy(tmp_path: Path) -> None:
    """The operator's file may change or go; the one in use was replaced as a whole."""
    source = write_places(tmp_path / "world.mmdb")
    place = tmp_path / "pug" / "geo" / "places.mmdb"
    assert open_places(place) is None
    facts = install_places(source, place)
    assert facts.type == "Test-City"
    assert place.stat().st_mode & 0o777 == 0o600
    opened = open_places(place)
    source.write_bytes(b"")
    write_places(source, {"10.0.0.0/8": {"country_code": "AT"}})
    install_places(source, place)
    assert opened is not None
    assert opened.find(ip_address(LONDON_ADDRESS)) is not None, "who has it open reads to the end"
    assert [path.name for path in place.parent.iterdir()] == ["places.mmdb"]
    assert remove_places(place)
    assert not remove_places(place)


def test_what_is_no_database_of_places_changes_nothing(tmp_path: Path) -> None:
    """Nothing there, text, half a file, and one that knows something else about addresses."""
    place = tmp_path / "geo" / "places.mmdb"
    install_places(write_places(tmp_path / "world.mmdb"), place)
    before = place.read_bytes()
    half = tmp_path / "half.mmdb"
    half.write_bytes(before[: len(before) // 2])
    text = tmp_path / "text.mmdb"
    text.write_text("network,site\n")
    empty = tmp_path / "empty.mmdb"
    empty.write_bytes(b"")
    systems = write_places(tmp_path / "asn.mmdb", {"10.0.0.0/8": {"autonomous_system_number": 1}})
    for bad in (half, text, empty, systems, tmp_path, tmp_path / "none.mmdb"):
        with pytest.raises(InvalidInputError) as refused:
            install_places(bad, place)
        assert refused.value.reason == "INVALID_GEO_DATABASE"
    assert place.read_bytes() == before
    assert [path.name for path in place.parent.iterdir()] == ["places.mmdb"]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_file_breaks_nothing(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes are wrong: it is refused, or it tells some place or none."""
    path = tmp_path / "damaged.mmdb"
    content = bytearray(write_places(path).read_bytes())
    for position, byte in changes:
        content[position % len(content)] = byte
    path.unlink()
    path.write_bytes(content)
    try:
        database = PlaceDatabase(path)
        database.check()
    except InvalidInputError:
        return
    for text in (LONDON_ADDRESS, GRAZ_ADDRESS, "10.0.0.1", "::1"):
        database.find(ip_address(text))
    database.close()
