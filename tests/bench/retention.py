"""How long the events worker rests while a project's old events go.

    python -m tests.bench.retention [EVENTS]

Makes EVENTS (1,000,000) events of 60 days, 50,000 people and a session of about five events for
each visit, then takes away one day (what a night does) and half of all (the first night of a
setting), and counts raw events and roll-ups after each.
"""

import asyncio
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from appliance.storage.clickhouse.retention import (
    drop_events,
    load_tally,
    look_for_expired,
    renew_rollups,
)
from tests.support.engines import started_engines
from tests.support.pipeline import open_stage

MAKE = """
INSERT INTO events (
    event_id, project_id, distinct_id, session_id, kind, occur_time, country, browser, pathname
)
SELECT
    generateUUIDv4(), 'p1', concat('user-', toString(cityHash64(intDiv(number, 5)) % 50000)),
    reinterpretAsUUID(sipHash128(intDiv(number, 5))),
    ['page_view', 'click', 'purchase'][number % 3 + 1],
    toDateTime64('2026-03-01 00:00:00', 3, 'UTC')
        + toIntervalMillisecond(intDiv(number * 5184000000, {events:UInt64}) + number % 1000),
    ['AT', 'DE', 'CH', 'IT'][number % 4 + 1], ['Firefox', 'Safari'][number % 2 + 1],
    concat('/page/', toString(number % 200))
FROM numbers({first:UInt64}, {count:UInt64})
"""
CHUNK = 100_000


async def measure(folder: Path, events: int) -> None:
    """Print one line for each cutoff."""
    with started_engines(folder, ("nats", "clickhouse")) as settings:
        async with open_stage(settings) as stage:
            for first in range(0, events, CHUNK):
                values = {"events": events, "first": first, "count": min(CHUNK, events - first)}
                await stage.store.command(MAKE, values)
            for name, cutoff in (
                ("one day", datetime(2026, 3, 2, tzinfo=UTC)),
                ("half", datetime(2026, 3, 31, tzinfo=UTC)),
            ):
                found = await look_for_expired(stage.store, "p1", cutoff)
                started = time.monotonic()
                await renew_rollups(stage.store, "p1", cutoff, found)
                await drop_events(stage.store, "p1", cutoff)
                seconds = time.monotonic() - started
                tally = await load_tally(stage.store, "p1")
                print(
                    f"{name}: {found.events} events, {found.sessions} sessions, "
                    f"{found.people} people in {seconds:.1f} s; left {tally.events}, "
                    f"roll-ups agree: {tally.agrees}"
                )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        asyncio.run(
            measure(Path(place) / "pug", int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
        )
