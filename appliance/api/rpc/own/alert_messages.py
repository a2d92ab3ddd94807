"""Alerts and firings between the wire and the services.

Invariant: both ways are tables, and every value of a table has its counterpart; secrets are in no
message but the one that tells them once.
"""

from datetime import datetime
from typing import Final

from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.domain.alerts.condition import Act, Comparison, Condition, State, Unit
from appliance.domain.alerts.messages import Numbers
from appliance.domain.alerts.window import Frequency, Watched
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.services.alerts.measuring import GRANULARITIES, read_question
from appliance.services.alerts.service import (
    Alert,
    AlertDraft,
    Firing,
    MadeSecret,
    WebhookDraft,
)
from appliance.storage.postgres.alert_firings import DeliveryRow, DeliveryState
from appliance.storage.postgres.alerts import LastFound

_COMPARISONS: Final = {
    pb.Comparison.ABOVE: Comparison.ABOVE,
    pb.Comparison.BELOW: Comparison.BELOW,
    pb.Comparison.RISE: Comparison.RISE,
    pb.Comparison.FALL: Comparison.FALL,
    pb.Comparison.CHANGE: Comparison.CHANGE,
}
_UNITS: Final = {
    pb.Unit.UNSPECIFIED: Unit.VALUE,
    pb.Unit.VALUE: Unit.VALUE,
    pb.Unit.PERCENT: Unit.PERCENT,
}
_FREQUENCIES: Final = {
    pb.Frequency.EVERY_5_MINUTES: Frequency.EVERY_5_MINUTES,
    pb.Frequency.EVERY_15_MINUTES: Frequency.EVERY_15_MINUTES,
    pb.Frequency.HOURLY: Frequency.HOURLY,
    pb.Frequency.DAILY: Frequency.DAILY,
}
_WIDTHS: Final = {sent: width for width, sent in GRANULARITIES.items()}
_SENT_COMPARISONS: Final = {ours: sent for sent, ours in _COMPARISONS.items()}
_SENT_UNITS: Final = {ours: sent for sent, ours in _UNITS.items()}
_SENT_FREQUENCIES: Final = {ours: sent for sent, ours in _FREQUENCIES.items()}
_STATES: Final = {State.OK: pb.State.OK, State.FIRING: pb.State.FIRING}
_ACTS: Final = {
    Act.FIRED: pb.Act.FIRED,
    Act.RESOLVED: pb.Act.RESOLVED,
    Act.TEST: pb.Act.TEST,
}
_DELIVERY_STATES: Final = {
    DeliveryState.PENDING: pb.DeliveryState.PENDING,
    DeliveryState.SENT: pb.DeliveryState.SENT,
    DeliveryState.GIVEN_UP: pb.DeliveryState.GIVEN_UP,
}


def draft_of(sent: pb.AlertContent) -> AlertDraft:
    """What is set on an alert, as it was sent."""
    spec, window, condition = sent.spec, sent.window, sent.condition
    assert spec is not None, "the schema needs it"
    assert window is not None, "the schema needs it"
    assert condition is not None, "the schema needs it"
    return AlertDraft(
        display_name=sent.display_name,
        enabled=sent.enabled,
        spec=spec,
        watched=Watched(granularity=_WIDTHS[window.granularity], periods=window.periods),
        condition=Condition(
            comparison=_COMPARISONS[condition.comparison],
            unit=_UNITS[condition.unit],
            amount=condition.amount,
        ),
        frequency=_FREQUENCIES[sent.frequency],
        member_ids=tuple(sent.member_ids),
        webhooks=tuple(WebhookDraft(id=one.id, url=one.url) for one in sent.webhooks),
    )


def alert_message(alert: Alert) -> pb.Alert:
    """An alert as it is told."""
    row = alert.row
    told = pb.Alert(
        id=row.id,
        content=_content(alert),
        state=_STATES[row.state],
        next_time=_time(row.next_at),
        author_id=row.author_id or "",
        create_time=_time(row.created_at),
        update_time=_time(row.updated_at),
    )
    if row.last is not None:
        told.last = evaluation_message(row.last)
    if row.trouble.failures:
        told.problem = pb.Problem(
            reason=row.trouble.reason,
            message=row.trouble.message,
            failures=row.trouble.failures,
        )
    return told


def secret_message(made: MadeSecret) -> pb.WebhookSecret:
    """The secret of a webhook."""
    return pb.WebhookSecret(webhook_id=made.webhook_id, secret=made.secret)


def evaluation_message(found: LastFound) -> pb.Evaluation:
    """What an evaluation found."""
    told = pb.Evaluation(
        window_start=_time(found.window_start),
        window_end=_time(found.window_end),
        evaluate_time=_time(found.at),
    )
    return _with_numbers(told, found.value, found.baseline)


def firing_message(firing: Firing) -> pb.Firing:
    """A firing with the messages about it."""
    row = firing.row
    told = pb.Firing(
        id=row.id,
        alert_id=row.alert_id,
        display_name=row.display_name,
        is_test=row.is_test,
        condition=_condition(row.condition),
        start_time=_time(row.started_at),
        started_with=_numbers(row.started_with, row.started_at),
        end_cause=row.end_cause,
        deliveries=list(map(_delivery, firing.deliveries)),
    )
    if row.ended_at is not None:
        told.end_time = _time(row.ended_at)
        if row.ended_with is not None:
            told.ended_with = _numbers(row.ended_with, row.ended_at)
    return told


def _content(alert: Alert) -> pb.AlertContent:
    settings = alert.row.settings
    return pb.AlertContent(
        display_name=settings.display_name,
        enabled=settings.enabled,
        spec=read_question(settings.question),
        window=pb.Window(
            granularity=GRANULARITIES[settings.watched.granularity],
            periods=settings.watched.periods,
        ),
        condition=_condition(settings.condition),
        frequency=_SENT_FREQUENCIES[settings.frequency],
        member_ids=list(alert.member_ids),
        webhooks=[pb.Webhook(id=one.id, url=one.url) for one in alert.webhooks],
    )


def _condition(condition: Condition) -> pb.Condition:
    return pb.Condition(
        comparison=_SENT_COMPARISONS[condition.comparison],
        amount=condition.amount,
        unit=_SENT_UNITS[condition.unit],
    )


def _numbers(numbers: Numbers, at: datetime) -> pb.Evaluation:
    told = pb.Evaluation(
        window_start=_time(numbers.window_start),
        window_end=_time(numbers.window_end),
        evaluate_time=_time(at),
    )
    return _with_numbers(told, numbers.value, numbers.baseline)


def _with_numbers(
    told: pb.Evaluation, value: float | None, baseline: float | None
) -> pb.Evaluation:
    if value is not None:
        told.value = value
    if baseline is not None:
        told.baseline = baseline
    return told


def _delivery(row: DeliveryRow) -> pb.Delivery:
    told = pb.Delivery(
        delivery_id=row.id,
        act=_ACTS[row.act],
        member_id=row.customer_id or "",
        webhook_id=row.webhook_id or "",
        state=_DELIVERY_STATES[row.state],
        attempts=row.attempts,
        problem=row.problem,
        create_time=_time(row.created_at),
    )
    if row.ended_at is not None:
        told.end_time = _time(row.ended_at)
    return told


def _time(at: datetime) -> Timestamp:
    return Timestamp.from_datetime(at)
