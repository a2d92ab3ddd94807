"""What compacting sessions and compacting visitors have in common (decisions 0039, 0042).

Invariant: a table of compacted rows has a partition for each project and epoch, and a table of
progress has a row for each step: the greatest `reached` tells the epoch and the block from which on
changes are not compacted.
"""

from typing import Final, LiteralString

from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.insights.settings import PRIORITY_BULK

_STATEMENT_SECONDS_MAX: Final = 1200
READS: Final[dict[str, Setting]] = {
    "max_execution_time": _STATEMENT_SECONDS_MAX,
    "max_threads": 1,
    "priority": PRIORITY_BULK,
}
WRITES: Final[dict[str, Setting]] = {
    **READS,
    "max_insert_threads": 1,
    # a pass that is done again writes what it wrote before, and that must be stored
    "insert_deduplicate": 0,
}
_BEHIND: Final[LiteralString] = """
SELECT stored.project_id
FROM (SELECT project_id, max(last_block) AS newest FROM event_names GROUP BY project_id) AS stored
LEFT JOIN
(
    SELECT project_id, max(reached) AS at FROM <progress> GROUP BY project_id
) AS compacted ON compacted.project_id = stored.project_id
WHERE stored.newest >= compacted.at.2 <or_else>
ORDER BY stored.project_id
"""
_STALE: Final[LiteralString] = """
SELECT DISTINCT _partition_id FROM <table>
WHERE project_id = {project:String} AND epoch != (
    SELECT max(reached).1 FROM <progress> WHERE project_id = {project:String}
)
"""
_DROP: Final[LiteralString] = "ALTER TABLE <table> DROP PARTITION ID {partition:String}"


def select_behind(progress: LiteralString, or_else: LiteralString = "") -> LiteralString:
    """The statement whose rows are the projects that got events since they were compacted.

    `or_else` is a further reason to be behind, from OR on, with `compacted.at` for what is reached.
    """
    return _BEHIND.replace("<progress>", progress).replace("<or_else>", or_else)


async def drop_older_epochs(
    store: ClickHouse, project_id: str, table: LiteralString, progress: LiteralString
) -> None:
    """Take the rows of older epochs from the disk; nobody reads them."""
    stale = _STALE.replace("<table>", table).replace("<progress>", progress)
    drop = _DROP.replace("<table>", table)
    for (partition,) in await store.rows(stale, {"project": project_id}, READS):
        await store.command(drop, {"partition": str(partition)})
