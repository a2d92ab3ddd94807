"""The shared vectors against the real engine: request message in, response message out."""

import json
from datetime import datetime

import pytest

from appliance.base.errors import ConnectCode, UnservedError
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.insights import InsightsService
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.support.clocks import FixedClock
from tests.support.event_rows import make_rows
from tests.support.insight_vectors import UNSERVED, Case, load_cases, load_people

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_SERVED = [case for case in load_cases() if case.topic not in UNSERVED]
_OTHERS = [case for case in load_cases() if case.topic in UNSERVED and case.topic != "SegmentUsers"]


class _Project:
    def __init__(self, case: Case) -> None:
        self.project_id = case.vector
        self.timezone = case.timezone


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
    request = QueryRequest.from_json(json.dumps(case.request))
    return json.loads((await service.query(_Project(case), request)).to_json())


@pytest.mark.parametrize("case", _SERVED, ids=lambda case: case.id)
async def test_the_answer_is_that_of_the_contract(filled, case: Case) -> None:
    """Series are compared as a set, points in order [vectors: about.comparison]."""
    assert _comparable(await _ask(filled, case)) == _comparable(case.expect)


@pytest.mark.parametrize("case", _OTHERS, ids=lambda case: case.id)
async def test_what_is_not_served_says_so(filled, case: Case) -> None:
    """A known question without an answer is `unimplemented`, never an empty result."""
    with pytest.raises(UnservedError) as caught:
        await _ask(filled, case)
    assert caught.value.code is ConnectCode.UNIMPLEMENTED


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
