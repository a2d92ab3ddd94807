"""Firings of alerts, and what is to be told about them (decision 0035).

Invariant: a firing and the messages about it are written in one transaction, and an alert has one
open firing at most; so whatever is killed, each change is told, and under one id. A message that is
taken to be sent rests until `next_time`, and comes again if nobody says what became of it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, cast

from msgspec import Struct

from appliance.domain.alerts.condition import Act, Condition, EndCause
from appliance.domain.alerts.messages import Numbers
from appliance.storage.postgres.alerts import PROBLEM_CHARACTERS_MAX, AlertRow, condition_of
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Postgres, Transaction

_CLOCK_ERROR: Final = timedelta(days=1)
"""No message rests longer: a time further ahead was written while the clock was wrong."""


class DeliveryState(StrEnum):
    """What became of a message."""

    PENDING = "pending"
    SENT = "sent"
    GIVEN_UP = "given_up"


class FiringRow(Struct, frozen=True, kw_only=True):
    """A stored firing; an open one has no end."""

    id: str
    alert_id: str
    display_name: str
    is_test: bool
    condition: Condition
    started_at: datetime
    started_with: Numbers
    ended_at: datetime | None
    end_cause: str
    ended_with: Numbers | None


class DeliveryRow(Struct, frozen=True, kw_only=True):
    """A stored message to one recipient, a member or a webhook."""

    id: str
    firing_id: str
    act: Act
    customer_id: str | None
    webhook_id: str | None
    state: DeliveryState
    attempts: int
    problem: str
    created_at: datetime
    ended_at: datetime | None


class Due(Struct, frozen=True, kw_only=True):
    """A message that was taken to be sent, with all that it needs.

    `address` is None for a webhook, and empty for somebody who is not a member any more.
    """

    delivery: DeliveryRow
    firing: FiringRow
    project_id: str
    project_name: str
    org_id: str
    address: str | None
    url: str | None
    sealed_secret: bytes | None


_FIRING: Final = """
SELECT f.id, f.alert_id, f.display_name, f.is_test, f.comparison, f.unit, f.amount, f.start_time,
    f.value, f.baseline, f.window_start, f.window_end, f.end_time, f.end_cause, f.end_value,
    f.end_baseline, f.end_window_start, f.end_window_end
FROM alert_firings AS f
JOIN alerts AS a ON a.id = f.alert_id
"""
_LIST: Final = (
    _FIRING
    + """
WHERE a.project_id = $1 AND ($2 = '' OR f.alert_id = $2)
  AND ($3::timestamptz IS NULL OR (f.start_time, f.id) < ($3, $4))
ORDER BY f.start_time DESC, f.id DESC LIMIT $5
"""
)
_OPEN: Final = """
SELECT id FROM alert_firings WHERE alert_id = $1 AND end_time IS NULL FOR NO KEY UPDATE
"""
_ADD: Final = """
INSERT INTO alert_firings (
    id, alert_id, is_test, display_name, comparison, unit, amount, start_time, value, baseline,
    window_start, window_end, end_time, end_cause
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_END: Final = """
UPDATE alert_firings SET end_time = $2, end_cause = $3, end_value = $4, end_baseline = $5,
    end_window_start = $6, end_window_end = $7
WHERE id = $1
"""
_LAST_TEST: Final = """
SELECT max(start_time) AS tested FROM alert_firings WHERE alert_id = $1 AND is_test
"""
_ADD_DELIVERY: Final = """
INSERT INTO alert_deliveries (id, firing_id, act, customer_id, webhook_id, next_time, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $6)
"""
_DELIVERIES: Final = """
SELECT id, firing_id, act, customer_id, webhook_id, state, attempts, problem, create_time, end_time
FROM alert_deliveries WHERE firing_id = ANY($1) ORDER BY create_time, id
"""
_TAKE: Final = """
UPDATE alert_deliveries SET attempts = attempts + 1, next_time = $2
WHERE id IN (
    SELECT d.id FROM alert_deliveries AS d
    WHERE d.state = 'pending' AND (d.next_time <= $1 OR d.next_time > $4) AND EXISTS (
        SELECT 1 FROM alert_firings AS f
        JOIN alerts AS a ON a.id = f.alert_id
        JOIN projects AS p ON p.id = a.project_id AND p.delete_time IS NULL
        WHERE f.id = d.firing_id
    )
    ORDER BY d.next_time, d.id LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id
"""
_DUE: Final = """
SELECT d.id, d.firing_id, d.act, d.customer_id, d.webhook_id, d.state, d.attempts, d.problem,
    d.create_time AS queued_time, d.end_time AS settled_time,
    f.alert_id, f.display_name, f.is_test, f.comparison, f.unit, f.amount, f.start_time, f.value,
    f.baseline, f.window_start, f.window_end, f.end_time, f.end_cause, f.end_value, f.end_baseline,
    f.end_window_start, f.end_window_end, p.id AS project_id, p.display_name AS project_name,
    p.org_id, w.url, w.sealed_secret,
    CASE WHEN d.customer_id IS NULL THEN NULL ELSE COALESCE(c.email, '') END AS address
FROM alert_deliveries AS d
JOIN alert_firings AS f ON f.id = d.firing_id
JOIN alerts AS a ON a.id = f.alert_id
JOIN projects AS p ON p.id = a.project_id
LEFT JOIN alert_webhooks AS w ON w.id = d.webhook_id
LEFT JOIN org_members AS m ON m.org_id = p.org_id AND m.customer_id = d.customer_id
LEFT JOIN customers AS c ON c.id = m.customer_id AND c.disable_time IS NULL
WHERE d.id = ANY($1) ORDER BY d.id
"""
_SETTLE: Final = """
UPDATE alert_deliveries SET state = $2, problem = $3, end_time = $4
WHERE id = $1 AND state = 'pending'
"""
_REST: Final = """
UPDATE alert_deliveries SET next_time = $2, problem = $3 WHERE id = $1 AND state = 'pending'
"""


async def list_firings(
    database: Postgres,
    project_id: str,
    *,
    alert_id: str,
    after: tuple[datetime, str] | None,
    limit: int,
) -> tuple[FiringRow, ...]:
    """Firings of an alert, or of a project for an empty id, newest first."""
    at, firing_id = after or (None, None)
    rows = await database.rows(_LIST, project_id, alert_id, at, firing_id, limit)
    return tuple(map(_firing, rows))


async def find_open_firing(transaction: Transaction, alert_id: str) -> str | None:
    """The id of the open firing of an alert, which nobody else ends meanwhile."""
    row = await transaction.row(_OPEN, alert_id)
    return None if row is None else str(row["id"])


async def add_firing(
    transaction: Transaction, firing_id: str, alert: AlertRow, numbers: Numbers, *, at: datetime
) -> None:
    """Begin a firing."""
    await transaction.execute(_ADD, *_values(firing_id, alert, numbers, at), None, "")


async def add_test_firing(
    transaction: Transaction, firing_id: str, alert: AlertRow, numbers: Numbers, *, at: datetime
) -> None:
    """Record a test as a firing that is over."""
    values = _values(firing_id, alert, numbers, at, is_test=True)
    await transaction.execute(_ADD, *values, at, EndCause.TEST.value)


async def end_firing(
    transaction: Transaction,
    firing_id: str,
    *,
    cause: EndCause,
    numbers: Numbers | None,
    at: datetime,
) -> None:
    """End a firing; without numbers nobody looked."""
    await transaction.execute(
        _END,
        firing_id,
        at,
        cause.value,
        numbers.value if numbers is not None else None,
        numbers.baseline if numbers is not None else None,
        numbers.window_start if numbers is not None else None,
        numbers.window_end if numbers is not None else None,
    )


async def find_last_test(transaction: Transaction, alert_id: str) -> datetime | None:
    """When an alert was tested last."""
    row = await transaction.row(_LAST_TEST, alert_id)
    return None if row is None else cast("datetime | None", row["tested"])


async def add_delivery(
    transaction: Transaction,
    delivery_id: str,
    firing_id: str,
    act: Act,
    *,
    customer_id: str | None = None,
    webhook_id: str | None = None,
    at: datetime,
) -> None:
    """Queue a message to one recipient; it stands when the transaction is committed."""
    await transaction.execute(
        _ADD_DELIVERY, delivery_id, firing_id, act.value, customer_id, webhook_id, at
    )


async def list_deliveries(
    database: Postgres, firing_ids: Sequence[str]
) -> dict[str, tuple[DeliveryRow, ...]]:
    """The messages about each firing, oldest first."""
    found: dict[str, list[DeliveryRow]] = {one: [] for one in firing_ids}
    for row in await database.rows(_DELIVERIES, list(firing_ids)):
        found[str(row["firing_id"])].append(_delivery(row))
    return {one: tuple(deliveries) for one, deliveries in found.items()}


async def take_due_deliveries(
    database: Postgres, *, now: datetime, until: datetime, limit: int
) -> tuple[Due, ...]:
    """Messages to send now; each comes again at `until` if nobody says what became of it.

    The attempt is counted before it is made (decision 0016).
    """
    async with database.transaction() as transaction:
        taken = await transaction.rows(_TAKE, now, until, limit, now + _CLOCK_ERROR)
        if not taken:
            return ()
        rows = await transaction.rows(_DUE, [str(row["id"]) for row in taken])
    return tuple(map(_due, rows))


async def settle_delivery(
    database: Postgres,
    delivery_id: str,
    state: DeliveryState,
    *,
    problem: str = "",
    at: datetime,
) -> None:
    """Record what became of a message."""
    text = problem[:PROBLEM_CHARACTERS_MAX]
    await database.execute(_SETTLE, delivery_id, state.value, text, at)


async def rest_delivery(
    database: Postgres, delivery_id: str, *, until: datetime, problem: str
) -> None:
    """Try a message again later."""
    await database.execute(_REST, delivery_id, until, problem[:PROBLEM_CHARACTERS_MAX])


def _values(
    firing_id: str, alert: AlertRow, numbers: Numbers, at: datetime, *, is_test: bool = False
) -> tuple[object, ...]:
    condition = alert.settings.condition
    return (
        firing_id,
        alert.id,
        is_test,
        alert.settings.display_name,
        condition.comparison.value,
        condition.unit.value,
        condition.amount,
        at,
        numbers.value,
        numbers.baseline,
        numbers.window_start,
        numbers.window_end,
    )


def _firing(row: Record, *, id_column: str = "id") -> FiringRow:
    return FiringRow(
        id=str(row[id_column]),
        alert_id=str(row["alert_id"]),
        display_name=str(row["display_name"]),
        is_test=bool(row["is_test"]),
        condition=condition_of(row),
        started_at=cast("datetime", row["start_time"]),
        started_with=_numbers(row, ""),
        ended_at=cast("datetime | None", row["end_time"]),
        end_cause=str(row["end_cause"]),
        ended_with=_numbers(row, "end_") if row["end_window_start"] is not None else None,
    )


def _numbers(row: Record, prefix: str) -> Numbers:
    return Numbers(
        value=cast("float | None", row[prefix + "value"]),
        baseline=cast("float | None", row[prefix + "baseline"]),
        window_start=cast("datetime", row[prefix + "window_start"]),
        window_end=cast("datetime", row[prefix + "window_end"]),
    )


def _delivery(row: Record, *, prefix: str = "create", end: str = "end") -> DeliveryRow:
    return DeliveryRow(
        id=str(row["id"]),
        firing_id=str(row["firing_id"]),
        act=Act(str(row["act"])),
        customer_id=cast("str | None", row["customer_id"]),
        webhook_id=cast("str | None", row["webhook_id"]),
        state=DeliveryState(str(row["state"])),
        attempts=cast("int", row["attempts"]),
        problem=str(row["problem"]),
        created_at=cast("datetime", row[f"{prefix}_time"]),
        ended_at=cast("datetime | None", row[f"{end}_time"]),
    )


def _due(row: Record) -> Due:
    return Due(
        delivery=_delivery(row, prefix="queued", end="settled"),
        firing=_firing(row, id_column="firing_id"),
        project_id=str(row["project_id"]),
        project_name=str(row["project_name"]),
        org_id=str(row["org_id"]),
        address=cast("str | None", row["address"]),
        url=cast("str | None", row["url"]),
        sealed_secret=cast("bytes | None", row["sealed_secret"]),
    )
