"""Input and output schemas of the tools [mcp 5, 6]."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from appliance.api.mcp.schemas import input_schema, output_schema
from appliance.api.mcp.surface import Offer, checked_surface

OFFERS = checked_surface().offers


def given(tool: str) -> dict[str, Any]:
    return dict(input_schema(OFFERS[tool].request)["properties"])  # type: ignore[arg-type]


def answered(tool: str) -> dict[str, Any]:
    return dict(output_schema(OFFERS[tool].response)["properties"])  # type: ignore[arg-type]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_they_are_schemas(offer: Offer):
    """Valid JSON schemas of objects; an input demands nothing, at any depth."""
    for schema in (input_schema(offer.request), output_schema(offer.response)):
        Draft202012Validator.check_schema(schema)
        assert schema["type"] == "object"

    def demands(part: object) -> list[object]:
        if isinstance(part, list):
            return [each for inner in part for each in demands(inner)]
        if not isinstance(part, dict):
            return []
        own = [part["required"]] if isinstance(part.get("required"), list) else []
        return own + [each for inner in part.values() for each in demands(inner)]

    assert all(each == [] for each in demands(input_schema(offer.request)))


def test_arguments_of_the_contract():
    """The fields of each request, by their proto names."""
    assert set(given("query_insights")) == {"spec", "time_range", "granularity", "timezone"}
    assert set(given("explore_events")) == {
        "distinct_id",
        "session_id",
        "time_range",
        "property_filters",
        "events",
        "page_size",
        "page_token",
    }
    assert set(given("get_profile")) == {"id"}


def test_enums_have_all_full_names():
    """UNSPECIFIED included."""
    names = given("query_insights")["granularity"]["enum"]
    assert names[0] == "GRANULARITY_UNSPECIFIED"
    assert "GRANULARITY_WEEK" in names


def test_numbers():
    """32 bits as integers with the bounds of the rules, 64 bits as text."""
    assert (
        given("explore_events")["page_size"].items()
        >= {
            "type": "integer",
            "minimum": 0,
            "maximum": 1000,
        }.items()
    )
    spec = given("query_insights")["spec"]["properties"]
    assert spec["breakdown_limit"]["maximum"] == 100
    assert spec["user_flow"]["properties"]["max_hops"]["maximum"] == (1 << 31) - 1
    days = answered("get_activity_heatmap")["days"]["items"]["properties"]
    assert days["count"]["type"] == "string"
    events = answered("get_insights_filter_schema")["events"]["items"]["properties"]
    assert events["count"] == {"type": "string", "pattern": "^-?[0-9]+$"}


def test_rules_of_texts_and_lists():
    """Patterns and sizes are those of the field rules."""
    key = given("get_insights_property_values")["property_key"]
    assert key["pattern"] == "^\\$?[a-zA-Z0-9_-]+(\\.[a-zA-Z0-9_-]+)*$"
    assert given("query_insights")["timezone"]["maxLength"] == 64
    assert given("explore_events")["events"]["maxItems"] == 50
    assert given("query_insights")["spec"]["properties"]["breakdowns"]["maxItems"] == 5


def test_well_known_messages():
    """Instants and durations are text or nothing, a Struct is any object."""
    span = given("explore_events")["time_range"]["properties"]
    assert span["from"].items() >= {"type": ["string", "null"], "format": "date-time"}.items()
    window = given("query_insights")["spec"]["properties"]["conversion_window"]
    assert window["type"] == ["string", "null"]
    assert window["pattern"].startswith("^")
    profile = answered("get_profile")["profile"]["properties"]
    assert profile["properties"] == {"type": "object", "additionalProperties": True}
    assert profile["create_time"] == {"type": "string", "format": "date-time"}


def test_oneof_of_the_answer():
    """One object named after the oneof, with `which` first [mcp 6]."""
    result = answered("query_insights")["result"]
    assert next(iter(result["properties"])) == "which"
    assert result["properties"]["which"]["enum"] == [
        "trends",
        "segmentation",
        "funnel",
        "retention",
        "user_flow",
        "top_k",
    ]
