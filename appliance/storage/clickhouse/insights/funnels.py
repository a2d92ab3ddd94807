"""Funnels as one statement [insights 12].

Invariant: one row for a person, made of their matching events only: how far they came, their
breakdown tuple, and, where asked, the times between steps. How far is the server's own
`windowFunnel` over whole seconds, whose rules are the contract's; times are a walk over the
person's events in the order of their milliseconds, each as the first step it matches. The walk
looks for one step after the other in whole arrays: a fold over the events takes twenty times
as long.
"""

from typing import Final

from appliance.domain.insights.funnel import BOUNDS_SECONDS, FunnelPlan
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    integers_value,
    join,
    literal,
    number_literal,
    numbered,
)
from appliance.storage.clickhouse.insights.cells import split_of_one
from appliance.storage.clickhouse.insights.conditions import (
    PeopledReading,
    compile_condition,
    compile_who,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_FUNNEL: Final = r"""
SELECT shown, is_rest, sumForEach(reached) AS reached_all, sum(walkers) AS walkers_all,
    any(times_of_passages) AS times_all
FROM
(
    SELECT
        reached, walkers,
        row_number() OVER (ORDER BY reached[1] DESC, arrayStringConcat(split, '\0') ASC) AS place,
        place > <limit> AS is_rest,
        if(is_rest, emptyArrayString(), split) AS shown,
        <passages> AS times_of_passages
    FROM (<tuples>)
)
GROUP BY shown, is_rest
"""

_TUPLES: Final = """
SELECT
    split,
    [<reached>] AS reached,
    countIf(walks) AS walkers,
    [<times>] AS times
FROM (<persons>)
GROUP BY split
"""

_PERSONS: Final = """
WITH <matches>
SELECT
    distinct_id,
    <split> AS split,
    windowFunnel(<window_seconds>)(
        toUInt64(toUnixTimestamp64Second(occur_time) + <epoch_shift>), <steps>
    ) AS level,
    level >= <walking_level> AS walks,
    <walk>
FROM events
WHERE <window> AND <filters> AND <who> AND (<any_step>)
GROUP BY distinct_id
"""

_WALK: Final = """if(walks,
        arraySort(groupArray(
            (toUnixTimestamp64Milli(occur_time), event_id, toUInt8(<first_step>))
        )),
        []) AS seen,
    arrayMap(one -> one.1, seen) AS times_seen,
    arrayMap(one -> one.3, seen) AS steps_seen,
    arrayEnumerate(seen) AS places,
    indexOf(steps_seen, 1) AS at_0,
    <places_found>,
    arraySlice([<passages>], 1, indexOf([<in_time>, 0], 0) - 1) AS passages"""

_PLACE: Final = (
    "arrayFirst((place, step) -> step = <step> AND place > <before>, places, steps_seen) AS <name>"
)
_PASSAGE: Final = "times_seen[<name>] - times_seen[<before>]"
_IN_TIME: Final = "<name> > 0 AND times_seen[<name>] <= times_seen[at_0] + <window_ms>"

_PASSAGES: Final = """arrayMap(
    sorted -> (
        toUInt64(length(sorted)),
        toInt64(arraySum(sorted)),
        toInt64(if(empty(sorted), 0,
            sorted[intDiv(length(sorted) + 1, 2)] + sorted[intDiv(length(sorted), 2) + 1])),
        toInt64(if(empty(sorted), 0, sorted[intDiv(length(sorted) * 19 + 19, 20)])),
        arrayMap(
            (low, high) -> toUInt64(countEqual(
                arrayMap(time -> time >= low AND time < high, sorted), true
            )),
            <lows>, <highs>
        )
    ),
    times
)"""

_NO_WALK: Final = "emptyArrayInt64() AS passages"

_EARLIEST: Final = "argMin(<tuple>, (occur_time, event_id))"
"""Whose tuple a person has: that of their first event that matches any step [insights 12.5]."""

_EPOCH_SHIFT_SECONDS: Final = 100_000_000_000
"""Makes the seconds of every storable instant positive."""
_BOUNDS_MS: Final = tuple(bound * 1000 for bound in BOUNDS_SECONDS)
_LEAST_MS, _MOST_MS = 0, 1 << 62


def compile_funnel(plan: FunnelPlan) -> Statement:
    """The statement whose rows are (values, is_rest, reached, walkers, times of each passage).

    A time is (count, sum, sum of the two middle ones, 95th percentile, counts of the buckets), in
    milliseconds.
    """
    return finish(
        fill(
            _FUNNEL,
            limit=integer_value(plan.breakdown.limit),
            passages=_passages(),
            tuples=_tuples(plan),
        ),
        INSIGHT,
    )


def _passages() -> Fragment:
    return fill(
        _PASSAGES,
        lows=integers_value((_LEAST_MS, *_BOUNDS_MS)),
        highs=integers_value((*_BOUNDS_MS, _MOST_MS)),
    )


def _tuples(plan: FunnelPlan) -> Fragment:
    count = len(plan.steps)
    reached = [fill("countIf(level >= <n>)", n=number_literal(n + 1)) for n in range(count)]
    times = [
        fill(
            "arraySort(groupArrayIf(passages[<n>], length(passages) >= <again>))",
            n=number_literal(n),
            again=number_literal(n),
        )
        for n in range(1, count)
    ]
    return fill(
        _TUPLES,
        reached=join(", ", reached),
        times=join(", ", times) if times else literal("emptyArrayInt64()"),
        persons=_persons(plan),
    )


def _persons(plan: FunnelPlan) -> Fragment:
    count = len(plan.steps)
    reading = PeopledReading(plan.project_id)
    names = [numbered("step_", index) for index in range(count)]
    return fill(
        _PERSONS,
        matches=join(
            ",\n    ",
            (
                fill(
                    "(<condition>) AS <name>",
                    condition=compile_condition(step.condition, reading),
                    name=name,
                )
                for step, name in zip(plan.steps, names, strict=True)
            ),
        ),
        split=split_of_one(plan.breakdown, _EARLIEST),
        window_seconds=number_literal(plan.window_seconds),
        epoch_shift=number_literal(_EPOCH_SHIFT_SECONDS),
        steps=join(", ", names),
        walking_level=number_literal(min(count, 2)),
        walk=_walk(plan, names) if plan.has_times and count > 1 else literal(_NO_WALK),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, reading),
        who=compile_who(leaves_out_cookieless=plan.leaves_out_cookieless),
        any_step=join(" OR ", names),
    )


def _walk(plan: FunnelPlan, names: list[Fragment]) -> Fragment:
    """The times between the steps of a person; of each step, where its event is, one by one."""
    first = [
        fill("<name>, <place>", name=name, place=number_literal(place))
        for place, name in enumerate(names, start=1)
    ]
    window_ms = integer_value(plan.window_seconds * 1000)
    found: list[Fragment] = []
    passages: list[Fragment] = []
    in_time: list[Fragment] = []
    for index in range(1, len(names)):
        before, name = numbered("at_", index - 1), numbered("at_", index)
        found.append(fill(_PLACE, step=number_literal(index + 1), before=before, name=name))
        passages.append(fill(_PASSAGE, name=name, before=before))
        in_time.append(fill(_IN_TIME, name=name, window_ms=window_ms))
    return fill(
        _WALK,
        first_step=fill("multiIf(<cases>, 0)", cases=join(", ", first)),
        places_found=join(",\n    ", found),
        passages=join(", ", passages),
        in_time=join(", ", in_time),
    )
