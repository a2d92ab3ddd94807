"""Events for `scripts/bench query`, made by the engine itself.

Invariant: events follow from their number alone, so every run asks the same data, and they come in
the order of time, as they do in life: a block has the days of a project one after another. Pages
follow a power law, as on a site: of 500 pages, page *n* has the share ((n + 1)/500)^(1/3) -
(n/500)^(1/3) of the events, so the first has 13 %, the first ten 27 % and the last 0.07 %; with
`EVEN` every page has the same share, which is the worst case of a ranking. The first project goes
through the views; the others are copies of it, in every table, which is what the views would have
stored.
"""

import asyncio
import os
import sys
import time
from typing import Final

from appliance.storage.clickhouse.client import ClickHouse

BLOCK: Final = 1_000_000
FILLERS: Final = 2
"""Statements at once: the cores of the machine the targets speak of."""

SETTLE_SECONDS_MAX: Final = 1200
FIRST: Final = "bench-0"
"""The project that is asked about."""

EVEN: Final = 1.0
SKEWED: Final = 3.0
"""Powers of an even share of [0, 1), which chooses the page."""

_INSERT: Final = {
    "max_insert_threads": 1,
    "max_block_size": BLOCK,
    "min_insert_block_size_rows": BLOCK,
    "min_insert_block_size_bytes": 0,
    "max_execution_time": 0,
}

_MAKE: Final = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time,
    auto_properties, custom_properties, country, os, browser, device, pathname, channel,
    referrer_domain)
WITH
    intDiv(number, 8) AS visit,
    number % 8 AS nth,
    cityHash64(visit) AS seed,
    seed % {people:UInt64} AS person,
    bitShiftRight(cityHash64(number, 12), 11) / 9007199254740992. AS share
SELECT
    toUUID(concat('00000000-0000-4000-8000-', leftPad(lower(hex(number)), 12, '0'))),
    {project:String},
    concat(if(person % 10 = 0, 'cookieless-', 'u'), toString(person)),
    toUUID(concat('00000000-0000-4000-9000-', leftPad(lower(hex(visit)), 12, '0'))),
    multiIf(nth < 5, 'page_view', nth = 5, 'click', nth = 6, 'signup', 'purchase'),
    fromUnixTimestamp64Milli(
        1746057600000 + toInt64(intDiv(visit * 2588000000, {visits:UInt64}))
            + toInt64(cityHash64(visit, 1) % 3600000)
            + toInt64(nth * 20000) + toInt64(cityHash64(number, 2) % 20000), 'UTC'),
    map('$tag', concat('s', toString(cityHash64(number, 5) % 20))),
    map('plan', concat('s', ['free', 'pro', 'team'][1 + person % 3]),
        'amount', concat('i', toString(cityHash64(number, 7) % 1000))),
    ['AT', 'DE', 'US', 'FR', 'GB', 'IN', 'JP', 'BR', 'ES', 'IT', 'PL', 'SE']
        [1 + cityHash64(person, 8) % 12],
    ['iOS', 'Android', 'Windows', 'macOS'][1 + cityHash64(person, 9) % 4],
    ['Chrome', 'Safari', 'Firefox', 'Edge'][1 + cityHash64(person, 10) % 4],
    ['mobile', 'desktop'][1 + cityHash64(person, 11) % 2],
    concat('/page/', toString(toUInt16(500 * pow(share, {skew:Float64})))),
    ['Direct', 'Organic Search', 'Referral', 'Email'][1 + cityHash64(visit, 13) % 4],
    concat('site', toString(cityHash64(visit, 14) % 50), '.example')
FROM numbers({start:UInt64}, {rows:UInt64})
"""

_MADE: Final = "SELECT count() FROM events WHERE insert_block = 0"
"""Without the late ones of `query_late.py`."""

_COPIED: Final = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND total_rows > 0
    AND name IN (SELECT table FROM system.columns
        WHERE database = currentDatabase() AND name = 'project_id')
ORDER BY name
"""
_VIEWS: Final = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine = 'MaterializedView'
"""


async def fill(clickhouse: ClickHouse, events: int, projects: int, skew: float = SKEWED) -> None:
    """Fill every table for this many events, and wait until the merges have ended.

    A store that has them is left as it is; one with the first project gets the others.
    """
    ((stored,),) = await clickhouse.rows(_MADE)
    if stored == events:
        return
    own = events // projects
    assert stored in (0, own), f"there are {stored} events, not {events}"
    if not stored:
        await make_events(clickhouse, FIRST, own, skew)
    if projects > 1:
        await _copy(clickhouse, projects)
    ((stored,),) = await clickhouse.rows(_MADE)
    assert stored == own * projects, f"{stored} events were stored"
    await _settle(clickhouse)
    os.sync()


async def make_events(clickhouse: ClickHouse, project: str, own: int, skew: float = SKEWED) -> None:
    """Store this many events of one project, through the views."""
    waiting = list(range(0, own, BLOCK))

    async def make() -> None:
        while waiting:
            start = waiting.pop(0)
            rows = min(BLOCK, own - start)
            parameters = {
                "project": project,
                "start": start,
                "rows": rows,
                "people": max(own // 200, 100),
                "visits": max(own // 8, 1),
                "skew": skew,
            }
            await clickhouse.command(_MAKE, parameters, _INSERT)
            _tell(f"{start + rows:,} of {own:,} events of the first project")

    await asyncio.gather(*(make() for _ in range(FILLERS)))


async def _copy(clickhouse: ClickHouse, projects: int) -> None:
    """The first project under other names; the views come back for the events that follow."""
    views = [str(view) for (view,) in await clickhouse.rows(_VIEWS)]
    for view in views:
        await clickhouse.command(f"DETACH TABLE {view}")
    tables = [str(name) for (name,) in await clickhouse.rows(_COPIED)]
    waiting = [(f"bench-{number}", table) for number in range(1, projects) for table in tables]

    async def copy() -> None:
        while waiting:
            project, table = waiting.pop(0)
            await clickhouse.command(
                f"INSERT INTO {table} SELECT * REPLACE({{project:String}} AS project_id) "
                f"FROM (SELECT * FROM {table} WHERE project_id = {{first:String}})",
                {"project": project, "first": FIRST},
                _INSERT,
            )
            _tell(f"{project}: {table}")

    await asyncio.gather(*(copy() for _ in range(FILLERS)))
    for view in views:
        await clickhouse.command(f"ATTACH TABLE {view}")


async def _settle(clickhouse: ClickHouse) -> None:
    limit = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < limit:
        ((merging,),) = await clickhouse.rows("SELECT count() FROM system.merges")
        if not merging:
            return
        await asyncio.sleep(1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
