"""Answers from memory: never of other data, of another project or zone, or about people."""

import json

import pytest

from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.insights import KEPT_METRIC, InsightsService
from appliance.services.kept_answers import KEPT_SECONDS, KeptAnswers
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.support.clocks import FixedClock
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TOTAL = {"insightType": "INSIGHT_TYPE_SEGMENTATION", "events": [{"event": {"kind": "seen"}}]}
BY_HOUR = {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"event": {"kind": "seen"}}]}
PEOPLE = {"insightType": "INSIGHT_TYPE_TOP_K", "topK": {"dimension": "DIMENSION_USER"}}
SEEN = {
    "kind": "seen",
    "session_id": "00000000-0000-4000-8000-000000000001",
    "distinct_id": "u1",
    "occur_time": "2025-05-01T10:00:00.000Z",
}


class _Project:
    def __init__(self, project_id: str, timezone: str = "") -> None:
        self.project_id = project_id
        self.timezone = timezone


class _Asking:
    def __init__(self, store, *, keeps: bool = True) -> None:
        self.clock = FixedClock()
        kept = KeptAnswers(self.clock) if keeps else None
        self.service = InsightsService(ClickHouseInsights(store), self.clock, kept=kept)

    async def ask(self, project: _Project, spec, granularity="DAY") -> dict:
        message = {
            "spec": spec,
            "timeRange": {"from": "2025-05-01T00:00:00Z", "to": "2025-05-02T00:00:00Z"},
            "granularity": f"GRANULARITY_{granularity}",
        }
        answer = await self.service.query(project, QueryRequest.from_json(json.dumps(message)))
        return json.loads(answer.to_json())

    def counted(self) -> dict[str, int]:
        return {
            outcome: number
            for (metric, outcome), number in self.service.counts.items()
            if metric == KEPT_METRIC
        }


def test_the_metric_has_its_name() -> None:
    assert KEPT_METRIC == "insights.kept_answers_total"


@pytest.fixture
async def quiet_store(event_store):
    """Without merges: they too make another version of the data."""
    tables = ("events", "dashboard_event_rollup_daily", "dashboard_session_rollup")
    for table in tables:
        await event_store.command(f"SYSTEM STOP MERGES {table}", {})
    yield event_store
    for table in tables:
        await event_store.command(f"SYSTEM START MERGES {table}", {})


async def test_the_same_question_is_answered_once_until_something_is_stored(quiet_store) -> None:
    project, asking = _Project("kept-same"), _Asking(quiet_store)
    await quiet_store.insert(make_rows("kept-same", [SEEN]))

    first = await asking.ask(project, TOTAL)
    assert await asking.ask(project, TOTAL) == first
    assert first["segmentation"]["total"] == 1
    assert asking.counted() == {"miss": 1, "hit": 1}

    again = SEEN | {"event_id": "0f000000-0000-4000-8000-0000000000ff"}
    await quiet_store.insert(make_rows("kept-same", [again]))
    assert (await asking.ask(project, TOTAL))["segmentation"]["total"] == 2
    assert asking.counted() == {"miss": 2, "hit": 1}

    asking.clock.advance(KEPT_SECONDS)
    await asking.ask(project, TOTAL)
    assert asking.counted() == {"miss": 3, "hit": 1}


async def test_another_project_or_zone_is_another_question(quiet_store) -> None:
    asking = _Asking(quiet_store)
    await quiet_store.insert(make_rows("kept-mine", [SEEN]))

    mine = await asking.ask(_Project("kept-mine"), BY_HOUR)
    theirs = await asking.ask(_Project("kept-theirs"), BY_HOUR)
    assert mine["trends"]["series"]
    assert theirs == {"trends": {}}
    (series,) = (await asking.ask(_Project("kept-mine", "Asia/Tokyo"), BY_HOUR))["trends"]["series"]
    assert series["points"][0]["time"] == "2025-04-30T15:00:00Z"
    assert asking.counted() == {"miss": 3}


async def test_people_are_never_kept_and_nothing_is_without_a_memory(quiet_store) -> None:
    project, asking = _Project("kept-people"), _Asking(quiet_store)
    plain = _Asking(quiet_store, keeps=False)
    await quiet_store.insert(make_rows("kept-people", [SEEN]))

    for _ in range(2):
        await asking.ask(project, PEOPLE)
        await plain.ask(project, TOTAL)
    assert asking.counted() == plain.counted() == {"never": 2}
