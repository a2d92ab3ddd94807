"""The job that compacts sessions, so that overviews read one plain row for each (decision 0039).

Invariant: answers are the same whether it ran or not; it only decides how much they read. One
statement of it runs at a time, because the leader alone runs it and waits for one given up.
"""

import structlog

from appliance.services.jobs.desk import Desk
from appliance.storage.clickhouse.compacted_sessions import (
    compact_project,
    is_compacting,
    list_behind,
)

_LOG = structlog.stdlib.get_logger()


async def compact_sessions(desk: Desk) -> str:
    """Compact every project that got events; raises UnavailableError when the store is away."""
    store = desk.stores.clickhouse
    projects = await list_behind(store)
    begun_anew = 0
    for project in projects:
        await desk.lead.require()
        if await is_compacting(store):
            return "a statement of an earlier run still works; the next run goes on"
        if not await compact_project(store, project):
            begun_anew += 1
            _LOG.error("compacted_sessions_differ", project=project)
    text = f"compacted the sessions of {len(projects)} projects"
    return (
        f"{text}; {begun_anew} differed from the roll-up and are made anew" if begun_anew else text
    )
