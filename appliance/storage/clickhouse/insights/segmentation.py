"""Segmentation as one statement: one measure over all rows that match any of the asked events.

Invariant: a row counts once, whatever number of events it matches [insights 10].
"""

from typing import Final

from appliance.domain.insights.plan import SegmentationPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Aggregation
from appliance.storage.clickhouse.columns import TOTAL_DIMENSION
from appliance.storage.clickhouse.fragment import Fragment, Statement, fill, finish, literal
from appliance.storage.clickhouse.insights.conditions import (
    ROLLED_UP_WITH_CONSENT,
    PeopledReading,
    compile_condition,
    compile_days,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.measures import compile_measure
from appliance.storage.clickhouse.insights.settings import INSIGHT

_EVENTS: Final = """
SELECT <value> AS value
FROM events
WHERE <window> AND <filters> AND <matches> AND <who>
"""

_ROLLUP: Final = """
SELECT <value> AS value
FROM dashboard_event_rollup_daily
WHERE <days> AND <matches> AND <who>
"""


def compile_segmentation(plan: SegmentationPlan) -> Statement:
    """The statement whose one row holds the number."""
    compiled = _rollup(plan) if plan.source is Source.EVENT_ROLLUP else _events(plan)
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


def _rollup(plan: SegmentationPlan) -> Fragment:
    return fill(
        _ROLLUP,
        value=_rollup_measure(plan.measure.aggregation),
        days=compile_days(plan.project_id, TOTAL_DIMENSION, plan.range),
        matches=compile_condition(plan.matches),
        who=compile_who(
            leaves_out_cookieless=plan.measure.leaves_out_cookieless,
            with_consent=ROLLED_UP_WITH_CONSENT,
        ),
    )


def _rollup_measure(aggregation: Aggregation) -> Fragment:
    if aggregation is Aggregation.TOTAL:
        return literal("toFloat64(sum(event_count))")
    if aggregation is Aggregation.UNIQUE_USERS:
        return literal("toFloat64(uniqMerge(visitors))")
    assert aggregation is Aggregation.PER_USER_AVG, "the only other measure of the roll-up"
    return literal("ifNull(sum(event_count) / nullIf(uniqMerge(visitors), 0), 0)")
