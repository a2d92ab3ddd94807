"""A page reads the sessions of a window once, and never tells what was before a question."""

import asyncio
import itertools
import json

import pytest
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.spec import (
    EventCondition,
    Granularity,
    InsightSpec,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
)
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.insights import InsightsService
from appliance.services.kept_answers import KeptAnswers
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.compacted_sessions import compact_project
from appliance.storage.clickhouse.insights.explain import compile_insight
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.support.clocks import FixedClock
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = itertools.count()
_METRICS = ("SESSIONS", "AVG_EVENTS_PER_SESSION", "BOUNCE_RATE", "AVG_DURATION")
_PRESENT = {"from": "2025-05-03T00:00:00Z", "to": "2025-05-05T00:00:00Z"}
_BEFORE = {"from": "2025-05-01T00:00:00Z", "to": "2025-05-03T00:00:00Z"}


class _Door(ClickHouse):
    """Counts what is asked; without `go_on` answers about sessions are held."""

    def __init__(self, endpoint) -> None:
        super().__init__(endpoint)
        self.sums = 0
        self.versions = 0
        self._reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def rows(self, statement, parameters=None, settings=None, external=None):
        rows = await super().rows(statement, parameters, settings, external)
        self.versions += "system.parts" in statement
        if "AS stretch" in statement:
            self.sums += 1
            self._reached.set()
            await self.go_on.wait()
        return rows

    async def next_reading(self) -> None:
        """Return when a statement about sessions was answered and is held."""
        async with asyncio.timeout(30):
            await self._reached.wait()
        self._reached.clear()


class _Project:
    timezone = ""

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id


@pytest.fixture
async def door(endpoint):
    store = _Door(endpoint)
    yield store
    await store.close()


@pytest.fixture
async def without_merges(event_store):
    """They make another version of the data."""
    await event_store.command("SYSTEM STOP MERGES", {})
    yield
    await event_store.command("SYSTEM START MERGES", {})


def _event(session, time, **fields):
    return {
        "distinct_id": f"u{session}",
        "session_id": f"00000000-0000-4000-9000-{session:012d}",
        "kind": "page_view",
        "occur_time": f"2025-05-{time}.000Z",
        **fields,
    }


EVENTS = [
    _event(1, "01T10:00:00"),
    _event(1, "01T10:00:30"),
    _event(2, "02T23:59:00"),
    _event(2, "03T00:01:00"),
    _event(3, "03T10:00:00"),
    _event(4, "04T10:00:00"),
    _event(4, "04T10:01:00"),
    _event(4, "04T10:02:00"),
    _event(5, "04T12:00:00"),
]


async def _store(store, project, events, block) -> None:
    rows = [json.loads(row) for row in make_rows(project.project_id, events).splitlines()]
    lines = [json.dumps(row | {"insert_block": block}) for row in rows]
    await store.insert("\n".join(lines).encode())


async def _store_late(store, project) -> None:
    """One more session of the present window."""
    event = _event(6, "04T13:00:00", event_id="0f000000-0000-4000-8000-0000000000ff")
    await _store(store, project, [event], block=3)


async def _filled(store) -> _Project:
    """A project, compacted before the last of its sessions came."""
    project = _Project(f"shared-{next(_PROJECTS)}")
    await _store(store, project, EVENTS[:6], block=1)
    assert await compact_project(store, project.project_id)
    rest = [
        event | {"event_id": f"0e000000-0000-4000-8000-{number:012d}"}
        for number, event in enumerate(EVENTS[6:])
    ]
    await _store(store, project, rest, block=2)
    return project


def _twelve(granularity="DAY"):
    """As the tiles of an overview ask: total, total of the period before, series."""
    for metric in _METRICS:
        session = {"metric": f"SESSION_METRIC_{metric}", "scope": {"kind": "page_view"}}
        for kind, window in (
            ("SEGMENTATION", _PRESENT),
            ("SEGMENTATION", _BEFORE),
            ("TRENDS", _PRESENT),
        ):
            yield {
                "spec": {"insightType": f"INSIGHT_TYPE_{kind}", "session": session},
                "timeRange": window,
                "granularity": f"GRANULARITY_{granularity}",
            }


async def _ask(service, project, messages) -> list[dict]:
    requests = [QueryRequest.from_json(json.dumps(message)) for message in messages]
    answers = await asyncio.gather(*(service.query(project, one) for one in requests))
    return [json.loads(answer.to_json()) for answer in answers]


def _service(store, *, keeps=True) -> InsightsService:
    clock = FixedClock()
    kept = KeptAnswers(clock) if keeps else None
    return InsightsService(ClickHouseInsights(store), clock, kept=kept)


def _number_of(metric):
    session = {"metric": f"SESSION_METRIC_{metric}", "scope": {"kind": "page_view"}}
    spec = {"insightType": "INSIGHT_TYPE_SEGMENTATION", "session": session}
    return {"spec": spec, "timeRange": _PRESENT, "granularity": "GRANULARITY_DAY"}


@pytest.mark.parametrize("granularity", ["DAY", "WEEK", "HOUR"])
async def test_twelve_questions_are_one_statement_for_each_window(
    event_store, without_merges, door, granularity
) -> None:
    """From the roll-up and (by hours) from events; the control is a service for each question."""
    project = await _filled(event_store)
    messages = list(_twelve(granularity))
    together = await _ask(_service(door), project, messages)
    assert door.sums == 2
    assert door.versions <= 2
    alone = [(await _ask(_service(door), project, [one]))[0] for one in messages]
    assert together == alone
    assert door.sums == 2 + len(messages)
    totals = [answer["segmentation"]["total"] for answer in together if "segmentation" in answer]
    assert totals == [3, 2, 5 / 3, 2, pytest.approx(200 / 3), 0, 40, 75]


async def test_nothing_is_shared_between_versions(event_store, without_merges, door) -> None:
    """The control: as long as nothing is stored, nothing is read again."""
    project, service = await _filled(event_store), _service(door, keeps=False)
    (first,) = await _ask(service, project, [_number_of("SESSIONS")])
    (same,) = await _ask(service, project, [_number_of("AVG_DURATION")])
    assert (first["segmentation"]["total"], same["segmentation"]["total"]) == (3, 40)
    assert door.sums == 1
    await _store_late(event_store, project)
    (other,) = await _ask(service, project, [_number_of("SESSIONS")])
    assert other["segmentation"]["total"] == 4
    assert door.sums == 2


async def test_who_asks_after_something_was_stored_joins_no_reading_of_before(
    event_store, without_merges, door
) -> None:
    """Although it still runs; the control is who asked before."""
    project, service = await _filled(event_store), _service(door)
    door.go_on.clear()
    before = asyncio.create_task(_ask(service, project, [_number_of("SESSIONS")]))
    await door.next_reading()
    await _store_late(event_store, project)
    after = asyncio.create_task(_ask(service, project, [_number_of("SESSIONS")]))
    await door.next_reading()
    door.go_on.set()
    (old,), (new,) = await asyncio.gather(before, after)
    assert (old["segmentation"]["total"], new["segmentation"]["total"]) == (3, 4)


async def test_projects_share_nothing(event_store, without_merges, door) -> None:
    one, service = await _filled(event_store), _service(door)
    other = _Project(f"shared-{next(_PROJECTS)}")
    answers = await asyncio.gather(
        *(_ask(service, project, [_number_of("SESSIONS")]) for project in (one, other))
    )
    assert [answer["segmentation"]["total"] for (answer,) in answers] == [3, 0]


@pytest.mark.parametrize("metric", SessionMetric)
@pytest.mark.parametrize("end_ms", [DAY_MS, DAY_MS // 2 + 1, 0])
async def test_a_window_that_ends_now_ends_there(event_store, metric, end_ms) -> None:
    """Days are summed up to the very millisecond; events, roll-up and compacted rows agree."""
    project = (await _filled(event_store)).project_id
    start_ms = 20_211 * DAY_MS  # 2025-05-03
    window = TimeRange(start_ms=start_ms, end_ms=start_ms + DAY_MS + end_ms)
    scope = EventCondition(kind="page_view")
    for question in (
        SessionNumber(metric=metric, scope=scope),
        SessionTrends(metric=metric, scope=scope),
    ):
        spec = InsightSpec(question=question, range=window, granularity=Granularity.DAY)
        plan = plan_insight(spec, project_id=project, now_ms=window.end_ms)
        assert isinstance(plan, SessionNumberPlan | SessionTrendsPlan)
        assert plan.sessions.source is Source.SESSION_ROLLUP
        raw = replace(plan, sessions=replace(plan.sessions, source=Source.EVENTS))
        answers = ClickHouseInsights(event_store)
        assert await answers.answer(plan) == await answers.answer(raw)
    assert "AS stretch" in compile_insight(plan).text
