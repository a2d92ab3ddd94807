"""How long reading persons and events takes in a large project, and what memory it needs.

    .venv/bin/python -m tests.bench.people [PROFILES] [EVENTS]

Half as many anonymous visitors as profiles; every profile has an alias. Invented data, written by
the engine itself; times are seconds of one call.
"""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from appliance.base.clock import SystemClock
from appliance.config.endpoints import resolve_endpoints
from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import FilterOperator, PropertyFilter
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetEventExplorerRequest,
    GetProfileStatsRequest,
)
from appliance.gen.shared.profiles.v1.profiles_pb import FilterGroup, ListRequest
from appliance.services.activity import ActivityService
from appliance.services.people import PeopleService
from appliance.storage.clickhouse.activity_read import ActivityReader
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.people_read import PeopleReader
from appliance.storage.migrate import migrate_clickhouse
from tests.support.engines import started_engines

PROJECT = "benchbenchbenchbench"
CHUNK = 250_000

_PROFILES = """
INSERT INTO profiles SELECT {project:String}, 'P' || leftPad(toString(number), 19, '0'),
    'user' || toString(number),
    concat('{"name":"User ', toString(number), '","plan":"',
        ['free','pro','team'][1 + number % 3], '","seats":', toString(number % 50), '}'),
    false, toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number,
    toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number, number + 1
FROM numbers({count:UInt64})
"""
_ALIASES = """
INSERT INTO profile_aliases SELECT {project:String}, 'anon-' || toString(number),
    'P' || leftPad(toString(number), 19, '0'), 'user' || toString(number), number + 1
FROM numbers({count:UInt64})
"""
_EVENTS = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time, country,
    browser, custom_properties)
SELECT generateUUIDv4(), {project:String},
    'anon-' || toString(intHash64(number) % ({count:UInt64} + intDiv({count:UInt64}, 2))),
    toUUID('00000000-0000-4000-8000-' || leftPad(toString(intDiv(number, 10)), 12, '0')),
    ['page_view','click','purchase'][1 + number % 3],
    toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number * 7.5,
    ['NO','SE','DE'][1 + number % 3], 'Firefox', map('price', 'd1.5')
FROM numbers({first:UInt64}, {number:UInt64})
"""


async def fill(store: ClickHouse, profiles: int, events: int) -> None:
    """The project."""
    values = {"project": PROJECT, "count": profiles}
    await store.command(_PROFILES, values)
    await store.command(_ALIASES, values)
    for first in range(0, events, CHUNK):
        number = min(CHUNK, events - first)
        await store.command(_EVENTS, {**values, "first": first, "number": number})


async def timed(name: str, ask: Callable[[], Awaitable[str]]) -> None:
    """Ask, and tell how long it took."""
    start = time.perf_counter()
    told = await ask()
    print(f"{name:44} {time.perf_counter() - start:8.3f} s   {told}", flush=True)


class Questions:
    """Every question, each telling what it found."""

    def __init__(self, store: ClickHouse, profiles: int) -> None:
        reader = PeopleReader(store)
        self.people = PeopleService(reader)
        self.activity = ActivityService(ActivityReader(store), reader, SystemClock())
        self.profiles = profiles
        self.name = f"P{profiles // 2:019d}"

    async def get(self) -> str:
        found = await self.people.get(PROJECT, f"anon-{self.profiles // 2}")
        return f"{found.activity.events if found.activity else 0} events"

    async def external(self) -> str:
        return (await self.people.get_by_external_id(PROJECT, f"user{self.profiles // 3}")).id

    async def first_page(self, request: ListRequest) -> str:
        pages = self.people.list(PROJECT, request)
        page = await anext(pages)
        await pages.aclose()
        return f"{len(page.persons)} persons"

    async def everybody(self) -> str:
        pages = [len(page.persons) async for page in self.people.list(PROJECT, ListRequest())]
        return f"{sum(pages)} persons"

    async def explorer(self) -> str:
        answer = await self.activity.explorer(PROJECT, GetEventExplorerRequest())
        return f"{len(answer.events)} events"

    async def deep(self) -> str:
        token, seen = "", 0
        for _ in range(20):
            answer = await self.activity.explorer(
                PROJECT, GetEventExplorerRequest(page_size=1000, page_token=token)
            )
            token, seen = answer.next_page_token, seen + len(answer.events)
        return f"{seen} events in 20 pages"

    async def feed(self) -> str:
        answer = await self.activity.feed(PROJECT, GetActivityFeedRequest(distinct_id=self.name))
        return f"{len(answer.events)} events"

    async def stats(self) -> str:
        answer = await self.activity.stats(PROJECT, GetProfileStatsRequest(distinct_id=self.name))
        return f"{answer.stats.total_events if answer.stats else 0} events"


def only(key: str, value: str, source: PropertySource) -> ListRequest:
    """A list with one filter."""
    test = PropertyFilter(property=key, operator=FilterOperator.EQUALS, value=value, source=source)
    return ListRequest(filter_groups=[FilterGroup(filters=[test])])


async def measure(asked: Questions) -> None:
    """Every question once."""
    by_trait = only("plan", "pro", PropertySource.PROFILE)
    by_country = only("$country", "SE", PropertySource.AUTO)
    await timed("Get by alias", asked.get)
    await timed("GetByExternalId", asked.external)
    await timed("List, first page", lambda: asked.first_page(ListRequest()))
    await timed("List, first page, by trait", lambda: asked.first_page(by_trait))
    await timed("List, first page, by country", lambda: asked.first_page(by_country))
    await timed("GetEventExplorer, first page", asked.explorer)
    await timed("GetEventExplorer, 20 pages of 1000", asked.deep)
    await timed("GetActivityFeed of one person", asked.feed)
    await timed("GetProfileStats of one person", asked.stats)
    await timed("List, everybody", asked.everybody)


async def main(profiles: int, events: int) -> None:
    """Fill a fresh event store and measure."""
    with tempfile.TemporaryDirectory() as folder, started_engines(Path(folder) / "pug") as settings:
        endpoint = replace(resolve_endpoints(settings).clickhouse, database="people")
        await migrate_clickhouse(endpoint, lambda _name: None)
        store = ClickHouse(endpoint)
        await fill(store, profiles, events)
        print(f"{profiles} profiles and aliases, {profiles // 2} visitors more, {events} events")
        await measure(Questions(store, profiles))
        await store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak of the reading process {peak} MiB")


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]] or [100_000, 2_000_000]
    asyncio.run(main(*chosen))
