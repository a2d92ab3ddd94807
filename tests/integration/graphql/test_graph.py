"""What the graph tells, to whom."""

import pytest

from appliance.domain.access.roles import Role
from tests.support.boards import insight_tile, open_board_desk, text_tile
from tests.support.graph import Graph
from tests.support.graph_questions import INSIGHT, RANGE, SPEC
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


async def test_a_key_reads_its_project(graph: Graph) -> None:
    """Name, insights, people and events; and who nobody is."""
    world = await make_world(graph)
    key = await graph.make_key(world.project)
    text = """query ($id: ID!, $insight: InsightQuery!) { project(id: $id) {
      displayName organizationId reportingTimezone
      insight(query: $insight) { json } events(first: 1) { edges { node { kind } } }
      profile(id: "p1") { externalId createTime }
      profileByExternalId(externalId: "customer-1") { id }
    } }"""
    found = (await graph.ask(text, {"id": world.project, "insight": INSIGHT}, key=key))["project"]
    assert (found["displayName"], found["organizationId"]) == ("Shop", world.org)
    assert found["events"]["edges"] == [{"node": {"kind": "page_view"}}]
    assert found["profile"]["externalId"] == "customer-1"
    assert found["profileByExternalId"] == {"id": "p1"}


async def test_strangers_are_told_to_sign_in(graph: Graph) -> None:
    text = 'query { me { id } organizations { edges { cursor } } project(id: "a") { id } }'
    assert await graph.reasons(text) == ["UNAUTHENTICATED"] * 3


async def test_a_cookie_counts_with_its_header(graph: Graph) -> None:
    world = await make_world(graph)
    answer = await graph.post(
        "{ me { email } }",
        headers={
            "cookie": f"theme=dark; pug-access={world.person.token}",
            "x-graphql-csrf": "1",
            "sec-fetch-site": "same-origin",
            "origin": "http://pug.test",
        },
    )
    assert answer.json() == {"data": {"me": {"email": world.person.email}}}


async def test_the_project_of_the_header_means_nothing(graph: Graph) -> None:
    world = await make_world(graph)
    answer = await graph.post(
        "{ me { id } }", who=world.person, headers={"x-project-id": "not even an id"}
    )
    assert answer.json()["data"]["me"]["id"] == world.person.id


async def test_pages_of_events_and_people_follow_each_other(graph: Graph) -> None:
    """Every entry once, in order, the last page known as such."""
    world = await make_people_world(graph.control)
    names = [f"anon-{number}" for number in range(7)]
    await world.seen(*names)
    for field, name, expected in (
        ("events", "distinctId", names[::-1]),
        ("profiles", "id", None),
    ):
        text = f"""query ($id: ID!, $after: String) {{ project(id: $id) {{ page:
          {field}(first: 3, after: $after) {{ edges {{ cursor node {{ {name} }} }}
          pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }} }}"""
        seen, after, more = list[str](), None, True
        while more:
            found = await graph.ask(text, {"id": world.project, "after": after}, who=world.person)
            page = found["project"]["page"]
            assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
            assert page["pageInfo"]["startCursor"] == page["edges"][0]["cursor"]
            seen += [edge["node"][name] for edge in page["edges"]]
            after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
        assert len(seen) == len(set(seen)) == 7
        assert expected is None or seen == expected


async def test_exact_pages_have_no_successor(graph: Graph) -> None:
    world = await make_people_world(graph.control)
    await world.seen("a", "b", "c")
    text = """query ($id: ID!) { project(id: $id) {
      events(first: 3) { pageInfo { hasNextPage } }
      profiles(first: 3) { pageInfo { hasNextPage } } } }"""
    found = (await graph.ask(text, {"id": world.project}, who=world.person))["project"]
    assert found["events"] == found["profiles"] == {"pageInfo": {"hasNextPage": False}}


async def test_filters_are_those_of_the_contract(graph: Graph) -> None:
    world = await make_world(graph)
    await world.add_profile("p2", "customer-2", properties={"plan": "tin"})
    text = """query ($id: ID!, $range: TimeRange!) { project(id: $id) {
      profiles(filterGroups: [{filters: [{property: "plan", operator: EQUALS, value: "tin"}]}])
        { edges { node { id } } }
      events(distinctId: "anon-2", timeRange: $range, events: [{kind: "page_view"}])
        { edges { node { distinctId } } } } }"""
    found = (await graph.ask(text, {"id": world.project, "range": RANGE}, who=world.person))[
        "project"
    ]
    assert found["profiles"]["edges"] == [{"node": {"id": "p2"}}]
    assert found["events"]["edges"] == [{"node": {"distinctId": "anon-2"}}]


@pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1])
async def test_pages_have_a_size(graph: Graph, first: int) -> None:
    world = await make_people_world(graph.control)
    for field in ("organizations(first: $n)", "project(id: $id) { events(first: $n)"):
        end = "}" if "project" in field else ""
        told = await graph.post(
            f"query ($n: Int!, $id: ID!) {{ {field} {{ edges {{ cursor }} }} {end}"
            " x: project(id: $id) { id } }",
            {"n": first, "id": world.project},
            who=world.person,
        )
        (error,) = told.json()["errors"]
        assert error["extensions"]["reason"] == "INVALID_PAGE_SIZE"
        assert error["extensions"]["violations"][0]["field"] == "first"
        assert told.json()["data"]["x"]["id"] == world.project


async def test_boards_tell_their_tiles_and_answers(graph: Graph) -> None:
    """As the dashboard tells them, and a text has neither answer nor error."""
    desk = await open_board_desk(graph.control, "proto")
    board = await desk.make(
        text_tile("# Hello", name="Text"), insight_tile(SPEC, name="Views"), name="Board"
    )
    world = PeopleWorld(graph.control, desk.org, desk.project, desk.member)
    await world.seen("anon-1", "anon-2", "anon-3")
    text = """query ($id: ID!, $board: ID!, $range: TimeRange!) { project(id: $id) {
      dashboards(first: 1) { edges { node { id displayName defaultGranularity shareId createTime
        tiles(first: 5) { edges { node { id displayName markdown spec json
          answer(timeRange: $range, granularity: DAY) { errorMessage result { kind
            trends { series { points { value } } } } } } } } } } }
      dashboard(id: $board) { displayName tiles(first: 1) { pageInfo { hasNextPage } } }
      insights { edges { node { displayName dashboardId } } }
    } }"""
    sent = {"id": desk.project, "board": board.id, "range": RANGE}
    found = (await graph.ask(text, sent, who=desk.member))["project"]
    (edge,) = found["dashboards"]["edges"]
    assert edge["node"]["id"] == board.id
    assert (edge["node"]["defaultGranularity"], edge["node"]["shareId"]) == ("DAY", None)
    words, views = (one["node"] for one in edge["node"]["tiles"]["edges"])
    assert (words["markdown"], words["spec"]) == ("# Hello", None)
    assert words["answer"] == {"errorMessage": None, "result": None}
    assert views["spec"]["insightType"] == "INSIGHT_TYPE_TRENDS"
    assert views["json"]["insight"]["spec"] == views["spec"]
    (series,) = views["answer"]["result"]["trends"]["series"]
    assert sum(point["value"] for point in series["points"]) == 3.0
    assert found["dashboard"] == {
        "displayName": "Board",
        "tiles": {"pageInfo": {"hasNextPage": True}},
    }
    assert found["insights"]["edges"] == [
        {"node": {"displayName": "Views", "dashboardId": board.id}}
    ]
    unknown = 'query ($id: ID!) { project(id: $id) { dashboard(id: "unknown") { id } } }'
    assert await graph.reasons(unknown, {"id": desk.project}, who=desk.member) == [
        "DASHBOARD_NOT_FOUND"
    ]


SPECS = {
    "SEGMENTATION": ("segmentation { total }", {}),
    "FUNNEL": ("funnel { series { breakdown { value } steps { eventKind total timing } } }", {}),
    "RETENTION": ("retention { series { cohorts { cohort cohortSize points { value } } } }", {}),
    "USER_FLOW": (
        "userFlow { nodes { id isOthers depth label } links { source target value } }",
        {"userFlow": {"nodeKind": "NODE_KIND_EVENT_KIND", "groupBy": "GROUP_BY_SESSION"}},
    ),
    "TOP_K": (
        "topK { rows { dimensionValue value isOthers profile { id } } }",
        {"topK": {"dimension": "DIMENSION_EVENT_KIND"}},
    ),
}


@pytest.mark.parametrize("kind", SPECS)
async def test_every_type_of_insight_is_told_typed_and_as_json(graph: Graph, kind: str) -> None:
    """Both from the one message that Connect sends."""
    world = await make_world(graph)
    typed, more = SPECS[kind]
    spec: dict[str, object] = {"insightType": f"INSIGHT_TYPE_{kind}", **more}
    if not more:
        spec["events"] = INSIGHT["spec"]["events"]  # type: ignore[index]
    text = f"""query ($id: ID!, $query: InsightQuery!) {{ project(id: $id) {{
      insight(query: $query) {{ kind json trends {{ series {{ eventKind }} }} {typed} }} }} }}"""
    query = {"spec": spec, "timeRange": RANGE, "granularity": "DAY"}
    found = await graph.ask(text, {"id": world.project, "query": query}, who=world.person)
    answer = found["project"]["insight"]
    assert answer["kind"] == kind
    assert answer["trends"] is None
    (field,) = answer["json"]
    assert answer[field] is not None


async def test_broken_specs_are_refused_by_their_rules(graph: Graph) -> None:
    world = await make_people_world(graph.control)
    text = """query ($id: ID!, $query: InsightQuery!) { project(id: $id) { displayName
      insight(query: $query) { json } } }"""
    for spec, reason in (
        ({"insightType": "INSIGHT_TYPE_FUNNEL"}, "INVALID_ARGUMENT"),
        ({"insightType": "NOPE"}, "INVALID_ARGUMENT"),
        ({"insightType": [[]]}, "INVALID_ARGUMENT"),
        ("spec", "INVALID_ARGUMENT"),
        (None, "GRAPHQL_INVALID"),
    ):
        query = {"spec": spec, "timeRange": RANGE, "granularity": "DAY"}
        sent = {"id": world.project, "query": query}
        assert await graph.reasons(text, sent, who=world.person) == [reason], spec
