"""A real event becomes an answer, as a newcomer sees it."""

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.stack import BATCH_CREATE, QUERY, Stack, make_event, pug, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SEEN_SECONDS_MAX = 30


def test_a_posted_batch_is_visible_and_counts_once(stack: Stack) -> None:
    """The roll-up and the raw events both show it; the same batch again changes nothing."""
    batch = [make_event("journey_once", distinct_id=f"anon-{number % 3}") for number in range(10)]
    for _ in range(2):
        answer = stack.post(batch)
        assert (answer.status_code, answer.json()) == (200, {"accepted": 10, "dropped": 0})
    stack.trend_reaches("journey_once", 10)
    stack.trend_reaches("journey_once", 10, raw=True)
    until(
        lambda: stack.trend("journey_once", aggregation="UNIQUE_USERS") == 3 or None,
        what="3 users",
        seconds=SEEN_SECONDS_MAX,
    )


def test_an_event_sent_again_in_another_batch_counts_once(stack: Stack) -> None:
    """SDKs regroup what they resend [sdk-protocol 4]."""
    first, second = make_event("journey_regrouped"), make_event("journey_regrouped")
    assert stack.post([first]).status_code == 200
    stack.trend_reaches("journey_regrouped", 1)
    assert stack.post([first, second]).status_code == 200
    stack.trend_reaches("journey_regrouped", 2)
    stack.trend_reaches("journey_regrouped", 2, raw=True)


def test_the_printed_curl_lines_are_the_way_in(stack: Stack) -> None:
    """connection.json is private and has what a script needs; the summary shows both requests."""
    path = stack.data_dir / "connection.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {
        "url",
        "project_id",
        "public_key",
        "private_key",
    }
    summary = stack.log.read_text()
    assert BATCH_CREATE in summary
    assert QUERY in summary


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_argument"),
        (b'{"events": 5}', "application/json", 400, "invalid_argument"),
        (b'{"events": [{"kind": "a b"}]}', "application/json", 400, "invalid_argument"),
        (b"\xff\xff\xff", "application/proto", 400, "invalid_argument"),
        (b"{}", "text/plain", 415, "invalid_argument"),
        (b'{"events": [' + b" " * (17 << 20) + b"]}", "application/json", 413, "invalid_argument"),
    ],
    ids=["broken", "wrong-type", "rules", "broken-binary", "content-type", "too-large"],
)
def test_bad_input_is_a_clear_error_and_stores_nothing(
    stack: Stack, content: bytes, content_type: str, status: int, code: str
) -> None:
    """[sdk-protocol 4] every refusal carries a Connect body, so that no SDK resends for ever."""
    headers = {"content-type": content_type, "x-api-key": stack.connection.public_key}
    answer = stack.client.post(BATCH_CREATE, content=content, headers=headers)
    assert answer.status_code in {status, 400}
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == code
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("key", ["pub_00000000000000000000", "prv_00000000000000000000", "x"])
def test_an_unknown_key_is_refused(stack: Stack, key: str) -> None:
    """[services 3.1] for events and for questions."""
    assert stack.post([make_event("never")], key=key).json()["code"] == "unauthenticated"
    answer = stack.client.post(QUERY, json={}, headers={"x-api-key": key})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_a_revoked_key_stops_working(stack: Stack) -> None:
    """A key made and ended on the command line is known and forgotten by the running API."""
    project = stack.connection.project_id
    made = pug("key", "create", project, "--kind", "public", "--json", data_dir=stack.data_dir)
    key = json.loads(made.stdout)
    assert stack.post([make_event("keyed")], key=key["key"]).status_code == 200
    pug("key", "revoke", key["id"], data_dir=stack.data_dir)

    def refused() -> bool | None:
        return (
            True if stack.post([make_event("keyed")], key=key["key"]).status_code == 401 else None
        )

    assert until(refused, what="revocation", seconds=SEEN_SECONDS_MAX)


def test_every_question_of_the_first_insight_is_answered(stack: Stack) -> None:
    """Hour, day, week and month; an empty answer is an answer."""
    now = datetime.now(tz=UTC)
    for granularity in ("HOUR", "DAY", "WEEK", "MONTH"):
        request = {
            "spec": {
                "insightType": "INSIGHT_TYPE_TRENDS",
                "events": [{"event": {"kind": "nothing_of_this_kind"}}],
            },
            "timeRange": {
                "from": (now - timedelta(days=7)).isoformat(),
                "to": now.isoformat(),
            },
            "granularity": f"GRANULARITY_{granularity}",
        }
        headers = {"x-api-key": stack.connection.private_key}
        answer = stack.client.post(QUERY, json=request, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"trends": {}})


def test_health_is_told_without_a_key(stack: Stack) -> None:
    """[services 2.6]"""
    assert stack.client.get("/healthz").text == "ok"
    assert stack.wait_answering().json()["ready"] is True
    assert "events_accepted_total" in stack.client.get("/metrics").text
