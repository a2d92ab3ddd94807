"""A question ends in the engine when whoever asked it has gone; the control is one who stays."""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator

import httpx
import pytest

from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import build_services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.insights.settings import PRIORITY_HEAVY
from appliance.storage.migrate import migrate_clickhouse, migrate_nats, migrate_postgres
from appliance.storage.postgres.projects import KeyKind
from tests.support.api_services import api_process
from tests.support.rpc import QUERY

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

EVENTS = 300_000
PATIENCE_SECONDS = 20.0
LONG, SHORT = 200, 2
"""Events of a question: the long one reads its rows for much longer than the patience of a test."""

FILL = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time,
    custom_properties)
SELECT generateUUIDv4(), {project:String}, toString(number % 1000), generateUUIDv4(), 'view',
    toDateTime64('2025-05-01 00:00:00', 3, 'UTC') + number,
    mapFromArrays(arrayMap(n -> concat('key', toString(n)), range(20)),
        arrayMap(n -> concat('i', toString(number + n)), range(20)))
FROM numbers({rows:UInt64})
"""
RUNNING = """
SELECT count() FROM system.processes
WHERE query LIKE '%FROM events%' AND query NOT LIKE '%system.processes%'
    AND Settings['priority'] = {priority:String} AND query LIKE {words:String}
"""
LAST_OF_LONG = f"match_{LONG - 1}"
"""What only the statement of the longest question names."""


@pytest.fixture(scope="module")
async def store(engines: Settings, anyio_backend: str) -> AsyncGenerator[ClickHouse]:
    endpoints = resolve_endpoints(engines)
    await migrate_postgres(endpoints.postgres, lambda _: None)
    await migrate_clickhouse(endpoints.clickhouse, lambda _: None)
    await migrate_nats(endpoints.nats, engines.nats.retention, lambda _: None)
    opened = ClickHouse(endpoints.clickhouse)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def key(engines: Settings, store: ClickHouse) -> str:
    """The private key of a project with many events, stored without the feeds of the roll-ups."""
    services = build_services(engines, name="test-hanging-up")
    try:
        project = await services.projects.create_project("hanging up")
        key = await services.key_chain.create_key(project.id, KeyKind.PRIVATE)
    finally:
        await services.close()
    await store.command(FILL, {"project": project.id, "rows": EVENTS})
    return key.key.reveal()


@pytest.fixture(scope="module")
def url(engines: Settings, key: str) -> Generator[str]:
    assert key
    with api_process("--stores", str(engines.data_dir)) as (port, _):
        yield f"http://127.0.0.1:{port}"


def question(events: int) -> dict[str, object]:
    """A trend that looks at every property of every event, once for each of its events."""
    asked = [
        {
            "event": {
                "kind": "view",
                "filters": [
                    {
                        "property": f"key{number % 20}",
                        "operator": "FILTER_OPERATOR_GT",
                        "value": str(number),
                    }
                ],
            }
        }
        for number in range(events)
    ]
    return {
        "spec": {"insightType": "INSIGHT_TYPE_TRENDS", "events": asked},
        "timeRange": {"from": "2025-05-01T00:00:00Z", "to": "2025-05-11T00:00:00Z"},
        "granularity": "GRANULARITY_DAY",
    }


async def statements(store: ClickHouse, words: str = "") -> int:
    """Heavy statements of an insight with these words that the engine works on."""
    asked = {"priority": str(PRIORITY_HEAVY), "words": f"%{words}%"}
    ((count,),) = await store.rows(RUNNING, asked)
    return int(str(count))


async def reaches(store: ClickHouse, wanted: int, words: str = "") -> bool:
    async def reached() -> bool | None:
        return True if await statements(store, words) == wanted else None

    return bool(await poll(reached, every_seconds=0.02, timeout_seconds=PATIENCE_SECONDS))


async def test_a_question_ends_with_its_caller(store: ClickHouse, url: str, key: str):
    """While the caller stays the statement runs; when the connection is cut, it is cancelled."""
    async with httpx.AsyncClient(timeout=60) as client:
        asking = asyncio.ensure_future(
            client.post(url + QUERY, json=question(LONG), headers={"x-api-key": key})
        )
        assert await reaches(store, 1, LAST_OF_LONG)
        for _ in range(20):  # the control: nobody ends it while its caller is there
            assert await statements(store, LAST_OF_LONG) == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert await reaches(store, 0)


async def test_a_question_ends_at_the_deadline_of_its_caller(store: ClickHouse, url: str, key: str):
    """`Connect-Timeout-Ms` is kept: the caller is told, and the engine works for nobody.

    Shorter by one event than the other long question: under load it may reach the engine late.
    """
    headers = {"x-api-key": key, "connect-timeout-ms": "300"}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(url + QUERY, json=question(LONG - 1), headers=headers)
    assert answer.json()["code"] == "deadline_exceeded"
    assert await reaches(store, 0)


async def test_who_stays_is_answered(store: ClickHouse, url: str, key: str):
    """The control of both: the same question, but shorter, runs to its end after them."""
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(url + QUERY, json=question(SHORT), headers={"x-api-key": key})
    assert answer.status_code == 200, json.dumps(answer.json())
    assert len(answer.json()["trends"]["series"]) == 1
    assert await reaches(store, 0)
