"""Keeps each project's events for as many days as it wants (decision 0021).

Invariant: raw events and roll-ups agree when a run ends, and the run says so only after counting.
Nothing is inserted while they are brought in line: the events worker rests, the queue takes events
meanwhile. A run that is killed leaves work that the next one finds, because raw events go last.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from appliance.base.errors import DamagedError
from appliance.domain.schedule import start_of_day
from appliance.services.jobs.desk import Desk
from appliance.storage.clickhouse.retention import (
    Expired,
    Month,
    drop_events,
    drop_month,
    free_month,
    list_masked_months,
    list_months,
    load_tally,
    look_for_expired,
    renew_rollups,
    require_no_other,
)
from appliance.storage.postgres.purge import list_retentions

_MONTH_DIGITS: Final = 6

_LOG: Final = structlog.stdlib.get_logger()


async def enforce_retention(desk: Desk) -> str:
    """Take away what is older than its project wants.

    Raises DamagedError when a roll-up does not count what is there afterwards.
    """
    now = desk.clock.now()
    cutoffs = {
        project: start_of_day(now - timedelta(days=days))
        for project, days in (await list_retentions(desk.stores.postgres)).items()
    }
    if not await _find_expired(desk, cutoffs):
        return f"nothing to take away, {len(cutoffs)} projects with a limit"
    async with desk.quiet():
        await require_no_other(desk.stores.clickhouse)
        expired = await _find_expired(desk, cutoffs)
        for project, found in expired.items():
            await desk.lead.require()
            await renew_rollups(desk.stores.clickhouse, project, cutoffs[project], found)
        months = await _drop_months(desk, cutoffs)
        for project in expired:
            await desk.lead.require()
            await drop_events(desk.stores.clickhouse, project, cutoffs[project])
        wrong = [project for project in expired if not await _agrees(desk, project)]
    freed = await _free_months(desk, cutoffs)
    if wrong:
        raise DamagedError("ROLLUPS_DIFFER", f"roll-ups differ from events in {', '.join(wrong)}")
    count = sum(found.events for found in expired.values())
    return f"{count} events of {len(expired)} projects, {months} months dropped, {freed} rewritten"


async def _find_expired(desk: Desk, cutoffs: Mapping[str, datetime]) -> dict[str, Expired]:
    found = {
        project: await look_for_expired(desk.stores.clickhouse, project, cutoff)
        for project, cutoff in cutoffs.items()
    }
    return {project: one for project, one in found.items() if one.events or one.rolled}


async def _drop_months(desk: Desk, cutoffs: Mapping[str, datetime]) -> int:
    """Drop the months in which no project keeps anything."""
    count = 0
    for month in await list_months(desk.stores.clickhouse):
        if is_over(month, cutoffs):
            await desk.lead.require()
            await drop_month(desk.stores.clickhouse, month.id)
            count += 1
    return count


async def _free_months(desk: Desk, cutoffs: Mapping[str, datetime]) -> int:
    """Write months anew that no project will take more away from; once for each."""
    earliest = min(cutoffs.values())
    count = 0
    for month in await list_masked_months(desk.stores.clickhouse):
        if end_of_month(month) <= earliest:
            await desk.lead.require()
            await free_month(desk.stores.clickhouse, month)
            count += 1
    return count


async def _agrees(desk: Desk, project: str) -> bool:
    tally = await load_tally(desk.stores.clickhouse, project)
    if not tally.agrees:
        _LOG.error("rollups_differ", project=project, tally=repr(tally))
    return tally.agrees


def is_over(month: Month, cutoffs: Mapping[str, datetime]) -> bool:
    """Whether every project with events in a month has its cutoff after all of them."""
    return all(
        project in cutoffs and newest < cutoffs[project] for project, newest in month.newest.items()
    )


def end_of_month(month: str) -> datetime:
    """The first instant after a partition, from its name like `202611`."""
    assert len(month) == _MONTH_DIGITS, "partitions of events are months"
    year, number = int(month[:4]), int(month[4:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
