"""Session metrics as one statement, from events or from the session roll-up [insights 11, 20].

Invariant: every source gives the same row for a session: start, end, count, and the values of its
first and last event. `sign` is 1, or -1 where a row takes another one back: signs are added up
and rows never counted. Where sessions are compacted (decision 0039), only those that changed
since are read from the roll-up itself.
"""

from collections.abc import Iterable
from typing import Final, LiteralString

from appliance.domain.insights.dimensions import EventProperty, Promoted, PromotedProperty
from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.route import Source
from appliance.domain.insights.sessions import (
    SessionNumberPlan,
    SessionsPlan,
    SessionTrendsPlan,
)
from appliance.domain.insights.spec import SessionMetric, TimeRange
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.columns import text_form
from appliance.storage.clickhouse.compacted_sessions import SCOPES, Reached, load_reached
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    integers_value,
    join,
    literal,
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

_NUMBER: Final = "SELECT ifNull(<value>, 0) AS value FROM (<sessions>)"

_CELLS: Final = """
SELECT
    roundDown(toUnixTimestamp64Milli(session_start), <starts>) AS bucket,
    <splits>
    [(0, <label>, toUInt64(sum(sign)), toFloat64(<value>), 0)] AS measured
FROM (<sessions>)
GROUP BY bucket<groups>
"""

_OF_EVENTS: Final = """
SELECT
    <ends>
    min(occur_time) AS session_start,
    max(occur_time) AS session_end,
    count() AS session_events,
    toInt8(1) AS sign
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
    max(end_time) AS session_end,
    sum(event_count) AS session_events,
    toInt8(1) AS sign
FROM dashboard_session_rollup
WHERE project_id = <project> AND scope = <kind> <only_changed>
GROUP BY session_id
HAVING <starts_inside>
"""

_OF_COMPACTED: Final = """
SELECT
    <ends>
    start_time AS session_start,
    end_time AS session_end,
    event_count AS session_events,
    <sign> AS sign
FROM compacted_sessions
WHERE project_id = <project> AND epoch = <epoch> AND scope = <kind>
    AND <starts_inside> <only_changed>
"""

_TOGETHER: Final = """
<compacted>
UNION ALL
<outdated>
UNION ALL
<rolled_up>
"""

_CHANGED: Final = """
SELECT session_id FROM dashboard_session_rollup
WHERE project_id = <project> AND scope = <kind> AND last_block >= <before_block>
"""

_EVERY_SESSION: Final = literal("")

_STARTS_INSIDE: Final = """<start_time> >= fromUnixTimestamp64Milli(<start>, 'UTC')
    AND <start_time> < fromUnixTimestamp64Milli(<end>, 'UTC')"""

_VALUES: Final[dict[SessionMetric, LiteralString]] = {
    SessionMetric.SESSIONS: "sum(sign)",
    SessionMetric.ENTRY: "sum(sign)",
    SessionMetric.EXIT: "sum(sign)",
    SessionMetric.AVG_DURATION: (
        "sum(sign * (toUnixTimestamp(session_end) - toUnixTimestamp(session_start)))"
        " / nullIf(sum(sign), 0)"
    ),
    SessionMetric.BOUNCE_RATE: "100 * sumIf(sign, session_events = 1) / nullIf(sum(sign), 0)",
    SessionMetric.AVG_EVENTS_PER_SESSION: (
        "sum(sign * toInt64(session_events)) / nullIf(sum(sign), 0)"
    ),
}
"""Each metric over the rows of sessions; durations are of whole seconds."""


def compile_session_number(plan: SessionNumberPlan, reached: Reached | None = None) -> Statement:
    """The statement whose one row holds the number; `reached` is how far sessions are compacted."""
    value = literal(_VALUES[plan.sessions.metric])
    sessions = _sessions(plan.sessions, (), reached)
    return finish(fill(_NUMBER, value=value, sessions=sessions), INSIGHT)


def compile_session_trends(plan: SessionTrendsPlan, reached: Reached | None = None) -> Statement:
    """The statement whose rows are those of a trend; `reached` as above."""
    properties = plan.breakdown.properties
    ends = [numbered("end_", index) for index in range(len(properties))]
    cells = fill(
        _CELLS,
        starts=integers_value(plan.buckets.starts_ms),
        splits=join("\n    ", split_columns(ends)),
        label=text_value(plan.label),
        value=literal(f"ifNull({_VALUES[plan.sessions.metric]}, 0)"),
        sessions=_sessions(plan.sessions, properties, reached),
        groups=join("", split_groups(len(properties))),
    )
    return rank_cells(cells, plan.breakdown, keeps_zeros=False)


async def load_compacted(store: ClickHouse, plan: SessionsPlan) -> Reached | None:
    """How far the sessions of a plan are compacted; None where the roll-up alone is read."""
    if plan.source is not Source.SESSION_ROLLUP or plan.kind not in SCOPES:
        return None
    reached = await load_reached(store, plan.project_id)
    return reached if reached.before_block else None


def _sessions(
    plan: SessionsPlan, properties: tuple[EventProperty, ...], reached: Reached | None
) -> Fragment:
    if plan.source is Source.SESSION_ROLLUP:
        assert plan.filters == EVERYTHING, "a roll-up cannot filter"
        if reached is None:
            return _rolled_up(plan, _ends(_rollup_end(plan, one) for one in properties))
        return _compacted(plan, properties, reached)
    reading = PeopledReading(plan.project_id)
    filters = compile_condition(plan.filters, reading)
    scope = compile_condition(plan.scope, reading)
    return fill(
        _OF_EVENTS,
        ends=_ends(_event_end(plan, one) for one in properties),
        project=text_value(plan.project_id),
        filters=filters,
        scope=scope,
        window=compile_window(plan.project_id, plan.range),
        again=filters,
        scope_again=scope,
        starts_inside=_starts_inside(plan.range, literal("session_start")),
    )


def _rolled_up(
    plan: SessionsPlan, ends: Fragment, only_changed: Fragment = _EVERY_SESSION
) -> Fragment:
    return fill(
        _OF_ROLLUP,
        ends=ends,
        project=text_value(plan.project_id),
        kind=text_value(plan.kind),
        only_changed=only_changed,
        starts_inside=_starts_inside(plan.range, literal("session_start")),
    )


def _compacted(
    plan: SessionsPlan, properties: tuple[EventProperty, ...], reached: Reached
) -> Fragment:
    """All that is compacted, less what changed since, and that as the roll-up has it now.

    Taking few away costs less than looking at each whether it is one of them.
    """
    changed = fill(
        _CHANGED,
        project=text_value(plan.project_id),
        kind=text_value(plan.kind),
        before_block=integer_value(reached.before_block),
    )
    only_changed = fill("AND session_id IN (<changed>)", changed=changed)

    def compacted(sign: LiteralString, only: Fragment = _EVERY_SESSION) -> Fragment:
        return fill(
            _OF_COMPACTED,
            ends=_ends(_compacted_end(plan, one) for one in properties),
            sign=literal(sign),
            project=text_value(plan.project_id),
            epoch=integer_value(reached.epoch),
            kind=text_value(plan.kind),
            starts_inside=_starts_inside(plan.range, literal("start_time")),
            only_changed=only,
        )

    return fill(
        _TOGETHER,
        compacted=compacted("sign"),
        outdated=compacted("-sign", only_changed),
        rolled_up=_rolled_up(
            plan, _ends(_changed_end(plan, one) for one in properties), only_changed
        ),
    )


def _ends(texts: Iterable[Fragment]) -> Fragment:
    """The values at the end of a session that the breakdown asks for."""
    return join("\n    ", split_columns(texts, "end_"))


def _event_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    at = literal("argMax" if plan.metric is SessionMetric.EXIT else "argMin")
    return fill("<at>(<text>, (occur_time, event_id))", at=at, text=text_form(subject))


def _rollup_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    _, texts = ENDS[plan.metric is SessionMetric.EXIT]
    place = list(SLOTS).index(_promoted(subject)) + 1
    return fill("<texts>[<place>]", texts=literal(texts), place=integer_value(place))


def _changed_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    """As it is compacted: the engine groups codes of a dictionary sooner than texts."""
    end = _rollup_end(plan, subject)
    is_coded = _promoted(subject) not in FREE_TEXTS
    return fill("toLowCardinality(<end>)", end=end) if is_coded else end


def _compacted_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    end, _ = ENDS[plan.metric is SessionMetric.EXIT]
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
