"""Alerts and their recipients in PostgreSQL (decision 0035).

Invariant: whoever changes an alert holds its row; statements that serve a caller name the project,
so an alert of another project does not exist. Only evaluations write `state`; a change of what is
asked raises `revision`, by which an evaluation under way notices that it is about something else.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.domain.alerts.condition import Comparison, Condition, State, Unit
from appliance.domain.alerts.window import Frequency, Watched
from appliance.domain.insights.spec import Granularity
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.jobs import count_of
from appliance.storage.postgres.pool import Postgres, Transaction

PROBLEM_CHARACTERS_MAX: Final = 500
REASON_CHARACTERS_MAX: Final = 64
_CLOCK_ERROR: Final = timedelta(days=2)
"""No alert rests longer: a due time further ahead was written while the clock was wrong."""


class AlertSettings(Struct, frozen=True, kw_only=True):
    """What is set on an alert; `question` is canonical ProtoJSON."""

    display_name: str
    enabled: bool
    question: str
    watched: Watched
    condition: Condition
    frequency: Frequency


class AlertWebhook(Struct, frozen=True, kw_only=True):
    """Where a machine is told; its secret is sealed."""

    id: str
    url: str
    sealed_secret: bytes


class LastFound(Struct, frozen=True, kw_only=True):
    """What the last evaluation that had an answer found."""

    at: datetime
    value: float | None
    baseline: float | None
    window_start: datetime
    window_end: datetime


class Trouble(Struct, frozen=True, kw_only=True):
    """Why the last evaluations failed; `failures` of them in a row, none when all is well."""

    reason: str
    message: str
    failures: int


class AlertRow(Struct, frozen=True, kw_only=True):
    """A stored alert without its recipients; `timezone` is that of the project."""

    id: str
    project_id: str
    project_name: str
    org_id: str
    timezone: str
    settings: AlertSettings
    state: State
    revision: int
    next_at: datetime
    last: LastFound | None
    trouble: Trouble
    author_id: str | None
    created_at: datetime
    updated_at: datetime


_ALERT: Final = """
SELECT a.id, a.project_id, p.display_name AS project_name, p.org_id,
    p.reporting_timezone AS timezone, a.display_name, a.enabled, a.question::text AS question,
    a.granularity, a.periods, a.comparison, a.unit, a.amount, a.frequency, a.state, a.revision,
    a.next_time, a.evaluate_time, a.value, a.baseline, a.window_start, a.window_end, a.failures,
    a.problem_reason, a.problem, a.author_id, a.create_time, a.update_time
FROM alerts AS a
JOIN projects AS p ON p.id = a.project_id AND p.delete_time IS NULL
"""
_FIND: Final = _ALERT + "WHERE a.id = $2 AND a.project_id = $1"
_LOCK: Final = _FIND + " FOR NO KEY UPDATE OF a"
_LIST: Final = _ALERT + "WHERE a.project_id = $1 ORDER BY a.create_time, a.id LIMIT $2"
_DUE: Final = (
    _ALERT
    + """
WHERE a.enabled AND (a.next_time <= $1 OR a.next_time > $2) AND NOT (a.id = ANY($3))
ORDER BY a.next_time, a.id LIMIT $4
"""
)
_COUNT_DUE: Final = """
SELECT count(*) AS due FROM alerts AS a
JOIN projects AS p ON p.id = a.project_id AND p.delete_time IS NULL
WHERE a.enabled AND (a.next_time <= $1 OR a.next_time > $2)
"""
_ADD: Final = """
INSERT INTO alerts (
    id, project_id, display_name, enabled, question, granularity, periods, comparison, unit,
    amount, frequency, next_time, author_id, create_time, update_time
) VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)
"""
_SAVE: Final = """
UPDATE alerts SET display_name = $3, enabled = $4, question = $5::text::jsonb, granularity = $6,
    periods = $7, comparison = $8, unit = $9, amount = $10, frequency = $11, next_time = $12,
    update_time = $13
WHERE id = $1 AND project_id = $2
"""
_BEGIN_ANEW: Final = """
UPDATE alerts SET revision = revision + 1, state = 'ok', failures = 0, problem_reason = '',
    problem = '', evaluate_time = NULL, value = NULL, baseline = NULL, window_start = NULL,
    window_end = NULL
WHERE id = $1
"""
_DELETE: Final = "DELETE FROM alerts WHERE id = $1 AND project_id = $2"
_LOCK_PROJECT: Final = "SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE"
_COUNT: Final = "SELECT count(*) AS kept FROM alerts WHERE project_id = $1"
_NOTE_FOUND: Final = """
UPDATE alerts SET state = $2, next_time = $3, evaluate_time = $4, value = $5, baseline = $6,
    window_start = $7, window_end = $8, failures = 0, problem_reason = '', problem = ''
WHERE id = $1
"""
_NOTE_FAILED: Final = """
UPDATE alerts SET next_time = $3, failures = LEAST(failures + 1, 1000000), problem_reason = $4,
    problem = $5
WHERE id = $1 AND revision = $2
"""
_MEMBERS: Final = """
SELECT t.alert_id, t.customer_id FROM alert_members AS t
JOIN alerts AS a ON a.id = t.alert_id
JOIN projects AS p ON p.id = a.project_id
JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = t.customer_id
WHERE t.alert_id = ANY($1) ORDER BY t.customer_id
"""
_FORGET_MEMBERS: Final = "DELETE FROM alert_members WHERE alert_id = $1"
_ADD_MEMBERS: Final = """
INSERT INTO alert_members (alert_id, customer_id)
SELECT $1, m.customer_id FROM org_members AS m WHERE m.org_id = $2 AND m.customer_id = ANY($3)
"""
_WEBHOOKS: Final = """
SELECT alert_id, id, url, sealed_secret FROM alert_webhooks WHERE alert_id = ANY($1)
ORDER BY create_time, id
"""
_ADD_WEBHOOK: Final = """
INSERT INTO alert_webhooks (id, alert_id, url, sealed_secret, create_time)
VALUES ($1, $2, $3, $4, $5)
"""
_DROP_WEBHOOKS: Final = "DELETE FROM alert_webhooks WHERE alert_id = $1 AND NOT (id = ANY($2))"


async def find_alert(
    store: Postgres | Transaction, project_id: str, alert_id: str
) -> AlertRow | None:
    """An alert of a project."""
    row = await store.row(_FIND, project_id, alert_id)
    return None if row is None else _alert(row)


async def lock_alert(transaction: Transaction, project_id: str, alert_id: str) -> AlertRow | None:
    """An alert that nobody else changes before the transaction ends."""
    row = await transaction.row(_LOCK, project_id, alert_id)
    return None if row is None else _alert(row)


async def list_alerts(database: Postgres, project_id: str, *, limit: int) -> tuple[AlertRow, ...]:
    """The alerts of a project, oldest first."""
    return tuple(map(_alert, await database.rows(_LIST, project_id, limit)))


async def list_due_alerts(
    database: Postgres, *, now: datetime, without: Sequence[str], limit: int
) -> tuple[AlertRow, ...]:
    """Enabled alerts that are due, the longest overdue first."""
    rows = await database.rows(_DUE, now, now + _CLOCK_ERROR, list(without), limit)
    return tuple(map(_alert, rows))


async def count_due_alerts(database: Postgres, *, now: datetime) -> int:
    """How many alerts are due."""
    row = await database.row(_COUNT_DUE, now, now + _CLOCK_ERROR)
    assert row is not None
    return cast("int", row["due"])


async def add_alert(
    transaction: Transaction,
    alert_id: str,
    project_id: str,
    settings: AlertSettings,
    *,
    next_at: datetime,
    author_id: str | None,
    now: datetime,
) -> None:
    """Keep an alert without recipients."""
    values = _values(settings)
    await transaction.execute(_ADD, alert_id, project_id, *values, next_at, author_id, now)


async def save_alert(
    transaction: Transaction,
    alert: AlertRow,
    settings: AlertSettings,
    *,
    next_at: datetime,
    now: datetime,
) -> None:
    """Replace what is set on an alert that is held."""
    values = _values(settings)
    await transaction.execute(_SAVE, alert.id, alert.project_id, *values, next_at, now)


async def begin_anew(transaction: Transaction, alert_id: str) -> None:
    """Forget what evaluations found; one that is under way will notice."""
    await transaction.execute(_BEGIN_ANEW, alert_id)


async def delete_alert(transaction: Transaction, project_id: str, alert_id: str) -> bool:
    """Remove an alert with everything of it; False when there was none."""
    return count_of(await transaction.execute(_DELETE, alert_id, project_id)) == 1


async def count_alerts(transaction: Transaction, project_id: str) -> int:
    """How many a project has; nobody adds one before the transaction ends."""
    await transaction.row(_LOCK_PROJECT, project_id)
    row = await transaction.row(_COUNT, project_id)
    assert row is not None
    return cast("int", row["kept"])


async def note_found(
    transaction: Transaction, alert_id: str, *, state: State, next_at: datetime, found: LastFound
) -> None:
    """Record what an evaluation found, and the state it leads to."""
    await transaction.execute(
        _NOTE_FOUND,
        alert_id,
        state.value,
        next_at,
        found.at,
        found.value,
        found.baseline,
        found.window_start,
        found.window_end,
    )


async def note_failed(
    transaction: Transaction, alert: AlertRow, *, next_at: datetime, reason: str, message: str
) -> None:
    """Record that an evaluation failed; nothing when the alert is about something else by now."""
    await transaction.execute(
        _NOTE_FAILED,
        alert.id,
        alert.revision,
        next_at,
        reason[:REASON_CHARACTERS_MAX],
        message[:PROBLEM_CHARACTERS_MAX],
    )


async def list_members(
    store: Postgres | Transaction, alert_ids: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The customers that each alert tells; who left the organisation is none of them."""
    found: dict[str, list[str]] = {one: [] for one in alert_ids}
    for row in await store.rows(_MEMBERS, list(alert_ids)):
        found[str(row["alert_id"])].append(str(row["customer_id"]))
    return {one: tuple(customers) for one, customers in found.items()}


async def replace_members(
    transaction: Transaction, alert_id: str, org_id: str, customer_ids: Sequence[str]
) -> int:
    """Tell these customers; how many of them are members of the organisation."""
    await transaction.execute(_FORGET_MEMBERS, alert_id)
    return count_of(await transaction.execute(_ADD_MEMBERS, alert_id, org_id, list(customer_ids)))


async def list_webhooks(
    store: Postgres | Transaction, alert_ids: Sequence[str]
) -> dict[str, tuple[AlertWebhook, ...]]:
    """The webhooks of each alert, oldest first."""
    found: dict[str, list[AlertWebhook]] = {one: [] for one in alert_ids}
    for row in await store.rows(_WEBHOOKS, list(alert_ids)):
        found[str(row["alert_id"])].append(
            AlertWebhook(
                id=str(row["id"]),
                url=str(row["url"]),
                sealed_secret=cast("bytes", row["sealed_secret"]),
            )
        )
    return {one: tuple(webhooks) for one, webhooks in found.items()}


async def keep_webhooks(transaction: Transaction, alert_id: str, kept: Sequence[str]) -> None:
    """Remove the webhooks of an alert that are not among these."""
    await transaction.execute(_DROP_WEBHOOKS, alert_id, list(kept))


async def add_webhook(
    transaction: Transaction, alert_id: str, webhook: AlertWebhook, *, now: datetime
) -> None:
    """Tell one more machine."""
    await transaction.execute(
        _ADD_WEBHOOK, webhook.id, alert_id, webhook.url, webhook.sealed_secret, now
    )


def _values(settings: AlertSettings) -> tuple[object, ...]:
    return (
        settings.display_name,
        settings.enabled,
        settings.question,
        settings.watched.granularity.value,
        settings.watched.periods,
        settings.condition.comparison.value,
        settings.condition.unit.value,
        settings.condition.amount,
        settings.frequency.value,
    )


def condition_of(row: Record) -> Condition:
    """The condition in a row of an alert or a firing."""
    return Condition(
        comparison=Comparison(str(row["comparison"])),
        unit=Unit(str(row["unit"])),
        amount=cast("float", row["amount"]),
    )


def _alert(row: Record) -> AlertRow:
    return AlertRow(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        project_name=str(row["project_name"]),
        org_id=str(row["org_id"]),
        timezone=str(row["timezone"]),
        settings=AlertSettings(
            display_name=str(row["display_name"]),
            enabled=bool(row["enabled"]),
            question=str(row["question"]),
            watched=Watched(
                granularity=Granularity(str(row["granularity"])),
                periods=cast("int", row["periods"]),
            ),
            condition=condition_of(row),
            frequency=Frequency(str(row["frequency"])),
        ),
        state=State(str(row["state"])),
        revision=cast("int", row["revision"]),
        next_at=cast("datetime", row["next_time"]),
        last=None if row["evaluate_time"] is None else _last(row),
        trouble=Trouble(
            reason=str(row["problem_reason"]),
            message=str(row["problem"]),
            failures=cast("int", row["failures"]),
        ),
        author_id=cast("str | None", row["author_id"]),
        created_at=cast("datetime", row["create_time"]),
        updated_at=cast("datetime", row["update_time"]),
    )


def _last(row: Record) -> LastFound:
    return msgspec.convert(
        {
            "at": row["evaluate_time"],
            **{name: row[name] for name in ("value", "baseline", "window_start", "window_end")},
        },
        LastFound,
    )
