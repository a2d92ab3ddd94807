"""Takes events of a project away, by age or wholly, and keeps the roll-ups equal to what is left.

Invariant: a cutoff is midnight UTC, so daily and hourly roll-ups lose whole rows. A session or
person that lived on both sides of it is made anew from the events that stay; the raw events go
last, so a run that was killed anywhere finds the same work again. All of it needs a moment without
inserts (`services/jobs/retention.py`). Deleted rows leave the disk with the next merge; a month in
which nobody has anything left is dropped as a whole, at once.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, LiteralString, cast

from msgspec import Struct

from appliance.base.errors import UnavailableError
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.compacted_sessions import forget_compacted
from appliance.storage.clickhouse.compacted_visitors import forget_visitors
from appliance.storage.clickhouse.marked import is_at_work

SUBJECTS_MAX: Final = 500_000
"""Sessions or people that one pass makes anew: more are done in several passes."""
STATEMENT_SECONDS_MAX: Final = 600
"""A client must wait longer than that, so that it always hears the end."""
_SETTINGS: Final[dict[str, Setting]] = {
    "max_execution_time": STATEMENT_SECONDS_MAX,
    "max_threads": 2,
    # the caller goes on only when the rows are gone
    "lightweight_deletes_sync": 2,
    "mutations_sync": 2,
    "max_insert_threads": 1,
    # a run that is repeated inserts the same rows again, and they must count
    "insert_deduplicate": 0,
    "deduplicate_blocks_in_dependent_materialized_views": 0,
    "max_partitions_per_insert_block": 0,
}

_MARK: Final = "pug-retention"
_WRITES: Final[dict[str, Setting]] = {**_SETTINGS, "log_comment": _MARK}
_LOOK: Final = """
SELECT
    count(),
    uniq(session_id),
    uniqIf(distinct_id, NOT startsWith(distinct_id, 'cookieless-'))
FROM events
WHERE project_id = {project:String} AND occur_time < {cutoff:DateTime64(3, 'UTC')}
"""
_LOOK_ROLLED: Final = """
SELECT count() FROM dashboard_event_rollup_daily
WHERE project_id = {project:String} AND day < toDate32({cutoff:DateTime64(3, 'UTC')})
"""
_DROP_DAYS: Final = """
DELETE FROM dashboard_event_rollup_daily
WHERE project_id = {project:String} AND day < toDate32({cutoff:DateTime64(3, 'UTC')})
"""
_DROP_BUCKETS: Final = """
DELETE FROM property_keys_event_buckets
WHERE project_id = {project:String} AND bucket < {cutoff:DateTime64(3, 'UTC')}
"""
_DROP_SESSIONS: Final = """
DELETE FROM dashboard_session_rollup
WHERE project_id = {project:String}
  AND cityHash64(toString(session_id)) % {passes:UInt32} = {pass:UInt32}
  AND session_id IN (
    SELECT session_id FROM events
    WHERE project_id = {project:String} AND occur_time < {cutoff:DateTime64(3, 'UTC')}
      AND cityHash64(toString(session_id)) % {passes:UInt32} = {pass:UInt32}
  )
"""
_DROP_PEOPLE: Final = """
DELETE FROM distinct_id_activity_states
WHERE project_id = {project:String}
  AND cityHash64(distinct_id) % {passes:UInt32} = {pass:UInt32}
  AND distinct_id IN (
    SELECT distinct_id FROM events
    WHERE project_id = {project:String} AND occur_time < {cutoff:DateTime64(3, 'UTC')}
      AND cityHash64(distinct_id) % {passes:UInt32} = {pass:UInt32}
  )
"""
_FEED: Final = """
INSERT INTO events_repair (
    repair_target, event_id, project_id, distinct_id, session_id, kind, occur_time, insert_block,
    country, region, city, browser, browser_version, os, os_version, device, platform, url,
    utm_source, utm_medium, utm_campaign, pathname, referrer_domain, channel, utm_term, utm_content
)
WITH if({target:String} = 'dashboard_session_rollup', toString(session_id), distinct_id) AS subject
SELECT
    {target:String}, event_id, project_id, distinct_id, session_id, kind, occur_time,
    abs(insert_block),
    country, region, city, browser, browser_version, os, os_version, device, platform, url,
    utm_source, utm_medium, utm_campaign, pathname, referrer_domain, channel, utm_term, utm_content
FROM events
WHERE project_id = {project:String} AND occur_time >= {cutoff:DateTime64(3, 'UTC')}
  AND cityHash64(subject) % {passes:UInt32} = {pass:UInt32}
  AND subject IN (
    WITH if({target:String} = 'dashboard_session_rollup', toString(session_id), distinct_id) AS one
    SELECT one FROM events
    WHERE project_id = {project:String} AND occur_time < {cutoff:DateTime64(3, 'UTC')}
      AND cityHash64(one) % {passes:UInt32} = {pass:UInt32}
  )
"""
_DROP_NAMES: Final = "DELETE FROM event_names WHERE project_id = {project:String}"
_FEED_NAMES: Final = """
INSERT INTO event_names (project_id, kind, event_count, last_time, last_block)
SELECT project_id, kind, count(), max(occur_time), max(abs(insert_block))
FROM events
WHERE project_id = {project:String} AND occur_time >= {cutoff:DateTime64(3, 'UTC')}
GROUP BY project_id, kind
"""
_DROP_EVENTS: Final = """
DELETE FROM events
WHERE project_id = {project:String} AND occur_time < {cutoff:DateTime64(3, 'UTC')}
"""
_COMPARE: Final = """
SELECT
    (SELECT count() FROM events WHERE project_id = {project:String}),
    (SELECT sum(event_count) FROM dashboard_event_rollup_daily
     WHERE project_id = {project:String} AND dimension = '$__total__'),
    (SELECT sum(event_count) FROM dashboard_session_rollup
     WHERE project_id = {project:String} AND scope = ''),
    (SELECT sum(event_count) FROM event_names WHERE project_id = {project:String}),
    (SELECT countIf(NOT startsWith(distinct_id, 'cookieless-')) FROM events
     WHERE project_id = {project:String}),
    (SELECT sum(event_count) FROM distinct_id_activity_states
     WHERE project_id = {project:String})
"""
_MONTHS: Final = """
SELECT toString(_partition_id) AS month, groupArray((project_id, newest)) FROM (
    SELECT _partition_id, toString(project_id) AS project_id, max(occur_time) AS newest
    FROM events GROUP BY _partition_id, project_id
)
GROUP BY month ORDER BY month
"""
_DROP_MONTH: Final = "ALTER TABLE events DROP PARTITION ID {month:String}"
_MASKED: Final = """
SELECT DISTINCT partition_id FROM system.parts
WHERE database = currentDatabase() AND table = 'events' AND active AND has_lightweight_delete
ORDER BY partition_id
"""
_UNMASK: Final = "ALTER TABLE events APPLY DELETED MASK IN PARTITION ID {month:String}"
_TABLES: Final = """
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name IN (
    SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'project_id'
)
ORDER BY name
"""
_DROP_PROJECT: Final = "DELETE FROM {table:Identifier} WHERE project_id = {project:String}"


class Expired(Struct, frozen=True, kw_only=True):
    """What a project has before a cutoff."""

    events: int
    sessions: int
    people: int
    rolled: int


class Tally(Struct, frozen=True, kw_only=True):
    """How often events are counted: as rows, and by each roll-up."""

    events: int
    daily: int
    sessions: int
    names: int
    events_of_people: int
    people: int

    @property
    def agrees(self) -> bool:
        """Whether every roll-up counts what is there."""
        return (
            self.events == self.daily == self.sessions == self.names
            and self.events_of_people == self.people
        )


class Month(Struct, frozen=True, kw_only=True):
    """A partition of `events`: the newest event in it of each project."""

    id: str
    newest: Mapping[str, datetime]


async def require_no_other(store: ClickHouse) -> None:
    """Raise UnavailableError while a statement of a run that was given up still works.

    The server finishes what a client that went away has begun, at the latest after ten minutes.
    """
    if await is_at_work(store, _MARK):
        raise UnavailableError(
            "RETENTION_BUSY", "a statement of an earlier run still works in the event store"
        )


async def look_for_expired(store: ClickHouse, project_id: str, cutoff: datetime) -> Expired:
    """What a project has before the cutoff."""
    values = {"project": project_id, "cutoff": cutoff}
    rows = await store.rows(_LOOK, values, _SETTINGS)
    rolled = await store.rows(_LOOK_ROLLED, values, _SETTINGS)
    events, sessions, people = (cast("int", value) for value in rows[0])
    return Expired(
        events=events, sessions=sessions, people=people, rolled=cast("int", rolled[0][0])
    )


async def renew_rollups(
    store: ClickHouse,
    project_id: str,
    cutoff: datetime,
    expired: Expired,
    *,
    subjects_max: int = SUBJECTS_MAX,
) -> None:
    """Make the roll-ups count only what lies at or after the cutoff."""
    values: dict[str, object] = {"project": project_id, "cutoff": cutoff}
    await _forget_all_compacted(store, project_id)
    await store.command(_DROP_DAYS, values, _WRITES)
    await store.command(_DROP_BUCKETS, values, _WRITES)
    renewals: tuple[tuple[LiteralString, str, int], ...] = (
        (_DROP_SESSIONS, "dashboard_session_rollup", expired.sessions),
        (_DROP_PEOPLE, "distinct_id_activity_states", expired.people),
    )
    for drop, target, count in renewals:
        passes = -(-count // subjects_max)
        for number in range(passes):
            part = {**values, "target": target, "passes": passes, "pass": number}
            await store.command(drop, part, _WRITES)
            await store.command(_FEED, part, _WRITES)
    await store.command(_DROP_NAMES, values, _WRITES)
    await store.command(_FEED_NAMES, values, _WRITES)
    await _forget_all_compacted(store, project_id)


async def drop_events(store: ClickHouse, project_id: str, cutoff: datetime) -> None:
    """Delete the events before the cutoff; the roll-ups must not count them any more."""
    await store.command(_DROP_EVENTS, {"project": project_id, "cutoff": cutoff}, _WRITES)


async def list_months(store: ClickHouse) -> tuple[Month, ...]:
    """The partitions of `events`, oldest first."""
    return tuple(
        Month(
            id=str(month),
            newest={
                project: at.replace(tzinfo=UTC)
                for project, at in cast("list[tuple[str, datetime]]", newest)
            },
        )
        for month, newest in await store.rows(_MONTHS, settings=_SETTINGS)
    )


async def drop_month(store: ClickHouse, month: str) -> None:
    """Drop a partition of `events` with everything in it."""
    await store.command(_DROP_MONTH, {"month": month}, _WRITES)


async def list_masked_months(store: ClickHouse) -> tuple[str, ...]:
    """The partitions of `events` whose deleted rows are still on the disk."""
    return tuple(str(month) for (month,) in await store.rows(_MASKED))


async def free_month(store: ClickHouse, month: str) -> None:
    """Write a partition anew without its deleted rows, which frees their disk."""
    await store.command(_UNMASK, {"month": month}, _WRITES)


async def load_tally(store: ClickHouse, project_id: str) -> Tally:
    """How often a project's events are counted, by everybody who counts them."""
    rows = await store.rows(_COMPARE, {"project": project_id}, _SETTINGS)
    numbers = [cast("int", value) for value in rows[0]]
    return Tally(
        events=numbers[0],
        daily=numbers[1],
        sessions=numbers[2],
        names=numbers[3],
        events_of_people=numbers[4],
        people=numbers[5],
    )


async def _forget_all_compacted(store: ClickHouse, project_id: str) -> None:
    await forget_compacted(store, project_id)
    await forget_visitors(store, project_id)


async def drop_project_rows(store: ClickHouse, project_id: str) -> None:
    """Delete everything of a project, in every table that knows projects."""
    for (table,) in await store.rows(_TABLES):
        values = {"table": str(table), "project": project_id}
        await store.command(_DROP_PROJECT, values, _WRITES)
