"""The shared vectors against the real engine: request message in, response message out."""

import json
from datetime import datetime

import pytest

from appliance.gen.shared.insights.v1.insights_pb import QueryRequest, SegmentUsersRequest
from appliance.services.insights import InsightsService
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.support.clocks import FixedClock
from tests.support.event_rows import make_rows
from tests.support.insight_vectors import Case, load_cases, load_people

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


SIGHTING = {
    "kind": "seen",
    "session_id": "00000000-0000-4000-8000-000000000001",
    "occur_time": "2025-05-01T10:00:00.000Z",
}


class _Project:
    def __init__(self, project_id: str, timezone: str) -> None:
        self.project_id = project_id
        self.timezone = timezone


@pytest.fixture(scope="module")
async def filled(event_store):
    """Every vector's events, each vector a project of its own."""
    for vector, events in {case.vector: case.events for case in load_cases()}.items():
        await event_store.insert(make_rows(vector, events))
    for people in load_people():
        await event_store.insert_people(people)
    return event_store


async def _ask(store, case: Case) -> dict:
    service = InsightsService(
        ClickHouseInsights(store), FixedClock(datetime.fromisoformat(case.now))
    )
    project, text = _Project(case.vector, case.timezone), json.dumps(case.request)
    if case.topic == "SegmentUsers":
        page = await service.people_behind(project, SegmentUsersRequest.from_json(text))
        return json.loads(page.to_json())
    return json.loads((await service.query(project, QueryRequest.from_json(text))).to_json())


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.id)
async def test_the_answer_is_that_of_the_contract(filled, case: Case) -> None:
    """Series are compared as a set, points in order [vectors: about.comparison]."""
    assert _comparable(await _ask(filled, case)) == _comparable(case.expect)


async def test_a_map_is_a_ranking_of_countries_alone(filled) -> None:
    """Every country, no rest, nothing that is no country [services 13]."""
    rows = make_rows(
        "map",
        [
            SIGHTING | {"distinct_id": f"d{number}", "auto": {"$country": country}}
            for number, country in enumerate(["AT", "AT", "DE", "", "XXX", "de"])
        ],
    )
    await filled.insert(rows)
    asked = {
        "spec": {"insightType": "INSIGHT_TYPE_MAP", "map": {}},
        "timeRange": {"from": "2025-05-01T00:00:00Z", "to": "2025-05-02T00:00:00Z"},
        "granularity": "GRANULARITY_DAY",
    }
    for start in ("2025-05-01T00:00:00Z", "2025-05-01T01:00:00Z"):  # from the roll-up, and raw
        asked["timeRange"]["from"] = start
        service = InsightsService(ClickHouseInsights(filled), FixedClock())
        project = _Project("map", "")
        answer = await service.query(project, QueryRequest.from_json(json.dumps(asked)))
        told = json.loads(answer.to_json())["topK"]["rows"]
        assert [(row["dimensionValue"], row["value"]) for row in told] == [("AT", 2), ("DE", 1)]


def _comparable(response) -> dict:
    shaped = dict(response)
    if "trends" in shaped:
        shaped["trends"] = {
            (series["eventKind"], tuple(sorted(series.get("breakdown", {}).items()))): [
                (point["time"], pytest.approx(point["value"], abs=1e-9))
                for point in series["points"]
            ]
            for series in shaped["trends"].get("series", [])
        }
    return shaped
