"""Files of anything: every line becomes events that keep the rules, or a reason."""

import json
from io import BytesIO
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.validate import validate_envelope
from appliance.domain.moving.foreign import System
from appliance.domain.moving.records import Columns
from appliance.services.moving.files import CsvRows, JsonLines
from appliance.services.moving.imports import ImportOrder, sort_records

SLOTS = ("timestampValue", "intValue", "doubleValue", "boolValue", "stringValue")
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**30, -(10**30), 10**400, 1e300, 10**18])
    | st.sampled_from(["", "2026-03-04T05:06:07Z", "9999-12-31T23:59:59-23:59", "0" * 1025])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(SLOTS), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("event_id", "kind", "occur_time", "distinct_id", "session_id", "cookieless"),
        *("auto_properties", "custom_properties", "properties", "$url", "$mobile", "$bot_score"),
        *("event", "uuid", "timestamp", "set", "set_once", "$locale", "$referrer", "$screenWidth"),
        *("type", "userId", "anonymousId", "messageId", "context", "traits", "previousId"),
    ]
)
GOOD: dict[str, object] = {
    "kind": "a",
    "event": "a",
    "type": "track",
    "occur_time": 1_772_600_767_089,
    "timestamp": "2026-03-04T05:06:07Z",
    "distinct_id": "a",
    "userId": "a",
}
RECORDS = st.dictionaries(NAMES | st.text(max_size=8), VALUES, max_size=8)


def check(system: System, found: Any) -> None:
    order = ImportOrder(project_id="p1", system=system, columns=Columns(), file="x")
    part = sort_records(order, found)
    for event in part.events:
        told = Event(
            event_id=event.event_id,
            kind=event.kind,
            occur_time_ms=event.occur_time_ms,
            distinct_id=event.distinct_id,
            session_id=event.session_id,
            auto_properties=event.auto_properties,
            custom_properties=event.custom_properties,
        )
        assert validate_envelope("p1", Batch(events=(told,))) == ()
        assert "$ip" not in event.auto_properties
    lines = encode_rows("p1", part.events).splitlines()
    assert len([json.loads(line) for line in lines]) == len(part.events)
    again = sort_records(order, found)
    assert encode_rows("p1", again.events).splitlines() == lines


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(system=st.sampled_from(System), records=st.lists(RECORDS, max_size=4), whole=st.booleans())
def test_json_lines_of_anything(
    system: System, records: list[dict[str, object]], *, whole: bool
) -> None:
    """Records that are nearly right, and records of nonsense."""
    lines = [json.dumps({**GOOD, **one} if whole else one).encode() for one in records]
    check(system, JsonLines(_file(b"\n".join(lines))).read(99))


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300), system=st.sampled_from(System))
def test_bytes_of_anything(content: bytes, system: System) -> None:
    """Files that are none of ours."""
    check(system, JsonLines(_file(content)).read(99))
    check(system, CsvRows(_file(b"kind,occur_time,distinct_id\n" + content)).read(99))


def _file(content: bytes) -> BytesIO:
    return BytesIO(content)
