"""From saved cohorts to what can be asked at one instant (decision 0034)."""

from datetime import UTC, datetime

import pytest

from appliance.base.errors import InvalidInputError, NotFoundError
from appliance.domain.cohorts.asked import CohortNames, Crowds, change_spec
from appliance.domain.cohorts.cohort import CRITERIA_MAX, IdList, Rules, named_cohorts
from appliance.domain.cohorts.resolve import (
    Moment,
    require_small,
    resolve_cohort,
    resolve_crowd,
    resolve_span,
)
from appliance.domain.insights.dimensions import COHORT
from appliance.domain.insights.filters import plan_filter, plan_groups
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import Source, choose_source
from appliance.domain.insights.spec import (
    Aggregation,
    Comparison,
    Crowd,
    Did,
    Dimension,
    EventCondition,
    EventQuery,
    FilterGroup,
    FilterGroups,
    Funnel,
    Granularity,
    InsightSpec,
    Last,
    Listed,
    Operator,
    PropertyFilter,
    Retention,
    Segmentation,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    TimeRange,
    TopK,
    Trends,
    UserFlow,
    Within,
)
from appliance.services.kept_answers import name_question

DAY_MS = 86_400_000
NOW_MS = int(datetime(2026, 3, 30, 9, 30, tzinfo=UTC).timestamp()) * 1000
"""The day after Berlin's clocks went forward."""

MOMENT = Moment(now_ms=NOW_MS, zone="Europe/Berlin")


def did(span=None, times=1):
    return Did(
        condition=EventCondition(kind="buy"),
        comparison=Comparison.AT_LEAST,
        times=times,
        span=span,
    )


def rules(*criteria) -> Rules:
    return Rules(Crowd(criteria=criteria))


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Last(days=1), (at(2026, 3, 29, 22), at(2026, 3, 30, 22))),
        (Last(days=2), (at(2026, 3, 28, 23), at(2026, 3, 30, 22))),
        (Last(days=31), (at(2026, 2, 27, 23), at(2026, 3, 30, 22))),
        (Last(days=3660), (at(2016, 3, 22, 23), at(2026, 3, 30, 22))),
        (Last(hours=1), (at(2026, 3, 30, 9), at(2026, 3, 30, 10))),
        (Last(hours=48), (at(2026, 3, 28, 10), at(2026, 3, 30, 10))),
    ],
)
def test_spans_are_whole_local_hours_and_days(span, expected) -> None:
    """A day of 23 hours is a day."""
    assert resolve_span(span, MOMENT) == TimeRange(start_ms=expected[0], end_ms=expected[1])


def test_spans_that_are_given_stay() -> None:
    window = TimeRange(start_ms=1, end_ms=2)
    assert resolve_span(window, MOMENT) is window
    assert resolve_span(None, MOMENT) is None


def test_cohorts_within_cohorts_become_crowds() -> None:
    known = {
        "a": rules(Within(cohort_id="b", is_not=True), did()),
        "b": Rules(Crowd(criteria=(Within(cohort_id="c"),), is_not=True)),
        "c": IdList(("x", "y")),
    }
    listed = Crowd(criteria=(Listed(ids=("x", "y")),))
    assert resolve_cohort("a", known, MOMENT) == Crowd(
        criteria=(Crowd(criteria=(listed,), is_not=False), did())
    )
    assert named_cohorts(known["a"]) == {"b"}


def test_circles_depth_and_strangers_are_refused() -> None:
    known = {
        "self": rules(Within(cohort_id="self")),
        "a": rules(Within(cohort_id="b")),
        "b": rules(Within(cohort_id="c")),
        "c": rules(Within(cohort_id="list")),
        "list": IdList(()),
    }
    for name in ("self", "a"):
        with pytest.raises(InvalidInputError) as caught:
            resolve_cohort(name, known, MOMENT)
        assert caught.value.reason == "INVALID_COHORT"
    assert resolve_cohort("b", known, MOMENT).criteria
    with pytest.raises(NotFoundError) as missing:
        resolve_crowd(Crowd(criteria=(Within(cohort_id="nobody"),)), known, MOMENT)
    assert missing.value.reason == "COHORT_NOT_FOUND"


def test_a_question_is_bounded() -> None:
    many = Crowd(criteria=(did(),) * CRITERIA_MAX)
    require_small(iter((many,)))
    with pytest.raises(InvalidInputError):
        require_small(iter((many, Crowd(criteria=(did(),)))))
    wide = {name: rules(*(Within(cohort_id=after),) * 200) for name, after in ("ab", "bc")}
    wide["c"] = rules(*(did(),) * 200)
    with pytest.raises(InvalidInputError):
        resolve_cohort("a", wide, MOMENT)


MEMBERS = PropertyFilter(property=COHORT, operator=Operator.IN, values=("a", "b"))
CONDITION = EventCondition(kind="buy", filters=(MEMBERS,))
EVENTS = (EventQuery(condition=CONDITION),)
QUESTIONS = [
    Trends(events=EVENTS),
    Segmentation(events=EVENTS),
    SessionTrends(metric=SessionMetric.SESSIONS, scope=CONDITION),
    SessionNumber(metric=SessionMetric.SESSIONS, scope=CONDITION),
    Funnel(steps=EVENTS),
    Retention(events=EVENTS),
    UserFlow(scope=CONDITION),
    TopK(dimension=Dimension.EVENT_KIND, scope=CONDITION),
    TopK(dimension=Dimension.COUNTRY, property="$country", scope=CONDITION),
]
KNOWN = {"a": rules(did(Last(days=7))), "b": IdList(("x",))}


def asked(question, groups=()) -> InsightSpec:
    start = NOW_MS // DAY_MS * DAY_MS
    return InsightSpec(
        question=question,
        range=TimeRange(start_ms=start - 7 * DAY_MS, end_ms=start),
        granularity=Granularity.DAY,
        filters=FilterGroups(groups=groups),
    )


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: type(one).__name__)
def test_every_question_takes_its_people_along_and_is_asked_of_events(question) -> None:
    """No roll-up knows who, so one is never chosen; the same question without a filter has one."""
    spec = asked(question)
    names = CohortNames()
    assert change_spec(spec, names.note) == spec
    assert names.found == {"a", "b"}
    put = change_spec(spec, Crowds(KNOWN, MOMENT).put)
    assert put != spec
    assert choose_source(put, NOW_MS) is Source.EVENTS
    assert plan_insight(put, project_id="p", now_ms=NOW_MS)
    with pytest.raises(InvalidInputError, match="no place"):
        plan_insight(spec, project_id="p", now_ms=NOW_MS)


@pytest.mark.parametrize(
    "question",
    [
        Trends(events=(EventQuery(condition=EventCondition(kind="buy")),)),
        Segmentation(
            events=(
                EventQuery(
                    condition=EventCondition(kind="buy"), aggregation=Aggregation.UNIQUE_USERS
                ),
            )
        ),
        SessionNumber(metric=SessionMetric.SESSIONS),
        TopK(dimension=Dimension.EVENT_KIND),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_filter_on_top_takes_the_roll_up_away(question) -> None:
    assert choose_source(asked(question), NOW_MS) is not Source.EVENTS
    group = FilterGroup(filters=(MEMBERS,))
    put = change_spec(asked(question, (group,)), Crowds(KNOWN, MOMENT).put)
    assert choose_source(put, NOW_MS) is Source.EVENTS


def test_the_name_of_a_question_tells_rules_lists_and_days() -> None:
    spec = asked(QUESTIONS[0])

    def name(known=KNOWN, now_ms=NOW_MS) -> bytes:
        moment = Moment(now_ms=now_ms, zone="Europe/Berlin")
        put = change_spec(spec, Crowds(known, moment).put)
        return name_question("p", put, 1).question

    assert name() == name(now_ms=NOW_MS + 3_600_000)
    assert name() != name(now_ms=NOW_MS + DAY_MS)
    assert name() != name({**KNOWN, "a": rules(did(Last(days=8)))})
    assert name() != name({**KNOWN, "b": IdList(("y",))})


@pytest.mark.parametrize(
    "operator",
    [one for one in Operator if one.value not in {"equals", "not_equals", "in", "not_in"}],
)
def test_other_operators_are_errors(operator) -> None:
    wrong = PropertyFilter(property=COHORT, operator=operator, value="1", values=("1", "2"))
    with pytest.raises(InvalidInputError, match=r"\$cohort"):
        plan_filter(wrong)
    groups = FilterGroups(groups=(FilterGroup(filters=(wrong,)),))
    with pytest.raises(InvalidInputError):
        plan_groups(groups)


def test_the_people_of_several_cohorts_are_counted_once() -> None:
    twice = PropertyFilter(property=COHORT, operator=Operator.IN, values=("a", "a"))
    put = Crowds(KNOWN, MOMENT).put(twice)
    assert put.crowd == resolve_cohort("a", KNOWN, MOMENT)
