"""How long insights take: `python -m tests.bench.insights [EVENTS] [ROUNDS]`.

Starts a ClickHouse engine of its own, fills it with EVENTS events of 30 days made by the engine
(seeded by row number, so every run asks the same data) and prints the median and the worst of
ROUNDS answers of each question, through the service: message in, message out.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from appliance.config.endpoints import resolve_endpoints
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.insights import InsightsService
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.ledger import migrate_clickhouse
from tests.support.clocks import FixedClock
from tests.support.engines import running_engines

_BLOCK = 250_000
_FILL = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time,
    auto_properties, custom_properties, country, os, pathname)
SELECT
    toUUID(concat('00000000-0000-4000-8000-', leftPad(hex(number), 12, '0'))),
    'bench',
    concat(if(cityHash64(number) % 10 = 0, 'cookieless-', 'u'),
        toString(cityHash64(number, 1) % 50000)),
    toUUID(concat('00000000-0000-4000-8000-',
        leftPad(hex(cityHash64(number, 2) % 100000), 12, '0'))),
    ['page_view', 'click', 'purchase', 'signup'][1 + cityHash64(number, 3) % 4],
    fromUnixTimestamp64Milli(1746057600000 + toInt64(cityHash64(number, 4) % 2592000000), 'UTC'),
    map('$tag', concat('s', toString(cityHash64(number, 5) % 20))),
    map('plan', concat('s', ['free', 'pro', 'team'][1 + cityHash64(number, 6) % 3]),
        'amount', concat('i', toString(cityHash64(number, 7) % 1000))),
    ['AT', 'DE', 'US', 'FR', 'GB', 'IN', 'JP', 'BR', 'ES', 'IT', 'PL', 'SE']
        [1 + cityHash64(number, 8) % 12],
    ['iOS', 'Android', 'Windows', 'macOS'][1 + cityHash64(number, 9) % 4],
    concat('/page/', toString(cityHash64(number, 10) % 500))
FROM numbers({start:UInt64}, {rows:UInt64})
"""

_VIEW = {"event": {"kind": "page_view"}}
_PRO = {"property": "plan", "operator": "FILTER_OPERATOR_EQUALS", "value": "pro"}
_QUESTIONS = {
    "total by day (roll-up)": ("", "DAY", {"events": [_VIEW]}),
    "unique users by day (roll-up)": (
        "",
        "DAY",
        {"events": [{**_VIEW, "aggregation": "AGGREGATION_TYPE_UNIQUE_USERS"}]},
    ),
    "unique users by day and country (roll-up)": (
        "",
        "DAY",
        {
            "events": [{**_VIEW, "aggregation": "AGGREGATION_TYPE_UNIQUE_USERS"}],
            "breakdowns": [{"property": "$country"}],
        },
    ),
    "total by day, Vienna (events)": ("Europe/Vienna", "DAY", {"events": [_VIEW]}),
    "total by hour of 14 days (events)": ("", "HOUR", {"events": [_VIEW]}),
    "unique users by day, Vienna (events)": (
        "Europe/Vienna",
        "DAY",
        {"events": [{**_VIEW, "aggregation": "AGGREGATION_TYPE_UNIQUE_USERS"}]},
    ),
    "total of plan = pro by page (events)": (
        "",
        "DAY",
        {
            "events": [{"event": {"kind": "page_view", "filters": [_PRO]}}],
            "breakdowns": [{"property": "$pathname"}],
        },
    ),
    "sum of amount, every kind (events)": (
        "",
        "DAY",
        {
            "events": [
                {"aggregation": "AGGREGATION_TYPE_SUM", "aggregationProperty": "amount"},
            ]
        },
    ),
}


class _Project:
    project_id = "bench"

    def __init__(self, timezone: str) -> None:
        self.timezone = timezone


def _request(granularity: str, spec: dict) -> QueryRequest:
    end = "2025-05-15T00:00:00Z" if granularity == "HOUR" else "2025-05-31T00:00:00Z"
    message = {
        "spec": {"insightType": "INSIGHT_TYPE_TRENDS", **spec},
        "timeRange": {"from": "2025-05-01T00:00:00Z", "to": end},
        "granularity": f"GRANULARITY_{granularity}",
    }
    return QueryRequest.from_json(json.dumps(message))


async def measure(events: int, rounds: int) -> None:
    """Fill an engine and print the figures."""
    with tempfile.TemporaryDirectory(prefix="insights-bench-") as folder:
        async with running_engines(Path(folder) / "pug", {"clickhouse"}) as settings:
            endpoint = resolve_endpoints(settings).clickhouse
            await migrate_clickhouse(endpoint, lambda _: None)
            clickhouse = ClickHouse(endpoint)
            for start in range(0, events, _BLOCK):
                rows = min(_BLOCK, events - start)
                await clickhouse.command(_FILL, {"start": start, "rows": rows})
            clock = FixedClock(datetime(2025, 6, 1, tzinfo=UTC))
            service = InsightsService(ClickHouseInsights(clickhouse), clock)
            print(f"{events} events, {rounds} rounds: median and worst, milliseconds")
            for name, (timezone, granularity, spec) in _QUESTIONS.items():
                request = _request(granularity, spec)
                taken: list[float] = []
                for _ in range(rounds):
                    started = time.perf_counter()
                    await service.query(_Project(timezone), request)
                    taken.append((time.perf_counter() - started) * 1000)
                print(f"{statistics.median(taken):8.1f} {max(taken):8.1f}  {name}")
            await clickhouse.close()


if __name__ == "__main__":
    _events, _rounds = [*map(int, sys.argv[1:]), *(1_000_000, 15)[len(sys.argv) - 1 :]]
    asyncio.run(measure(_events, _rounds))
