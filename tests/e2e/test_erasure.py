"""A person is sent, named, erased by a program, and gone, on the whole appliance."""

import json
from uuid import uuid4

import pytest

from tests.support.stack import Json, Stack, make_event, pug, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PROFILES = "/shared.profiles.v1.ProfilesService"
IDENTIFY = "/sdk.profiles.v1.ProfilesSDKService/Identify"
WAIT_SECONDS = 60.0


def ask(stack: Stack, method: str, body: Json) -> Json:
    headers = {"x-api-key": stack.connection.private_key}
    answer = stack.client.post(f"{PROFILES}/{method}", json=body, headers=headers)
    return {"status_code": answer.status_code, **answer.json()}


def test_gone_everywhere(stack: Stack) -> None:
    """Events, profile and alias go; somebody else stays; receipt and journal are there."""
    number = uuid4().hex[:8]
    anonymous, named, other = f"anon-{number}", f"user-{number}", f"other-{number}"
    kind = f"visit-{number}"
    sent = stack.post([make_event(kind, distinct_id=one) for one in (anonymous, named, other)])
    assert sent.status_code == 200, sent.text
    answer = stack.client.post(
        IDENTIFY,
        json={"externalId": named, "anonymousId": anonymous, "traits": {"name": "Ada"}},
        headers={"x-api-key": stack.connection.public_key},
    )
    assert answer.status_code == 200, answer.text
    stack.trend_reaches(kind, 3, raw=True)

    def known() -> Json | None:
        found = ask(stack, "Get", {"id": anonymous})
        return found if named in json.dumps(found) else None

    until(known, what="the person", seconds=WAIT_SECONDS)
    asked = ask(stack, "Delete", {"id": anonymous})
    assert asked["status_code"] == 200, asked
    request = str(asked["requestId"])

    def completed() -> Json | None:
        state = ask(stack, "GetDeletionRequest", {"requestId": request})
        return state if state["status"] == "COMPLIANCE_REQUEST_STATUS_COMPLETED" else None

    state = until(completed, what="the erasure", seconds=WAIT_SECONDS)
    assert state["eventsIdentified"] == "2"
    for gone in (anonymous, named):
        assert ask(stack, "Get", {"id": gone})["status_code"] == 404
    assert stack.trend(kind, raw=True) == 1
    told = pug("person", "receipt", request, data_dir=stack.data_dir)
    receipt = json.loads(told.stdout)
    assert set(receipt["remaining"].values()) == {0}
    assert (receipt["found"]["events"], receipt["found"]["profiles"]) == (2, 1)
    journal = (stack.data_dir / "spool" / "erasures").glob("*.jsonl")
    assert any(request in path.read_text() for path in journal)
