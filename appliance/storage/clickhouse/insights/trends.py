"""Trends as one statement, from events or from the daily roll-up.

Invariant: one pass over the rows. They are grouped into cells (bucket and breakdown tuple, and kind
where an event is asked without one); each cell holds one element per asked event, so the shared
grid and its zeros [insights 3.3] need no join. Ranking stands in `cells.py`.

The two sources differ in what a cell holds. Events: the finished value, and a rest is the plain
sum of its series, also for people and averages, as the contract's vectors ask [insights 22.5].
Roll-up: the count and the set of ids, and the rest is exact.
"""

from typing import Final, LiteralString

from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.plan import SeriesPlan, TrendsPlan
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.spec import Aggregation
from appliance.storage.clickhouse.columns import TOTAL_DIMENSION, text_form
from appliance.storage.clickhouse.compacted_visitors import ReachedVisitors
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    integer_value,
    integers_value,
    join,
    literal,
    numbered,
    text_value,
)
from appliance.storage.clickhouse.insights.cells import (
    AMOUNTS,
    Worth,
    rank_cells,
    split_columns,
    split_groups,
)
from appliance.storage.clickhouse.insights.conditions import (
    ROLLED_UP_WITH_CONSENT,
    WITH_CONSENT,
    PeopledReading,
    compile_condition,
    compile_window,
)
from appliance.storage.clickhouse.insights.measures import compile_measure
from appliance.storage.clickhouse.insights.visitors import Visitors, read_visitors

_EVENT_CELLS: Final = """
WITH <matches>
SELECT
    roundDown(toUnixTimestamp64Milli(occur_time), <starts>) AS bucket,
    <splits>
    [<measured>] AS measured
FROM events
WHERE <window> AND <filters> AND (<any_match>)
GROUP BY bucket<groups>
"""

_ROLLUP_CELLS: Final = """
WITH <matches>
SELECT
    roundDown(toInt64(day) * <day_ms>, <starts>) AS bucket,
    <splits>
    [<measured>] AS measured
FROM <rows>
WHERE <matching>
GROUP BY bucket<groups>
"""

_BY_MEASURE: Final[LiteralString] = """multiIf(
    has(<totals>, event), toFloat64(<amount>),
    has(<uniques>, event), toFloat64(<people>),
    ifNull(<amount_again> / nullIf(<people_again>, 0), 0))"""


def compile_trends(plan: TrendsPlan, reached: ReachedVisitors | None = None) -> Statement:
    """The statement whose rows are (event, kind, values, is_rest, bucket, value).

    `reached` is how far visitors are compacted.
    """
    worth = AMOUNTS
    if plan.source is Source.EVENT_ROLLUP:
        visitors = _visitors(plan, reached)
        cells = _rollup_cells(plan, visitors)
        if plan.counts_people:
            worth = Worth(
                single=_by_measure(plan, "amount", visitors.states.count("people")),
                merged=_by_measure(plan, "sum(amount)", visitors.states.count_united("people")),
            )
    else:
        cells = _event_cells(plan)
    return rank_cells(cells, plan.breakdown, keeps_zeros=plan.has_shared_grid, worth=worth)


def _event_cells(plan: TrendsPlan) -> Fragment:
    splits = [text_form(subject) for subject in plan.breakdown.properties]
    return fill(
        _EVENT_CELLS,
        matches=_matches(plan, WITH_CONSENT),
        starts=integers_value(plan.buckets.starts_ms),
        splits=_splits(plan, splits),
        measured=join(",\n", (_event_cell(plan, index) for index in range(len(plan.series)))),
        window=compile_window(plan.project_id, plan.range),
        filters=compile_condition(plan.filters, PeopledReading(plan.project_id)),
        any_match=_any_match(plan),
        groups=_groups(plan),
    )


def _visitors(plan: TrendsPlan, reached: ReachedVisitors | None) -> Visitors:
    assert plan.filters == EVERYTHING, "a roll-up cannot filter"
    assert len(plan.breakdown.properties) <= 1, "a roll-up has one dimension"
    conditions = (
        fill("(<condition>)", condition=_condition(plan, series, ROLLED_UP_WITH_CONSENT))
        for series in plan.series
    )
    return read_visitors(
        plan.project_id,
        plan.breakdown.keys[0] if plan.breakdown.keys else TOTAL_DIMENSION,
        plan.range,
        reached,
        only=fill("(<any>)", any=join(" OR ", conditions)),
        needs_events=any(
            series.measure.aggregation is not Aggregation.UNIQUE_USERS for series in plan.series
        ),
        by_day=True,
    )


def _rollup_cells(plan: TrendsPlan, visitors: Visitors) -> Fragment:
    return fill(
        _ROLLUP_CELLS,
        matches=_matches(plan, ROLLED_UP_WITH_CONSENT),
        day_ms=integer_value(DAY_MS),
        starts=integers_value(plan.buckets.starts_ms),
        splits=_splits(plan, [literal("value")] if plan.breakdown.keys else []),
        measured=join(
            ",\n", (_rollup_cell(plan, index, visitors) for index in range(len(plan.series)))
        ),
        rows=visitors.rows,
        matching=visitors.matching,
        groups=_groups(plan),
    )


def _event_cell(plan: TrendsPlan, index: int) -> Fragment:
    series = plan.series[index]
    match = _match(plan, index)
    return fill(
        "(<event>, <kind>, countIf(<match>), <value>, 0)",
        event=integer_value(index),
        kind=_kind(series),
        match=match,
        value=compile_measure(series.measure, match),
    )


def _rollup_cell(plan: TrendsPlan, index: int, visitors: Visitors) -> Fragment:
    match = _match(plan, index)
    people = literal("0")
    if plan.counts_people:
        unite = literal(visitors.states.unite + "If")
        people = fill("<unite>(visitors, <match>)", unite=unite, match=match)
    return fill(
        "(<event>, <kind>, countIf(<match>), sumIf(event_count, <match_again>), <people>)",
        event=integer_value(index),
        kind=_kind(plan.series[index]),
        match=match,
        match_again=match,
        people=people,
    )


def _kind(series: SeriesPlan) -> Fragment:
    return text_value(series.kind) if series.kind else literal("toString(row_kind)")


def _has_kindless(plan: TrendsPlan) -> bool:
    return any(not series.kind for series in plan.series)


def _matches(plan: TrendsPlan, with_consent: LiteralString) -> Fragment:
    """`condition AS match_0, …`: each condition is written once and named."""
    named: list[Fragment] = []
    for index, series in enumerate(plan.series):
        condition = _condition(plan, series, with_consent)
        name = numbered("match_", index)
        named.append(fill("(<condition>) AS <name>", condition=condition, name=name))
    return join(",\n    ", named)


def _condition(plan: TrendsPlan, series: SeriesPlan, with_consent: LiteralString) -> Fragment:
    condition = compile_condition(series.condition, PeopledReading(plan.project_id))
    if series.measure.leaves_out_cookieless:
        condition = join(" AND ", (condition, literal(with_consent)))
    return condition


def _match(plan: TrendsPlan, index: int) -> Fragment:
    """Which rows of a cell belong to an event: with a single one, all that were read."""
    return numbered("match_", index) if len(plan.series) > 1 else literal("true")


def _any_match(plan: TrendsPlan) -> Fragment:
    return join(" OR ", (numbered("match_", index) for index in range(len(plan.series))))


def _splits(plan: TrendsPlan, texts: list[Fragment]) -> Fragment:
    """The grouped columns: one per breakdown property, and the kind where one is asked without."""
    columns = split_columns(texts)
    if _has_kindless(plan):
        columns.append(literal("kind AS row_kind,"))
    return join("\n    ", columns)


def _groups(plan: TrendsPlan) -> Fragment:
    names = split_groups(len(plan.breakdown.properties))
    if _has_kindless(plan):
        names.append(literal(", row_kind"))
    return join("", names)


def _by_measure(plan: TrendsPlan, amount: LiteralString, people: Fragment) -> Fragment:
    """The value of a roll-up cell: which formula depends on the asked event."""
    return fill(
        _BY_MEASURE,
        totals=_events_with(plan, Aggregation.TOTAL),
        uniques=_events_with(plan, Aggregation.UNIQUE_USERS),
        amount=literal(amount),
        amount_again=literal(amount),
        people=people,
        people_again=people,
    )


def _events_with(plan: TrendsPlan, aggregation: Aggregation) -> Fragment:
    return integers_value(
        index
        for index, series in enumerate(plan.series)
        if series.measure.aggregation is aggregation
    )
