"""Compacted sessions tell what the roll-up tells, whatever happens (decision 0039)."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import LiteralString

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.spec import (
    Breakdown,
    EventCondition,
    Granularity,
    InsightSpec,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
)
from appliance.engines.clickhouse_snapshot import list_tables, wait_for_inserts
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.compacted_sessions import (
    compact_project,
    forget_compacted,
    list_behind,
    load_reached,
)
from appliance.storage.clickhouse.erasure import delete_person
from appliance.storage.clickhouse.insights.explain import explain_insight
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.insights.generated import NOW_MS, RANDOM, WALKS, whole_days
from tests.support.event_rows import make_rows
from tests.support.oracle_sessions import session_number, session_trends

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = itertools.count()
_METRICS = st.sampled_from(list(SessionMetric))
_SCOPES = st.builds(EventCondition, kind=st.sampled_from(["", "page_view", "b"]))
_START_MS = 20_000 * DAY_MS


def _as_views(events):
    """`a` is the kind that is compacted."""
    return [one | {"kind": "page_view"} if one["kind"] == "a" else one for one in events]


def _blocks(project, events, size):
    """The rows of the events in blocks of one size, each with its number."""
    rows = make_rows(project, events).splitlines()
    for number, start in enumerate(range(0, len(rows), size), 1):
        block = [json.loads(row) | {"insert_block": number} for row in rows[start : start + size]]
        yield "\n".join(map(json.dumps, block)).encode()


def _number(metric, kind=""):
    return InsightSpec(
        range=TimeRange(start_ms=_START_MS, end_ms=_START_MS + 2 * DAY_MS),
        granularity=Granularity.DAY,
        question=SessionNumber(metric=metric, scope=EventCondition(kind=kind)),
    )


def _event(person, session, minute, **fields):
    return {
        "distinct_id": person,
        "session_id": f"00000000-0000-4000-9000-{session:012d}",
        "kind": "page_view",
        "occur_time": f"2024-10-04T12:{minute:02d}:00.000Z",
        **fields,
    }


async def _answer(store, project, spec):
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    return (await ClickHouseInsights(store).answer(plan)).total


async def _sessions(store, project):
    return await _answer(store, project, _number(SessionMetric.SESSIONS))


async def _filled(store, events, size=2):
    """A project with these events, compacted after the first block."""
    project = f"compacted-{next(_PROJECTS)}"
    for number, block in enumerate(_blocks(project, events, size)):
        await store.insert(block)
        if number == 0:
            assert await compact_project(store, project)
    return project


class Stumbling(ClickHouse):
    """Does something before a pass writes to a table; it may raise."""

    def __init__(self, endpoint, table: str, before) -> None:
        super().__init__(endpoint)
        self._start = f"INSERT INTO {table} "
        self._before = before

    async def command(
        self,
        statement: LiteralString,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        if statement.strip().startswith(self._start) and "{epoch:UInt64}" in statement:
            await self._before()
        await super().command(statement, parameters, settings)


@pytest.fixture
def endpoint(engines, event_store):
    found = resolve_endpoints(engines).clickhouse
    return replace(found, database=event_store._endpoint.database)


@RANDOM
@given(
    events=WALKS.map(_as_views),
    size=st.integers(1, 12),
    passes=st.lists(st.booleans(), min_size=1, max_size=4),
    asked=st.lists(
        whole_days(st.builds(SessionNumber, metric=_METRICS, scope=_SCOPES)),
        min_size=1,
        max_size=3,
    ),
    split=st.lists(
        whole_days(
            st.builds(
                SessionTrends,
                metric=st.sampled_from([SessionMetric.ENTRY, SessionMetric.EXIT]),
                scope=_SCOPES,
                breakdown=st.sampled_from([(), ("$os",), ("$country",)]).map(
                    lambda keys: Breakdown(properties=keys)
                ),
            )
        ),
        min_size=1,
        max_size=2,
    ),
)
async def test_answers_are_the_oracles(event_store, events, size, passes, asked, split) -> None:
    """Whichever blocks are compacted, in any steps."""
    project = f"compacted-{next(_PROJECTS)}"
    for block, runs in zip(_blocks(project, events, size), itertools.cycle(passes), strict=False):
        await event_store.insert(block)
        if runs:
            assert await compact_project(event_store, project)
    for spec in asked:
        expected = pytest.approx(session_number(spec, events), rel=1e-9, abs=1e-9)
        assert await _answer(event_store, project, spec) == expected
    for spec in split:
        plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
        answer = await ClickHouseInsights(event_store).answer(plan)
        keys = [(series.kind, series.breakdown) for series in answer.series]
        if len(keys) == len(set(keys)):  # no real `$others` beside the rest
            assert {
                (series.kind, tuple(value for _, value in series.breakdown)): [
                    (point.time_ms, point.value) for point in series.points
                ]
                for series in answer.series
            } == session_trends(spec, events)


async def test_compacted_rows_are_what_is_read(event_store) -> None:
    """Before the first pass the roll-up answers alone; afterwards both, and nothing else."""
    project = f"compacted-{next(_PROJECTS)}"
    plan = plan_insight(_number(SessionMetric.SESSIONS), project_id=project, now_ms=NOW_MS)
    await event_store.insert(next(_blocks(project, [_event("u", 1, 0)], 1)))
    before = await explain_insight(event_store, plan)
    assert "compacted_sessions" not in before.sql
    assert project in await list_behind(event_store)
    assert await compact_project(event_store, project)
    after = await explain_insight(event_store, plan)
    assert "compacted_sessions" in after.sql
    assert project not in await list_behind(event_store)


async def test_other_projects_are_not_read(event_store) -> None:
    one = await _filled(event_store, [_event("u", 1, 0), _event("u", 2, 1)])
    other = await _filled(event_store, [_event("u", 1, 0)])
    assert await _sessions(event_store, one) == 2
    assert await _sessions(event_store, other) == 1


async def test_a_killed_first_pass_is_done_again(event_store, endpoint) -> None:
    """What it left behind does not count beside what the next one writes."""
    project = f"compacted-{next(_PROJECTS)}"
    (block,) = _blocks(project, [_event("u", 1, 0), _event("u", 2, 1)], 2)
    await event_store.insert(block)

    async def die() -> None:
        raise UnavailableError("CLICKHOUSE_AWAY", "killed")

    dying = Stumbling(endpoint, "compacted_sessions_progress", die)
    with pytest.raises(UnavailableError):
        await compact_project(dying, project)
    await dying.close()
    assert await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 2


async def test_a_killed_pass_is_done_again(event_store, endpoint) -> None:
    """It wrote its rows and never said so."""
    events = [_event("u", 1, 0), _event("u", 2, 1), _event("u", 1, 5), _event("u", 3, 6)]
    project = await _filled(event_store, events)

    async def die() -> None:
        raise UnavailableError("CLICKHOUSE_AWAY", "killed")

    dying = Stumbling(endpoint, "compacted_sessions_progress", die)
    with pytest.raises(UnavailableError):
        await compact_project(dying, project)
    await dying.close()
    assert await _sessions(event_store, project) == 3
    assert await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 3
    bounces = await _answer(event_store, project, _number(SessionMetric.BOUNCE_RATE))
    assert bounces == pytest.approx(200 / 3)


async def test_wrong_rows_are_found_and_made_anew(event_store) -> None:
    """As two passes at once would leave them; the control is that they are read."""
    project = await _filled(event_store, [_event("u", 1, 0), _event("u", 2, 1)])
    await event_store.command(
        "INSERT INTO compacted_sessions SELECT * FROM compacted_sessions "
        "WHERE project_id = {project:String}",
        {"project": project},
    )
    assert await _sessions(event_store, project) == 4
    assert not await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 2
    assert await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 2


async def test_a_pass_brings_nobody_back(event_store, endpoint) -> None:
    """A person is erased after a pass began: what it writes is invisible, and dropped later."""
    project = await _filled(event_store, [_event("gone", 1, 0), _event("stays", 2, 1)])
    await forget_compacted(event_store, project)
    session = "00000000-0000-4000-9000-000000000001"

    async def erase() -> None:
        async for _ in delete_person(event_store, project, ["gone"], [session]):
            pass

    late = Stumbling(endpoint, "compacted_sessions_progress", erase)
    assert await compact_project(late, project)
    await late.close()
    reached = await load_reached(event_store, project)
    assert reached.before_block == 0
    assert await _sessions(event_store, project) == 1
    assert await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 1
    rows = await event_store.rows(
        "SELECT count() FROM compacted_sessions WHERE project_id = {project:String} "
        "AND session_id = {session:UUID}",
        {"project": project, "session": session},
    )
    assert rows == [(0,)]


async def test_backups_leave_them_out(event_store, endpoint) -> None:
    """They are made again from the roll-up."""
    names = {one.name for one in await list_tables(endpoint)}
    assert "dashboard_session_rollup" in names
    assert not {name for name in names if name.startswith("compacted_")}


_SLOW = "SELECT toString(sleepEachRow(3)) FROM numbers(1000) SETTINGS max_block_size = 1"
_RUNNING = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'"
_END = "KILL QUERY WHERE query_kind = 'Insert' SYNC"


@pytest.mark.parametrize(
    ("table", "is_waited_for"), [("compacted_sessions", False), ("profile_aliases", True)]
)
async def test_backups_do_not_wait_for_a_pass(
    event_store, endpoint, table: LiteralString, is_waited_for: bool
) -> None:
    """It may work for minutes; the control is an insert into what a backup has."""

    async def insert() -> None:
        with suppress(ApplianceError):  # it is ended below
            await event_store.command("INSERT INTO " + table + " (project_id) " + _SLOW)

    async def runs() -> bool | None:
        return (await event_store.rows(_RUNNING))[0][0] > 0 or None

    inserting = asyncio.create_task(insert())
    try:
        assert await poll(runs, every_seconds=0.05, timeout_seconds=30)
        waiting = asyncio.create_task(wait_for_inserts(endpoint))
        done, _ = await asyncio.wait({waiting}, timeout=1.0 if is_waited_for else 30.0)
        assert (not done) is is_waited_for
    finally:
        await event_store.command(_END)
        await inserting
    await waiting
