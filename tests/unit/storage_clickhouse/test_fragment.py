"""SQL with a shape: text and values stay apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.insights.dimensions import (
    EVENT_DIMENSIONS,
    SESSION_DIMENSIONS,
    Promoted,
)
from appliance.domain.insights.plan import TrendsPlan, plan_insight
from appliance.domain.insights.route import Source
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
from appliance.storage.clickhouse.columns import COLUMNS
from appliance.storage.clickhouse.fragment import (
    fill,
    finish,
    integer_value,
    join,
    literal,
    number_value,
    numbered,
    text_value,
    texts_value,
)
from appliance.storage.clickhouse.insights.trends import compile_trends


def test_equal_values_share_a_parameter_and_types_keep_them_apart() -> None:
    fragment = join(", ", [text_value("5"), integer_value(5), number_value(5.0), text_value("5")])
    statement = finish(fragment, {})
    assert statement.text == "{p0:String}, {p1:Int64}, {p2:Float64}, {p0:String}"
    assert statement.parameters == {"p0": "5", "p1": 5, "p2": 5.0}


def test_slots_and_names_must_match() -> None:
    """A forgotten or a surplus slot is a bug that must not reach the server."""
    assert finish(fill("a <x> <x>", x=literal("b")), {}).text == "a b b"
    with pytest.raises(KeyError):
        fill("a <x>")
    with pytest.raises(AssertionError):
        fill("a", x=literal("b"))


def test_a_filled_value_is_not_read_as_a_template() -> None:
    """Slots are found in literal text only."""
    inner = fill("<value>", value=text_value("<value> {p0:String}"))
    statement = finish(fill("x = <value>", value=inner), {})
    assert statement.text == "x = {p0:String}"
    assert statement.parameters == {"p0": "<value> {p0:String}"}


def test_numbers_in_names_are_ours() -> None:
    assert finish(numbered("match_", 120), {}).text == "match_120"


@given(value=st.text(min_size=3).map(lambda text: f"«{text}»"))
def test_nothing_a_person_sent_is_in_the_text(value: str) -> None:
    """Kinds, keys, values and the project travel as parameters, whatever they hold."""
    asked = PropertyFilter(property=value, operator=Operator.IN, values=(value, value + "2"))
    event = EventQuery(
        condition=EventCondition(kind=value, filters=(asked,)),
        aggregation=Aggregation.SUM,
        aggregation_property=value,
    )
    spec = InsightSpec(
        question=Trends(events=(event, event), breakdown=Breakdown(properties=(value,))),
        range=TimeRange(start_ms=1, end_ms=2),
        granularity=Granularity.HOUR,
    )
    plan = plan_insight(spec, project_id=value, now_ms=0)
    assert isinstance(plan, TrendsPlan)
    assert plan.source is Source.EVENTS
    statement = compile_trends(plan)
    assert "«" not in statement.text
    assert value in statement.parameters.values()
    assert [value, value + "2"] in statement.parameters.values()


def test_lists_are_bound_as_lists() -> None:
    assert finish(texts_value(["a'b"]), {}).parameters == {"p0": ["a'b"]}


def test_the_closed_sets_are_those_of_the_contract() -> None:
    """[storage 2.2] 26 promoted properties, 20 and 16 dimensions, a column each."""
    assert (len(Promoted), len(EVENT_DIMENSIONS), len(SESSION_DIMENSIONS)) == (26, 20, 16)
    assert COLUMNS.keys() == set(Promoted)
    assert len(set(COLUMNS.values())) == len(COLUMNS)
