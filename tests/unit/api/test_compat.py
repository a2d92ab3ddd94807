"""The endpoints of other products: keys, encodings, refusals, browsers [compat-ingest 1, 2]."""

import gzip
import json
import zlib
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from appliance.api.compat.doors import DOORS
from appliance.base.errors import ExhaustedError, UnavailableError
from tests.support.api_services import (
    KEY_OF_BROKEN_LOOK_UP,
    PRIVATE_KEY,
    PUBLIC_KEY,
    MemoryServices,
)
from tests.unit.api.conftest import BODY_BYTES_MAX

pytestmark = pytest.mark.anyio

TRACK: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "ajs-next-1",
    "anonymousId": "a1",
    "timestamp": "2026-03-04T05:06:07.089Z",
    "properties": {"total": 12.5},
}
CAPTURE: dict[str, Any] = {
    "event": "$pageview",
    "uuid": "01890000-0000-7000-8000-000000000001",
    "distinct_id": "user-1",
    "timestamp": "2026-03-04T05:06:07.089Z",
    "properties": {"$current_url": "https://shop.example/a?utm_source=x"},
}


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(f"{key}:".encode()).decode()}


def batch(*calls: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"batch": calls, **more}).encode()


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v1/batch", basic(PUBLIC_KEY), batch(TRACK)),
        ("/v1/batch", basic(PRIVATE_KEY), batch(TRACK)),
        ("/v1/batch", {}, batch(TRACK, writeKey=PUBLIC_KEY)),
        ("/v1/b", {}, batch({**TRACK, "writeKey": PUBLIC_KEY})),
        ("/v1/t", {}, json.dumps({**TRACK, "writeKey": PUBLIC_KEY}).encode()),
        (f"/beacon/v1/batch?writeKey={PUBLIC_KEY}", {}, batch(TRACK)),
        ("/batch/", {}, batch(CAPTURE, api_key=PUBLIC_KEY)),
        ("/e/", {}, json.dumps({**CAPTURE, "api_key": PUBLIC_KEY}).encode()),
        ("/e/", {}, json.dumps([{**CAPTURE, "properties": {"token": PUBLIC_KEY}}]).encode()),
        ("/capture", {"x-api-key": PUBLIC_KEY}, json.dumps(CAPTURE).encode()),
        (
            "/i/v1/analytics/events",
            {"authorization": f"Bearer {PUBLIC_KEY}"},
            batch(CAPTURE),
        ),
    ],
)
async def test_a_key_counts_wherever_a_client_puts_it(
    client: httpx.AsyncClient,
    services: MemoryServices,
    path: str,
    headers: dict[str, str],
    body: bytes,
):
    """One event arrives for each place that clients use."""
    answer = await client.post(path, headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert [len(each.events) for each in services.ingest.batches] == [1]


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/v1/batch", {}, batch(TRACK)),
        ("/v1/batch", basic("pub_" + "0" * 20), batch(TRACK)),
        (f"/v1/batch?writeKey={PRIVATE_KEY}", {}, batch(TRACK)),
        ("/batch/", {}, batch(CAPTURE, api_key="phc_unknown")),
    ],
)
async def test_other_keys_are_refused_for_good(
    client: httpx.AsyncClient,
    services: MemoryServices,
    path: str,
    headers: dict[str, str],
    body: bytes,
):
    """401, upon which every client gives the batch up; private keys in a query count for nothing"""
    answer = await client.post(path, headers=headers, content=body)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"
    assert not services.ingest.batches


async def test_a_look_up_that_fails_loses_nothing(client: httpx.AsyncClient):
    """503: the client keeps the batch."""
    answer = await client.post("/v1/batch", headers=basic(KEY_OF_BROKEN_LOOK_UP), content=b"{}")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


PLAIN = json.dumps({**CAPTURE, "api_key": PUBLIC_KEY}).encode()
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("query", "headers", "body"),
    [
        ("", {"content-type": "text/plain"}, PLAIN),
        ("", {"content-type": "text/plain"}, gzip.compress(PLAIN)),
        ("", {"content-encoding": "gzip"}, gzip.compress(PLAIN)),
        ("", {**FORM, "content-encoding": "gzip"}, gzip.compress(PLAIN)),
        ("", {"content-encoding": "deflate"}, zlib.compress(PLAIN)),
        ("?compression=gzip-js", {}, gzip.compress(PLAIN)),
        ("?compression=base64", FORM, b"data=" + quote(b64encode(PLAIN)).encode()),
        ("?compression=base64", FORM, b"data=" + b64encode(PLAIN)),
        ("", FORM, b"data=" + quote(PLAIN).encode()),
        ("?compression=base64", {}, b64encode(PLAIN)),
        ("", {"content-encoding": "gzip"}, PLAIN),
    ],
)
async def test_a_body_is_what_its_bytes_are(
    client: httpx.AsyncClient,
    services: MemoryServices,
    query: str,
    headers: dict[str, str],
    body: bytes,
):
    """Whatever the labels say."""
    answer = await client.post("/e/" + query, headers=headers, content=body)
    assert answer.status_code == 200, answer.text
    (event,) = services.ingest.batches[0].events
    assert (event.kind, event.event_id) == ("page_view", CAPTURE["uuid"])


async def test_a_pixel_brings_an_event(client: httpx.AsyncClient, services: MemoryServices):
    """A GET with the event in the query."""
    answer = await client.get("/e/", params={"data": b64encode(PLAIN).decode()})
    assert answer.status_code == 200, answer.text
    assert len(services.ingest.batches) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"\x1f\x8bnothing",
        b"\x28\xb5\x2f\xfdnothing",
        b"data=",
        b"data=%ff",
        b"[" * 100_000,
        b'{"batch": [}',
        gzip.compress(PLAIN)[:-9],
        b"\xff\xfe",
    ],
)
async def test_what_cannot_be_read_is_refused_for_good(client: httpx.AsyncClient, body: bytes):
    """400 and never 500."""
    for path in ("/e/", "/v1/batch"):
        answer = await client.post(path, headers={"x-api-key": PUBLIC_KEY}, content=body)
        assert answer.status_code == 400, (answer.status_code, answer.text)
        assert answer.json()["code"] == "invalid_argument"


@pytest.mark.parametrize(
    "body",
    [b" " * (BODY_BYTES_MAX + 1), gzip.compress(b" " * (BODY_BYTES_MAX + 1))],
    ids=["plain", "packed"],
)
async def test_too_much_is_refused_for_good(client: httpx.AsyncClient, body: bytes):
    """Packed or not."""
    answer = await client.post("/batch/", headers={"x-api-key": PUBLIC_KEY}, content=body)
    assert answer.status_code == 400
    assert "larger than" in answer.json()["message"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"batch":[]}', b'{"batch":7}', b'{"batch":[7]}'])
async def test_nothing_is_no_failure(
    client: httpx.AsyncClient, services: MemoryServices, body: bytes
):
    """A batch without a call in it is a success in which nothing happened."""
    for path in ("/e/", "/v1/batch"):
        answer = await client.post(path, headers={"x-api-key": PUBLIC_KEY}, content=body)
        assert answer.status_code == 200
    assert not any(each.events for each in services.ingest.batches)


async def test_one_odd_call_costs_itself(client: httpx.AsyncClient, services: MemoryServices):
    """The others are kept, and it is counted why."""
    nameless = {**TRACK, "event": None, "messageId": "2"}
    nobody = {**TRACK, "anonymousId": None, "messageId": "3"}
    answer = await client.post(
        "/v1/batch", headers=basic(PUBLIC_KEY), content=batch(nameless, TRACK, nobody)
    )
    assert answer.status_code == 200
    assert answer.json() == {"success": True}
    (event,) = services.ingest.batches[0].events
    assert event.kind == "purchase"
    metrics = (await client.get("/metrics")).text
    assert 'compat_calls_refused_total{reason="no_name"} 1.0' in metrics
    assert 'compat_calls_refused_total{reason="no_identity"} 1.0' in metrics


@pytest.mark.parametrize(("path", "status"), [("/v1/batch", 429), ("/batch/", 503), ("/e/", 503)])
async def test_too_many_come_again_later(
    client: httpx.AsyncClient, services: MemoryServices, path: str, status: int
):
    """PostHog's browser client loses what 429 refuses, so it hears 503."""
    services.ingest.failure = ExhaustedError("RATE_LIMITED", "too many")
    call = TRACK if path.startswith("/v1") else CAPTURE
    answer = await client.post(path, headers={"x-api-key": PUBLIC_KEY}, content=batch(call))
    assert answer.status_code == status
    assert int(answer.headers["retry-after"]) >= 1


async def test_an_identity_that_is_not_safe_is_no_success(
    client: httpx.AsyncClient, services: MemoryServices
):
    """The client sends all of it again, with the same ids."""
    services.identify.failure = UnavailableError("UNAVAILABLE", "no queue")
    call = {"type": "identify", "userId": "u1", "anonymousId": "a1", "traits": {"name": "Mops"}}
    answer = await client.post("/v1/batch", headers=basic(PUBLIC_KEY), content=batch(call))
    assert answer.status_code == 503
    services.identify.failure = None
    answer = await client.post("/v1/i", headers=basic(PUBLIC_KEY), content=json.dumps(call))
    assert answer.status_code == 200
    (made,) = services.identify.handed_over
    assert (made.external_id, made.anonymous_id, made.traits) == ("u1", "anon-a1", {"name": "Mops"})
    assert made.accepted_at > 0


async def test_the_later_of_two_names_counts(client: httpx.AsyncClient, services: MemoryServices):
    """In the order of the batch; what counts once is before all, its first the latest."""
    calls = [
        {"event": "$set", "distinct_id": "u1", "properties": {name: {"n": number}}}
        for number, name in enumerate(("$set", "$set", "$set_once", "$set_once"))
    ]
    answer = await client.post("/batch/", content=batch(*calls, api_key=PUBLIC_KEY))
    assert answer.status_code == 200
    first, second, once, again = [call.accepted_at for call in services.identify.handed_over]
    assert again < once < 0 < first < second


async def test_a_server_is_no_visitor(client: httpx.AsyncClient, services: MemoryServices):
    """Its address and user agent stay out; those of a browser go in."""
    server = {**TRACK, "context": {"library": {"name": "analytics-python", "version": "2.4.0"}}}
    agent = {"user-agent": "Mozilla/5.0", **basic(PUBLIC_KEY)}
    for call in (server, TRACK):
        await client.post("/v1/batch", headers=agent, content=batch(call))
    assert [facts.user_agent for facts in services.ingest.facts] == ["", "Mozilla/5.0"]
    assert [facts.peer for facts in services.ingest.facts] == ["", "203.0.113.9"]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.service}{door.path}")
async def test_every_door_lets_browsers_in(client: httpx.AsyncClient, door: Any):
    """With the headers they name, credentials included, and on refusals, too."""
    path = f"{door.path}/{PUBLIC_KEY}/{door.below}" if door.below else door.path
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": door.methods[0],
        "access-control-request-headers": "authorization,x-retry-count",
    }
    for slash in ("", "/"):
        answer = await client.options(path + slash, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-allow-headers"] == "authorization,x-retry-count"
        assert door.methods[0] in answer.headers["access-control-allow-methods"]
    refused = await client.request(
        door.methods[0], path, headers={"origin": "https://shop.example"}, content=b"x"
    )
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    wrong = await client.delete(path)
    assert wrong.status_code == 405


async def test_names_that_are_none_are_not_echoed(client: httpx.AsyncClient):
    """Nothing goes into a header that could end it."""
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "a\tb",
    }
    answer = await client.options("/e/", headers=asked)
    assert "access-control-allow-headers" not in answer.headers


async def test_clients_are_told_to_send_here(client: httpx.AsyncClient):
    """What they load at their start."""
    settings = (await client.get(f"/v1/projects/{PUBLIC_KEY}/settings")).json()
    assert settings["integrations"]["Segment.io"]["apiKey"] == PUBLIC_KEY
    assert settings["integrations"]["Segment.io"]["apiHost"] == "pug.example/v1"
    assert settings["integrations"]["Segment.io"]["protocol"] == "http"
    proxied = {"x-forwarded-proto": "https", "x-forwarded-host": "in.example"}
    settings = (await client.get(f"/v1/projects/{PUBLIC_KEY}/settings", headers=proxied)).json()
    assert settings["integrations"]["Segment.io"]["apiHost"] == "in.example/v1"
    assert settings["integrations"]["Segment.io"]["protocol"] == "https"
    source = (await client.get("/sourceConfig/", headers=basic(PUBLIC_KEY))).json()
    assert source["source"]["writeKey"] == PUBLIC_KEY
    flags = (await client.post("/flags/?v=2", content=b"{}")).json()
    assert flags["featureFlags"] == {}
    assert (await client.post("/decide/?v=3", content=b"")).json()["sessionRecording"] is False
    config = (await client.get(f"/array/{PUBLIC_KEY}/config")).json()
    assert config["autocapture_opt_out"] is False
    for path in (f"/array/{PUBLIC_KEY}/config.js", "/array", "/v1/projects/x", "/v1/nothing"):
        assert (await client.get(path)).status_code == 404
