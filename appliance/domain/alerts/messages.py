"""What is told about a firing: the JSON of a webhook and its signature.

Invariant: what is told comes from the firing as it was recorded, so every attempt of a delivery
carries the same body under the same id. The signature covers the second of the attempt and the
body, so that neither can be changed nor an old message be replayed later (docs/alerts.md).
"""

import hashlib
import hmac
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from appliance.domain.alerts.condition import Act, Condition, describe, format_number

DELIVERY_HEADER: Final = "X-Pug-Delivery"
TIMESTAMP_HEADER: Final = "X-Pug-Timestamp"
SIGNATURE_HEADER: Final = "X-Pug-Signature"
ATTEMPTS_MAX: Final = 8
_BACK_OFF_SECONDS: Final = (30, 60, 120, 300, 600, 1800, 3600)
_OK_MIN: Final = 200
_OK_MAX: Final = 299
_SERVER_ERROR_MIN: Final = 500
_TRANSIENT_STATUS: Final = frozenset({408, 425, 429})


class Numbers(Struct, frozen=True, kw_only=True):
    """What an evaluation found, of which time."""

    value: float | None
    baseline: float | None
    window_start: datetime
    window_end: datetime


class Told(Struct, frozen=True, kw_only=True):
    """One message about a firing; `at` is when that happened which it tells."""

    delivery_id: str
    act: Act
    firing_id: str
    alert_id: str
    alert_name: str
    project_id: str
    project_name: str
    condition: Condition
    numbers: Numbers
    started_at: datetime
    at: datetime


class Verdict(StrEnum):
    """What an answer of a webhook means."""

    SENT = "sent"
    RETRY = "retry"
    GIVEN_UP = "given_up"


def webhook_body(told: Told) -> bytes:
    """The JSON of a message; keys in this order, instants in RFC 3339."""
    return msgspec.json.encode(
        {
            "id": told.delivery_id,
            "event": f"alert.{told.act}",
            "occurred_at": told.at,
            "project": {"id": told.project_id, "name": told.project_name},
            "alert": {"id": told.alert_id, "name": told.alert_name},
            "firing": {"id": told.firing_id, "started_at": told.started_at},
            "condition": {
                "comparison": told.condition.comparison,
                "amount": told.condition.amount,
                "unit": told.condition.unit,
                "text": describe(told.condition),
            },
            "value": told.numbers.value,
            "baseline": told.numbers.baseline,
            "window": {"from": told.numbers.window_start, "to": told.numbers.window_end},
        }
    )


def sign(secret: str, body: bytes, *, second: int) -> str:
    """The signature header: `sha256=` and the HMAC of second, full stop and body."""
    signed = str(second).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def judge_status(status: int) -> Verdict:
    """What the status of an answer means; a redirect is not followed and so a refusal."""
    if _OK_MIN <= status <= _OK_MAX:
        return Verdict.SENT
    if status >= _SERVER_ERROR_MIN or status in _TRANSIENT_STATUS:
        return Verdict.RETRY
    return Verdict.GIVEN_UP


def back_off_seconds(attempts: int) -> int:
    """How long a delivery rests after so many attempts."""
    return _BACK_OFF_SECONDS[min(max(attempts, 1), len(_BACK_OFF_SECONDS)) - 1]


def describe_numbers(told: Told) -> str:
    """The number, and that of the period before where it counts."""
    text = format_number(told.numbers.value)
    if told.condition.comparison.needs_baseline:
        text += f" (before: {format_number(told.numbers.baseline)})"
    return text
