"""Unchanged clients of other products in front of a running appliance [issue 5, point 6].

Each test's claim holds in the event store and in the persons that the API shows, not in answers.
"""

import asyncio
from typing import Any

import pytest

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from tests.support.foreign import (
    BROWSER_CLIENTS,
    COOKIELESS_CLIENT,
    NODE_CLIENTS,
    PYTHON_PACKAGES,
    forgetful,
    has_node,
    run_client,
)
from tests.support.stack import VISIBLE_SECONDS_MAX, Stack, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not has_node(), reason="needs node and npm"),
]

SEGMENT_SERVERS = (
    "segment-node",
    "rudder-node",
    *(name for name in PYTHON_PACKAGES if not name.startswith("posthog")),
)
POSTHOG_SERVERS = (
    *(name for name in NODE_CLIENTS if name.startswith("posthog")),
    *(name for name in PYTHON_PACKAGES if name.startswith("posthog")),
)
Row = dict[str, Any]


def rows(stack: Stack, name: str, visitor: str = "") -> list[Row]:
    """What the event store has of one client's people."""
    ids = [f"user-{name}", f"anon-visitor-{name}", f"anon-{visitor}"]
    return stored(stack, "distinct_id IN ({what:Array(String)})", ids)


def stored(stack: Stack, condition: str, what: object) -> list[Row]:
    """Rows of the event store, oldest first; every copy counts."""

    async def ask() -> list[Row]:
        store = ClickHouse(resolve_endpoints(Settings(data_dir=stack.data_dir)).clickhouse)
        columns = (
            "kind",
            "distinct_id",
            "session_id",
            "event_id",
            "platform",
            "url",
            "browser",
            "os",
            "page_title",
            "utm_source",
            "custom",
        )
        try:
            found = await store.rows(
                "SELECT kind, distinct_id, toString(session_id), toString(event_id), platform,"
                " url, browser, os, page_title, utm_source, custom_properties"
                f" FROM events WHERE {condition} ORDER BY occur_time",
                {"what": what},
            )
            return [dict(zip(columns, row, strict=True)) for row in found]
        finally:
            await store.close()

    return asyncio.run(ask())


def arrived(stack: Stack, name: str, number: int, visitor: str = "") -> dict[str, list[Row]]:
    """The events of a client by kind, once there are `number` of them; never more."""

    def enough() -> list[Row] | None:
        found = rows(stack, name, visitor)
        return found if len(found) >= number else None

    found = until(enough, what=f"{number} events of {name}", seconds=VISIBLE_SECONDS_MAX, pause=0.2)
    assert len(found) == number, [row["kind"] for row in found]
    kinds: dict[str, list[Row]] = {}
    for row in found:
        kinds.setdefault(row["kind"], []).append(row)
    return kinds


def person(stack: Stack, name: str, *, events: int, traits: Row | None = None) -> dict[str, Any]:
    """The person of a client, once all of the events of both of its ids are theirs, and these
    traits.
    """
    headers = {"x-api-key": stack.connection.private_key}
    path = "/shared.profiles.v1.ProfilesService/GetByExternalId"

    def known() -> dict[str, Any] | None:
        answer = stack.client.post(path, json={"externalId": f"user-{name}"}, headers=headers)
        if answer.status_code != 200:
            return None
        profile = answer.json()["profile"]
        told = profile.get("activitySummary", profile.get("activity", {}))
        named = (traits or {}).items() <= profile.get("properties", {}).items()
        return profile if named and int(told.get("totalEvents", 0)) >= events else None

    return until(known, what=f"person of {name}", seconds=VISIBLE_SECONDS_MAX, pause=0.2)


@pytest.mark.parametrize("name", SEGMENT_SERVERS)
def test_segment_on_servers(stack: Stack, name: str):
    """Every call becomes what the manual says, and the visitor becomes the person."""
    with forgetful(stack.connection.url) as network:
        run_client(name, network.url, stack.connection.public_key)
        assert network.losses == 0, network.requests
    kinds = arrived(stack, name, 5)
    assert set(kinds) == {"product_viewed", "purchase", "plain_kind", "page_view", "group"}
    (viewed,) = kinds["product_viewed"]
    assert viewed["distinct_id"] == f"anon-visitor-{name}"
    (purchase,) = kinds["purchase"]
    assert purchase["distinct_id"] == f"user-{name}"
    assert purchase["custom"]["originalEvent"] == "sOrder Completed"
    assert purchase["custom"]["amount"].startswith("d99.5"), purchase["custom"]
    assert "none" not in purchase["custom"]
    (page,) = kinds["page_view"]
    assert (page["url"], page["utm_source"]) == ("https://shop.example/a?utm_source=news", "news")
    assert {row["platform"] for each in kinds.values() for row in each} == {"server"}
    assert {row["browser"] for each in kinds.values() for row in each} == {""}
    traits = {"name": "Mops", "email": f"user-{name}@pug.test"}
    known = person(stack, name, events=5, traits=traits)
    assert known["properties"] == traits


@pytest.mark.parametrize("name", POSTHOG_SERVERS)
def test_posthog_on_servers(stack: Stack, name: str):
    """Every call becomes what the manual says; traits set once stand beside those set."""
    with forgetful(stack.connection.url) as network:
        run_client(name, network.url, stack.connection.public_key)
        assert network.losses == 0, network.requests
    kinds = arrived(stack, name, 3)
    assert set(kinds) == {"plain_kind", "order_completed", "third_thing"}
    (order,) = kinds["order_completed"]
    assert order["custom"]["originalEvent"] == "sOrder Completed"
    assert (order["url"], order["utm_source"]) == ("https://shop.example/a?utm_source=news", "news")
    assert (order["platform"], order["browser"], order["os"]) == ("server", "", "")

    def complete() -> Row | None:
        known = person(stack, name, events=3)
        return known if len(known.get("properties", {})) == 3 else None

    known = until(complete, what="all traits", seconds=VISIBLE_SECONDS_MAX)
    traits = {"name": "Mops", "email": f"user-{name}@pug.test", "first": name}
    assert known["properties"] == traits


@pytest.mark.parametrize("name", BROWSER_CLIENTS)
def test_in_browsers(stack: Stack, name: str):
    """A page of another origin: views, clicks, names, and what is sent while leaving."""
    with forgetful(stack.connection.url) as network:
        told = run_client(name, network.url, stack.connection.public_key)
    posthog = name.startswith("posthog")
    wanted = {"page_view", "product_viewed", "plain_kind", "while_leaving"}
    wanted |= {"click", "page_leave"} if posthog else set()
    kinds = arrived(stack, name, len(wanted), told["visitor"])
    assert set(kinds) == wanted
    (view,) = kinds["page_view"]
    assert view["distinct_id"] == f"anon-{told['visitor']}"
    assert view["url"].endswith("/kennel?utm_source=news&utm_medium=email")
    assert (view["browser"], view["os"], view["platform"]) == ("Google Chrome", "Linux", "web")
    assert (view["page_title"], view["utm_source"]) == ("Kennel", "news")
    (plain,) = kinds["plain_kind"]
    assert plain["distinct_id"] == f"user-{name}"
    if posthog:
        (click,) = kinds["click"]
        assert click["custom"]["text"] == "sBuy now"
        assert click["custom"]["tag"] == "sbutton"
        assert len({row["session_id"] for each in kinds.values() for row in each}) == 1
    known = person(stack, name, events=len(wanted), traits={"name": "Mops"})
    assert known["properties"]["name"] == "Mops"


def test_without_cookies(stack: Stack):
    """A browser that keeps nothing is told apart by the server, for a day."""
    with forgetful(stack.connection.url) as network:
        told = run_client(COOKIELESS_CLIENT, network.url, stack.connection.public_key)
    assert told["visitor"] == "$posthog_cookieless"
    stack.trend_reaches("cookieless_kind", 1, raw=True)
    (event,) = stored(stack, "kind = {what:String}", "cookieless_kind")
    assert event["distinct_id"].startswith("cookieless-")


@pytest.mark.parametrize("name", ["segment-python", "posthog-python-3", "rudder-python"])
def test_a_wrong_key_is_given_up(stack: Stack, name: str):
    """No client repeats what can never succeed."""
    with forgetful(stack.connection.url, losses=0) as network:
        run_client(name, network.url, "pub_" + "0" * 20)
    posts = [request for request in network.requests if not request.startswith("GET")]
    assert posts
    assert all(request.endswith(" 401") for request in posts), posts
    assert len(posts) <= 2  # rudder's client sends in two batches
