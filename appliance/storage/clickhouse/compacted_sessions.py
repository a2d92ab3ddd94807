"""Keeps one plain row for each session of the roll-up, for questions to read (decision 0039).

Invariant: of every session that did not change since the block in `compacted_sessions_progress` the
rows of the present epoch add up to what the roll-up says; whoever reads takes the others from the
roll-up. So a pass may be killed anywhere and done again: it takes back what it finds and adds what
is. Who changes the roll-up otherwise than by inserting blocks begins a new epoch before and after
(`forget_compacted`); rows of an older one are invisible at once and dropped later.
"""

from collections.abc import Mapping
from typing import Final, LiteralString, cast

import msgspec
from msgspec import Struct

from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.compacting import (
    READS,
    WRITES,
    drop_older_epochs,
    select_behind,
)
from appliance.storage.clickhouse.marked import is_at_work
from appliance.storage.clickhouse.session_slots import ENDS, SLOTS

SCOPES: Final[tuple[LiteralString, ...]] = ("", "page_view", "screen_view")
"""What is compacted: the scopes in which overviews count sessions [dashboard-ui Overview]."""
_MARK: Final = "pug-compaction"
_WRITES: Final[dict[str, Setting]] = {
    **WRITES,
    "log_comment": _MARK,
    # the roll-up is in the order of the grouping: a session is done before the next begins
    "optimize_aggregation_in_order": 1,
    "min_insert_block_size_rows": 131_072,
}
_PROGRESS: Final = "compacted_sessions_progress"
_BEHIND: Final = select_behind(_PROGRESS)
REACHED: Final[LiteralString] = """
SELECT max(reached).1, max(reached).2 FROM compacted_sessions_progress
WHERE project_id = {project:String}
"""
"""How far a project is, as one row for `read_reached`."""
_NEWEST: Final = """
SELECT max(last_block), count() FROM dashboard_session_rollup WHERE project_id = {project:String}
"""
_REACH: Final = """
INSERT INTO compacted_sessions_progress (project_id, reached)
SELECT {project:String}, ({epoch:UInt64}, {before_block:Int64})
"""
_FORGET: Final = """
INSERT INTO compacted_sessions_progress (project_id, reached)
SELECT {project:String}, (max(reached).1 + 1, 0) FROM compacted_sessions_progress
WHERE project_id = {project:String}
"""
_CHANGED: Final[LiteralString] = """
SELECT scope, session_id FROM dashboard_session_rollup
WHERE project_id = {project:String} AND scope IN {scopes:Array(String)}
    AND last_block >= {before_block:Int64}
"""
_TALLY: Final[LiteralString] = """
SELECT
    (
        SELECT sum(event_count) FROM dashboard_session_rollup
        WHERE project_id = {project:String} AND scope IN {scopes:Array(String)}
            AND (scope, session_id) NOT IN (<changed>)
    ),
    (
        SELECT sum(sign * toInt64(event_count)) FROM compacted_sessions
        WHERE project_id = {project:String} AND epoch = {epoch:UInt64}
            AND (scope, session_id) NOT IN (<changed>)
    )
""".replace("<changed>", _CHANGED)
_COLUMNS: Final[LiteralString] = ", ".join(
    [end + "_" + name for end, _ in ENDS for name in SLOTS.values()]
)
_TEXTS: Final[LiteralString] = ", ".join([texts + " AS " + end + "_texts" for end, texts in ENDS])
# numbers of this module, not values: literal although no type checker can see it
_VALUES: Final = cast(
    "LiteralString",
    ", ".join(f"{end}_texts[{number}]" for end, _ in ENDS for number in range(1, len(SLOTS) + 1)),
)
_INSERT: Final[LiteralString] = (
    """
INSERT INTO compacted_sessions (
    project_id, epoch, scope, session_id, start_time, end_time, event_count, <columns>,
    version, sign
)
SELECT
    {project:String}, {epoch:UInt64}, scope, session_id, first_time, final_time, events, <values>,
    newest_block, 1
FROM
(
    SELECT
        scope, session_id, min(start_time) AS first_time, max(end_time) AS final_time,
        sum(event_count) AS events, <texts>, max(last_block) AS newest_block
    FROM dashboard_session_rollup
    WHERE project_id = {project:String} AND scope IN {scopes:Array(String)} <only_changed>
    GROUP BY project_id, scope, session_id
)
""".replace("<columns>", _COLUMNS)
    .replace("<values>", _VALUES)
    .replace("<texts>", _TEXTS)
)
_FILL: Final[LiteralString] = _INSERT.replace("<only_changed>", "")
_IS_CHANGED: Final[LiteralString] = "AND (scope, session_id) IN (" + _CHANGED + ")"
_TAKE_BACK: Final[LiteralString] = """
UNION ALL
SELECT
    project_id, epoch, scope, session_id, start_time, end_time, event_count, <columns>, version, -1
FROM compacted_sessions
WHERE project_id = {project:String} AND epoch = {epoch:UInt64} <only_changed>
GROUP BY
    project_id, epoch, scope, session_id, start_time, end_time, event_count, <columns>, version
HAVING sum(sign) > 0
""".replace("<columns>", _COLUMNS)
_RENEW: Final[LiteralString] = (_INSERT + _TAKE_BACK).replace("<only_changed>", _IS_CHANGED)
_LOOKS_MAX: Final = 3


class Reached(Struct, frozen=True, kw_only=True):
    """How far a project is compacted: what changed from `before_block` on is not; 0 is nothing."""

    epoch: int
    before_block: int


async def load_reached(store: ClickHouse, project_id: str) -> Reached:
    """How far a project is compacted now; read it before what it speaks of."""
    (row,) = await store.rows(REACHED, {"project": project_id})
    return read_reached(row)


def read_reached(row: Row) -> Reached:
    """A row of `REACHED`."""
    epoch, before_block = (cast("int", value) for value in row)
    return Reached(epoch=epoch, before_block=before_block)


async def is_compacting(store: ClickHouse) -> bool:
    """Whether a statement of a pass, perhaps of one that was given up, still works."""
    return await is_at_work(store, _MARK)


async def list_behind(store: ClickHouse) -> tuple[str, ...]:
    """The projects that got events since they were compacted."""
    return tuple(str(project) for (project,) in await store.rows(_BEHIND, settings=READS))


async def compact_project(store: ClickHouse, project_id: str) -> bool:
    """Bring one project up to date; False when its rows were wrong and a new epoch began.

    Nobody else may compact at the same time. Erasures and retention may run: what a pass writes
    into an epoch that ended meanwhile is invisible.
    """
    reached = await load_reached(store, project_id)
    ((newest, rows),) = await store.rows(_NEWEST, {"project": project_id}, READS)
    if rows and not reached.before_block:
        # what a killed pass left must not count beside what this one writes
        await forget_compacted(store, project_id)
        reached = await load_reached(store, project_id)
    await drop_stale(store, project_id)
    if not rows:
        return True
    values = {"project": project_id, "scopes": list(SCOPES)} | msgspec.structs.asdict(reached)
    if reached.before_block and not await _agrees(store, values):
        await forget_compacted(store, project_id)
        return False
    await store.command(_RENEW if reached.before_block else _FILL, values, _WRITES)
    before = cast("int", newest) + 1
    await store.command(
        _REACH, {"project": project_id, "epoch": reached.epoch, "before_block": before}
    )
    return True


async def forget_compacted(store: ClickHouse, project_id: str) -> None:
    """Begin a new epoch: nothing that was compacted before counts any more."""
    await store.command(_FORGET, {"project": project_id})


async def drop_stale(store: ClickHouse, project_id: str) -> None:
    """Take the rows of older epochs from the disk."""
    await drop_older_epochs(store, project_id, "compacted_sessions", _PROGRESS)


async def _agrees(store: ClickHouse, values: Mapping[str, object]) -> bool:
    """Whether both count the same events in the sessions that did not change.

    Events that arrive between the halves of the question make it fail; so it is asked again.
    """
    for _ in range(_LOOKS_MAX):
        ((rolled, compacted),) = await store.rows(_TALLY, values, READS)
        if rolled == compacted:
            return True
    return False
