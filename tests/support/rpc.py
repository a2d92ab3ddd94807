"""Small pieces of the wire for tests of the API: one good event, envelopes, error details."""

from base64 import b64decode
from typing import Any, Final

import httpx

from tests.support.api_services import PRIVATE_KEY, PUBLIC_KEY

BATCH_CREATE: Final = "/sdk.events.v1.EventsService/BatchCreate"
QUERY: Final = "/shared.insights.v1.InsightsService/Query"
PUBLIC: Final = {"x-api-key": PUBLIC_KEY}
PRIVATE: Final = {"x-api-key": PRIVATE_KEY}
Json = dict[str, Any]  # bodies as they are on the wire

GOOD_QUERY: Final[Json] = {
    "spec": {
        "insightType": "INSIGHT_TYPE_TRENDS",
        "events": [{"event": {"kind": "page_view"}, "aggregation": "AGGREGATION_TYPE_TOTAL"}],
    },
    "timeRange": {"from": "2026-01-01T00:00:00Z", "to": "2026-01-08T00:00:00Z"},
    "granularity": "GRANULARITY_DAY",
}


def event(number: int = 1, **changes: object) -> Json:
    """A page view that breaks no rule."""
    return {
        "eventId": f"01890000-0000-7000-8000-{number:012d}",
        "kind": "page_view",
        "distinctId": "anon-1",
        "sessionId": "01890000-0000-7000-9000-000000000001",
        "occurTime": "2026-03-04T05:06:07.089Z",
        "autoProperties": {"$platform": {"stringValue": "web"}},
        "customProperties": {"price": {"doubleValue": 1.5}, "count": {"intValue": "7"}},
        **changes,
    }


def envelope(body: bytes, flags: int = 0) -> bytes:
    """One message of an enveloped protocol."""
    return bytes((flags,)) + len(body).to_bytes(4, "big") + body


def envelopes(body: bytes) -> list[tuple[int, bytes]]:
    """Flags and content of each message in `body`."""
    found: list[tuple[int, bytes]] = []
    while body:
        length = int.from_bytes(body[1:5], "big")
        found.append((body[0], body[5 : 5 + length]))
        body = body[5 + length :]
    return found


def details(answer: Json) -> dict[str, Json]:
    """The details of an error by type, after checking that the bytes are unpadded base64."""
    found: dict[str, Json] = {}
    for detail in answer.get("details", []):
        value = detail["value"]
        assert "=" not in value
        b64decode(value + "===")
        found[detail["type"]] = detail["debug"]
    return found


def refused(answer: httpx.Response, status: int, code: str) -> Json:
    """The body of a refusal, after checking that an SDK can read it [sdk-protocol 4]."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body: Json = answer.json()
    assert body["code"] == code, body
    assert isinstance(body["message"], str)
    assert body["message"]
    return body
