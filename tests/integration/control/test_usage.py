"""GetUsage: unset until metered, metered from the events themselves [services 13]."""

import json
import uuid
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.gen.common.v1.time_pb import TimeRange
from appliance.gen.dashboard.usage.v1.usage_pb import GetUsageRequest, GetUsageResponse
from appliance.services.usage import UsageService
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.migrate import migrate_clickhouse
from tests.support.control import ControlStack, Person, Refusal

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

GET_USAGE = "dashboard.usage.v1.UsageService/GetUsage"
NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)


class Meter:
    """An organisation with two projects, and events in an event store of its own."""

    def __init__(self, control: ControlStack, events: ClickHouse, form: str) -> None:
        self.control = control
        self.form = form
        self.events = events
        services = control.services
        stores = msgspec.structs.replace(services.stores, clickhouse=events)
        self.usage = UsageService(stores, clock=control.clock)
        self.org = ""
        self.projects: list[str] = []
        self.person: Person

    async def ask(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> GetUsageResponse:
        request = GetUsageRequest(org_id=self.org)
        if start is not None and end is not None:
            request.range = TimeRange(
                from_=Timestamp.from_datetime(start), to=Timestamp.from_datetime(end)
            )
        return await self.control.call(GET_USAGE, request, token=self.person.token, form=self.form)

    async def take(self, project: str, at: datetime, count: int) -> None:
        """Put events where the worker puts them."""
        rows = (
            json.dumps(
                {
                    "event_id": str(uuid.uuid4()),
                    "project_id": project,
                    "distinct_id": f"d{number}",
                    "session_id": str(uuid.uuid4()),
                    "kind": "page_view",
                    "occur_time": f"{at:%Y-%m-%d %H:%M:%S.000}",
                    "insert_block": 1,
                }
            )
            for number in range(count)
        )
        body = "\n".join(rows).encode() + b"\n"
        await self.events.insert_ndjson("events", [body], {})


@pytest.fixture(params=["json", "proto"])
async def meter(
    request: pytest.FixtureRequest, control: ControlStack, engines: Settings
) -> AsyncGenerator[Meter]:
    endpoint = msgspec.structs.replace(
        resolve_endpoints(engines).clickhouse, database=f"u{uuid.uuid4().hex[:12]}"
    )
    await migrate_clickhouse(endpoint, lambda _name: None)
    events = ClickHouse(endpoint)
    made = Meter(control, events, request.param)
    made.org = await control.make_org()
    made.projects = [await control.make_project(made.org, name) for name in ("A", "B")]
    made.person = await control.make_member(Role.VIEWER, made.org)
    yield made
    await events.command("DROP DATABASE {name:Identifier}", {"name": endpoint.database})
    await events.close()


def told(answer: GetUsageResponse) -> list[tuple[str, str, int]]:
    return [
        (f"{day.day.to_datetime():%F %H}", day.project_id, day.event_count)
        for day in answer.daily
        if day.day is not None
    ]


async def test_usage_from_unmetered_to_the_next_month(meter: Meter):
    first, second = meter.projects
    answer = await meter.ask()
    assert not answer.has_field("used_events")
    assert not answer.has_field("usage_computed_at")
    assert answer.period_start == Timestamp.from_datetime(datetime(2026, 5, 1, tzinfo=UTC))
    assert answer.period_end == Timestamp.from_datetime(datetime(2026, 6, 1, tzinfo=UTC))

    await meter.usage.meter()
    answer = await meter.ask()
    assert answer.has_field("used_events")
    assert answer.used_events == 0
    assert answer.usage_computed_at == Timestamp.from_datetime(meter.control.clock.now())

    foreign = await meter.control.make_project(await meter.control.make_org("Pound"))
    await meter.take(first, NOON, 3)
    await meter.take(second, NOON, 2)
    await meter.take(first, NOON - timedelta(days=3), 1)
    await meter.take(first, NOON - timedelta(days=30), 7)
    await meter.take(first, NOON - timedelta(days=500), 50)
    await meter.take(foreign, NOON, 100)
    await meter.take("nobodys", NOON, 100)
    assert await meter.usage.meter() == 5
    assert await meter.usage.meter() == 0, "a second run changes nothing"
    answer = await meter.ask()
    assert answer.used_events == 6
    assert told(answer) == [
        ("2026-05-07 00", first, 1),
        *sorted([("2026-05-10 00", first, 3), ("2026-05-10 00", second, 2)]),
    ]
    answer = await meter.ask(NOON - timedelta(days=30, hours=3), NOON - timedelta(days=3, hours=1))
    assert answer.used_events == 6, "of the month, whatever the range"
    assert told(answer) == [("2026-04-10 00", first, 7), ("2026-05-07 00", first, 1)]
    midnight = NOON.replace(hour=0)
    assert told(await meter.ask(midnight - timedelta(days=3), midnight - timedelta(days=2))) == [
        ("2026-05-07 00", first, 1)
    ]

    meter.control.clock.advance(25 * 86400)
    fresh = meter.control.services.control.tokens.issue(meter.person.id)
    meter.person = msgspec.structs.replace(meter.person, token=fresh)
    answer = await meter.ask()
    assert not answer.has_field("used_events"), "June is not metered yet"
    assert answer.has_field("usage_computed_at")
    assert told(answer) == []


async def test_usage_never_shrinks(meter: Meter):
    """Retention and deletion take events away, but they were used."""
    first, _ = meter.projects
    await meter.take(first, NOON, 4)
    await meter.usage.meter()
    await meter.events.command("TRUNCATE TABLE dashboard_event_rollup_daily")
    await meter.take(first, NOON, 1)
    assert await meter.usage.meter() == 0
    await meter.control.services.projects.delete_project(first)
    answer = await meter.ask()
    assert answer.used_events == 4
    assert told(answer) == [("2026-05-10 00", first, 4)]


async def test_refusals(meter: Meter):
    async def refused(request: GetUsageRequest, token: str | None) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await meter.control.call(GET_USAGE, request, token=token, form=meter.form)
        return caught.value

    token = meter.person.token
    stranger = await meter.control.make_member(Role.ADMIN)
    own = GetUsageRequest(org_id=meter.org)
    for org in (meter.org, "nowhere"):
        refusal = await refused(GetUsageRequest(org_id=org), stranger.token)
        assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_NOT_A_MEMBER")
    assert (await refused(own, None)).reason == "UNAUTHENTICATED"

    def between(start: Timestamp | None, end: Timestamp | None) -> GetUsageRequest:
        return GetUsageRequest(org_id=meter.org, range=TimeRange(from_=start, to=end))

    day = 86400
    for broken in (
        GetUsageRequest(org_id=""),
        between(None, None),
        between(Timestamp(seconds=5), Timestamp(seconds=5)),
        between(Timestamp(seconds=0), Timestamp(seconds=400 * day + 1)),
    ):
        refusal = await refused(broken, token)
        assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_ARGUMENT")
    edge = between(Timestamp(seconds=0), Timestamp(seconds=400 * day))
    assert told(await meter.control.call(GET_USAGE, edge, token=token, form=meter.form)) == []
    last = between(Timestamp(seconds=253402300799 - day), Timestamp(seconds=253402300799))
    assert told(await meter.control.call(GET_USAGE, last, token=token, form=meter.form)) == []
    if meter.form == "proto":
        far = between(Timestamp(seconds=1 << 50), Timestamp(seconds=(1 << 50) + 1))
        assert (await refused(far, token)).code == "invalid_argument"
