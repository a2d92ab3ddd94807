"""Typed values and requests between the form of the vectors and ours."""

import json
from typing import Any

from appliance.domain.ingest.event import Batch, Properties, PropertyValue, decode_batch
from appliance.domain.ingest.facts import RequestFacts, gather_facts

EVENT_ID = "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d01"
SESSION_ID = "c3b1a7e4-5d20-4f7e-9a10-0b8c6d4e2f11"


def batch_of(request: dict[str, Any]) -> Batch:
    """A request in protobuf JSON, decoded as the API does."""
    return decode_batch(json.dumps(request).encode())


def properties_of(auto: dict[str, Any]) -> Properties:
    """Auto properties in protobuf JSON, decoded as the API does."""
    return dict(batch_of({"events": [{"autoProperties": auto}]}).events[0].auto_properties)


def typed(properties: Properties) -> list[tuple[str, type, PropertyValue]]:
    """Properties with their slots, comparable: `1`, `1.0` and `True` differ."""
    return sorted((key, type(value), value) for key, value in properties.items())


def facts_of(headers: dict[str, str], *, peer: str = "") -> RequestFacts:
    """Facts of a request with these headers."""
    return gather_facts(headers.items(), peer=peer)


def wire_event(**changes: Any) -> dict[str, Any]:
    """A valid consented event in protobuf JSON; None takes a field away."""
    event: dict[str, Any] = {
        "eventId": EVENT_ID,
        "kind": "page_view",
        "occurTime": "2026-03-04T05:06:07.089Z",
        "distinctId": "cust-42",
        "sessionId": SESSION_ID,
        **changes,
    }
    return {key: value for key, value in event.items() if value is not None}


def numbered_events(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Valid events with ids of their own."""
    return [
        wire_event(eventId=f"6f1d9f62-0c7b-4d0e-8a55-{number:012x}", **changes)
        for number in range(count)
    ]
