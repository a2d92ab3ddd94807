"""The number an alert watches: its question asked about complete buckets.

Invariant: a number comes from the same service as charts, with its limits and filters, about the
alert's own project only; nothing is stored here.
"""

from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import Struct
from protobuf import message_from_json_value, message_to_json_value
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import DamagedError
from appliance.domain.alerts.condition import Condition, Measured, holds
from appliance.domain.alerts.messages import Numbers
from appliance.domain.alerts.question import asked_spec, read_number
from appliance.domain.alerts.window import Watched, find_spans, instant
from appliance.domain.insights.spec import Granularity, TimeRange
from appliance.gen.common.v1.time_pb import TimeRange as SentRange
from appliance.gen.shared.insights.v1 import insights_pb as pb
from appliance.storage.postgres.alerts import AlertRow

GRANULARITIES = {
    Granularity.MINUTE: pb.Granularity.MINUTE,
    Granularity.HOUR: pb.Granularity.HOUR,
    Granularity.DAY: pb.Granularity.DAY,
    Granularity.WEEK: pb.Granularity.WEEK,
    Granularity.MONTH: pb.Granularity.MONTH,
}


class AskedProject(Struct, frozen=True, kw_only=True):
    """Whose events are asked about."""

    project_id: str
    timezone: str


class Insights(Protocol):
    """Who answers questions."""

    async def query(self, project: AskedProject, request: pb.QueryRequest, /) -> pb.QueryResponse:
        """Answer one validated insight request."""
        ...


async def measure(insights: Insights, alert: AlertRow, now: datetime) -> Numbers:
    """The number of an alert at an instant, and that of the period before where it counts.

    Raises what the insight raises, and DamagedError for a question this release cannot read.
    """
    settings = alert.settings
    spec = read_question(settings.question)
    project = AskedProject(project_id=alert.project_id, timezone=alert.timezone)
    spans = find_spans(settings.watched, alert.timezone, now)

    async def ask(span: TimeRange) -> float | None:
        request = make_request(spec, settings.watched, span)
        return read_number(await insights.query(project, request))

    needs_baseline = settings.condition.comparison.needs_baseline
    return Numbers(
        value=await ask(spans.current),
        baseline=await ask(spans.previous) if needs_baseline else None,
        window_start=instant(spans.current.start_ms),
        window_end=instant(spans.current.end_ms),
    )


def is_held(condition: Condition, numbers: Numbers) -> bool | None:
    """Whether a condition holds; None when the numbers do not say."""
    return holds(condition, Measured(value=numbers.value, baseline=numbers.baseline))


def make_request(spec: pb.InsightQuerySpec, watched: Watched, span: TimeRange) -> pb.QueryRequest:
    """The question as it is asked about a time."""
    return pb.QueryRequest(
        spec=asked_spec(spec),
        time_range=SentRange(
            from_=Timestamp.from_datetime(instant(span.start_ms)),
            to=Timestamp.from_datetime(instant(span.end_ms)),
        ),
        granularity=GRANULARITIES[watched.granularity],
    )


def write_question(spec: pb.InsightQuerySpec) -> str:
    """The stored form of a question: canonical ProtoJSON."""
    return msgspec.json.encode(message_to_json_value(spec), order="sorted").decode()


def read_question(stored: str) -> pb.InsightQuerySpec:
    """A stored question; raises DamagedError."""
    try:
        return message_from_json_value(pb.InsightQuerySpec, msgspec.json.decode(stored))
    except ValueError as error:
        raise DamagedError(
            "ALERT_QUESTION_UNREADABLE", "the stored question of this alert cannot be read"
        ) from error
