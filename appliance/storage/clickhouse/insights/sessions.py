"""Session metrics as one statement, from events or from the session roll-up [insights 11, 20].

Invariant: both sources give the same row for a session: start, end, count, and the values of its
first and last event. The roll-up keeps those as one text in the order of `SLOTS` (migration 0003).
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
from appliance.storage.clickhouse.columns import text_form
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

SLOTS: Final = (
    *(Promoted.COUNTRY, Promoted.REGION, Promoted.CITY, Promoted.BROWSER, Promoted.OS),
    *(Promoted.DEVICE, Promoted.PLATFORM, Promoted.URL, Promoted.UTM_SOURCE, Promoted.UTM_MEDIUM),
    *(Promoted.UTM_CAMPAIGN, Promoted.PATHNAME, Promoted.REFERRER_DOMAIN, Promoted.CHANNEL),
    *(Promoted.UTM_TERM, Promoted.UTM_CONTENT),
)
"""What the roll-up's texts of a session's ends hold, in their order."""

_NUMBER: Final = "SELECT ifNull(<value>, 0) AS value FROM (<sessions>)"

_CELLS: Final = """
SELECT
    roundDown(toUnixTimestamp64Milli(session_start), <starts>) AS bucket,
    <splits>
    [(0, <label>, count(), toFloat64(<value>), 0)] AS measured
FROM (<sessions>)
GROUP BY bucket<groups>
"""

_OF_EVENTS: Final = """
SELECT
    <ends>
    min(occur_time) AS session_start,
    max(occur_time) AS session_end,
    count() AS session_events
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
    sum(event_count) AS session_events
FROM dashboard_session_rollup
WHERE project_id = <project> AND scope = <kind>
GROUP BY session_id
HAVING <starts_inside>
"""

_STARTS_INSIDE: Final = """session_start >= fromUnixTimestamp64Milli(<start>, 'UTC')
    AND session_start < fromUnixTimestamp64Milli(<end>, 'UTC')"""

_VALUES: Final[dict[SessionMetric, LiteralString]] = {
    SessionMetric.SESSIONS: "count()",
    SessionMetric.ENTRY: "count()",
    SessionMetric.EXIT: "count()",
    SessionMetric.AVG_DURATION: (
        "avgOrNull(toUnixTimestamp(session_end) - toUnixTimestamp(session_start))"
    ),
    SessionMetric.BOUNCE_RATE: "100 * countIf(session_events = 1) / nullIf(count(), 0)",
    SessionMetric.AVG_EVENTS_PER_SESSION: "avgOrNull(session_events)",
}
"""Each metric over the rows of sessions; durations are of whole seconds."""


def compile_session_number(plan: SessionNumberPlan) -> Statement:
    """The statement whose one row holds the number."""
    value = literal(_VALUES[plan.sessions.metric])
    return finish(fill(_NUMBER, value=value, sessions=_sessions(plan.sessions, ())), INSIGHT)


def compile_session_trends(plan: SessionTrendsPlan) -> Statement:
    """The statement whose rows are those of a trend."""
    properties = plan.breakdown.properties
    ends = [numbered("end_", index) for index in range(len(properties))]
    cells = fill(
        _CELLS,
        starts=integers_value(plan.buckets.starts_ms),
        splits=join("\n    ", split_columns(ends)),
        label=text_value(plan.label),
        value=literal(f"ifNull({_VALUES[plan.sessions.metric]}, 0)"),
        sessions=_sessions(plan.sessions, properties),
        groups=join("", split_groups(len(properties))),
    )
    return rank_cells(cells, plan.breakdown, keeps_zeros=False)


def _sessions(plan: SessionsPlan, properties: tuple[EventProperty, ...]) -> Fragment:
    if plan.source is Source.SESSION_ROLLUP:
        assert plan.filters == EVERYTHING, "a roll-up cannot filter"
        return fill(
            _OF_ROLLUP,
            ends=_ends(_rollup_end(plan, one) for one in properties),
            project=text_value(plan.project_id),
            kind=text_value(plan.kind),
            starts_inside=_starts_inside(plan.range),
        )
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
        starts_inside=_starts_inside(plan.range),
    )


def _ends(texts: Iterable[Fragment]) -> Fragment:
    """The values at the end of a session that the breakdown asks for."""
    return join("\n    ", split_columns(texts, "end_"))


def _event_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    at = literal("argMax" if plan.metric is SessionMetric.EXIT else "argMin")
    return fill("<at>(<text>, (occur_time, event_id))", at=at, text=text_form(subject))


def _rollup_end(plan: SessionsPlan, subject: EventProperty) -> Fragment:
    assert isinstance(subject, PromotedProperty), "a roll-up knows promoted properties only"
    is_exit = plan.metric is SessionMetric.EXIT
    return fill(
        r"splitByChar('\0', substring(<text>, 25))[<slot>]",
        text=literal("max(exit)" if is_exit else "min(entry)"),
        slot=integer_value(SLOTS.index(subject.promoted) + 1),
    )


def _starts_inside(window: TimeRange) -> Fragment:
    return fill(
        _STARTS_INSIDE, start=integer_value(window.start_ms), end=integer_value(window.end_ms)
    )
