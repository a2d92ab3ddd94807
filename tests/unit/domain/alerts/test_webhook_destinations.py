"""Webhooks go nowhere but to what the operator listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError, UnmetError
from appliance.domain.alerts.destinations import (
    AllowList,
    parse_allow_list,
    parse_destination,
    require_listed,
)

LISTED = parse_allow_list(["Hooks.example", "queue.example:8443", "10.1.2.0/24", "[fd12::1]:9000"])


@pytest.mark.parametrize(
    ("url", "listed"),
    [
        ("https://hooks.example/a?b=c", True),
        ("http://HOOKS.EXAMPLE.:8080/", True),
        ("https://queue.example:8443/", True),
        ("https://queue.example/", False),
        ("http://10.1.2.3:81/x", True),
        ("http://10.1.3.3/", False),
        ("http://[fd12::1]:9000/", True),
        ("http://[fd12::1]/", False),
        ("http://[::ffff:10.1.2.9]/", True),
        ("http://sub.hooks.example/", False),
        ("http://hooks.example.evil.test/", False),
        ("http://127.0.0.1/", False),
    ],
)
def test_listed(url: str, listed: bool) -> None:
    assert LISTED.admits(parse_destination(url)) is listed


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://hooks.example/", "hooks.example", "http:///x", "http://", "//hooks.example/"),
        *("http://user@hooks.example/", "http://hooks.example@evil.test/", "http://a b/"),
        *("http://hooks.example/#x", "http://hooks.example:99999/", "http://hooks.example:x/"),
        *("http://[::1/", "http://2130706433/", "http://0x7f.1/", "http://127.1/"),
        *("http://hooks.example/\r\nX: y", "http://höoks.example/", "http://[fe80::1%25eth0]/"),
        *("http://hooks_.-x.example/", "javascript:alert(1)", "http://%31%32/"),
    ],
)
def test_no_url(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_destination(url)
    assert caught.value.reason == "INVALID_WEBHOOK_URL"


INNER = [
    *("127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"),
    *("fd00:ec2::254", "100.100.100.200", "255.255.255.255", "ff02::1", "240.0.0.1", "192.0.0.192"),
]


@pytest.mark.parametrize("address", INNER)
def test_a_listed_name_does_not_lead_inside(address: str) -> None:
    """The name was listed; where it leads is decided by whoever answers for it."""
    destination = parse_destination("http://hooks.example/")
    assert LISTED.reachable(destination, [address]) == ()
    assert LISTED.reachable(destination, [address, "10.9.9.9"]) == ("10.9.9.9",)


def test_unless_that_address_is_listed() -> None:
    allowed = parse_allow_list(["hooks.example", "127.0.0.1:9000"])
    assert allowed.reachable(parse_destination("http://hooks.example:9000/"), ["127.0.0.1"])
    assert not allowed.reachable(parse_destination("http://hooks.example:9001/"), ["127.0.0.1"])
    assert not allowed.reachable(parse_destination("http://hooks.example:9000/"), ["127.0.0.2"])
    assert not allowed.reachable(parse_destination("http://hooks.example:9000/"), ["no address"])


def test_refusals() -> None:
    destination = parse_destination("http://other.example/")
    for allowed, reason in ((AllowList(), "WEBHOOKS_OFF"), (LISTED, "WEBHOOK_HOST_NOT_LISTED")):
        with pytest.raises(UnmetError) as caught:
            require_listed(allowed, destination)
        assert caught.value.reason == reason
    require_listed(LISTED, parse_destination("http://hooks.example/"))


@pytest.mark.parametrize(
    "entry", ["", "a b", "10.1.2.3/24", "x:0", "x:70000", "http://x/", "1.2.3"]
)
def test_entries_that_are_none(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is neither|no port"):
        parse_allow_list([entry])


@given(st.text(max_size=60))
def test_any_text_is_a_destination_or_refused(text: str) -> None:
    """Nothing else is raised, and what is accepted has a host that can be compared."""
    try:
        found = parse_destination("http://" + text)
    except InvalidInputError:
        return
    assert found.host
    assert found.host == found.host.lower()
    assert "@" not in found.authority
    assert (
        not LISTED.admits(found)
        or found.host in {"hooks.example", "queue.example"}
        or (found.host.replace(".", "").replace(":", "").isalnum())
    )
