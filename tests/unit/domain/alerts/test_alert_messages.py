"""What is told, how it is signed, and when it is tried again."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from appliance.domain.alerts.condition import Act, Comparison, Condition, Unit
from appliance.domain.alerts.letter import write_letter
from appliance.domain.alerts.messages import (
    ATTEMPTS_MAX,
    Numbers,
    Told,
    Verdict,
    back_off_seconds,
    judge_status,
    sign,
    webhook_body,
)
from appliance.domain.mail.letters import Letterhead

NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
TOLD = Told(
    delivery_id="d1",
    act=Act.FIRED,
    firing_id="f1",
    alert_id="a1",
    alert_name="Few <b>orders</b>\r\nBcc: x@y.test",
    project_id="p1",
    project_name="Šop",
    condition=Condition(comparison=Comparison.FALL, unit=Unit.PERCENT, amount=20),
    numbers=Numbers(value=7.0, baseline=10.0, window_start=NOW - timedelta(days=1), window_end=NOW),
    started_at=NOW,
    at=NOW,
)


def test_body() -> None:
    told = json.loads(webhook_body(TOLD))
    assert told["id"] == "d1"
    assert told["event"] == "alert.fired"
    assert told["occurred_at"] == "2026-05-10T09:30:00Z"
    assert told["window"] == {"from": "2026-05-09T09:30:00Z", "to": "2026-05-10T09:30:00Z"}
    assert (told["value"], told["baseline"]) == (7.0, 10.0)
    assert told["condition"]["text"] == "falls by 20 % or more"
    assert webhook_body(TOLD) == webhook_body(TOLD)


def test_signature() -> None:
    """Anybody with the secret can check it from the header and the bytes of the body."""
    body = webhook_body(TOLD)
    signed = hmac.new(b"secret", b"1778405400." + body, hashlib.sha256).hexdigest()
    assert sign("secret", body, second=1778405400) == f"sha256={signed}"
    assert sign("secret", body, second=1778405401) != f"sha256={signed}"


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((200, Verdict.SENT), (204, Verdict.SENT), (301, Verdict.GIVEN_UP)),
        *((307, Verdict.GIVEN_UP), (400, Verdict.GIVEN_UP), (404, Verdict.GIVEN_UP)),
        *((408, Verdict.RETRY), (429, Verdict.RETRY), (500, Verdict.RETRY), (503, Verdict.RETRY)),
    ],
)
def test_statuses(status: int, verdict: Verdict) -> None:
    assert judge_status(status) is verdict


def test_back_off_is_bounded() -> None:
    pauses = [back_off_seconds(attempt) for attempt in range(1, ATTEMPTS_MAX)]
    assert pauses == sorted(pauses)
    assert back_off_seconds(0) == pauses[0] == 30
    assert back_off_seconds(100) == pauses[-1] == 3600


@pytest.mark.parametrize("act", Act)
def test_letter(act: Act) -> None:
    """Both forms say the same; what people typed is cleaned and escaped."""
    told = Told(**{name: getattr(TOLD, name) for name in TOLD.__struct_fields__} | {"act": act})
    letter = write_letter(told, Letterhead(), link="https://pug.test")
    assert "\n" not in letter.subject
    for text in (letter.text, letter.html):
        assert "7 (before: 10)" in text
        assert "falls by 20 % or more" in text
        assert "2026-05-09 09:30 to 2026-05-10 09:30 UTC" in text
        assert "Šop" in text
    assert "<b>orders" not in letter.html
    assert "https://pug.test" in letter.text.splitlines()
    assert ("is a test" in letter.text) is (act is Act.TEST)
