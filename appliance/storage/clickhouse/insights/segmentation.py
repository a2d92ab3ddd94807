"""Segmentation as one statement: one measure over all rows that match any of the asked events.

Invariant: a row counts once, whatever number of events it matches [insights 10].
"""

from typing import Final

from appliance.domain.insights.plan import SegmentationPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Aggregation
from appliance.storage.clickhouse.columns import TOTAL_DIMENSION
from appliance.storage.clickhouse.compacted_visitors import ReachedVisitors
from appliance.storage.clickhouse.fragment import Fragment, Statement, fill, finish, literal
from appliance.storage.clickhouse.insights.conditions import (
    ROLLED_UP_WITH_CONSENT,
    PeopledReading,
    compile_condition,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.measures import compile_measure
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.insights.visitors import States, read_visitors

_EVENTS: Final = """
SELECT <value> AS value
FROM events
WHERE <window> AND <filters> AND <matches> AND <who>
"""

_ROLLUP: Final = """
SELECT <value> AS value
FROM <rows>
WHERE <matching>
"""


def compile_segmentation(
    plan: SegmentationPlan, reached: ReachedVisitors | None = None
) -> Statement:
    """The statement whose one row holds the number; `reached` is how far visitors are compacted."""
    compiled = _rollup(plan, reached) if plan.source is Source.EVENT_ROLLUP else _events(plan)
    return finish(compiled, INSIGHT)


def _events(plan: SegmentationPlan) -> Fragment:
    reading = PeopledReading(plan.project_id)
    return fill(
        _EVENTS,
        value=compile_measure(plan.measure, literal("true")),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        matches=compile_condition(plan.matches, reading),
        who=compile_who(leaves_out_cookieless=plan.measure.leaves_out_cookieless),
    )


def _rollup(plan: SegmentationPlan, reached: ReachedVisitors | None) -> Fragment:
    aggregation = plan.measure.aggregation
    who = compile_who(
        leaves_out_cookieless=plan.measure.leaves_out_cookieless,
        with_consent=ROLLED_UP_WITH_CONSENT,
    )
    visitors = read_visitors(
        plan.project_id,
        TOTAL_DIMENSION,
        plan.range,
        reached,
        only=fill("<matches> AND <who>", matches=compile_condition(plan.matches), who=who),
        needs_events=aggregation is not Aggregation.UNIQUE_USERS,
    )
    return fill(
        _ROLLUP,
        value=_rollup_measure(aggregation, visitors.states),
        rows=visitors.rows,
        matching=visitors.matching,
    )


def _rollup_measure(aggregation: Aggregation, states: States) -> Fragment:
    if aggregation is Aggregation.TOTAL:
        return literal("toFloat64(sum(event_count))")
    people = states.count_united("visitors")
    if aggregation is Aggregation.UNIQUE_USERS:
        return fill("toFloat64(<people>)", people=people)
    assert aggregation is Aggregation.PER_USER_AVG, "the only other measure of the roll-up"
    return fill("ifNull(sum(event_count) / nullIf(<people>, 0), 0)", people=people)
