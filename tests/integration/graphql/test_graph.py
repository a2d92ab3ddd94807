"""What the graph tells, to whom."""

import pytest

from appliance.domain.access.roles import Role
from tests.support.graph import Graph
from tests.support.people import NOON, PeopleWorld, make_people_world

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EVERYTHING = """
query ($org: ID!, $project: ID!, $insight: InsightQuery!) {
  me { id email emailVerified }
  oidcProviders { id }
  organizations { edges { cursor node { id displayName role projects {
    edges { node { id displayName } } } } } pageInfo { hasNextPage } }
  organization(id: $org) { id role }
  projects(organizationId: $org) { edges { node { id reportingTimezone } } }
  project(id: $project) {
    id displayName organizationId
    dashboards { edges { node { id } } }
    insights { edges { node { id } } }
    insight(query: $insight) { kind json trends { series { eventKind breakdown { value }
      points { time value } } } }
    profiles { edges { node { id externalId properties activity { totalEvents } } } }
    events { edges { cursor node { eventId kind distinctId occurTime autoProperties } } }
  }
}
"""
INSIGHT = {
    "spec": {
        "insightType": "INSIGHT_TYPE_TRENDS",
        "events": [{"event": {"kind": "page_view"}, "aggregation": "AGGREGATION_TYPE_TOTAL"}],
    },
    "timeRange": {"from": "2026-05-10T00:00:00Z", "to": "2026-05-11T00:00:00Z"},
    "granularity": "DAY",
}


async def make_world(graph: Graph, role: Role = Role.VIEWER) -> PeopleWorld:
    world = await make_people_world(graph.control, role)
    await world.seen("anon-1", "anon-2")
    await world.add_profile("p1", "customer-1", properties={"plan": "gold"})
    return world


async def test_a_member_reads_everything_in_one_question(graph: Graph) -> None:
    """Account, organisations, projects, insights, people and events hang together."""
    world = await make_world(graph)
    found = await graph.ask(
        EVERYTHING,
        {"org": world.org, "project": world.project, "insight": INSIGHT},
        who=world.person,
    )
    assert found["me"] == {
        "id": world.person.id,
        "email": world.person.email,
        "emailVerified": True,
    }
    assert found["oidcProviders"] == []
    (org,) = found["organizations"]["edges"]
    assert (org["node"]["id"], org["node"]["role"]) == (world.org, "VIEWER")
    assert org["node"]["projects"]["edges"][0]["node"]["id"] == world.project
    assert found["projects"]["edges"][0]["node"]["id"] == world.project
    project = found["project"]
    (series,) = project["insight"]["trends"]["series"]
    assert [point["value"] for point in series["points"]] == [2.0]
    assert project["insight"]["kind"] == "TRENDS"
    assert project["insight"]["json"]["trends"]["series"][0]["eventKind"] == "page_view"
    assert {edge["node"]["id"] for edge in project["profiles"]["edges"]} >= {"p1"}
    assert {edge["node"]["distinctId"] for edge in project["events"]["edges"]} == {
        "anon-1",
        "anon-2",
    }
    assert project["events"]["edges"][0]["node"]["occurTime"].startswith(f"{NOON:%Y-%m-%d}")
