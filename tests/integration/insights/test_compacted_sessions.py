"""Compacted sessions tell what the roll-up tells, whatever happens (decision 0039)."""

import asyncio
import itertools
from contextlib import suppress
from typing import LiteralString

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.base.errors import ApplianceError
from appliance.base.tasks import poll
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
from appliance.storage.clickhouse.client import Setting
from appliance.storage.clickhouse.compacted_sessions import (
    compact_project,
    forget_compacted,
    list_behind,
    load_reached,
)
from appliance.storage.clickhouse.erasure import delete_person
from appliance.storage.clickhouse.insights.explain import (
    compile_insight,
    explain_insight,
    load_compacted_state,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.insights.sessions import DAYS_AT_ONCE_MAX, SUMMED_ENTRIES
from appliance.storage.clickhouse.retention import drop_project_rows
from tests.integration.insights.generated import NOW_MS, RANDOM, WALKS, whole_days
from tests.support.event_rows import make_blocks
from tests.support.oracle_sessions import session_number, session_trends
from tests.support.stumbling import Stumbling, die_before

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = itertools.count()
_METRICS = st.sampled_from(list(SessionMetric))
_SCOPES = st.builds(EventCondition, kind=st.sampled_from(["", "page_view", "b"]))
_START_MS = 20_000 * DAY_MS


def _as_views(events):
    """`a` is the kind that is compacted; values of origins are those of `$os`."""

    def as_view(event):
        values = event.get("auto", {})
        if "$os" in values:
            values = values | {"$channel": values["$os"]}
        return event | {
            "auto": values,
            "kind": "page_view" if event["kind"] == "a" else event["kind"],
        }

    return [as_view(event) for event in events]


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
    for number, block in enumerate(make_blocks(project, events, size)):
        await store.insert(block)
        if number == 0:
            assert await compact_project(store, project)
    return project


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
                metric=_METRICS,
                scope=_SCOPES,
                breakdown=st.sampled_from([(), ("$os",), ("$country",), ("$channel",)]).map(
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
    for block, runs in zip(
        make_blocks(project, events, size), itertools.cycle(passes), strict=False
    ):
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
    await event_store.insert(next(make_blocks(project, [_event("u", 1, 0)], 1)))
    before = await explain_insight(event_store, plan)
    assert "compacted_sessions" not in before.sql
    assert project in await list_behind(event_store)
    assert await compact_project(event_store, project)
    after = await explain_insight(event_store, plan)
    assert "compacted_sessions" in after.sql
    assert project not in await list_behind(event_store)


@pytest.mark.parametrize(
    ("key", "days", "at_once"),
    [
        ("$os", 2, True),
        ("$os", DAYS_AT_ONCE_MAX, True),
        ("$os", DAYS_AT_ONCE_MAX + 1, False),
        ("$pathname", 2, False),
    ],
)
async def test_days_are_counted_at_once_where_they_are_few(
    event_store, key: str, days: int, at_once: bool
) -> None:
    """The same answer both ways, with a session that changed and one after the window."""
    end_ms = _START_MS + 2 * DAY_MS
    after = {"occur_time": "2024-10-06T00:00:00.000Z"}
    events = [
        _event("u", 1, 0, auto=dict.fromkeys(("$os", "$pathname"), "A")),
        _event("u", 2, 1, auto=dict.fromkeys(("$os", "$pathname"), "B")),
        _event("u", 4, 1, auto=dict.fromkeys(("$os", "$pathname"), "B"), **after),
        _event("u", 1, 5, auto=dict.fromkeys(("$os", "$pathname"), "C")),
        _event("u", 3, 6, auto=dict.fromkeys(("$os", "$pathname"), "B")),
    ]
    project = await _filled(event_store, events, size=3)
    spec = InsightSpec(
        range=TimeRange(start_ms=end_ms - days * DAY_MS, end_ms=end_ms),
        granularity=Granularity.DAY,
        question=SessionTrends(
            metric=SessionMetric.EXIT,
            scope=EventCondition(kind="page_view"),
            breakdown=Breakdown(properties=(key,)),
        ),
    )
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    assert ("sumResample" in (await explain_insight(event_store, plan)).sql) is at_once
    answer = await ClickHouseInsights(event_store).answer(plan)
    assert {
        series.breakdown[0][1]: sum(point.value for point in series.points)
        for series in answer.series
    } == {"B": 2, "C": 1}


def _split(metric, key):
    return InsightSpec(
        range=TimeRange(start_ms=_START_MS, end_ms=_START_MS + 2 * DAY_MS),
        granularity=Granularity.DAY,
        question=SessionTrends(
            metric=metric,
            scope=EventCondition(kind="page_view"),
            breakdown=Breakdown(properties=(key,)),
        ),
    )


async def _rows(store, plan, **settings: Setting):
    statement = compile_insight(plan, await load_compacted_state(store, plan))
    return sorted(  # series come in any order
        await store.rows(statement.text, statement.parameters, {**statement.settings, **settings})
    )


async def _reads(store, plan, projection):
    """Whether the engine answers from sums that it has."""
    return any(f"({projection})" in line for line in (await explain_insight(store, plan)).plan)


@pytest.mark.parametrize(
    ("spec", "projection"),
    [
        *((_number(metric, "page_view"), "sums_of_days") for metric in SessionMetric),
        *(
            (_split(SessionMetric.AVG_DURATION, one.value), "sums_of_origins")
            for one in SUMMED_ENTRIES
        ),
    ],
)
async def test_sums_of_days_are_read_from_a_projection(
    event_store, spec: InsightSpec, projection: str
) -> None:
    """The same as from rows, also beside parts that have no sums yet."""
    values = dict.fromkeys([one.value for one in SUMMED_ENTRIES], "A")
    events = [
        _event("u", 1, 0, auto=values),
        _event("u", 2, 1),
        _event("u", 1, 5),
        _event("u", 3, 6, auto=values),
        _event("u", 2, 7),
        _event("u", 4, 8, auto=values),
    ]
    project = f"compacted-{next(_PROJECTS)}"
    first, second, third = make_blocks(project, events, 2)
    for block in (first, second):
        await event_store.insert(block)
        assert await compact_project(event_store, project)
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    assert await _reads(event_store, plan, projection)
    summed = await _rows(event_store, plan)
    assert summed == await _rows(event_store, plan, optimize_use_projections=0)
    await event_store.command("OPTIMIZE TABLE compacted_sessions FINAL")
    assert await _reads(event_store, plan, projection)
    assert summed == await _rows(event_store, plan)
    await event_store.command(
        "ALTER TABLE compacted_sessions CLEAR PROJECTION " + projection,
        settings={"mutations_sync": 2},
    )
    try:
        assert not await _reads(event_store, plan, projection)
        assert summed == await _rows(event_store, plan)
        await event_store.insert(third)
        assert await compact_project(event_store, project)
        mixed = await _rows(event_store, plan)
        assert mixed != summed
        assert mixed == await _rows(event_store, plan, optimize_use_projections=0)
    finally:
        await event_store.command(
            "ALTER TABLE compacted_sessions MATERIALIZE PROJECTION " + projection,
            settings={"mutations_sync": 2},
        )
    assert await _reads(event_store, plan, projection)
    assert mixed == await _rows(event_store, plan)


async def test_a_day_that_ends_later_is_read_by_the_moment(event_store) -> None:
    """Sessions that start after the window do not count, whatever day they are of."""
    events = [_event("u", 1, 0), _event("u", 2, 10), _event("u", 3, 20)]
    project = await _filled(event_store, events, size=3)
    noon = _START_MS + DAY_MS // 2
    for minute, expected in ((10, 1), (11, 2), (21, 3)):
        end_ms = noon + minute * 60_000
        spec = replace(
            _number(SessionMetric.SESSIONS), range=TimeRange(start_ms=_START_MS, end_ms=end_ms)
        )
        plan = plan_insight(spec, project_id=project, now_ms=end_ms)
        assert "toDate32(start_time) = " in (await explain_insight(event_store, plan)).sql
        assert (await ClickHouseInsights(event_store).answer(plan)).total == expected


async def test_a_deleted_project_leaves_the_sums_of_others(event_store) -> None:
    """Rows that have sums may be deleted, and others are told as before."""
    gone, stays = [
        await _filled(event_store, [_event("u", 1, 0), _event("u", 2, 1)]) for _ in range(2)
    ]
    await drop_project_rows(event_store, gone)
    plan = plan_insight(_number(SessionMetric.SESSIONS), project_id=stays, now_ms=NOW_MS)
    assert await _reads(event_store, plan, "sums_of_days")
    assert await _sessions(event_store, stays) == 2
    ((left,),) = await event_store.rows(
        "SELECT count() FROM compacted_sessions WHERE project_id = {project:String}",
        {"project": gone},
    )
    assert left == 0


async def test_other_projects_are_not_read(event_store) -> None:
    one = await _filled(event_store, [_event("u", 1, 0), _event("u", 2, 1)])
    other = await _filled(event_store, [_event("u", 1, 0)])
    assert await _sessions(event_store, one) == 2
    assert await _sessions(event_store, other) == 1


async def test_a_killed_first_pass_is_done_again(event_store, endpoint) -> None:
    """What it left behind does not count beside what the next one writes."""
    project = f"compacted-{next(_PROJECTS)}"
    (block,) = make_blocks(project, [_event("u", 1, 0), _event("u", 2, 1)], 2)
    await event_store.insert(block)

    await die_before(
        endpoint, "compacted_sessions_progress", lambda store: compact_project(store, project)
    )
    assert await compact_project(event_store, project)
    assert await _sessions(event_store, project) == 2


async def test_a_killed_pass_is_done_again(event_store, endpoint) -> None:
    """It wrote its rows and never said so."""
    events = [_event("u", 1, 0), _event("u", 2, 1), _event("u", 1, 5), _event("u", 3, 6)]
    project = await _filled(event_store, events)

    await die_before(
        endpoint, "compacted_sessions_progress", lambda store: compact_project(store, project)
    )
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
