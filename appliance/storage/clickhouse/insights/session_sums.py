"""Four sums over sessions for each stretch of a window, as one statement [insights 11].

Invariant: the sessions are those of `sessions.py`, rows that add up; what is told about them is
decided in `domain/insights/session_sums.py`.
"""

from typing import Final, cast

from appliance.domain.insights.route import DAY_MS
from appliance.domain.insights.session_sums import SessionSums, SessionSumsPlan
from appliance.storage.clickhouse.client import Row
from appliance.storage.clickhouse.compacted_sessions import Reached
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    integers_value,
)
from appliance.storage.clickhouse.insights.sessions import NO_ENDS, read_sessions, reading_settings

_SUMS: Final = """
SELECT
    <stretch> AS stretch,
    sum(sessions),
    sum(seconds),
    sum(bounces),
    sum(events)
FROM (<sessions>)
GROUP BY stretch
"""

_DAY: Final = "toUInt16(intDiv(toUnixTimestamp64Milli(session_start) - <start>, <day>))"
"""Two bytes are enough for the days of a window, and grouped by without hashing."""

_BUCKET: Final = "roundDown(toUnixTimestamp64Milli(session_start), <starts>)"


def compile_session_sums(plan: SessionSumsPlan, reached: Reached | None = None) -> Statement:
    """The statement whose rows `read_session_sums` reads; `reached` is how far is compacted."""
    sessions = read_sessions(plan.sessions, NO_ENDS, reached)
    return finish(fill(_SUMS, stretch=_stretch(plan), sessions=sessions), reading_settings(reached))


def read_session_sums(plan: SessionSumsPlan, row: Row) -> SessionSums:
    """One row of the statement."""
    stretch, sessions, seconds, bounces, events = (cast("int", value) for value in row)
    is_bucket = bool(plan.starts_ms)
    return SessionSums(
        start_ms=stretch if is_bucket else plan.sessions.range.start_ms + stretch * DAY_MS,
        sessions=sessions,
        seconds=seconds,
        bounces=bounces,
        events=events,
    )


def _stretch(plan: SessionSumsPlan) -> Fragment:
    if plan.starts_ms:
        return fill(_BUCKET, starts=integers_value(plan.starts_ms))
    start_ms = plan.sessions.range.start_ms
    assert start_ms % DAY_MS == 0, "a roll-up answers from the start of a day only"
    return fill(_DAY, start=integer_value(start_ms), day=integer_value(DAY_MS))
