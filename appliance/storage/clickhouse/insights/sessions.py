"""Session metrics as one statement, from events or from the session roll-up [insights 11, 20].

Invariant: rows of every source add up to the same sums: sessions, their seconds, those of one
event, their events, by where they start and by the values of their first or last event. A row is
one session, or all of a day with the same values, or takes others back: so rows are never counted.
Where sessions are compacted (decision 0039), only those that changed since are read from the
roll-up itself.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, LiteralString

from msgspec import Struct
from msgspec.structs import replace

from appliance.domain.insights.dimensions import EventProperty, Promoted, PromotedProperty
from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.sessions import (
    SessionsPlan,
    SessionTrendsPlan,
)
from appliance.domain.insights.spec import SessionMetric, TimeRange
from appliance.storage.clickhouse.client import Setting
from appliance.storage.clickhouse.columns import text_form
from appliance.storage.clickhouse.compacted_sessions import Reached
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    integer_value,
    integers_value,
    join,
    literal,
    number_literal,
    numbered,
    text_value,
)
from appliance.storage.clickhouse.insights.cells import rank_cells, split_columns, split_groups
from appliance.storage.clickhouse.insights.conditions import (
    PeopledReading,
    compile_condition,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.session_slots import ENDS, FREE_TEXTS, SLOTS

_CELLS: Final = """
SELECT
    roundDown(toUnixTimestamp64Milli(session_start), <starts>) AS bucket,
    <splits>
    [(0, <label>, toUInt64(sum(sessions)), toFloat64(<value>), 0)] AS measured
FROM (<sessions>)
GROUP BY bucket<groups>
"""

_OF_EVENTS: Final = """
SELECT
    <ends>
    min(occur_time) AS session_start,
    toInt64(1) AS sessions,
    toUnixTimestamp(max(occur_time)) - toUnixTimestamp(session_start) AS seconds,
    toInt64(count() = 1) AS bounces,
    toInt64(count()) AS events
FROM events
WHERE project_id = <project> AND <filters> AND <scope>
    AND session_id IN (SELECT session_id FROM events WHERE <window> AND <again> AND <scope_again>)
GROUP BY session_id
HAVING <starts_inside>
"""

_OF_ROLLUP: Final = """
SELECT
    <ends>
    min(start_time) AS session_start,
    toInt64(1) AS sessions,
    toUnixTimestamp(max(end_time)) - toUnixTimestamp(session_start) AS seconds,
    toInt64(sum(event_count) = 1) AS bounces,
    toInt64(sum(event_count)) AS events
FROM dashboard_session_rollup <only_changed>
WHERE project_id = <project> AND scope = <kind>
GROUP BY session_id
HAVING <starts_inside>
"""

_OF_COMPACTED: Final = """
SELECT
    <ends>
    start_time AS session_start,
    toInt64(<sign>) AS sessions,
    sessions * (toUnixTimestamp(end_time) - toUnixTimestamp(start_time)) AS seconds,
    sessions * (event_count = 1) AS bounces,
    sessions * toInt64(event_count) AS events
FROM compacted_sessions <only_these>
WHERE <rows> AND <starts_inside>
"""

_OF_DAYS: Final = """
SELECT
    <ends>
    toDateTime64(toDate32(start_time), 3, 'UTC') AS session_start,
    sum(sign) AS sessions,
    sum(sign * (toUnixTimestamp(end_time) - toUnixTimestamp(start_time))) AS seconds,
    sumIf(sign, event_count = 1) AS bounces,
    sum(sign * toInt64(event_count)) AS events
FROM compacted_sessions
WHERE <rows>
    AND toDate32(start_time) >= toDate32(<first_day>)
    AND toDate32(start_time) < toDate32(<last_day>)
GROUP BY <end_groups>toDate32(start_time)
"""
"""In the words of the projections of migration 0010, from which the engine answers this."""

_COUNTED_BY_DAY: Final = """
SELECT
    end_0,
    fromUnixTimestamp64Milli(<start> + (day - 1) * <day_ms>, 'UTC') AS session_start,
    counted AS sessions,
    toInt64(0) AS seconds,
    toInt64(0) AS bounces,
    toInt64(0) AS events
FROM
(
    SELECT
        <ends>
        sumResample(<start>, <end>, <day_ms>)(sign, toUnixTimestamp64Milli(start_time)) AS days
    FROM compacted_sessions
    WHERE <rows> AND <starts_inside>
    GROUP BY end_0
)
ARRAY JOIN days AS counted, arrayEnumerate(days) AS day
WHERE counted != 0
"""
"""One row for each day and value. Grouped by the codes of one dictionary and nothing else, a row
costs a third of what it costs beside its day."""

_CHANGED: Final = """
SELECT session_id FROM dashboard_session_rollup
PREWHERE last_block >= <before_block>
WHERE project_id = <project> AND scope = <kind>
"""

_EVERY_SESSION: Final = literal("")

_OF_A_DAY: Final = "PREWHERE toDate32(start_time) = toDate32(<day>)"

_STARTS_INSIDE: Final = """<start_time> >= fromUnixTimestamp64Milli(<start>, 'UTC')
    AND <start_time> < fromUnixTimestamp64Milli(<end>, 'UTC')"""


_OF_PLAIN_ROWS: Final[Mapping[str, Setting]] = MappingProxyType(
    # nearly every row of these narrow columns is wanted: testing them first costs a tenth more;
    # where few rows are looked up, the statement says what to test first
    {**INSIGHT, "optimize_move_to_prewhere": 0}
)


DAYS_AT_ONCE_MAX: Final = 100
"""How many sums a value may have while it is grouped: 800 bytes of memory for each value."""

_COUNTS: Final = frozenset({SessionMetric.SESSIONS, SessionMetric.ENTRY, SessionMetric.EXIT})

SUMMED_ENTRIES: Final = frozenset(
    {
        *(Promoted.CHANNEL, Promoted.REFERRER_DOMAIN),
        *(Promoted.UTM_SOURCE, Promoted.UTM_MEDIUM, Promoted.UTM_CAMPAIGN),
    }
)
"""Values of first events by which a projection of migration 0010 has the sums of days."""


class Ends(Struct, frozen=True, kw_only=True):
    """Values that sessions are split by: of their last events, or of their first.

    `are_counted` is when nothing is asked but how many sessions of a value start on a UTC day.
    """

    properties: tuple[EventProperty, ...] = ()
    are_last: bool = False
    are_counted: bool = False


NO_ENDS: Final = Ends()

_VALUES: Final[dict[SessionMetric, LiteralString]] = {
    SessionMetric.SESSIONS: "sum(sessions)",
    SessionMetric.ENTRY: "sum(sessions)",
    SessionMetric.EXIT: "sum(sessions)",
    SessionMetric.AVG_DURATION: "sum(seconds) / nullIf(sum(sessions), 0)",
    SessionMetric.BOUNCE_RATE: "100 * sum(bounces) / nullIf(sum(sessions), 0)",
    SessionMetric.AVG_EVENTS_PER_SESSION: "sum(events) / nullIf(sum(sessions), 0)",
}
"""Each metric over the rows of sessions; durations are of whole seconds."""


def compile_session_trends(plan: SessionTrendsPlan, reached: Reached | None = None) -> Statement:
    """The statement whose rows are those of a trend; `reached` is how far is compacted."""
    properties = plan.breakdown.properties
    values = Ends(
        properties=properties,
        are_last=plan.metric is SessionMetric.EXIT,
        are_counted=plan.metric in _COUNTS,
    )
    ends = [numbered("end_", index) for index in range(len(properties))]
    cells = fill(
        _CELLS,
        starts=integers_value(plan.buckets.starts_ms),
        splits=join("\n    ", split_columns(ends)),
        label=text_value(plan.label),
        value=literal(f"ifNull({_VALUES[plan.metric]}, 0)"),
        sessions=read_sessions(plan.sessions, values, reached),
        groups=join("", split_groups(len(properties))),
    )
    statement = rank_cells(cells, plan.breakdown, keeps_zeros=False)
    return replace(statement, settings=reading_settings(reached))


def reading_settings(reached: Reached | None) -> Mapping[str, Setting]:
    """The limits of an insight, and how its sessions are read."""
    return INSIGHT if reached is None else _OF_PLAIN_ROWS


def read_sessions(plan: SessionsPlan, ends: Ends, reached: Reached | None) -> Fragment:
    """Rows of `end_0`, …, `session_start`, and what adds up: `sessions`, `seconds`, `bounces`
    (sessions of one event) and `events`.
    """
    if plan.source is Source.SESSION_ROLLUP:
        assert plan.filters == EVERYTHING, "a roll-up cannot filter"
        if reached is None:
            return _rolled_up(plan, _columns(_rollup_end(ends, one) for one in ends.properties))
        return _compacted(plan, ends, reached)
    reading = PeopledReading(plan.project_id)
    filters = compile_condition(plan.filters, reading)
    scope = compile_condition(plan.scope, reading)
    return fill(
        _OF_EVENTS,
        ends=_columns(_event_end(ends, one) for one in ends.properties),
        project=text_value(plan.project_id),
        filters=filters,
        scope=scope,
        window=compile_window(plan.project_id, plan.range),
        again=filters,
        scope_again=scope,
        starts_inside=_starts_inside(plan.range, literal("session_start")),
    )


def _rolled_up(
    plan: SessionsPlan, columns: Fragment, only_changed: Fragment = _EVERY_SESSION
) -> Fragment:
    return fill(
        _OF_ROLLUP,
        ends=columns,
        project=text_value(plan.project_id),
        kind=text_value(plan.kind),
        only_changed=only_changed,
        starts_inside=_starts_inside(plan.range, literal("session_start")),
    )


def _compacted(plan: SessionsPlan, ends: Ends, reached: Reached) -> Fragment:
    """All that is compacted, less what changed since, and that as the roll-up has it now.

    Taking few away costs less than looking at each whether it is one of them.
    """
    changed = fill(
        _CHANGED,
        project=text_value(plan.project_id),
        kind=text_value(plan.kind),
        before_block=integer_value(reached.before_block),
    )
    only_changed = fill("PREWHERE session_id IN (<changed>)", changed=changed)
    return join(
        "\nUNION ALL\n",
        (
            *_all_compacted(plan, ends, reached),
            _of_compacted(plan, ends, reached, "-sign", only_changed),
            _rolled_up(
                plan, _columns(_changed_end(ends, one) for one in ends.properties), only_changed
            ),
        ),
    )


def _all_compacted(plan: SessionsPlan, ends: Ends, reached: Reached) -> list[Fragment]:
    """What is compacted, in as few rows as are had cheaply."""
    if _has_sums(ends):
        whole = _of_days(plan, ends, reached)
        if plan.range.end_ms % DAY_MS == 0:
            return [whole]
        last = fill(_OF_A_DAY, day=integer_value(plan.range.end_ms // DAY_MS))
        return [whole, _of_compacted(plan, ends, reached, "sign", last)]
    if _are_few_sums(plan, ends):
        return [_counted_by_day(plan, ends, reached)]
    return [_of_compacted(plan, ends, reached, "sign", _EVERY_SESSION)]


def _of_compacted(
    plan: SessionsPlan, ends: Ends, reached: Reached, sign: LiteralString, only_these: Fragment
) -> Fragment:
    return fill(
        _OF_COMPACTED,
        ends=_compacted_ends(ends),
        sign=literal(sign),
        rows=_rows_of(plan, reached),
        starts_inside=_starts_inside(plan.range, literal("start_time")),
        only_these=only_these,
    )


def _rows_of(plan: SessionsPlan, reached: Reached) -> Fragment:
    """Which compacted rows there are for a plan, of any time."""
    return fill(
        "project_id = <project> AND epoch = <epoch> AND scope = <kind>",
        project=text_value(plan.project_id),
        epoch=integer_value(reached.epoch),
        kind=text_value(plan.kind),
    )


def _has_sums(ends: Ends) -> bool:
    """Whether a projection has the sums of days for these ends."""
    asked = {_promoted(one) for one in ends.properties}
    return not asked or (asked <= SUMMED_ENTRIES and not ends.are_last)


def _of_days(plan: SessionsPlan, ends: Ends, reached: Reached) -> Fragment:
    """The days of the window that end within it; buckets of a roll-up are made of days."""
    assert plan.range.start_ms % DAY_MS == 0, "a roll-up answers from the start of a day only"
    return fill(
        _OF_DAYS,
        ends=_compacted_ends(ends),
        rows=_rows_of(plan, reached),
        first_day=integer_value(plan.range.start_ms // DAY_MS),
        last_day=integer_value(plan.range.end_ms // DAY_MS),
        end_groups=join(
            "", (fill("<end>, ", end=_compacted_end(ends, one)) for one in ends.properties)
        ),
    )


def _are_few_sums(plan: SessionsPlan, ends: Ends) -> bool:
    """Whether the days of each value fit beside it while it is grouped."""
    if not ends.are_counted or len(ends.properties) != 1:
        return False
    length_ms = plan.range.end_ms - plan.range.start_ms
    return (
        _promoted(ends.properties[0]) not in FREE_TEXTS
        and plan.range.start_ms >= 0
        and 0 < length_ms <= DAYS_AT_ONCE_MAX * DAY_MS
    )


def _counted_by_day(plan: SessionsPlan, ends: Ends, reached: Reached) -> Fragment:
    """How many compacted sessions start on each day; buckets of a roll-up are made of days."""
    assert plan.range.start_ms % DAY_MS == 0, "a roll-up answers from the start of a day only"
    return fill(
        _COUNTED_BY_DAY,
        ends=_compacted_ends(ends),
        rows=_rows_of(plan, reached),
        start=number_literal(plan.range.start_ms),
        end=number_literal(plan.range.end_ms),
        day_ms=number_literal(DAY_MS),
        starts_inside=_starts_inside(plan.range, literal("start_time")),
    )


def _columns(texts: Iterable[Fragment]) -> Fragment:
    """The values at the end of a session that the breakdown asks for."""
    return join("\n    ", split_columns(texts, "end_"))


def _compacted_ends(ends: Ends) -> Fragment:
    return _columns(_compacted_end(ends, one) for one in ends.properties)


def _event_end(ends: Ends, subject: EventProperty) -> Fragment:
    at = literal("argMax" if ends.are_last else "argMin")
    return fill("<at>(<text>, (occur_time, event_id))", at=at, text=text_form(subject))


def _rollup_end(ends: Ends, subject: EventProperty) -> Fragment:
    _, texts = ENDS[ends.are_last]
    place = list(SLOTS).index(_promoted(subject)) + 1
    return fill("<texts>[<place>]", texts=literal(texts), place=integer_value(place))


def _changed_end(ends: Ends, subject: EventProperty) -> Fragment:
    """As it is compacted: the engine groups codes of a dictionary sooner than texts."""
    end = _rollup_end(ends, subject)
    is_coded = _promoted(subject) not in FREE_TEXTS
    return fill("toLowCardinality(<end>)", end=end) if is_coded else end


def _compacted_end(ends: Ends, subject: EventProperty) -> Fragment:
    end, _ = ENDS[ends.are_last]
    return literal(end + "_" + SLOTS[_promoted(subject)])


def _promoted(subject: EventProperty) -> Promoted:
    assert isinstance(subject, PromotedProperty), "a roll-up knows promoted properties only"
    return subject.promoted


def _starts_inside(window: TimeRange, start_time: Fragment) -> Fragment:
    return fill(
        _STARTS_INSIDE,
        start_time=start_time,
        start=integer_value(window.start_ms),
        end=integer_value(window.end_ms),
    )
