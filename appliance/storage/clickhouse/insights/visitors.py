"""Where the daily roll-up's visitors are read, united and counted.

Invariant: both ways give the same number. *Sets* are what the roll-up itself keeps; *bitmaps* are
the compacted days (decision 0042) with what changed since, made from the sets while the question is
answered. Somebody whose number is not given yet, or is given by a pass at work, is told apart by
what the sets keep of the id, above all numbers; what a pass at work writes is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString

from msgspec import Struct

from appliance.base.errors import ApplianceError
from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.spec import TimeRange
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.compacted_visitors import (
    IDS,
    IS_WHOLE,
    WEEK,
    ReachedVisitors,
    monday_of,
)
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    integer_value,
    literal,
    text_value,
)
from appliance.storage.clickhouse.insights.conditions import compile_days

_BITMAPS_COUNT: Final = """(bitmapCardinality(<state>) - bitmapCardinality(
    bitmapSubsetInRange(<again>, toUInt64(<before_number>), toUInt64(4294967296))
))"""

# each level of a statement costs the engine some milliseconds before it reads anything
_BITMAPS: Final = """(
    SELECT kind, day, value, cookieless, toUInt64(0) AS event_count, visitors
    FROM compacted_visitors
    WHERE project_id = <project> AND epoch = <epoch> AND dimension = <dimension>
        AND <spans> AND <only>
        AND throwIf(is_sampled != 0, 'sampled') = 0
    UNION ALL
    SELECT kind, day, value, cookieless, toUInt64(0) AS event_count,
        groupBitmapState(if(number = 0, 4294967296 + id, toUInt64(number))) AS visitors
    FROM
    (
        WITH toString(visitors) AS state
        SELECT kind, day, value, cookieless,
            arrayJoin(if(throwIf(NOT <is_whole>, 'sampled') = 0, <ids>, [])) AS id
        FROM dashboard_event_rollup_daily
        WHERE <days> AND <only_again>
            AND (toInt64(day) >= <before_day> OR last_block >= <before_block>)
    ) AS changed
    LEFT ANY JOIN
    (
        SELECT hash AS id, number FROM compacted_visitor_numbers
        WHERE project_id = <project_again> AND epoch = <epoch_again>
            AND number < <before_number>
    ) AS numbered USING id
    GROUP BY kind, day, value, cookieless
    <events>
)"""

_SPANS: Final = """(
            (days = 1 AND toInt64(day) BETWEEN <first_day> AND <last_day>
                AND NOT toInt64(day) BETWEEN <first_monday> AND <last_sunday>)
            OR (days = 7 AND toInt64(day) BETWEEN <first_monday> AND <last_sunday>)
        )"""

_EVENTS: Final = """UNION ALL
    SELECT kind, day, value, cookieless, event_count,
        bitmapBuild(CAST([], 'Array(UInt64)')) AS visitors
    FROM dashboard_event_rollup_daily
    WHERE <days> AND <only>"""

_THROWN: Final = "395"
"""The engine's code for what a statement throws itself."""


class States(Struct, frozen=True, kw_only=True):
    """What to do with states of visitors: `unite` is the aggregate that makes one of many."""

    unite: LiteralString
    counts: LiteralString
    before_number: int = 0

    def count(self, state: LiteralString) -> Fragment:
        """The number of visitors of a state, as an expression."""
        if not self.before_number:
            return fill(self.counts, state=literal(state))
        return fill(
            self.counts,
            state=literal(state),
            again=literal(state),
            before_number=integer_value(self.before_number),
        )

    def count_united(self, states: LiteralString) -> Fragment:
        """The number of visitors of many states together, as an aggregate of their column."""
        return self.count(self.unite + "(" + states + ")")


SETS: Final = States(unite="uniqMergeState", counts="finalizeAggregation(<state>)")
"""States of `uniq`, as the roll-up keeps them."""


class Visitors(Struct, frozen=True, kw_only=True):
    """Rows (kind, day, value, cookieless, event_count, visitors), the last of which is a state.

    `rows` stands after FROM, and after WHERE `matching`: which of them are asked for.
    """

    rows: Fragment
    matching: Fragment
    states: States


def read_visitors(
    project_id: str,
    dimension: str,
    window: TimeRange,
    reached: ReachedVisitors | None,
    *,
    only: Fragment,
    needs_events: bool,
    by_day: bool = False,
) -> Visitors:
    """The whole UTC days of the range by one dimension; bitmaps where `reached` is known.

    `only` is a condition on kind, value and cookieless. Without `needs_events` the number of events
    may be 0. If not asked `by_day`, a row may stand for the week from its day on.
    """
    days = compile_days(project_id, dimension, window)
    if reached is None:
        return Visitors(
            rows=literal("dashboard_event_rollup_daily"),
            matching=fill("<days> AND <only>", days=days, only=only),
            states=SETS,
        )
    rows = fill(
        _BITMAPS,
        project=text_value(project_id),
        project_again=text_value(project_id),
        epoch=integer_value(reached.epoch),
        epoch_again=integer_value(reached.epoch),
        dimension=text_value(dimension),
        spans=_spans(window, reached, by_day=by_day),
        only=only,
        only_again=only,
        days=days,
        is_whole=literal(IS_WHOLE),
        ids=literal(IDS),
        before_day=integer_value(reached.before_day),
        before_block=integer_value(reached.before_block),
        before_number=integer_value(reached.before_number),
        events=fill(_EVENTS, days=days, only=only) if needs_events else literal(""),
    )
    return Visitors(
        rows=rows,
        matching=literal("true"),
        states=States(
            unite="groupBitmapMergeState",
            counts=_BITMAPS_COUNT,
            before_number=reached.before_number,
        ),
    )


def _spans(window: TimeRange, reached: ReachedVisitors, *, by_day: bool) -> Fragment:
    """Days, and the full weeks among them that are compacted."""
    first_day = window.start_ms // DAY_MS
    last_day = (window.end_ms - 1) // DAY_MS
    first_monday = monday_of(first_day + WEEK - 1)
    next_monday = first_monday if by_day else monday_of(min(last_day + 1, reached.before_day))
    return fill(
        _SPANS,
        first_day=integer_value(first_day),
        last_day=integer_value(last_day),
        first_monday=integer_value(first_monday),
        last_sunday=integer_value(next_monday - 1),
    )


async def ask_visitors(
    store: ClickHouse, statement: Statement, limits: Mapping[str, Setting]
) -> Sequence[Row] | None:
    """The rows from bitmaps; None where the roll-up has samples, which only sets can unite."""
    try:
        return await ask(store, statement, limits)
    except ApplianceError as error:
        if error.fields.get("clickhouse_code") != _THROWN:
            raise
        return None
