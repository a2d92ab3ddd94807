"""The table of tools and the guard in front of it [mcp 4, 9]."""

import re

import pytest

from appliance.api.app import create_app
from appliance.api.mcp import surface
from appliance.api.mcp.surface import ROWS, Row, Surface, checked_surface, served
from appliance.api.mcp.texts import FIELD_TEXTS, INSTRUCTIONS, TOOL_TEXTS
from appliance.base.errors import MisconfiguredError
from appliance.config.model import Settings
from appliance.gen.sdk.events.v1.events_connect import EventsService
from tests.support.api_services import MemoryServices

TOOLS = {
    "query_insights": "InsightsService/Query",
    "get_insights_filter_schema": "InsightsService/GetFilterSchema",
    "get_insights_property_values": "InsightsService/GetPropertyValues",
    "get_activity_feed": "ActivityService/GetActivityFeed",
    "explore_events": "ActivityService/GetEventExplorer",
    "get_activity_filter_schema": "ActivityService/GetFilterSchema",
    "get_activity_property_values": "ActivityService/GetPropertyValues",
    "get_activity_heatmap": "ActivityService/GetActivityHeatmap",
    "get_profile_stats": "ActivityService/GetProfileStats",
    "get_profile": "ProfilesService/Get",
    "get_profile_by_external_id": "ProfilesService/GetByExternalId",
    "get_deletion_request": "ProfilesService/GetDeletionRequest",
}
HIDDEN = {"Delete", "DeleteDataSubject", "SegmentUsers", "List"}


def test_the_twelve():
    """Names and RPCs are those of the contract [mcp 4]."""
    offers = checked_surface().offers
    assert {
        name: f"{offer.service.split('.')[-1]}/{offer.method}" for name, offer in offers.items()
    } == TOOLS
    assert {row.method for row in ROWS if row.hidden} == HIDDEN


def test_an_undecided_rpc_is_refused():
    """Guard 1: an RPC without a row."""
    with pytest.raises(MisconfiguredError, match=r"ActivityService/GetProfileStats"):
        checked_surface([row for row in ROWS if row.method != "GetProfileStats"])
    with pytest.raises(MisconfiguredError, match=r"EventsService/BatchCreate"):
        checked_surface(ROWS, (*served(), EventsService.desc()))


def test_a_row_without_rpc_is_refused():
    """Guard 2: a name for a call that does not exist."""
    ghost = Row(service="shared.insights.v1.InsightsService", method="Guess", tool="guess")
    with pytest.raises(MisconfiguredError, match="does not exist"):
        checked_surface((*ROWS, ghost))


def test_two_of_a_name_are_refused():
    """Guard 3."""
    rows = [
        Row(service=row.service, method=row.method, tool="query_insights")
        if row.tool == "get_profile"
        else row
        for row in ROWS
    ]
    with pytest.raises(MisconfiguredError, match="query_insights"):
        checked_surface(rows)
    with pytest.raises(MisconfiguredError, match="two rows"):
        checked_surface((*ROWS, ROWS[0]))


@pytest.mark.parametrize("method", sorted(HIDDEN))
def test_a_hidden_rpc_is_not_registered(method: str):
    """Guard 4: the second lock, behind the table; a streaming call has a third."""
    row = next(row for row in ROWS if row.method == method)
    described = {
        f"{service.type_name}/{each.name}": each for service in served() for each in service.methods
    }[row.path]
    with pytest.raises(MisconfiguredError):
        Surface().register(row, described)
    if method == "List":
        named = Row(service=row.service, method=row.method, tool="list_profiles")
        with pytest.raises(MisconfiguredError, match="stream"):
            Surface().register(named, described)


def test_the_server_does_not_start_without_a_decision(monkeypatch: pytest.MonkeyPatch):
    """The guard stands in the way of the whole application."""
    monkeypatch.setattr(surface, "ROWS", ROWS[1:])
    with pytest.raises(MisconfiguredError) as refusal:
        create_app(MemoryServices(), Settings())
    assert refusal.value.reason == "MCP_SURFACE_UNDECIDED"


def test_texts_name_what_is_offered():
    """Every tool is described and named in the instructions, no hidden call is [mcp 10]."""
    assert set(TOOL_TEXTS) == set(TOOLS)
    for name in TOOLS:
        assert f"`{name}`" in INSTRUCTIONS
    named = set(re.findall(r"`(\w+)`", INSTRUCTIONS))
    assert named == set(TOOLS)
    for text in (INSTRUCTIONS, *TOOL_TEXTS.values()):
        assert not re.search(r"segment_?users|data_?subject|delete_|list_profiles", text.lower())


def test_field_texts_are_about_fields_that_exist():
    """A renamed field takes its words along."""
    from appliance.api.mcp.schemas import input_schema  # noqa: PLC0415 as late as the server does

    shown = str([input_schema(offer.request) for offer in checked_surface().offers.values()])
    for name, text in FIELD_TEXTS.items():
        assert text in shown, name
