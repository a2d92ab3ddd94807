"""`GET /live` under the real server, on a real queue and event store."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from appliance.base.tasks import poll
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.access.roles import Role
from appliance.gen.shared.activity.v1.activity_pb import GetEventExplorerRequest
from appliance.services.wiring import Services
from appliance.storage.streams.publish import EVENTS_STREAM
from tests.support.live import Watched, event, join, make_watched, post, watching

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OPERATOR = Actor(kind=ActorKind.OPERATOR)


def key(watched: Watched) -> dict[str, str]:
    return {"x-api-key": watched.private}


async def test_events_arrive_as_the_explorer_shows_them(
    client: httpx.AsyncClient, services: Services, watched: Watched
) -> None:
    """What is told is what the explorer answers once the same row is stored, in every field."""
    async with watching(client, key(watched)) as reader:
        sent = event("purchase", customProperties={"a\nb": {"stringValue": "x\r\ny\u2028\x85z"}})
        plain = event(autoProperties={"$mobile": {"boolValue": True}}, customProperties={})
        ids = await post(client, watched.public, sent, plain)
        await reader.until("both events", lambda: len(reader.ids) == 2)
    assert reader.ids == ids
    jetstream = await services.stores.streams.jetstream()
    message = await jetstream.get_last_msg(EVENTS_STREAM, "events.ingest")
    assert message.data is not None
    await services.stores.clickhouse.insert_ndjson("events", [message.data], {})
    answer = await services.activity.explorer(watched.project, GetEventExplorerRequest())
    shown = {one.event_id: one.to_json() for one in answer.events}
    told = {one["eventId"]: one for one in reader.of("event")}
    assert {name: json.loads(text) for name, text in shown.items()} == told
