"""Whatever clients send becomes valid events and identities, and the same at every repetition."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain.compat.mapped import SKEW_STEP_MS, Mapped, Reception
from appliance.domain.compat.names import make_kind
from appliance.domain.compat.posthog import map_posthog
from appliance.domain.compat.segment import map_segment
from appliance.domain.ingest.event import Batch
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.validate import EVENTS_MAX, check_batch, validate_batch

NOW = 1_795_269_600_000
TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "u1",
            "anon-1",
            "cookieless-1",
            "a\0b",
            "01a1fe68-2653-7d30-8b46-aff5c7e467e7",
            "x" * 1100,
            "$direct",
            "2026-11-21T14:00:00Z",
            "0001-01-01T00:00:00+23:00",
        ]
    ),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1 << 63, -(1 << 70), 10**400, 1e308]),
    TEXTS,
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def objects(names: list[str], values: Any = VALUES) -> Any:
    return st.dictionaries(st.one_of(st.sampled_from(names), st.text(max_size=10)), values)


CONTEXT = objects(
    ["library", "page", "os", "screen", "campaign", "device", "userAgent", "sessionId", "traits"],
    st.one_of(VALUES, objects(["name", "version", "url", "width", "type", "referrer"])),
)
SEGMENT_CALL = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(
            VALUES, st.sampled_from(["track", "page", "screen", "identify", "group", "alias"])
        ),
        "event": VALUES,
        "name": VALUES,
        "userId": VALUES,
        "anonymousId": VALUES,
        "previousId": VALUES,
        "groupId": VALUES,
        "messageId": VALUES,
        "timestamp": VALUES,
        "originalTimestamp": VALUES,
        "channel": VALUES,
        "context": st.one_of(VALUES, CONTEXT),
        "properties": st.one_of(VALUES, objects(["total", "url", "path", "$x", "x"])),
        "traits": VALUES,
    },
)
POSTHOG_NAMES = [
    "$pageview",
    "$identify",
    "$create_alias",
    "$set",
    "$groupidentify",
    "$autocapture",
    "$exception",
    "$screen",
    "$",
    "Order Completed",
]
POSTHOG_PROPERTIES = [
    "$set",
    "$set_once",
    "$device_id",
    "$is_identified",
    "$anon_distinct_id",
    "alias",
    "distinct_id",
    "$session_id",
    "$elements",
    "$elements_chain",
    "$exception_list",
    "$browser_version",
    "$screen_width",
    "$groups",
    "$lib",
    "$time",
    "$cookieless_mode",
    "$insert_id",
    "$title",
    "title",
    "$raw_user_agent",
]
POSTHOG_EVENT = st.fixed_dictionaries(
    {},
    optional={
        "event": st.one_of(VALUES, st.sampled_from(POSTHOG_NAMES)),
        "distinct_id": VALUES,
        "uuid": VALUES,
        "timestamp": VALUES,
        "offset": VALUES,
        "properties": st.one_of(VALUES, objects(POSTHOG_PROPERTIES)),
        "$set": VALUES,
        "$set_once": VALUES,
    },
)
RECEPTIONS = st.builds(
    Reception,
    project_id=st.just("p1"),
    received_ms=st.just(NOW),
    sent_ms=st.one_of(st.none(), st.integers(min_value=0, max_value=253_402_300_799_999)),
)


def require_valid(mapped: Mapped) -> None:
    assert validate_batch(Batch(events=mapped.events[:EVENTS_MAX])) == ()
    known = [event for event in mapped.events if not event.cookieless]
    if known:
        encode_rows("p1", check_batch(Batch(events=tuple(known))))
    for identity in mapped.identities:
        assert identity.external_id
        assert not identity.external_id.startswith("cookieless-")
        assert not identity.anonymous_id or identity.anonymous_id.startswith("anon-")
        assert len(identity.anonymous_id) <= 255
        assert "\0" not in identity.external_id + identity.anonymous_id
        json.dumps(identity.traits)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(VALUES, SEGMENT_CALL), max_size=4), RECEPTIONS)
def test_segment_calls_become_valid(calls: list[object], reception: Reception):
    """And twice the same; each call is an event, an identity or refused, never lost."""
    mapped = map_segment(calls, reception)
    require_valid(mapped)
    assert map_segment(calls, reception) == mapped
    told = len(mapped.events) + len(mapped.identities) + sum(mapped.untold.values())
    assert told <= len(calls)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(VALUES, POSTHOG_EVENT), max_size=4), RECEPTIONS)
def test_posthog_events_become_valid(events: list[object], reception: Reception):
    """And twice the same."""
    mapped = map_posthog(events, reception)
    require_valid(mapped)
    assert map_posthog(events, reception) == mapped


@settings(max_examples=60, deadline=None)
@given(POSTHOG_EVENT, st.integers(min_value=0, max_value=120_000))
def test_a_repetition_is_the_same_event(event: dict[str, object], later: int):
    """Two minutes later, as long as the sender says when it happened or gives an id."""
    event["uuid"], event["timestamp"] = "id-1", "2026-11-21T14:00:00Z"
    first = Reception(project_id="p1", received_ms=NOW, sent_ms=NOW)
    again = Reception(project_id="p1", received_ms=NOW + later, sent_ms=NOW + later)
    assert map_posthog([event], first).events == map_posthog([event], again).events


@given(st.text(min_size=1))
def test_every_name_has_a_kind(name: str):
    """And a kind is a kind already."""
    kind = make_kind(name)
    assert make_kind(kind) == kind
    assert 0 < len(kind) <= 128


@given(st.integers(min_value=-10, max_value=10), st.integers(min_value=-60_000, max_value=60_000))
def test_clocks_are_put_right_in_steps(steps: int, jitter: int):
    """What differs between two attempts is no difference."""
    sent = NOW - steps * SKEW_STEP_MS
    reception = Reception(project_id="p1", received_ms=NOW + jitter, sent_ms=sent)
    assert reception.skew_ms == steps * SKEW_STEP_MS
