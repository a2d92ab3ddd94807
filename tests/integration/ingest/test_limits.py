"""Rates, monthly numbers and a full queue, on real stores, through the application."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import msgspec
import pytest

from appliance.api.app import create_app
from appliance.base.tasks import poll
from appliance.base.units import Bytes, Seconds
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import NatsSettings, Settings
from appliance.domain.ingest.allowance import month_of
from appliance.services.allowances import EXCHANGE_SECONDS, Allowances
from appliance.services.queue_room import LOOK_SECONDS
from appliance.storage.migrate import migrate_nats
from appliance.storage.postgres.limits import exchange
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import EVENTS_STREAM
from appliance.storage.streams.queues import load_stored
from tests.support.clocks import FixedClock
from tests.support.control import ControlStack, control_stack
from tests.support.rpc import BATCH_CREATE, details, event, refused

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

QUEUE_BYTES = 4 << 20
IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"


class Sender:
    """A project and somebody who sends its events."""

    def __init__(self, stack: ControlStack, client: httpx.AsyncClient, project: str, key: str):
        self.stack = stack
        self.project = project
        self._client = client
        self._headers = {"x-api-key": key, "content-type": "application/json"}

    async def send(self, number: int = 1, *, again: str = "", text: str = "") -> httpx.Response:
        """A batch of fresh events, or the one called `again`."""
        batch = again or str(uuid4())[:23]
        events = [
            event(eventId=f"{batch}-{n:012d}", customProperties={"t": {"stringValue": text}})
            for n in range(number)
        ]
        return await self._client.post(BATCH_CREATE, headers=self._headers, json={"events": events})

    async def identify(self) -> httpx.Response:
        """What no SDK sends again when it was refused."""
        content = {"externalId": str(uuid4())}
        return await self._client.post(IDENTIFY, headers=self._headers, json=content)

    async def limit(self, *, per_second: int | None = None, per_month: int | None = None) -> None:
        """Set limits the way the command does, and let the API learn of them by itself."""
        await self.stack.services.limits.change(
            self.project, events_per_second=per_second, events_per_month=per_month
        )
        await self.learn()

    async def learn(self) -> None:
        """Let the time pass that the API may take, and send one more batch that tells it."""
        self.stack.clock.advance(EXCHANGE_SECONDS + 0.1)
        await self.send()
        await self.stack.services.settled()


async def empty_queue(engines: Settings) -> None:
    """Take away the events that tests before this one left on the shared queue."""
    endpoint = resolve_endpoints(engines).nats
    await migrate_nats(endpoint, Seconds(86400), lambda _name: None)
    streams = Streams(endpoint, name="pug-test-empty")
    try:
        await (await streams.jetstream()).purge_stream(EVENTS_STREAM)
    finally:
        await streams.close()


@pytest.fixture
async def sender(engines: Settings) -> AsyncGenerator[Sender]:
    settings = Settings(
        data_dir=engines.data_dir, nats=NatsSettings(events_bytes_max=Bytes(QUEUE_BYTES))
    )
    clock = FixedClock(datetime.now(tz=UTC))
    await empty_queue(engines)  # before the application looks how full it is
    async with control_stack(engines, settings, clock) as stack:
        made = await stack.services.projects.create_project("Shop")
        app = create_app(stack.services, settings, clock=clock)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as client:
            yield Sender(stack, client, made.id, made.public_key.key.reveal())


async def test_a_rate(sender: Sender):
    """What is over the rate is refused with the time to wait; obeying it is enough."""
    assert (await sender.send(1000)).status_code == 200
    await sender.limit(per_second=10)
    assert (await sender.send(1000)).status_code == 200, "a batch is taken whole"
    answer = await sender.send()
    told = details(refused(answer, 429, "resource_exhausted"))
    assert told["google.rpc.ErrorInfo"]["reason"] == "RATE_LIMITED"
    wait = int(answer.headers["retry-after"])
    assert 85 <= wait <= 95
    sender.stack.clock.advance(wait)
    assert (await sender.send()).status_code == 200
    assert sender.stack.services.ingest.counts["ingest.refused_total", "rate_limited"] == 1


async def test_a_rate_taken_away(sender: Sender):
    """A limit that is lifted holds nobody any more, without a restart."""
    await sender.limit(per_second=1)
    assert (await sender.send(1000)).status_code == 200
    assert (await sender.send()).status_code == 429
    await sender.stack.services.limits.change(
        sender.project, events_per_second=0, events_per_month=None
    )
    await sender.learn()
    assert (await sender.send()).status_code == 200


async def test_a_month(sender: Sender):
    """A month's number is used up by events that are new; the next month begins anew."""
    await sender.limit(per_month=50)  # one event is sent while it is learnt
    assert (await sender.send(40, again="01890000-0000-7000-9001")).status_code == 200
    assert (await sender.send(40, again="01890000-0000-7000-9001")).status_code == 200
    assert (await sender.send(20)).status_code == 200, "a batch is taken whole"
    answer = await sender.send()
    told = details(refused(answer, 429, "resource_exhausted"))
    assert told["google.rpc.ErrorInfo"]["reason"] == "QUOTA_EXCEEDED"
    assert int(answer.headers["retry-after"]) <= 3600
    sender.stack.clock.advance(32 * 86400)
    await sender.learn()
    assert (await sender.send()).status_code == 200


async def test_counts_of_several_processes_add_up(sender: Sender):
    """What another process took counts here, and what is told is told once."""
    other = Allowances(sender.stack.database, sender.stack.clock)
    other.note(sender.project, 30)
    await other.close()
    await sender.limit(per_month=31)
    [use] = await sender.stack.services.limits.list_uses(sender.project)
    assert use.events >= 30
    await sender.learn()
    assert (await sender.send()).status_code == 429
    month = month_of(sender.stack.clock.now())
    [found] = await exchange(sender.stack.database, {}, month)
    assert found.events == 31


async def test_a_database_that_is_away(sender: Sender):
    """Counts wait for it, and limits stay what they were."""
    clock = sender.stack.clock
    await sender.limit(per_month=10)
    away = Allowances(sender.stack.database, clock)
    await away.open()
    await sender.stack.database.execute("ALTER TABLE project_limits RENAME TO elsewhere")
    away.note(sender.project, 20)
    await away.open()
    with pytest.raises(Exception, match="a month"):
        away.require(sender.project)
    await sender.stack.database.execute("ALTER TABLE elsewhere RENAME TO project_limits")
    await away.close()
    [found] = await exchange(sender.stack.database, {}, month_of(clock.now()))
    assert found.events >= 20


async def test_a_full_queue(sender: Sender):
    """At the budget events are refused with 503 before the server refuses; nothing is lost."""
    services = sender.stack.services
    accepted = 0
    refusal: httpx.Response | None = None
    while refusal is None:
        answer = await sender.send(200, text="x" * 900)
        sender.stack.clock.advance(LOOK_SECONDS + 0.1)
        await services.settled()
        if answer.status_code == 200:
            accepted += 1
        else:
            refusal = answer
        assert accepted < 100, "the queue never got full"
    told = details(refused(refusal, 503, "unavailable"))
    assert told["google.rpc.ErrorInfo"]["reason"] == "QUEUE_FULL"
    assert refusal.headers["retry-after"] == "5"
    assert (await sender.identify()).status_code == 200, "persons have room of their own"
    stored = {one.stream: one for one in await load_stored(services.stores.streams)}
    assert stored[EVENTS_STREAM].messages == accepted, "what was acknowledged is there"
    assert stored[EVENTS_STREAM].bytes <= QUEUE_BYTES
    await (await services.stores.streams.jetstream()).purge_stream(EVENTS_STREAM)

    async def taken_again() -> bool | None:
        sender.stack.clock.advance(LOOK_SECONDS + 0.1)
        return True if (await sender.send()).status_code == 200 else None

    assert await poll(taken_again, every_seconds=0.02, timeout_seconds=30)


async def test_a_queue_full_for_the_server(sender: Sender):
    """The server's own bound, met between two looks, is answered 503 as well."""
    services = sender.stack.services
    jetstream = await services.stores.streams.jetstream()
    config = (await jetstream.stream_info(EVENTS_STREAM)).config
    before = config.max_bytes
    config.max_bytes = 1000
    await jetstream.update_stream(config)
    try:
        answer = await sender.send(20)
        told = details(refused(answer, 503, "unavailable"))
        assert told["google.rpc.ErrorInfo"]["reason"] == "QUEUE_FULL"
        assert "retry-after" in answer.headers
        assert services.ingest.counts["ingest.refused_total", "queue_full"] == 1
        again = await sender.send()
        assert again.status_code == 503, "refused before its body is read"
        assert services.ingest.counts["ingest.refused_total", "queue_full"] == 2
    finally:
        config.max_bytes = before
        await jetstream.update_stream(config)


async def test_the_audit_log_knows(sender: Sender):
    """Who set which limit, and what it was before."""
    await sender.stack.services.limits.change(
        sender.project, events_per_second=5, events_per_month=None
    )
    assert "project.limits.update" in await sender.stack.audit_actions()
    [use] = await sender.stack.services.limits.list_uses(sender.project)
    assert msgspec.structs.asdict(use)["events_per_second"] == 5
