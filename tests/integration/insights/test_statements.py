"""Statements as text: few goldens, each executed; and hostile values, each only a value."""

from pathlib import Path

import pytest

from appliance.domain.insights.plan import TrendsPlan, plan_insight
from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.shape import TrendsAnswer
from appliance.domain.insights.spec import (
    Aggregation,
    Breakdown,
    EventCondition,
    EventQuery,
    Granularity,
    InsightSpec,
    Operator,
    PropertyFilter,
    TimeRange,
    Trends,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from appliance.storage.clickhouse.insights.trends import compile_trends
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_GOLDENS = Path(__file__).parent / "goldens"
_START_MS = 20_000 * DAY_MS
_DAY = "2024-10-04T12:00:00.000Z"

_A = EventQuery(condition=EventCondition(kind="a"))
_B = EventQuery(condition=EventCondition(kind="b"), aggregation=Aggregation.UNIQUE_USERS)
_BIG = PropertyFilter(property="n", operator=Operator.GT, value="5")

GOLDENS = {
    "one-event": Trends(events=(EventQuery(condition=EventCondition(kind="a", filters=(_BIG,))),)),
    "any-kind-by-two-properties": Trends(breakdown=Breakdown(properties=("$os", "plan"))),
    "roll-up-of-two-events": Trends(events=(_A, _B)),
    "roll-up-by-country": Trends(events=(_B,), breakdown=Breakdown(properties=("$country",))),
}

HOSTILE = [
    "'",
    "''; DROP TABLE events; --",
    "\\",
    "\\'",
    '"',
    "`",
    "{p0:String}",
    "{x:Identifier}",
    "%s %(p0)s",
    "$$",
    "$p0$",
    "a\tb\nc",
    "a\0b",
    "/* */ -- #",
    "\N{PILE OF POO}é",
    "NULL",
    "\\N",
    "[]",
    "a" * 20_000,
]


def _plan(question: Trends, project_id: str = "p") -> TrendsPlan:
    spec = InsightSpec(
        question=question,
        range=TimeRange(start_ms=_START_MS, end_ms=_START_MS + 2 * DAY_MS),
        granularity=Granularity.DAY,
    )
    plan = plan_insight(spec, project_id=project_id, now_ms=_START_MS)
    assert isinstance(plan, TrendsPlan)
    return plan


@pytest.mark.parametrize("name", GOLDENS)
async def test_a_golden_is_what_is_sent_and_runs(event_store, name: str) -> None:
    """Read the difference; then delete the file and run again to accept it."""
    statement = compile_trends(_plan(GOLDENS[name]))
    shown = f"-- {name}\n-- {dict(statement.parameters)}\n{statement.text}"
    path = _GOLDENS / f"{name}.sql"
    if not path.exists():
        path.write_text(shown)
        pytest.fail(f"{path.name} was missing and is written now: read it and run again")
    assert shown == path.read_text()
    assert await event_store.rows(statement.text, statement.parameters, statement.settings) == []


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_value_is_only_a_value(event_store, value: str) -> None:
    """It is stored, asked for, split by and given back, character by character."""
    project = f"hostile-{HOSTILE.index(value)}"
    bystander = "x"
    events = [_stored(value), _stored(bystander)]
    await event_store.insert(make_rows(project, events))
    for asked in (
        PropertyFilter(property="k", operator=Operator.EQUALS, value=value),
        PropertyFilter(property="k", operator=Operator.CONTAINS, value=value),
        PropertyFilter(property="k", operator=Operator.IN, values=(value, "never")),
        PropertyFilter(property="$os", operator=Operator.NOT_EQUALS, value=bystander),
    ):
        event = EventQuery(condition=EventCondition(kind="view", filters=(asked,)))
        question = Trends(events=(event,), breakdown=Breakdown(properties=("$os",)))
        answer = await ClickHouseInsights(event_store).answer(_plan(question, project))
        assert isinstance(answer, TrendsAnswer)
        assert [series.breakdown for series in answer.series] == [(("$os", value),)]


@pytest.mark.parametrize("value", HOSTILE[:-1], ids=range(len(HOSTILE) - 1))
async def test_a_hostile_name_finds_nothing_and_breaks_nothing(event_store, value: str) -> None:
    """Kinds, keys and projects are values too, even those the validator would refuse."""
    asked = PropertyFilter(property=value, operator=Operator.IS_SET)
    event = EventQuery(
        condition=EventCondition(kind=value, filters=(asked,)),
        aggregation=Aggregation.SUM,
        aggregation_property=value,
    )
    question = Trends(events=(event, event), breakdown=Breakdown(properties=(value,)))
    answer = await ClickHouseInsights(event_store).answer(_plan(question, value))
    assert answer == TrendsAnswer(series=())


def _stored(value: str) -> dict[str, object]:
    return {
        "kind": "view",
        "distinct_id": "u1",
        "session_id": "00000000-0000-4000-8000-000000000001",
        "occur_time": _DAY,
        "auto": {"$os": value},
        "custom": {"k": value},
    }
