"""What PostHog's events become; the table of docs/migrating.md."""

from typing import Any

import pytest

from appliance.domain.compat.mapped import Identity, Mapped, Reception, Untold
from appliance.domain.compat.posthog import map_posthog

NOW = 1_795_269_600_000
RECEPTION = Reception(project_id="p1", received_ms=NOW, sent_ms=NOW)
VISITOR = "01a1fe7b-ce4c-77dc-8f91-3a0d2f53f890"
NAME = "01a1fe7b-f642-7417-8461-e70fc18c85a9"


def mapped(name: str, distinct_id: str = "u1", **properties: Any) -> Mapped:
    event = {
        "event": name,
        "uuid": "01a1fe68-2653-7d30-8b46-aff5c7e467e7",
        "distinct_id": distinct_id,
        "timestamp": "2026-11-21T13:00:00Z",
        "properties": properties,
    }
    return map_posthog([event], RECEPTION)


@pytest.mark.parametrize(
    ("name", "properties", "kind"),
    [
        ("$pageview", {}, "page_view"),
        ("$pageleave", {}, "page_leave"),
        ("$screen", {}, "screen_view"),
        ("$autocapture", {"$event_type": "click"}, "click"),
        ("$autocapture", {"$event_type": "submit"}, "form_submit"),
        ("$autocapture", {}, "autocapture"),
        ("$exception", {}, "error_occurred"),
        ("$web_vitals", {}, "web_vitals"),
        ("Order Completed", {}, "order_completed"),
        ("plain", {}, "plain"),
    ],
)
def test_names(name: str, properties: dict[str, Any], kind: str):
    """Stored events are counted by these, so they never change."""
    (event,) = mapped(name, **properties).events
    assert event.kind == kind
    changed = kind != name and not name.startswith("$")
    assert event.custom_properties.get("originalEvent") == (name if changed else None)


def test_properties_of_a_page_view():
    """Ours are found, noise is left out, the sender's own stay."""
    (event,) = mapped(
        "$pageview",
        **{
            "$current_url": "https://shop.example/a",
            "$referrer": "$direct",
            "$browser": "Chrome",
            "$browser_version": 147.3,
            "$os": "Mac OS X",
            "$device_type": "Mobile",
            "$screen_width": 390,
            "$lib": "web",
            "$lib_version": "1.434.18",
            "$browser_language": "de-AT",
            "title": "Kennel",
            "utm_source": "news",
            "$ip": "203.0.113.9",
            "$raw_user_agent": "Mozilla/5.0",
            "$insert_id": "x",
            "$session_id": VISITOR,
            "$sdk_debug_retry_queue_size": 0,
            "$initial_person_info": {},
            "$active_feature_flags": [],
            "$feature/buttons": "red",
            "$groups": {"company": "pug"},
            "plan": "spro",
            "none": None,
            "token": "pub_x",
        },
    ).events
    assert event.session_id == VISITOR
    assert event.auto_properties == {
        "$url": "https://shop.example/a",
        "$locale": "de-AT",
        "$lib": "web",
        "$sdkVersion": "1.434.18",
        "$utmSource": "news",
        "$screenWidth": 390.0,
        "$pageTitle": "Kennel",
        "$platform": "web",
        "$browser": "Google Chrome",
        "$browserVersion": "147",
        "$os": "macOS",
        "$mobile": True,
    }
    assert event.custom_properties == {
        "feature/buttons": "red",
        "group_company": "pug",
        "plan": "spro",
    }


@pytest.mark.parametrize(
    ("distinct_id", "properties", "stored"),
    [
        (VISITOR, {"$device_id": VISITOR}, f"anon-{VISITOR}"),
        (VISITOR, {"$is_identified": False}, f"anon-{VISITOR}"),
        (VISITOR, {}, f"anon-{VISITOR}"),
        ("u1", {"$device_id": VISITOR}, "u1"),
        (NAME, {"$device_id": VISITOR}, NAME),
        (NAME, {"$is_identified": True}, NAME),
        ("u1", {}, "u1"),
        ("own-id", {"$device_id": "own-id"}, "anon-own-id"),
    ],
)
def test_who_is_a_visitor(distinct_id: str, properties: dict[str, Any], stored: str):
    """The event says so, else the form of the id."""
    (event,) = mapped("plain", distinct_id, **properties).events
    assert event.distinct_id == stored


@pytest.mark.parametrize(
    ("name", "distinct_id", "properties", "identities"),
    [
        (
            "$identify",
            "u1",
            {"$anon_distinct_id": VISITOR, "$set": {"n": 1}},
            [Identity(external_id="u1", traits={"n": 1}, anonymous_id=f"anon-{VISITOR}")],
        ),
        (
            "$identify",
            NAME,
            {"$anon_distinct_id": VISITOR},
            [
                Identity(external_id=NAME, anonymous_id=f"anon-{VISITOR}"),
                Identity(external_id=NAME, anonymous_id=f"anon-{NAME}"),
            ],
        ),
        (
            "$set",
            "u1",
            {"$set": {"n": 1, "$os": "x"}, "$set_once": {"f": 2, "$initial_os": "x"}},
            [
                Identity(external_id="u1", traits={"f": 2}, once=True),
                Identity(external_id="u1", traits={"n": 1}),
            ],
        ),
        ("$identify", "u1", {}, [Identity(external_id="u1")]),
        (
            "$create_alias",
            "u1",
            {"alias": "v1", "$lib": "posthog-node"},
            [Identity(external_id="u1", anonymous_id="anon-v1")],
        ),
        (
            "$create_alias",
            "v1",
            {"alias": "u1", "$lib": "posthog-python"},
            [Identity(external_id="u1", anonymous_id="anon-v1")],
        ),
    ],
)
def test_identities(
    name: str, distinct_id: str, properties: dict[str, Any], identities: list[Identity]
):
    """Names, visitors that get one, and traits that count only where there are none."""
    found = mapped(name, distinct_id, **properties)
    assert found.events == ()
    assert list(found.identities) == identities


def test_traits_on_other_events():
    """Of a known person they count, of a visitor there is no place for them."""
    known = mapped("plain", "u1", **{"$set": {"n": 1}})
    assert known.identities == (Identity(external_id="u1", traits={"n": 1}),)
    assert len(known.events) == 1
    visitor = mapped("plain", VISITOR, **{"$device_id": VISITOR, "$set": {"n": 1}})
    assert visitor.identities == ()
    assert visitor.untold == {Untold.ANONYMOUS_TRAITS: 1}
    without = mapped("plain", "u1", **{"$set": {"n": 1}, "$process_person_profile": False})
    assert without.identities == ()


def test_clicks():
    """The innermost element, from the list of older clients and the chain of newer ones."""
    chain = 'button.big.red:attr__id="buy"attr__class="big red"nth-child="1"text="Buy now";body:x'
    (event,) = mapped("$autocapture", **{"$event_type": "click", "$elements_chain": chain}).events
    wanted = {"tag": "button", "class": "big red", "id": "buy", "text": "Buy now"}
    assert event.custom_properties == wanted
    element = {
        "tag_name": "button",
        "classes": ["big", "red"],
        "attr__id": "buy",
        "$el_text": "Buy now",
    }
    (event,) = mapped("$autocapture", **{"$event_type": "click", "$elements": [element]}).events
    assert event.custom_properties == wanted


def test_without_cookies():
    """The server finds out who it is, where there is somebody to look at."""
    (event,) = mapped("$pageview", "$posthog_cookieless", **{"$cookieless_mode": True}).events
    assert event.cookieless
    assert (event.distinct_id, event.session_id) == (None, None)
    call = {"event": "$pageview", "properties": {"$cookieless_mode": True}}
    assert map_posthog([call], RECEPTION, cookieless=False).untold == {Untold.NO_IDENTITY: 1}


def test_times_of_older_clients():
    """`$time` counts before `offset`, which differs at every attempt."""
    bare = {"event": "plain", "properties": {"distinct_id": "u1", "$time": NOW / 1000 - 5}}
    for offset in (3000, 9000):
        (event,) = map_posthog([{**bare, "offset": offset}], RECEPTION).events
        assert event.occur_time_ms == NOW - 5000
    call = {"event": "plain", "distinct_id": "u1", "offset": 3000}
    (event,) = map_posthog([call], RECEPTION).events
    assert event.occur_time_ms == NOW - 3000
