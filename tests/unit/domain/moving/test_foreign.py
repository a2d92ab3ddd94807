"""Exports of PostHog and Segment."""

import json
from collections.abc import Mapping

import pytest

from appliance.domain.compat.mapped import Reception
from appliance.domain.compat.posthog import map_posthog
from appliance.domain.compat.segment import map_segment
from appliance.domain.moving.foreign import read_posthog, read_segment
from appliance.domain.moving.values import Refused

AT = 1_772_600_767_089
UUID = "0190a000-0000-7000-8000-00000000000a"
PROPERTIES: dict[str, object] = {"$current_url": "https://a.example/b?c=d", "plan": "pro", "n": 1}
PROPERTIES_TEXT = json.dumps(PROPERTIES)


@pytest.mark.parametrize(
    "row",
    [
        {"uuid": UUID, "properties": PROPERTIES, "timestamp": "2026-03-04T05:06:07.089000Z"},
        {"uuid": UUID, "properties": PROPERTIES, "timestamp": "2026-03-04 05:06:07.089000+00:00"},
        {"id": UUID, "properties": PROPERTIES, "timestamp": "2026-03-04T05:06:07.089+00:00"},
        {
            "uuid": UUID,
            "properties": json.dumps(PROPERTIES),
            "timestamp": "2026-03-04 05:06:07.089",
        },
    ],
)
def test_a_posthog_row_is_what_its_client_would_have_sent(row: Mapping[str, object]) -> None:
    """Batch export, API and table: one event, the same as over HTTP."""
    told = read_posthog("p1", {**row, "event": "$pageview", "distinct_id": "ann", "person_id": "x"})
    live = map_posthog(
        [
            {
                "uuid": UUID,
                "event": "$pageview",
                "distinct_id": "ann",
                "properties": PROPERTIES,
                "timestamp": "2026-03-04T05:06:07.089Z",
            }
        ],
        Reception(project_id="p1", received_ms=AT + 60_000),
    )
    assert told.mapped.events == live.events
    assert told.occurred_ms == AT


def test_names_with_a_star_and_persons() -> None:
    """Columns of a query's result, and an identify with its traits."""
    row = {
        "*.uuid": UUID,
        "*.event": "$identify",
        "*.distinct_id": "ann",
        "*.properties": {"$anon_distinct_id": "x", "$set": {"plan": "pro"}},
        "*.timestamp": "2026-03-04T05:06:07.089Z",
    }
    told = read_posthog("p1", row)
    (identity,) = told.mapped.identities
    assert (identity.external_id, identity.anonymous_id) == ("ann", "anon-x")
    assert identity.traits == {"plan": "pro"}


def test_a_segment_line_is_what_its_client_would_have_sent() -> None:
    """Raw files, and tables that have objects as text."""
    call = {
        "type": "track",
        "event": "Order Completed",
        "userId": "ann",
        "messageId": "m-1",
        "properties": {"total": 3},
        "context": {"library": {"name": "analytics.js"}},
        "timestamp": "2026-03-04T05:06:07.089Z",
    }
    received = {**call, "receivedAt": "2026-03-04T05:06:08.000Z"}
    live = map_segment([call], Reception(project_id="p1", received_ms=AT))
    table = {**received, **{name: json.dumps(call[name]) for name in ("properties", "context")}}
    for record in (received, table):
        assert read_segment("p1", record).mapped.events == live.events


@pytest.mark.parametrize("timestamp", [None, "", "soon"])
def test_without_a_time_a_record_is_refused(timestamp: object) -> None:
    """The time of the import would make it another event at each repetition."""
    with pytest.raises(Refused):
        read_posthog("p1", {"event": "x", "distinct_id": "a", "timestamp": timestamp})
    with pytest.raises(Refused):
        read_segment("p1", {"type": "track", "event": "x", "userId": "a", "timestamp": timestamp})


def test_an_object_that_is_no_json_is_refused() -> None:
    """A table with half a cell."""
    row = {"event": "x", "distinct_id": "a", "timestamp": "2026-03-04", "properties": "{"}
    with pytest.raises(Refused):
        read_posthog("p1", row)
