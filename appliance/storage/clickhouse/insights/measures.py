"""Measures as SQL over event rows and over the event roll-up.

Invariant: every measure is a double, and 0 over nothing [insights 6].
"""

from typing import assert_never

from appliance.domain.insights.measures import Measure
from appliance.domain.insights.spec import Aggregation
from appliance.storage.clickhouse.columns import number_form
from appliance.storage.clickhouse.fragment import Fragment, fill, literal


def compile_measure(measure: Measure, among: Fragment) -> Fragment:
    """The measure over those rows of a group for which `among` holds."""
    match measure.aggregation:
        case Aggregation.TOTAL:
            return fill("toFloat64(countIf(<among>))", among=among)
        case Aggregation.UNIQUE_USERS:
            return fill("toFloat64(uniqIf(distinct_id, <among>))", among=among)
        case Aggregation.PER_USER_AVG:
            return fill(
                "ifNull(countIf(<among>) / nullIf(uniqIf(distinct_id, <again>), 0), 0)",
                among=among,
                again=among,
            )
        case Aggregation.SUM:
            template = literal("sumIf")
        case Aggregation.AVG:
            template = literal("avgIf")
        case Aggregation.MIN:
            template = literal("minIf")
        case Aggregation.MAX:
            template = literal("maxIf")
        case _:
            assert_never(measure.aggregation)
    assert measure.property is not None, "planned with its property"
    return fill(
        "ifNull(<function>(<number>, <among>), 0)",
        function=template,
        number=number_form(measure.property),
        among=among,
    )
