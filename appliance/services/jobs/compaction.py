"""The job that compacts sessions and visitors (decisions 0039, 0042), so that overviews read less.

Invariant: answers are the same whether it ran or not; it only decides how much they read. One
statement of each runs at a time, because the leader alone runs it and waits for one given up.
"""

from collections.abc import Awaitable, Callable

import structlog

from appliance.services.jobs.desk import Desk
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.compacted_sessions import (
    compact_project,
    is_compacting,
    list_behind,
)
from appliance.storage.clickhouse.compacted_visitors import (
    compact_visitors,
    is_compacting_visitors,
    list_behind_visitors,
)

_LOG = structlog.stdlib.get_logger()
_STILL_AT_WORK = "a statement of an earlier run still works; the next run goes on"


async def compact_sessions(desk: Desk) -> str:
    """Compact every project that got events; raises UnavailableError when the store is away."""
    store = desk.stores.clickhouse
    projects = await list_behind(store)
    for project in projects:
        if not await _may_begin(desk, is_compacting):
            return _STILL_AT_WORK
        if not await compact_project(store, project):
            _LOG.error("compacted_sessions_differ", project=project)
    today = desk.clock.now().date()
    with_visitors = await list_behind_visitors(store, today)
    for project in with_visitors:
        if not await _may_begin(desk, is_compacting_visitors):
            return _STILL_AT_WORK
        if not await compact_visitors(store, project, today):
            _LOG.error("compacted_visitors_differ", project=project)
    return f"compacted sessions of {len(projects)} projects, visitors of {len(with_visitors)}"


async def _may_begin(desk: Desk, is_at_work: Callable[[ClickHouse], Awaitable[bool]]) -> bool:
    await desk.lead.require()
    return not await is_at_work(desk.stores.clickhouse)
