"""Tables of the operator's networks, and whose an address is."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.geo.networks import (
    NetworkTable,
    OwnNetwork,
    own_properties,
    parse_address,
    parse_networks,
)
from appliance.domain.geo.place import Place


def test_a_table_as_a_spreadsheet_writes_it() -> None:
    """A mark of the byte order, headings in any order and letters, quotes, blank lines."""
    table = (
        b"\xef\xbb\xbfSite,Network,Country,City,Lat,Lon,Postal Code\r\n"
        b'"Works, gate 1",10.1.0.0/16,at,Linz,48.3059,14.2862,4020\r\n'
        b"\r\n"
        b"Six,fd00:20::/32,,,,,\r\n"
    )
    first, second = parse_networks(table)
    assert own_properties(first) == {
        "$site": "Works, gate 1",
        "$country": "AT",
        "$city": "Linz",
        "$postalCode": "4020",
        "$latitude": 48.3059,
        "$longitude": 14.2862,
    }
    assert (first.network, second.network) == ("10.1.0.0/16", "fd00:20::/32")
    assert own_properties(second) == {"$site": "Six"}


def test_semicolons_and_a_single_address() -> None:
    (only,) = parse_networks(b"network;site\n10.0.0.7;Gate, north\n")
    assert (only.network, only.site) == ("10.0.0.7/32", "Gate, north")


def test_an_empty_table_has_headings_only() -> None:
    assert parse_networks(b"network,site\n") == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"10.0.0.1/8,x,,,,", "no network like"),
        (b"10.0.0.0/33,x,,,,", "no network like"),
        (b"::ffff:10.0.0.0/104,x,,,,", "is an IPv4 network"),
        (b"office,x,,,,", "no network like"),
        (b"10.0.0.0/8,,,,,", "says nothing"),
        (b"10.0.0.0/8,x,AUT,,,", "no country"),
        (b"10.0.0.0/8,x,XX,,,", "no country"),
        (b"10.0.0.0/8,x,,,91,0", "latitude is"),
        (b"10.0.0.0/8,x,,,nan,0", "coordinates are"),
        (b"10.0.0.0/8,x,,,47.1,", "coordinates are"),
        (b"10.0.0.0/8,a\x00b,,,,", "printable"),
        (b"10.0.0.0/8,x", "2 cells under 6 headings"),
        (b"10.9.0.0/16,twice,,,,", "stands there twice"),
    ],
)
def test_a_bad_line_is_named(line: bytes, problem: str) -> None:
    """With its number and what is wrong; the good line before it does not count."""
    table = b"network,site,country,city,latitude,longitude\n10.9.0.0/16,x,,,,\n" + line + b"\n"
    with pytest.raises(InvalidInputError) as refused:
        parse_networks(table)
    assert refused.value.reason == "INVALID_NETWORKS"
    (violation,) = refused.value.violations
    assert violation.field == "line 3"
    assert problem in violation.description


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"\n\n",
        b"site,country\nx,AT\n",
        b"network,colour\n10.0.0.0/8,red\n",
        b"network,network\n10.0.0.0/8,10.0.0.0/8\n",
        b"network,site\n\xff\xfe,x\n",
        b'network,site\n10.0.0.0/8,"x\n',
    ],
)
def test_what_is_no_table_is_refused(table: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_networks(table)


@given(st.binary(max_size=200))
def test_nothing_breaks_the_reader(table: bytes) -> None:
    try:
        parse_networks(b"network,site\n" + table)
    except InvalidInputError:
        return


_V4 = st.builds(
    lambda bits, length: ip_network((bits >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.sampled_from((0, 4, 8, 15, 16, 24, 31, 32)),
)
_V6 = st.builds(
    lambda bits, length: ip_network((bits >> (128 - length) << (128 - length), length)),
    st.integers(2**126, 2**127 - 1),
    st.sampled_from((8, 32, 48, 64, 126)),
)


@given(st.lists(st.one_of(_V4, _V6), max_size=20), st.data())
def test_the_smallest_network_decides(networks, data: st.DataObject) -> None:
    """As a slow look through all of them finds it, at both ends of each network, too."""
    table = NetworkTable(OwnNetwork(network=str(one), site=str(one)) for one in networks)
    assert len(table) == len(set(networks))
    ends = [end for one in networks for end in (one[0], one[-1])]
    anything = st.integers(0, 2**32 - 1).map(ip_address)
    address = data.draw(st.one_of(anything, st.sampled_from(ends)) if ends else anything)
    holders = [one for one in networks if one.version == address.version and address in one]
    found = table.find(address)
    if not holders:
        assert found is None
    else:
        assert found is not None
        assert found.network == str(max(holders, key=lambda one: one.prefixlen))


def test_addresses_are_unwrapped() -> None:
    assert str(parse_address(" ::ffff:10.0.0.1 ")) == "10.0.0.1"
    with pytest.raises(InvalidInputError):
        parse_address("10.0.0.1:80")


def test_half_a_coordinate_is_none() -> None:
    assert Place(latitude=1.0).properties == {}
