"""What Segment's and RudderStack's calls become; the table of docs/migrating.md."""

from typing import Any

import pytest

from appliance.domain.compat.mapped import Identity, Mapped, Reception, Untold
from appliance.domain.compat.segment import map_segment

NOW = 1_795_269_600_000
RECEPTION = Reception(project_id="p1", received_ms=NOW, sent_ms=NOW)
TRACK: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "userId": "u1",
    "timestamp": "2026-11-21T13:00:00.123456+00:00",
}


def mapped(**changes: Any) -> Mapped:
    return map_segment([{**TRACK, **changes}], RECEPTION)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Order Completed", "purchase"),
        ("plain_kind", "plain_kind"),
        ("SignUp", "SignUp"),
        ("Clicked: Buy now!", "clicked_buy_now"),
        ("Café öffnen", "cafe_offnen"),
        ("購入", "event_b76d69bc"),
        ("x" * 200, "x" * 119 + "_01d7de14"),
    ],
)
def test_names(name: str, kind: str):
    """Stored events are counted by these, so they never change."""
    (event,) = mapped(event=name).events
    assert event.kind == kind
    assert event.custom_properties.get("originalEvent") == (None if kind == name else name)


def test_properties():
    """Types stay, objects are their text, nothing is null, no key begins with `$`."""
    sent = {
        "total": 9,
        "price": 1.5,
        "gift": False,
        "note": None,
        "products": [{"id": 1}],
        "$x": 1,
        "x": 2,
        "$ip": "203.0.113.9",
        "long": "ä" * 2000,
        "huge": 10**30,
    }
    (event,) = mapped(properties=sent).events
    assert event.custom_properties == {
        "total": 9,
        "price": 1.5,
        "gift": False,
        "products": '[{"id":1}]',
        "x": 2,
        "long": "ä" * 1024,
        "huge": 1e30,
        "amount": 9.0,
        "originalEvent": "Order Completed",
    }


def test_a_browsers_page():
    """What the page is goes where our own clients put it."""
    context = {
        "library": {"name": "analytics.js", "version": "next-1.84.3"},
        "page": {"url": "https://shop.example/a", "title": "A", "referrer": "$direct"},
        "campaign": {"name": "spring", "source": "news"},
        "locale": "de-AT",
        "timezone": "Europe/Vienna",
        "screen": {"width": 1920, "height": 1080, "density": 2},
        "userAgent": "Mozilla/5.0 (iPhone)",
        "ip": "203.0.113.9",
    }
    page = {"url": "https://shop.example/b", "title": "B", "path": "/b", "category": "dogs"}
    (event,) = map_segment(
        [{**TRACK, "type": "page", "name": "Home", "context": context, "properties": page}],
        RECEPTION,
    ).events
    assert event.kind == "page_view"
    assert event.custom_properties == {"name": "Home", "category": "dogs"}
    assert event.auto_properties == {
        "$lib": "analytics.js",
        "$sdkVersion": "next-1.84.3",
        "$locale": "de-AT",
        "$timezone": "Europe/Vienna",
        "$utmSource": "news",
        "$utmCampaign": "spring",
        "$screenWidth": 1920.0,
        "$screenHeight": 1080.0,
        "$screenScale": 2.0,
        "$platform": "web",
        "$url": "https://shop.example/b",
        "$pageTitle": "B",
    }


def test_identities():
    """A name with a visitor merges; traits are found in both places; `$` traits are left out."""
    assert map_segment(
        [
            {"type": "identify", "userId": "u1", "anonymousId": "a1", "traits": {"n": 1, "$b": 2}},
            {"type": "identify", "userId": 7, "context": {"traits": {"n": 2}}, "traits": None},
            {"type": "alias", "userId": "u1", "previousId": "a2"},
            {"type": "alias", "userId": "u1", "previousId": "u1"},
            {"type": "identify", "anonymousId": "a1", "traits": {"n": 1}},
        ],
        RECEPTION,
    ) == Mapped(
        identities=(
            Identity(external_id="u1", traits={"n": 1}, anonymous_id="anon-a1"),
            Identity(external_id="7", traits={"n": 2}),
            Identity(external_id="u1", anonymous_id="anon-a2"),
            Identity(external_id="u1"),
        ),
        untold={Untold.ANONYMOUS_TRAITS: 1},
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"userId": None}, Untold.NO_IDENTITY),
        ({"userId": "cookieless-1"}, Untold.UNUSABLE_IDENTITY),
        ({"userId": "a\0"}, Untold.UNUSABLE_IDENTITY),
        ({"event": ""}, Untold.NO_NAME),
        ({"type": "dance"}, Untold.UNKNOWN_TYPE),
    ],
)
def test_what_cannot_be_told(changes: dict[str, Any], why: Untold):
    """Is counted under its reason."""
    assert mapped(**changes) == Mapped(untold={why: 1})


def test_times():
    """A wrong clock is put right, a missing time is now, an unreadable one too."""
    (event,) = mapped().events
    assert event.occur_time_ms == NOW - 3_600_000 + 123
    fast = Reception(project_id="p1", received_ms=NOW, sent_ms=NOW + 2 * 3_600_000)
    (event,) = map_segment([TRACK], fast).events
    assert event.occur_time_ms == NOW - 3 * 3_600_000 + 123
    for odd in ("yesterday", None, -5, [], "2026-13-01T00:00:00Z"):
        (event,) = mapped(timestamp=odd).events
        assert event.occur_time_ms == NOW
    (event,) = mapped(timestamp=None, originalTimestamp="2026-11-21 13:00:00").events
    assert event.occur_time_ms == NOW - 3_600_000


def test_ids_and_sessions():
    """A UUID stays, another id becomes one; without a session there is one a day."""
    (first,) = mapped().events
    (again,) = mapped().events
    (other,) = mapped(messageId="m-2").events
    assert first.event_id == again.event_id != other.event_id
    assert first.session_id == other.session_id
    own = "01A1FE68-2653-7D30-8B46-AFF5C7E467E7"
    (event,) = mapped(messageId=own, context={"sessionId": 1_795_269_600_001}).events
    assert event.event_id == own.lower()
    assert event.session_id != first.session_id
    (one,) = mapped(messageId=None).events
    (two,) = mapped(messageId=None, properties={"a": 1}).events
    assert one.event_id != two.event_id
    assert mapped(messageId=None).events == (one,)


def test_a_servers_own_user_agent_is_not_the_visitors():
    """What it was told about the visitor counts."""
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0.0.0"
    found = mapped(context={"library": {"name": "analytics-python"}, "userAgent": agent})
    assert found.from_server
    assert found.events[0].auto_properties["$browser"] == "Google Chrome"
    assert found.events[0].auto_properties["$platform"] == "server"
    assert not mapped(context={"library": {"name": "analytics.js"}}).from_server
