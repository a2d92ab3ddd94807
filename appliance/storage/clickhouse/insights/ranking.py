"""Rankings as one statement, from events or from the daily roll-up [insights 15].

Invariant: a group keeps what its measure needs to be merged (counts, sets of ids, sums), so the
rest is the measure of its own events. The finished value is made once, at the end. Rankings of
pages and the like by unique users, from the roll-up, have a cheaper way: `people_ranking.py`.
"""

from collections.abc import Mapping
from typing import Final, LiteralString, assert_never, cast

from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.measures import Measure, counts_people
from appliance.domain.insights.ranking import RankedRow, RankingPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Aggregation, Dimension
from appliance.storage.clickhouse.client import Row
from appliance.storage.clickhouse.columns import NO_NUMBER, TOTAL_DIMENSION, number_form, text_form
from appliance.storage.clickhouse.compacted_visitors import ReachedVisitors
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
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.insights.visitors import SETS, Visitors, read_visitors

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
FROM <rolled_up>
WHERE <rows>
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


def compile_ranking(plan: RankingPlan, reached: ReachedVisitors | None = None) -> Statement:
    """The statement whose rows are (value, is_rest, amount, place), in order.

    `reached` is how far visitors are compacted.
    """
    if plan.source is Source.EVENT_ROLLUP:
        visitors = _visitors(plan, reached)
        groups, states = _rollup_groups(plan, visitors), visitors.states
    else:
        groups, states = _event_groups(plan), SETS
    return finish(
        fill(
            _RANKED,
            final=_of_people(_FINAL, plan.measure, states.count_united("people")),
            rank=_of_people(_RANK, plan.measure, states.count("people")),
            limit=integer_value(plan.limit),
            groups=groups,
            only_ranked=literal("" if plan.has_rest else "WHERE NOT is_rest"),
        ),
        INSIGHT,
    )


def compile_rolled_up(plan: RankingPlan) -> Fragment:
    """Which rows of the daily roll-up are ranked."""
    return _visitors(plan, None).matching


def _rolled_up_by(plan: RankingPlan) -> str:
    by_kind = plan.dimension is Dimension.EVENT_KIND
    return TOTAL_DIMENSION if by_kind else plan.property_key


def _who(plan: RankingPlan) -> Fragment:
    return fill(
        "<scope> AND <who>",
        scope=compile_condition(plan.scope),
        who=compile_who(
            leaves_out_cookieless=plan.measure.leaves_out_cookieless,
            with_consent=ROLLED_UP_WITH_CONSENT,
        ),
    )


def read_ranked_row(row: Row) -> RankedRow:
    """A row of a ranking; what follows (value, is_rest, amount) only puts it in order."""
    value, is_rest, amount, *_ = row
    return RankedRow(value=str(value), is_rest=bool(is_rest), amount=cast("float", amount))


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


def _visitors(plan: RankingPlan, reached: ReachedVisitors | None) -> Visitors:
    assert plan.filters == EVERYTHING, "a roll-up cannot filter"
    return read_visitors(
        plan.project_id,
        _rolled_up_by(plan),
        plan.range,
        reached,
        only=_who(plan),
        needs_events=plan.measure.aggregation is not Aggregation.UNIQUE_USERS,
    )


def _rollup_groups(plan: RankingPlan, visitors: Visitors) -> Fragment:
    by_kind = plan.dimension is Dimension.EVENT_KIND
    people = literal(visitors.states.unite + "(visitors)")
    return fill(
        _ROLLUP_GROUPS,
        name=literal("toString(kind)" if by_kind else "toString(value)"),
        amount=literal("sum(event_count)"),
        people=people if plan.counts_people else literal("0"),
        numbers=literal("0"),
        rolled_up=visitors.rows,
        rows=visitors.matching,
        named=_named(plan),
    )


def _of_people(
    templates: Mapping[Aggregation, LiteralString], measure: Measure, people: Fragment
) -> Fragment:
    template = templates[measure.aggregation]
    return fill(template, people=people) if counts_people(measure) else literal(template)


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
    Aggregation.UNIQUE_USERS: "toFloat64(<people>)",
    Aggregation.PER_USER_AVG: "sum(amount) / nullIf(<people>, 0)",
    Aggregation.SUM: "sumOrNull(numbers)",
    Aggregation.AVG: "sum(numbers.1) / nullIf(sum(numbers.2), 0)",
    Aggregation.MIN: "minOrNull(numbers)",
    Aggregation.MAX: "maxOrNull(numbers)",
}
"""The measure over merged groups."""

_RANK: Final[dict[Aggregation, LiteralString]] = {
    Aggregation.TOTAL: "amount",
    Aggregation.UNIQUE_USERS: "<people>",
    Aggregation.PER_USER_AVG: "ifNull(amount / nullIf(<people>, 0), 0)",
    # a sum of nothing comes after every number, a mean or an extreme of nothing counts as 0
    Aggregation.SUM: "numbers",
    Aggregation.AVG: "ifNull(numbers.1 / nullIf(numbers.2, 0), 0)",
    Aggregation.MIN: "ifNull(numbers, 0)",
    Aggregation.MAX: "ifNull(numbers, 0)",
}
"""The measure of one group, by which it is ranked [insights 15.2]."""
