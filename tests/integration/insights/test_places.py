"""Heavy questions wait or are refused, while rows are stored and roll-ups answer."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec import Struct

from appliance.base.errors import ExhaustedError, TimedOutError
from appliance.base.tasks import poll
from appliance.domain.insights.weight import Weight
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.insights import InsightsService
from appliance.services.question_slots import RETRY_SECONDS, QuestionSlots, Share
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.insights.settings import PRIORITY_HEAVY
from tests.support.clocks import FixedClock
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

NOW = datetime(2025, 6, 1, tzinfo=UTC)
PATIENCE_SECONDS = 40.0
ROWS = 200_000
STORED = 3
SERIES = 200
"""So many passes over the rows take longer than it takes to see that they run."""

FILL = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time,
    custom_properties)
SELECT generateUUIDv4(), {project:String}, 'u', generateUUIDv4(), 'view',
    toDateTime64('2025-05-01 00:00:00', 3, 'UTC') + number,
    mapFromArrays(arrayMap(n -> concat('key', toString(n)), range(20)),
        arrayMap(n -> concat('i', toString(number + n)), range(20)))
FROM numbers({rows:UInt64})
"""
RUNNING = """
SELECT count() FROM system.processes
WHERE query LIKE '%FROM events%' AND query NOT LIKE '%system.processes%'
    AND Settings['priority'] = {priority:String}
"""


class Project(Struct, frozen=True):
    project_id: str
    timezone: str = ""


ANN, BOB, CAT = map(Project, ("places-ann", "places-bob", "places-cat"))


def filtered(number: int) -> dict[str, object]:
    """An event whose property is compared, so that no roll-up can answer."""
    test = {"property": f"key{number % 20}", "operator": "FILTER_OPERATOR_GT", "value": "1"}
    return {"event": {"kind": "view", "filters": [test]}}


def asked(*events: dict[str, object]) -> QueryRequest:
    spec = {"insightType": "INSIGHT_TYPE_TRENDS", "events": list(events)}
    window = {"from": "2025-05-01T00:00:00Z", "to": "2025-05-11T00:00:00Z"}
    message = {"spec": spec, "timeRange": window, "granularity": "GRANULARITY_DAY"}
    return QueryRequest.from_json(json.dumps(message))


LIGHT = asked({"event": {"kind": "view"}})
SHORT = asked(filtered(1))
LONG = asked(*map(filtered, range(SERIES)))


@pytest.fixture(scope="module", autouse=True)
async def rows(event_store) -> None:
    for project, number in ((ANN, ROWS), (BOB, ROWS), (CAT, 1000)):
        await event_store.command(FILL, {"project": project.project_id, "rows": number})


def service_of(event_store, heavy: Share, *, seconds: float = 0.05) -> InsightsService:
    shares = {Weight.HEAVY: heavy, Weight.LIGHT: Share(together=2, of_one_project=1)}
    slots = QuestionSlots(shares, wait_seconds=seconds)
    return InsightsService(ClickHouseInsights(event_store), FixedClock(NOW), slots=slots)


async def _keep_asking(service: InsightsService, project: Project) -> None:
    """A long question, again and again: on a slow machine one may reach its limit of time."""
    while True:
        with suppress(TimedOutError):
            await service.query(project, LONG)


@asynccontextmanager
async def asking(service, *projects: Project) -> AsyncGenerator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(_keep_asking(service, project)) for project in projects]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def reaches(event_store, wanted: int) -> bool:
    async def reached() -> bool | None:
        ((count,),) = await event_store.rows(RUNNING, {"priority": str(PRIORITY_HEAVY)})
        return True if count == wanted else None

    return bool(await poll(reached, every_seconds=0.02, timeout_seconds=PATIENCE_SECONDS))


async def test_heavy_questions_are_refused_while_rows_are_stored(event_store):
    """Two places, one of each project: the others are told when to come again."""
    service = service_of(event_store, Share(together=2, of_one_project=1))
    async with asking(service, ANN, BOB):
        assert await reaches(event_store, 2)
        for project in (ANN, CAT):
            with pytest.raises(ExhaustedError) as caught:
                await service.query(project, SHORT)
            assert caught.value.retry_seconds == RETRY_SECONDS
        for number in range(STORED):
            event = {
                "event_id": str(UUID(int=number + 1)),
                "kind": "stored",
                "distinct_id": "u",
                "session_id": str(UUID(int=1)),
                "occur_time": "2025-05-01T00:00:00Z",
            }
            await event_store.insert(make_rows("places-rows", [event]))
        assert (await service.query(ANN, LIGHT)).result is not None
        ((stored,),) = await event_store.rows(
            "SELECT count() FROM events WHERE project_id = 'places-rows'"
        )
        assert stored == STORED
        assert await reaches(event_store, 2), "they still run"
    assert await reaches(event_store, 0)
    assert (await service.query(CAT, SHORT)).result is not None


async def test_a_question_that_waits_is_answered_when_a_place_is_free(event_store):
    service = service_of(event_store, Share(together=1, of_one_project=1), seconds=60)
    async with asking(service, ANN) as (first,):
        assert await reaches(event_store, 1)
        waiting = asyncio.ensure_future(service.query(BOB, SHORT))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.cancel()
        assert (await waiting).result is not None


async def test_without_places_they_all_run(event_store):
    """The control: nothing but the places keeps the third and the fourth back."""
    service = service_of(event_store, Share(together=100, of_one_project=100))
    async with asking(service, ANN, BOB, ANN, BOB):
        assert await reaches(event_store, 4)
    assert await reaches(event_store, 0)
