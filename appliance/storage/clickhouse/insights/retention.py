"""Retention as one statement [insights 13].

Invariant: one row for a person and bucket first, then one for a person: a return counts from the
exact instant of the first start on, so of each bucket only its latest return is needed.
"""

from typing import Final

from appliance.domain.insights.retention import RetentionPlan
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    integers_value,
)
from appliance.storage.clickhouse.insights.cells import split_of_one
from appliance.storage.clickhouse.insights.conditions import (
    PeopledReading,
    compile_condition,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_RETENTION: Final = r"""
SELECT
    if(place > <limit>, emptyArrayString(), split) AS shown,
    place > <limit_again> AS is_rest,
    cohort,
    sum(size) AS cohort_size,
    (sumMap(seen.1, seen.2) AS returned).1 AS buckets,
    returned.2 AS people
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY weight DESC, arrayStringConcat(split, '\0') ASC) AS place
    FROM
    (
        SELECT *, sum(size * length(seen.1)) OVER (PARTITION BY split) AS weight
        FROM
        (
            SELECT
                split,
                cohort,
                count() AS size,
                sumMap(visited, arrayMap(bucket -> toUInt64(1), visited)) AS seen
            FROM (<persons>)
            GROUP BY split, cohort
        )
    )
)
GROUP BY shown, is_rest, cohort
HAVING notEmpty(buckets)
"""

_PERSONS: Final = """
SELECT
    min(started) AS first_start,
    argMin(bucket, started) AS cohort,
    argMin(tuple_of_start, started) AS split,
    arrayMap(
        seen -> seen.1,
        arrayFilter(seen -> seen.2 >= first_start, groupArray((bucket, returned)))
    ) AS visited
FROM
(
    WITH (<start>) AS starts, (<back>) AS returns
    SELECT
        distinct_id,
        roundDown(toUnixTimestamp64Milli(occur_time), <edges>) AS bucket,
        minIf((toUnixTimestamp64Milli(occur_time), event_id), starts) AS earliest,
        if(countIf(starts) > 0, earliest.1, <never>) AS started,
        if(countIf(returns) > 0, maxIf(toUnixTimestamp64Milli(occur_time), returns), <before>)
            AS returned,
        <split> AS tuple_of_start
    FROM events
    WHERE <window> AND <filters> AND <who> AND (starts OR returns)
    GROUP BY distinct_id, bucket
)
GROUP BY distinct_id
HAVING first_start < <never_again>
"""

_EARLIEST_START: Final = "argMinIf(<tuple>, (occur_time, event_id), starts)"
"""Whose tuple a start has: that of the first one, of the bucket here, of the person above."""

_NEVER_MS: Final = 1 << 61
"""Later than every storable instant; its negative is earlier."""


def compile_retention(plan: RetentionPlan) -> Statement:
    """The statement whose rows are (values, is_rest, cohort, size, buckets, people)."""
    limit = integer_value(plan.breakdown.limit)
    return finish(fill(_RETENTION, limit=limit, limit_again=limit, persons=_persons(plan)), INSIGHT)


def _persons(plan: RetentionPlan) -> Fragment:
    reading = PeopledReading(plan.project_id)
    return fill(
        _PERSONS,
        start=compile_condition(plan.start, reading),
        back=compile_condition(plan.back, reading),
        edges=integers_value(plan.buckets.starts_ms),
        never=integer_value(_NEVER_MS),
        never_again=integer_value(_NEVER_MS),
        before=integer_value(-_NEVER_MS),
        split=split_of_one(plan.breakdown, _EARLIEST_START),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        who=compile_who(leaves_out_cookieless=plan.leaves_out_cookieless),
    )
