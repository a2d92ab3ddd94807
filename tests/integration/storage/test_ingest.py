"""From a decoded batch to acknowledged messages on the queue."""

import uuid
from collections.abc import AsyncGenerator

import msgspec
import pytest

from appliance.base.errors import InvalidInputError, UnavailableError
from appliance.base.units import Seconds
from appliance.config.endpoints import Endpoints, NatsEndpoint
from appliance.config.secrets import Secret
from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.facts import RequestFacts
from appliance.services.keys import Principal
from appliance.services.wiring import Services
from appliance.storage.migrate import migrate_nats
from appliance.storage.postgres.projects import KeyKind
from appliance.storage.streams.connection import Streams

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PRINCIPAL = Principal(project_id="p1", timezone="", kind=KeyKind.PUBLIC, key_id="k")
FACTS = RequestFacts()
SESSION = "00000000-0000-4000-8000-000000000001"


def make_event(**changes: object) -> Event:
    event = Event(
        event_id=str(uuid.uuid4()),
        kind="page_view",
        occur_time_ms=1_790_000_000_000,
        distinct_id="anon",
        session_id=SESSION,
    )
    return msgspec.structs.replace(event, **changes)


@pytest.fixture
async def services(endpoints: Endpoints) -> AsyncGenerator[Services]:
    await migrate_nats(endpoints.nats, Seconds(86400), lambda _name: None)
    opened = Services(endpoints, name="pug-test")
    yield opened
    await opened.close()


async def messages(endpoints: Endpoints) -> int:
    streams = Streams(endpoints.nats, name="pug-test")
    try:
        jetstream = await streams.jetstream()
        return (await jetstream.stream_info("events")).state.last_seq
    finally:
        await streams.close()


async def test_repeated_batch_is_one_message(services: Services, endpoints: Endpoints) -> None:
    """A client's retry, in whatever order, is stored on the queue once."""
    events = tuple(make_event() for _ in range(5))
    before = await messages(endpoints)
    for batch in (events, events, tuple(reversed(events))):
        receipt = await services.ingest.accept(PRINCIPAL, Batch(events=batch), FACTS)
        assert (receipt.accepted, receipt.dropped) == (5, 0)
    assert await messages(endpoints) == before + 1


async def test_other_project_is_another_message(services: Services, endpoints: Endpoints) -> None:
    """Two projects may send events with the same ids."""
    events = (make_event(),)
    before = await messages(endpoints)
    other = msgspec.structs.replace(PRINCIPAL, project_id="p2")
    for principal in (PRINCIPAL, other):
        await services.ingest.accept(principal, Batch(events=events), FACTS)
    assert await messages(endpoints) == before + 2


async def test_large_batch_is_split(services: Services, endpoints: Endpoints) -> None:
    """A batch above the server's message limit travels as several messages."""
    events = tuple(
        make_event(custom_properties={f"key{number}": "x" * 1000 for number in range(20)})
        for _ in range(600)
    )
    before = await messages(endpoints)
    receipt = await services.ingest.accept(PRINCIPAL, Batch(events=events), FACTS)
    assert receipt.accepted == 600
    assert await messages(endpoints) > before + 1


async def test_empty_and_bad_batches_publish_nothing(
    services: Services, endpoints: Endpoints
) -> None:
    before = await messages(endpoints)
    assert (await services.ingest.accept(PRINCIPAL, Batch(), FACTS)).accepted == 0
    with pytest.raises(InvalidInputError):
        await services.ingest.accept(PRINCIPAL, Batch(events=(make_event(kind="a b"),)), FACTS)
    assert await messages(endpoints) == before


async def test_without_acknowledgement_it_is_unavailable(endpoints: Endpoints) -> None:
    """No queue, no 200: the client keeps the batch and sends it again."""
    nowhere = msgspec.structs.replace(
        endpoints, nats=NatsEndpoint(url=Secret("nats://127.0.0.1:1"), external=True)
    )
    services = Services(nowhere, name="pug-test")
    try:
        with pytest.raises(UnavailableError) as caught:
            await services.ingest.accept(PRINCIPAL, Batch(events=(make_event(),)), FACTS)
        assert caught.value.reason == "UNAVAILABLE"
    finally:
        await services.close()
