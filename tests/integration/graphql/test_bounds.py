"""Nobody reads what is not theirs, whatever is written into an argument."""

from collections.abc import Iterator

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
)

from appliance.api.graphql.schema import build_schema
from appliance.domain.access.roles import Role
from tests.support.boards import insight_tile, open_board_desk
from tests.support.graph import Graph
from tests.support.graph_questions import INSIGHT, SPEC
from tests.support.people import PeopleWorld, make_people_world

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PROJECT = "query ($id: ID!) { project(id: $id) { id displayName } }"
READINGS = (
    "events { edges { node { distinctId } } }",
    "profiles { edges { node { id } } }",
    "dashboards { edges { node { id } } }",
    "insights { edges { node { id } } }",
    'profile(id: "victim") { id }',
    'profileByExternalId(externalId: "victim") { id }',
    'dashboard(id: "victim") { id }',
    "insight(query: $insight) { json }",
)
EVIL = (
    "' OR 1=1 --",
    '"; DROP TABLE events; {project:String}',
    "%(project)s $1 ? \\' \\",
    "nul\0nul",
    "\u202e\ud7ff\U0001f436" + "x" * 5000,
)
FILTER = "{property: $x, operator: EQUALS, value: $x}"
FILTERS = f'[{FILTER}, {{property: "plan", operator: IN, values: [$x], source: PROFILE}}]'
IN_PROJECT = "project(id: $project)"
CURSORS = "{ edges { cursor } }"
CASES: dict[str, tuple[str, str]] = {
    "Query.organizations.after": ("String", "organizations(after: $x) { edges { cursor } }"),
    "Query.organization.id": ("ID!", "organization(id: $x) { id }"),
    "Query.projects.organizationId": ("ID!", "projects(organizationId: $x) { edges { cursor } }"),
    "Query.projects.after": (
        "String",
        "projects(organizationId: $org, after: $x) { edges { cursor } }",
    ),
    "Query.project.id": ("ID!", "project(id: $x) { id }"),
    "Organization.projects.after": (
        "String",
        "organization(id: $org) { projects(after: $x) { edges { cursor } } }",
    ),
    "Project.dashboards.after": (
        "String",
        f"{IN_PROJECT} {{ dashboards(after: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.dashboard.id": ("ID!", f"{IN_PROJECT} {{ dashboard(id: $x) {{ id }} }}"),
    "Project.insights.after": (
        "String",
        f"{IN_PROJECT} {{ insights(after: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.insight.query.spec": (
        "JSON!",
        (
            f"{IN_PROJECT} {{ insight(query: {{spec: $spec, granularity: DAY, timeRange: {{"
            'from: "2026-05-10T00:00:00Z", to: "2026-05-11T00:00:00Z"}}) { json } }'
        ),
    ),
    "Project.insight.query.timeRange.from": (
        "Instant!",
        (
            f"{IN_PROJECT} {{ insight(query: {{spec: $good, granularity: DAY, timeRange: {{"
            'from: $x, to: "2026-05-11T00:00:00Z"}}) { json } }'
        ),
    ),
    "Project.insight.query.timeRange.to": (
        "Instant!",
        (
            f"{IN_PROJECT} {{ insight(query: {{spec: $good, granularity: DAY, timeRange: {{"
            'from: "2026-05-10T00:00:00Z", to: $x}}) { json } }'
        ),
    ),
    "Project.profiles.after": (
        "String",
        f"{IN_PROJECT} {{ profiles(after: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.profiles.filterGroups.filters.property": (
        "String!",
        f"{IN_PROJECT} {{ profiles(filterGroups: [{{filters: {FILTERS}}}]) {CURSORS} }}",
    ),
    "Project.profiles.filterGroups.filters.value": (
        "String!",
        (
            f'{IN_PROJECT} {{ profiles(filterGroups: [{{filters: [{{property: "plan", '
            "operator: CONTAINS, value: $x}]}]) { edges { cursor } } }"
        ),
    ),
    "Project.profiles.filterGroups.filters.values": (
        "String!",
        (
            f'{IN_PROJECT} {{ profiles(filterGroups: [{{filters: [{{property: "plan", '
            "operator: NOT_IN, values: [$x, $x]}]}]) { edges { cursor } } }"
        ),
    ),
    "Project.profile.id": ("ID!", f"{IN_PROJECT} {{ profile(id: $x) {{ id }} }}"),
    "Project.profileByExternalId.externalId": (
        "String!",
        f"{IN_PROJECT} {{ profileByExternalId(externalId: $x) {{ id }} }}",
    ),
    "Project.events.after": (
        "String",
        f"{IN_PROJECT} {{ events(after: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.distinctId": (
        "String",
        f"{IN_PROJECT} {{ events(distinctId: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.sessionId": (
        "String",
        f"{IN_PROJECT} {{ events(sessionId: $x) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.timeRange.from": (
        "Instant!",
        f"{IN_PROJECT} {{ events(timeRange: {{from: $x, to: $x}}) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.timeRange.to": (
        "Instant!",
        (
            f'{IN_PROJECT} {{ events(timeRange: {{from: "2026-05-10T00:00:00Z", to: $x}}) '
            "{ edges { cursor } } }"
        ),
    ),
    "Project.events.events.kind": (
        "String",
        f"{IN_PROJECT} {{ events(events: [{{kind: $x}}]) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.events.filters.property": (
        "String!",
        f"{IN_PROJECT} {{ events(events: [{{filters: {FILTERS}}}]) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.events.filters.value": (
        "String!",
        (
            f'{IN_PROJECT} {{ events(events: [{{filters: [{{property: "$url", operator: EQUALS, '
            "value: $x}]}]) { edges { cursor } } }"
        ),
    ),
    "Project.events.events.filters.values": (
        "String!",
        (
            f'{IN_PROJECT} {{ events(events: [{{filters: [{{property: "$url", operator: IN, '
            "values: [$x]}]}]) { edges { cursor } } }"
        ),
    ),
    "Project.events.propertyFilters.property": (
        "String!",
        f"{IN_PROJECT} {{ events(propertyFilters: {FILTERS}) {{ edges {{ cursor }} }} }}",
    ),
    "Project.events.propertyFilters.value": (
        "String!",
        (
            f'{IN_PROJECT} {{ events(propertyFilters: [{{property: "plan", source: CUSTOM, '
            "operator: NOT_CONTAINS, value: $x}]) { edges { cursor } } }"
        ),
    ),
    "Project.events.propertyFilters.values": (
        "String!",
        (
            f'{IN_PROJECT} {{ events(propertyFilters: [{{property: "plan", source: PROFILE, '
            "operator: BETWEEN, values: [$x, $x]}]) { edges { cursor } } }"
        ),
    ),
    "Dashboard.tiles.after": (
        "String",
        f"{IN_PROJECT} {{ dashboard(id: $board) {{ tiles(after: $x) {{ edges {{ cursor }} }} }} }}",
    ),
    "Tile.answer.timeRange.from": (
        "Instant!",
        (
            f"{IN_PROJECT} {{ insights {{ edges {{ node {{ answer(timeRange: {{from: $x, "
            'to: "2026-05-11T00:00:00Z"}) { errorMessage } } } } }'
        ),
    ),
    "Tile.answer.timeRange.to": (
        "Instant!",
        (
            f"{IN_PROJECT} {{ insights {{ edges {{ node {{ answer(timeRange: {{"
            'from: "2026-05-10T00:00:00Z", to: $x}) { errorMessage } } } } }'
        ),
    ),
}


def texts(prefix: str, kind: GraphQLInputType) -> Iterator[str]:
    """The names of all texts within an argument."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from texts(f"{prefix}.{name}", field.type)
    elif isinstance(named, GraphQLScalarType) and named.name not in {"Int", "Boolean", "Float"}:
        yield prefix


def test_every_text_of_the_graph_has_a_case() -> None:
    schema = build_schema(development=False, extensions=[])._schema
    found = {
        text
        for owner in schema.type_map.values()
        if isinstance(owner, GraphQLObjectType) and not owner.name.startswith("__")
        for field, definition in owner.fields.items()
        for name, argument in definition.args.items()
        for text in texts(f"{owner.name}.{field}.{name}", argument.type)
    }
    assert found == set(CASES)


async def make_victim(graph: Graph) -> PeopleWorld:
    world = await make_people_world(graph.control, Role.ADMIN)
    await world.seen("victim")
    await world.add_profile("victim", "victim", properties={"plan": "gold"})
    return world


async def test_projects_of_others_do_not_exist(graph: Graph) -> None:
    """Foreign, unknown, deleted and impossible ids are refused in the very same words."""
    victim = await make_victim(graph)
    own = await make_people_world(graph.control, Role.ADMIN)
    key = await graph.make_key(own.project)
    gone = await graph.control.make_project(own.org, "Gone")
    await graph.control.services.projects.delete_project(gone)
    for caller in ({"who": own.person}, {"key": key}):
        refusals = set[str]()
        for project in (victim.project, gone, "d000000000000000000", "", "a b", "\0", "x" * 500):
            answer = await graph.post(PROJECT, {"id": project}, **caller)  # type: ignore[arg-type]
            told = answer.json()
            assert told["data"] == {"project": None}, project
            (error,) = told["errors"]
            del error["extensions"]["requestId"]
            refusals.add(str(error))
        assert len(refusals) == 1, refusals
    with_key = await graph.reasons(PROJECT, {"id": gone}, key=key)
    assert with_key == ["PROJECT_NOT_FOUND"]


async def test_a_key_reads_one_project_among_all_of_its_organisation(graph: Graph) -> None:
    own = await make_people_world(graph.control, Role.ADMIN)
    sister = await graph.control.make_project(own.org, "Sister")
    key = await graph.make_key(own.project)
    assert (await graph.ask(PROJECT, {"id": own.project}, key=key))["project"]["id"] == own.project
    assert await graph.reasons(PROJECT, {"id": sister}, key=key) == ["PROJECT_NOT_FOUND"]


async def test_no_reading_reaches_another_project(graph: Graph) -> None:
    """Not beside one's own project in one question, where loaders ask for both at once."""
    victim = await make_victim(graph)
    own = await make_people_world(graph.control, Role.ADMIN)
    for reading in READINGS:
        needs = "$insight: InsightQuery!" if "$insight" in reading else ""
        text = (
            f"query ($own: ID!, $other: ID!, {needs}) {{ own: project(id: $own) {{ {reading} }}"
            f" other: project(id: $other) {{ {reading} }} }}"
        )
        told = (
            await graph.post(
                text,
                {"own": own.project, "other": victim.project, "insight": INSIGHT},
                who=own.person,
            )
        ).json()
        assert told["data"]["other"] is None
        assert "victim" not in str(told["data"])
        assert "PROJECT_NOT_FOUND" in [one["extensions"]["reason"] for one in told["errors"]]


async def test_organisations_of_others_do_not_exist(graph: Graph) -> None:
    victim = await make_victim(graph)
    own = await make_people_world(graph.control, Role.ADMIN)
    text = (
        "query ($id: ID!) { organization(id: $id) { id }"
        " projects(organizationId: $id) { edges { cursor } } }"
    )
    for org in (victim.org, "unknown", "", "\0"):
        told = (await graph.post(text, {"id": org}, who=own.person)).json()
        assert told["data"] == {"organization": None, "projects": None}
        assert [one["extensions"]["reason"] for one in told["errors"]] == ["ORG_NOT_A_MEMBER"] * 2


async def test_access_ends_at_once(graph: Graph) -> None:
    """Nothing about rights is remembered from one question to the next."""
    world = await make_people_world(graph.control, Role.ADMIN)
    assert await graph.ask(PROJECT, {"id": world.project}, who=world.person)
    await graph.control.database.execute(
        "DELETE FROM org_members WHERE customer_id = $1", world.person.id
    )
    found = await graph.reasons(PROJECT, {"id": world.project}, who=world.person)
    assert found == ["PROJECT_NOT_FOUND"]
    await graph.control.database.execute(
        "UPDATE customers SET disable_time = now() WHERE id = $1", world.person.id
    )
    answer = await graph.post(PROJECT, {"id": world.project}, who=world.person)
    assert answer.status_code == 401


async def test_keys_are_no_members(graph: Graph) -> None:
    """Boards and answers of tiles are for people, as on the Connect face."""
    world = await make_victim(graph)
    key = await graph.make_key(world.project)
    text = (
        "query ($id: ID!) { project(id: $id) { dashboards { edges { cursor } }"
        ' insights { edges { cursor } } dashboard(id: "a") { id }'
        " events { edges { node { distinctId } } } profiles { edges { node { id } } } } }"
    )
    told = (await graph.post(text, {"id": world.project}, key=key)).json()
    project = told["data"]["project"]
    assert [project[name] for name in ("dashboards", "insights", "dashboard")] == [None] * 3
    assert project["events"]["edges"][0]["node"]["distinctId"] == "victim"
    assert "victim" in [edge["node"]["id"] for edge in project["profiles"]["edges"]]
    assert [one["extensions"]["reason"] for one in told["errors"]] == ["UNAUTHENTICATED"] * 3


async def test_no_text_is_more_than_a_text(graph: Graph) -> None:
    """Every text argument, with every attempt: refused by its rule, or nothing is found."""
    desk = await open_board_desk(graph.control, "proto")
    board = await desk.make(insight_tile(SPEC))
    victim = await make_victim(graph)
    for name, (kind, text) in CASES.items():
        for evil in EVIL:
            sent = {
                "x": evil,
                "org": desk.org,
                "project": desk.project,
                "board": board.id,
                "good": INSIGHT["spec"],
                "spec": _poisoned(evil),
            }
            types = {"x": kind, "spec": "JSON!", "good": "JSON!"} | dict.fromkeys(
                ("org", "project", "board"), "ID!"
            )
            used = [each for each in types if f"${each}" in text.replace('"$url"', "")]
            head = ", ".join(f"${each}: {types[each]}" for each in used)
            answer = await graph.post(f"query ({head}) {{ {text} }}", sent, who=desk.member)
            codes = {one["extensions"]["code"] for one in answer.json().get("errors", ())}
            assert codes <= {"invalid_argument", "not_found", "permission_denied"}, (name, evil)
            assert "victim" not in str(answer.json().get("data"))
    kept = await graph.ask(PROJECT, {"id": victim.project}, who=victim.person)
    assert kept["project"]["id"] == victim.project


def _poisoned(evil: str) -> dict[str, object]:
    return {
        "insightType": "INSIGHT_TYPE_TRENDS",
        "events": [{"event": {"kind": evil}, "aggregation": "AGGREGATION_TYPE_TOTAL"}],
        "breakdowns": [{"property": evil}],
        "filterGroups": [
            {"filters": [{"property": evil, "operator": "FILTER_OPERATOR_EQUALS", "value": evil}]}
        ],
    }
