"""Keeps the visitors of whole days as bitmaps of small numbers, for questions (decision 0042).

Invariant: a bitmap holds only visitors that the same rows of the daily roll-up have, and all those
of rows that did not change since the block in `compacted_visitors_progress` and lie before the day
there; so do the bitmaps of weeks that end before it. Whoever reads takes the other rows from the
roll-up and unites both, so a pass may be killed anywhere and done again. A visitor has one number
in an epoch. Who takes days from the roll-up begins a new epoch before and after
(`forget_visitors`).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final, LiteralString, cast

from msgspec import Struct

from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.columns import TOTAL_DIMENSION
from appliance.storage.clickhouse.compacting import (
    READS,
    WRITES,
    drop_older_epochs,
    select_behind,
)
from appliance.storage.clickhouse.marked import is_at_work

WEEK: Final = 7
COUNTED_MAX: Final = 65_536
"""Visitors up to which a set of the roll-up (`uniq`) counts; more are estimated."""

CHECKED_DAYS: Final = 35
"""The latest days whose bitmaps are compared with the roll-up, once a day."""

IDS: Final[LiteralString] = (
    "reinterpret(substring(state, 2 + (length(state) - 1) % 4), 'Array(UInt32)')"
)
"""What a set of the roll-up keeps, of its bytes `state`: after one byte for the share that is kept
and the count, a number of up to three bytes, come four bytes for each visitor."""

IS_WHOLE: Final[LiteralString] = r"startsWith(state, '\0')"
"""Whether a set keeps everybody, not a sample."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_MARK: Final = "pug-compaction-visitors"
_WRITES: Final[dict[str, Setting]] = {**WRITES, "log_comment": _MARK}
_PROGRESS: Final = "compacted_visitors_progress"
_TABLES: Final[tuple[LiteralString, ...]] = ("compacted_visitors", "compacted_visitor_numbers")
_BEHIND: Final = select_behind(_PROGRESS, "OR compacted.at.3 < {today:Int32}")
REACHED_VISITORS: Final[LiteralString] = """
SELECT max(reached).1, max(reached).2, max(reached).3, max(reached).4
FROM compacted_visitors_progress WHERE project_id = {project:String}
"""
"""How far a project is, as one row for `read_reached_visitors`."""
_NEWEST: Final = """
SELECT max(last_block), count() FROM dashboard_event_rollup_daily
WHERE project_id = {project:String}
"""
_DAYS: Final = """
SELECT DISTINCT toInt32(day) AS number FROM dashboard_event_rollup_daily
WHERE project_id = {project:String} AND dimension = {total:String}
    AND number >= {before_day:Int32} AND number < {today:Int32}
ORDER BY number
"""
_REACH: Final = """
INSERT INTO compacted_visitors_progress (project_id, reached)
SELECT {project:String}, (
    {epoch:UInt64}, {before_block:Int64}, {before_day:Int32},
    (
        SELECT max(number) + 1 FROM compacted_visitor_numbers
        WHERE project_id = {project:String} AND epoch = {epoch:UInt64}
    )
)
"""
_FORGET: Final = """
INSERT INTO compacted_visitors_progress (project_id, reached)
SELECT {project:String}, (max(reached).1 + 1, 0, 0, 0) FROM compacted_visitors_progress
WHERE project_id = {project:String}
"""
_LATE: Final[LiteralString] = (
    "toInt32(day) < {before_day:Int32} AND last_block >= {before_block:Int64}"
)
_OF_FULL_WEEKS: Final[LiteralString] = (
    " AND toInt32(day - toDayOfWeek(day)) + 8 <= {before_day:Int32}"
)
_OF_A_DAY: Final[LiteralString] = "toInt32(day) = {day:Int32}"
_GOING_ON: Final[LiteralString] = (
    "toInt32(day) >= {today:Int32} AND last_block >= {before_block:Int64}"
)
_GIVE_NUMBERS: Final[LiteralString] = """
INSERT INTO compacted_visitor_numbers (project_id, epoch, hash, number)
WITH
(
    SELECT max(number) FROM compacted_visitor_numbers
    WHERE project_id = {project:String} AND epoch = {epoch:UInt64}
) AS given
SELECT {project:String}, {epoch:UInt64}, id, given + row_number() OVER ()
FROM
(
    SELECT DISTINCT arrayJoin(<ids>) AS id
    FROM
    (
        SELECT toString(visitors) AS state FROM dashboard_event_rollup_daily
        WHERE project_id = {project:String} AND dimension = {total:String} AND <rows>
    )
    WHERE <is_whole>
)
WHERE id NOT IN (
    SELECT hash FROM compacted_visitor_numbers
    WHERE project_id = {project:String} AND epoch = {epoch:UInt64}
)
""".replace("<ids>", IDS).replace("<is_whole>", IS_WHOLE)
# Somebody without a number came after the pass began, and is in a row that changed since. If not,
# the set of all visitors of the day is a sample.
_WRITE: Final[LiteralString] = """
INSERT INTO compacted_visitors (
    project_id, epoch, kind, dimension, days, day, value, cookieless, visitors, is_sampled
)
SELECT
    {project:String}, {epoch:UInt64}, kind, dimension, {days:UInt8}, start, value, cookieless,
    groupBitmapStateIf(toUInt64(number), is_whole AND number > 0),
    max(NOT is_whole OR (number = 0 AND last_block <= {newest:Int64}))
FROM
(
    SELECT
        kind, dimension, value, cookieless, last_block, <is_whole> AS is_whole,
        if({days:UInt8} = 7, day - toDayOfWeek(day) + 1, day) AS start,
        arrayJoin(if(is_whole, <ids>, [toUInt32(0)])) AS id
    FROM
    (
        SELECT
            kind, dimension, day, value, cookieless, last_block, toString(visitors) AS state
        FROM dashboard_event_rollup_daily
        WHERE project_id = {project:String} AND <rows>
    )
) AS rolled_up
LEFT ANY JOIN
(
    SELECT hash AS id, number FROM compacted_visitor_numbers
    WHERE project_id = {project:String} AND epoch = {epoch:UInt64}
) AS numbered USING id
GROUP BY kind, dimension, start, value, cookieless
""".replace("<ids>", IDS).replace("<is_whole>", IS_WHOLE)
_UNITE_WEEK: Final = """
INSERT INTO compacted_visitors (
    project_id, epoch, kind, dimension, days, day, value, cookieless, visitors, is_sampled
)
SELECT
    {project:String}, {epoch:UInt64}, kind, dimension, 7, toDate32({monday:Int32}), value,
    cookieless, groupBitmapMergeState(visitors), max(is_sampled)
FROM compacted_visitors
WHERE project_id = {project:String} AND epoch = {epoch:UInt64} AND days = 1
    AND toInt32(day) BETWEEN {monday:Int32} AND {monday:Int32} + 6
GROUP BY kind, dimension, value, cookieless
"""
_DIFFERING: Final = """
SELECT countIf(NOT bitmaps.is_sampled AND sets.people != bitmaps.people)
FROM
(
    SELECT kind, day, cookieless, uniqMerge(visitors) AS people FROM dashboard_event_rollup_daily
    WHERE project_id = {project:String} AND dimension = {total:String}
        AND toInt32(day) BETWEEN {before_day:Int32} - {checked:Int32} AND {before_day:Int32} - 1
    GROUP BY kind, day, cookieless
    HAVING max(last_block) < {before_block:Int64} AND people <= {counted_max:UInt32}
) AS sets
LEFT JOIN
(
    SELECT kind, day, cookieless, groupBitmapMerge(visitors) AS people,
        max(is_sampled) AS is_sampled
    FROM compacted_visitors
    WHERE project_id = {project:String} AND epoch = {epoch:UInt64} AND dimension = {total:String}
        AND days = 1
    GROUP BY kind, day, cookieless
) AS bitmaps USING (kind, day, cookieless)
"""


class ReachedVisitors(Struct, frozen=True, kw_only=True):
    """How far a project is compacted; a zero `before_day` is nothing.

    Rows of the roll-up that changed from `before_block` on, or of `before_day` (since 1970) and
    later, are not in the bitmaps; numbers from `before_number` on are given by a pass at work.
    """

    epoch: int
    before_block: int
    before_day: int
    before_number: int


async def load_reached_visitors(store: ClickHouse, project_id: str) -> ReachedVisitors:
    """How far a project is compacted now; read it before what it speaks of."""
    (row,) = await store.rows(REACHED_VISITORS, {"project": project_id})
    return read_reached_visitors(row)


def read_reached_visitors(row: Row) -> ReachedVisitors:
    """A row of `REACHED_VISITORS`."""
    epoch, before_block, before_day, before_number = (cast("int", value) for value in row)
    return ReachedVisitors(
        epoch=epoch, before_block=before_block, before_day=before_day, before_number=before_number
    )


async def is_compacting_visitors(store: ClickHouse) -> bool:
    """Whether a statement of a pass, perhaps of one that was given up, still works."""
    return await is_at_work(store, _MARK)


async def list_behind_visitors(store: ClickHouse, today: date) -> tuple[str, ...]:
    """The projects that got events since they were compacted, or whose day ended."""
    values = {"today": _day_number(today)}
    return tuple(str(project) for (project,) in await store.rows(_BEHIND, values, READS))


async def compact_visitors(store: ClickHouse, project_id: str, today: date) -> bool:
    """Bring one project up to `today`; False when its rows were wrong and a new epoch began.

    Nobody else may compact visitors at the same time. Done day by day, each for good. Visitors of
    today get their numbers already, so that a question finds few without.
    """
    reached = await load_reached_visitors(store, project_id)
    if not reached.epoch:
        await forget_visitors(store, project_id)
        reached = await load_reached_visitors(store, project_id)
    ((newest, rows),) = await store.rows(_NEWEST, {"project": project_id}, READS)
    for table in _TABLES:
        await drop_older_epochs(store, project_id, table, _PROGRESS)
    if not rows:
        return True
    values: dict[str, object] = {
        "project": project_id,
        "epoch": reached.epoch,
        "before_block": reached.before_block,
        "before_day": reached.before_day,
        "today": _day_number(today),
        "newest": newest,
        "total": TOTAL_DIMENSION,
    }
    days = [cast("int", day) for (day,) in await store.rows(_DAYS, values, READS)]
    if days and not await _agrees(store, values):
        await forget_visitors(store, project_id)
        return False
    await store.command(_give_numbers(_LATE), values, _WRITES)
    await store.command(_give_numbers(_GOING_ON), values, _WRITES)
    await store.command(_write(_LATE), {**values, "days": 1}, _WRITES)
    await store.command(_write(_LATE + _OF_FULL_WEEKS), {**values, "days": WEEK}, _WRITES)
    values["before_block"] = cast("int", newest) + 1
    await store.command(_REACH, values)
    await _compact_days(store, values, days, reached.before_day, _day_number(today))
    return True


def monday_of(day: int) -> int:
    """The Monday of the week of a day, both counted from 1970-01-01 on."""
    return day - (day + 3) % WEEK


async def forget_visitors(store: ClickHouse, project_id: str) -> None:
    """Begin a new epoch: nothing that was compacted before counts any more."""
    await store.command(_FORGET, {"project": project_id})


async def _compact_days(
    store: ClickHouse, values: Mapping[str, object], days: Sequence[int], reached: int, today: int
) -> None:
    """Write days that are over, and the weeks that end with them; tell of each when it is done."""

    async def reach(day: int) -> None:
        await store.command(_REACH, {**values, "before_day": day})

    first = reached or min([*days, today])
    for monday in range(monday_of(first), today, WEEK):
        for day in (one for one in days if monday <= one < monday + WEEK):
            await store.command(_give_numbers(_OF_A_DAY), {**values, "day": day}, _WRITES)
            await store.command(_write(_OF_A_DAY), {**values, "day": day, "days": 1}, _WRITES)
            if day + 1 < monday + WEEK:
                await reach(day + 1)
        if monday + WEEK <= today:
            await store.command(_UNITE_WEEK, {**values, "monday": monday}, _WRITES)
            await reach(monday + WEEK)
    await reach(max(reached, today))


def _write(rows: LiteralString) -> LiteralString:
    return _WRITE.replace("<rows>", rows)


def _give_numbers(rows: LiteralString) -> LiteralString:
    return _GIVE_NUMBERS.replace("<rows>", rows)


async def _agrees(store: ClickHouse, values: Mapping[str, object]) -> bool:
    """Whether the bitmaps of the latest days, where nothing changed, count as the roll-up does."""
    checked = {**values, "checked": CHECKED_DAYS, "counted_max": COUNTED_MAX}
    return (await store.rows(_DIFFERING, checked, READS))[0][0] == 0


def _day_number(day: date) -> int:
    return (day - _EPOCH).days
