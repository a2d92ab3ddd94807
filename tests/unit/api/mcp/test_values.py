"""Names, wrappers and nested text between agents and services [mcp 5, 6]."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.api.mcp.values import Json, MalformedError, shown_answer, wire_arguments
from appliance.gen.common.v1.property_value_pb import PropertyValue
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest, QueryResponse
from appliance.gen.shared.profiles.v1.profiles_pb import GetResponse

QUERY = QueryRequest.desc()
VALUE = PropertyValue.desc()
ANSWER = QueryResponse.desc()


def test_both_spellings():
    """snake_case and lowerCamelCase at any depth; unknown names are dropped."""
    wire = {"spec": {"insightType": "X"}, "timeRange": {"from": "a"}}
    assert (
        wire_arguments(QUERY, {"spec": {"insight_type": "X"}, "time_range": {"from": "a"}}) == wire
    )
    assert wire_arguments(QUERY, wire) == wire
    assert wire_arguments(QUERY, {"nonsense": 1, "spec": {"nonsense": 2}}) == {"spec": {}}


def test_text_in_place_of_an_object():
    """An object or a list that was written as text is opened, one level inside another too."""
    spec: Json = {"insight_type": "X", "events": json.dumps([{"event": json.dumps({"kind": "k"})}])}
    assert wire_arguments(QUERY, {"spec": json.dumps(spec)}) == {
        "spec": {"insightType": "X", "events": [{"event": {"kind": "k"}}]}
    }


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "\x00"])
def test_text_that_is_no_json(text: str):
    """It is told which argument is wrong."""
    with pytest.raises(MalformedError, match="spec"):
        wire_arguments(QUERY, {"spec": text})


def test_instants_stay_text():
    """A message whose JSON is a text is not opened."""
    span: Json = {"from": "2025-05-01T00:00:00Z", "to": None}
    assert wire_arguments(QUERY, {"time_range": span}) == {"timeRange": span}


def test_oneof_wrapper_in():
    """`which` names the member; the member's own name works as well, as in protobuf JSON."""
    wrapped: Json = {"value": {"which": "string_value", "string_value": "a"}}
    assert wire_arguments(VALUE, wrapped) == {"stringValue": "a"}
    assert wire_arguments(VALUE, {"value": json.dumps(wrapped["value"])}) == {"stringValue": "a"}
    assert wire_arguments(VALUE, {"string_value": "a"}) == {"stringValue": "a"}
    assert wire_arguments(VALUE, {"value": None}) == {}


@pytest.mark.parametrize(
    "value",
    [3, [], {}, {"which": "trends"}, {"which": "string_value"}, {"which": ["string_value"]}, "{}"],
)
def test_broken_wrapper(value: Json):
    """Told in words."""
    with pytest.raises(MalformedError, match="value"):
        wire_arguments(VALUE, {"value": value})


def test_answer():
    """snake_case, empty lists and maps, what is unset stays away, `which` comes first."""
    shown = shown_answer(
        ANSWER, {"trends": {"series": [{"eventKind": "k", "points": [{"value": 2.0}]}]}}
    )
    assert shown == {
        "result": {
            "which": "trends",
            "trends": {
                "series": [{"event_kind": "k", "breakdown": {}, "points": [{"value": 2.0}]}]
            },
        }
    }
    assert next(iter(shown["result"])) == "which"  # type: ignore[arg-type]
    assert shown_answer(ANSWER, {}) == {}
    assert shown_answer(ANSWER, {"topK": {}}) == {
        "result": {"which": "top_k", "top_k": {"rows": []}}
    }


def test_properties_are_left_alone():
    """Keys of people's properties are theirs, whatever they look like."""
    properties = {"firstName": "A", "which": None, "list": []}
    shown = shown_answer(
        GetResponse.desc(), {"profile": {"externalId": "e", "properties": properties}}
    )
    assert shown == {"profile": {"external_id": "e", "properties": properties}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["spec", "timeRange", "time_range", "granularity", "timezone", "x"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_arguments(arguments: dict[str, Json]):
    """Whatever comes is translated or refused in words, and can be written as JSON."""
    with suppress(MalformedError):
        json.dumps(wire_arguments(QUERY, arguments))
