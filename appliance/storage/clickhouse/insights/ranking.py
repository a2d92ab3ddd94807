"""Rankings as one statement, from events or from the daily roll-up [insights 15].

Invariant: a group keeps what its measure needs to be merged (counts, sets of ids, sums), so the
rest is the measure of its own events. The finished value is made once, at the end. Rankings of
pages and the like by unique users, from the roll-up, have a cheaper way: `people_ranking.py`.
"""

from typing import Final, LiteralString, assert_never

from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.measures import Measure
from appliance.domain.insights.ranking import RankingPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Aggregation, Dimension
from appliance.storage.clickhouse.columns import NO_NUMBER, TOTAL_DIMENSION, number_form, text_form
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
    texts_value,
)
from appliance.storage.clickhouse.insights.conditions import (
    ROLLED_UP_WITH_CONSENT,
    PeopledReading,
    compile_condition,
    compile_days,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_RANKED: Final = """
SELECT shown, is_rest, ifNull(<final>, 0) AS amount, min(place) AS first_place
FROM
(
    SELECT
        amount, people, numbers,
        row_number() OVER (ORDER BY <rank> DESC NULLS LAST, name ASC) AS place,
        place > <limit> AS is_rest,
        if(is_rest, '', name) AS shown
    FROM (<groups>)
)
<only_ranked>
GROUP BY shown, is_rest
ORDER BY is_rest ASC, first_place ASC
"""

_EVENT_GROUPS: Final = """
SELECT <name> AS name, <amount> AS amount, <people> AS people, <numbers> AS numbers
FROM events <persons>
WHERE <window> AND <filters> AND <scope> AND <who>
GROUP BY name
<named>
"""

_ROLLUP_GROUPS: Final = """
SELECT <name> AS name, <amount> AS amount, <people> AS people, <numbers> AS numbers
FROM dashboard_event_rollup_daily
WHERE <days> AND <scope> AND <who>
GROUP BY name
<named>
"""

_PERSONS: Final = """
LEFT ANY JOIN
(
    SELECT known_as, any(profile) AS person
    FROM
    (
        SELECT arrayJoin(if(external_id = '', [id], [id, external_id])) AS known_as, id AS profile
        FROM profiles FINAL WHERE project_id = <project> AND NOT deleted
        UNION ALL
        SELECT alias_id AS known_as, owner AS profile
        FROM
        (
            SELECT alias_id, argMax(profile_id, version) AS owner
            FROM profile_aliases WHERE project_id = <project_again> GROUP BY alias_id
        )
        WHERE owner IN (
            SELECT id FROM profiles FINAL WHERE project_id = <project_third> AND NOT deleted
        )
    )
    GROUP BY known_as
) AS persons ON events.distinct_id = persons.known_as
"""

_LIVE: Final = """
SELECT id, external_id, properties FROM profiles FINAL
WHERE project_id = <project> AND id IN <ids> AND NOT deleted
"""


def compile_ranking(plan: RankingPlan) -> Statement:
    """The statement whose rows are (value, is_rest, amount, place), in order."""
    is_rollup = plan.source is Source.EVENT_ROLLUP
    return finish(
        fill(
            _RANKED,
            final=literal(_FINAL[plan.measure.aggregation]),
            rank=literal(_RANK[plan.measure.aggregation]),
            limit=integer_value(plan.limit),
            groups=_rollup_groups(plan) if is_rollup else _event_groups(plan),
            only_ranked=literal("" if plan.has_rest else "WHERE NOT is_rest"),
        ),
        INSIGHT,
    )


def compile_live_profiles(project_id: str, ids: list[str]) -> Statement:
    """The statement whose rows are (id, external_id, properties) of those that live."""
    found = fill(_LIVE, project=text_value(project_id), ids=texts_value(ids))
    return finish(found, INSIGHT)


def _event_groups(plan: RankingPlan) -> Fragment:
    reading = PeopledReading(plan.project_id)
    amount, people, numbers = _kept(plan.measure)
    return fill(
        _EVENT_GROUPS,
        name=_name(plan),
        amount=literal(amount),
        people=literal(people),
        numbers=numbers,
        persons=_persons(plan) if plan.dimension is Dimension.USER else literal(""),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        scope=compile_condition(plan.scope, reading),
        who=compile_who(leaves_out_cookieless=plan.measure.leaves_out_cookieless),
        named=_named(plan),
    )


def _rollup_groups(plan: RankingPlan) -> Fragment:
    assert plan.filters == EVERYTHING, "a roll-up cannot filter"
    by_kind = plan.dimension is Dimension.EVENT_KIND
    counts_people = plan.measure.aggregation is not Aggregation.TOTAL
    return fill(
        _ROLLUP_GROUPS,
        name=literal("toString(kind)" if by_kind else "toString(value)"),
        amount=literal("sum(event_count)"),
        people=literal("uniqMergeState(visitors)" if counts_people else "0"),
        numbers=literal("0"),
        days=compile_days(
            plan.project_id, TOTAL_DIMENSION if by_kind else plan.property_key, plan.range
        ),
        scope=compile_condition(plan.scope),
        who=compile_who(
            leaves_out_cookieless=plan.measure.leaves_out_cookieless,
            with_consent=ROLLED_UP_WITH_CONSENT,
        ),
        named=_named(plan),
    )


def _name(plan: RankingPlan) -> Fragment:
    match plan.dimension:
        case Dimension.PROPERTY | Dimension.COUNTRY:
            return fill("toString(<text>)", text=text_form(plan.property))
        case Dimension.EVENT_KIND:
            return literal("toString(kind)")
        case Dimension.USER:
            return literal("if(persons.person = '', events.distinct_id, persons.person)")
        case _:
            assert_never(plan.dimension)


def _named(plan: RankingPlan) -> Fragment:
    is_map = plan.dimension is Dimension.COUNTRY
    return literal("HAVING match(name, '^[A-Z][A-Z]$')" if is_map else "")


def _persons(plan: RankingPlan) -> Fragment:
    project = text_value(plan.project_id)
    return fill(_PERSONS, project=project, project_again=project, project_third=project)


def _kept(measure: Measure) -> tuple[LiteralString, LiteralString, Fragment]:
    """What a group keeps: events, people, and the pieces of its numbers."""
    number = NO_NUMBER if measure.property is None else number_form(measure.property)
    match measure.aggregation:
        case Aggregation.TOTAL:
            return "count()", "0", literal("0")
        case Aggregation.UNIQUE_USERS | Aggregation.PER_USER_AVG:
            return "count()", "uniqState(distinct_id)", literal("0")
        case Aggregation.SUM:
            return "count()", "0", fill("sumOrNull(<number>)", number=number)
        case Aggregation.AVG:
            return (
                "count()",
                "0",
                fill("(sum(<number>), count(<again>))", number=number, again=number),
            )
        case Aggregation.MIN:
            return "count()", "0", fill("minOrNull(<number>)", number=number)
        case Aggregation.MAX:
            return "count()", "0", fill("maxOrNull(<number>)", number=number)
        case _:
            assert_never(measure.aggregation)


_FINAL: Final[dict[Aggregation, LiteralString]] = {
    Aggregation.TOTAL: "toFloat64(sum(amount))",
    Aggregation.UNIQUE_USERS: "toFloat64(uniqMerge(people))",
    Aggregation.PER_USER_AVG: "sum(amount) / nullIf(uniqMerge(people), 0)",
    Aggregation.SUM: "sumOrNull(numbers)",
    Aggregation.AVG: "sum(numbers.1) / nullIf(sum(numbers.2), 0)",
    Aggregation.MIN: "minOrNull(numbers)",
    Aggregation.MAX: "maxOrNull(numbers)",
}
"""The measure over merged groups."""

_RANK: Final[dict[Aggregation, LiteralString]] = {
    Aggregation.TOTAL: "amount",
    Aggregation.UNIQUE_USERS: "finalizeAggregation(people)",
    Aggregation.PER_USER_AVG: "ifNull(amount / nullIf(finalizeAggregation(people), 0), 0)",
    # a sum of nothing comes after every number, a mean or an extreme of nothing counts as 0
    Aggregation.SUM: "numbers",
    Aggregation.AVG: "ifNull(numbers.1 / nullIf(numbers.2, 0), 0)",
    Aggregation.MIN: "ifNull(numbers, 0)",
    Aggregation.MAX: "ifNull(numbers, 0)",
}
"""The measure of one group, by which it is ranked [insights 15.2]."""
