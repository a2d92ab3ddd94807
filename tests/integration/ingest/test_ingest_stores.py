"""Rows in the real event store, and cookieless identity over the real queue."""

import json
import math
from collections.abc import AsyncGenerator

import pytest

from appliance.base.clock import SystemClock
from appliance.base.ids import SystemRandomness
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.ingest.cookieless import day_of, salt_key, session_key
from appliance.domain.ingest.event import Instant, Properties, parse_instant
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.slots import text_of, untag
from appliance.domain.ingest.validate import check_batch
from appliance.services.cookieless import CookielessIdentities
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_clickhouse, migrate_nats
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.kv import COOKIELESS_BUCKET, Bucket
from tests.support.properties import batch_of, facts_of, numbered_events, typed, wire_event

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

_FACTS = facts_of({"User-Agent": "UA/1.0"}, peer="203.0.113.5:4711")


def _silent(_line: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture
async def store(engines: Settings) -> AsyncGenerator[ClickHouse]:
    endpoint = resolve_endpoints(engines).clickhouse
    await migrate_clickhouse(endpoint, _silent)
    store = ClickHouse(endpoint)
    yield store
    await store.close()


@pytest.fixture
async def bucket(engines: Settings) -> AsyncGenerator[Bucket]:
    endpoint = resolve_endpoints(engines).nats
    await migrate_nats(endpoint, engines.nats.retention, _silent)
    streams = Streams(endpoint, name="test-ingest")
    yield Bucket(streams, COOKIELESS_BUCKET)
    await streams.close()


SLOTS: Properties = {
    "text": "Graz",
    "text like an int": "12",
    "text like a double": "1.5",
    "text like a bool": "true",
    "text like an instant": "2026-01-01 00:00:00.000",
    "text like a tag": "i5",
    "text with zeros": "007",
    "empty text": "",
    "odd text": '\x00\x1f"\\/\u2028\U0001f600',
    "int": -9007199254740993,
    "least int": -(2**63),
    "whole double": 10.0,
    "double": 0.1,
    "huge double": 1.7976931348623157e308,
    "tiny double": 5e-324,
    "negative zero": -0.0,
    "true": True,
    "false": False,
    "instant": Instant(1767225600123),
    "old instant": Instant(-62_135_596_800_000),
}


async def test_every_slot_survives_the_event_store(store: ClickHouse) -> None:
    """Type and value come back exactly; the engine's own text and number forms are ours."""
    events = check_batch(batch_of({"events": numbered_events(1)}))
    events[0].custom_properties.update(SLOTS)
    await store.insert_ndjson("events", [encode_rows("slots", events)], {})
    rows = await store.rows(
        "SELECT key, custom_properties[key], substring(custom_properties[key], 2),"
        " toFloat64OrNull(substring(custom_properties[key], 2))"
        " FROM events ARRAY JOIN mapKeys(custom_properties) AS key WHERE project_id = 'slots'"
    )
    assert typed({str(row[0]): untag(str(row[1])) for row in rows}) == typed(SLOTS)
    for key, _, text, number in rows:
        value = SLOTS[str(key)]
        if not isinstance(value, Instant):
            assert text == text_of(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert isinstance(number, float)
            assert math.isclose(number, value)
        if isinstance(value, (bool, Instant)):
            assert number is None


async def test_every_instant_lands_where_it_belongs(store: ClickHouse) -> None:
    """The years 1 to 9999, to the millisecond."""
    texts = [
        "0001-01-01T00:00:00Z",
        "1899-12-31T23:59:59.999Z",
        "1969-12-31T23:59:59.999Z",
        "2026-03-04T05:06:07.089999Z",
        "2299-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.999Z",
    ]
    sent = numbered_events(len(texts))
    for event, text in zip(sent, texts, strict=True):
        event["occurTime"] = text
    rows = encode_rows("instants", check_batch(batch_of({"events": sent})))
    await store.insert_ndjson("events", [rows], {})
    found = await store.rows(
        "SELECT toUnixTimestamp64Milli(occur_time) FROM events"
        " WHERE project_id = 'instants' ORDER BY event_id"
    )
    assert sorted(int(str(row[0])) for row in found) == sorted(map(parse_instant, texts))


async def test_promoted_columns_and_defaults(store: ClickHouse) -> None:
    """What a row leaves out is the column's default; null and false differ."""
    sent = [
        wire_event(
            autoProperties={
                "$country": {"stringValue": "AT"},
                "$osVersion": {"doubleValue": 14.5},
                "$mobile": {"stringValue": "1"},
                "$bot_score": {"intValue": "0"},
                "$verified_bot": {"boolValue": False},
            }
        ),
        wire_event(eventId="6F1D9F62-0C7B-4D0E-8A55-3F0A9B1C2D02"),
    ]
    rows = encode_rows("promoted", check_batch(batch_of({"events": sent})))
    await store.insert_ndjson("events", [rows], {})
    found = await store.rows(
        "SELECT toString(event_id), country, os_version, mobile, bot_score, verified_bot,"
        " length(auto_properties) FROM events WHERE project_id = 'promoted' ORDER BY event_id"
    )
    assert json.loads(json.dumps(found)) == [
        ["6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d01", "AT", "14.5", True, 0, False, 0],
        ["6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d02", "", "", False, None, None, 0],
    ]


async def test_two_processes_settle_on_one_visitor_and_session(bucket: Bucket) -> None:
    """Salt and session are made once over the real queue, and expire by themselves."""
    clock = SystemClock()
    first = CookielessIdentities(bucket, clock=clock, randomness=SystemRandomness())
    second = CookielessIdentities(bucket, clock=clock, randomness=SystemRandomness())
    now = clock.now()
    events = numbered_events(3, cookieless=True, distinctId=None, sessionId=None)
    for event in events:
        event["occurTime"] = f"{now:%Y-%m-%dT%H:%M:%S}Z"
    checked = check_batch(batch_of({"events": events}))
    one = await first.resolve("prj", checked, _FACTS)
    two = await second.resolve("prj", checked, _FACTS)
    assert not one.degraded
    assert not two.degraded
    assert len({event.session_id for event in (*one.draft.events, *two.draft.events)}) == 1
    visitor = one.draft.events[0].distinct_id
    day = day_of(checked[0].occur_time_ms)
    for key in (salt_key(day), session_key("prj", visitor)):
        assert await bucket.load(key) is not None


async def test_a_stored_value_expires(bucket: Bucket) -> None:
    """The shortest life a value can have is one second; then the key is free again."""
    assert await bucket.create("cookieless:test", b"x", ttl_seconds=1) is None
    assert await bucket.create("cookieless:test", b"y", ttl_seconds=60) is not None
    end = SystemClock().monotonic_seconds() + 10
    while await bucket.load("cookieless:test") is not None:
        assert SystemClock().monotonic_seconds() < end, "the value never expired"
    assert await bucket.create("cookieless:test", b"z", ttl_seconds=60) is None
