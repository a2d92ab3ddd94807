"""The number of statements does not grow with what is asked about [decision 0032]."""

import pytest

from appliance.domain.access.roles import Role
from tests.support.boards import insight_tile, open_board_desk, text_tile
from tests.support.control import Person
from tests.support.graph import Graph
from tests.support.graph_questions import SPEC

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MANY = 20
EVERYTHING = """{
  me { email } again: me { id }
  organizations(first: 20) { edges { node { id displayName role
    projects(first: 3) { edges { node { id displayName reportingTimezone
      dashboards(first: 1) { edges { node { id displayName tiles(first: 2) { edges { node {
        id displayName } } } } } }
      insights(first: 1) { edges { node { id spec } } }
    } } } } } }
}"""


async def make_orgs(graph: Graph, number: int) -> Person:
    """Somebody with so many organisations, each with two projects and a board with two tiles."""
    person = await graph.control.make_person()
    for _ in range(number):
        desk = await open_board_desk(graph.control, "proto")
        await graph.control.join(person, desk.org, Role.VIEWER)
        await graph.control.make_project(desk.org, "Second")
        await desk.make(text_tile("text"), insight_tile(SPEC, name="views"))
    return person


async def count(graph: Graph, text: str, person: Person) -> int:
    async with graph.statements() as seen:
        await graph.ask(text, who=person)
    return len(seen)


async def test_twenty_organisations_cost_no_more_statements_than_one(graph: Graph) -> None:
    """One each for the caller, the account, organisations, projects, boards and tiles."""
    few = await make_orgs(graph, 1)
    many = await make_orgs(graph, MANY)
    assert await count(graph, EVERYTHING, few) == 6
    assert await count(graph, EVERYTHING, many) == 6
    found = await graph.ask(EVERYTHING, who=many)
    orgs = found["organizations"]["edges"]
    assert len(orgs) == MANY
    for org in orgs:
        first, second = (one["node"] for one in org["node"]["projects"]["edges"])
        tiles = first["dashboards"]["edges"][0]["node"]["tiles"]["edges"]
        assert len(tiles) == 2
        assert first["insights"]["edges"][0]["node"]["spec"]["insightType"]
        assert second["dashboards"]["edges"] == []


async def test_twenty_projects_by_name_cost_no_more_than_one(graph: Graph) -> None:
    """The caller, the projects, boards and tiles; organisations in the same way."""
    person = await make_orgs(graph, 1)
    orgs = [one.id for one in await graph.control.services.control.organisations.list_of(person.id)]
    projects = [await graph.control.make_project(orgs[0], f"P{number}") for number in range(MANY)]

    def asked(ids: list[str]) -> str:
        fields = "id displayName dashboards(first: 1) { edges { cursor } }"
        return " ".join(
            f'p{place}: project(id: "{each}") {{ {fields} }}' for place, each in enumerate(ids)
        )

    one = await count(graph, f"{{ {asked(projects[:1])} }}", person)
    assert one == 4
    assert await count(graph, f"{{ {asked(projects)} }}", person) == one
    same = " ".join(f'o{place}: organization(id: "{orgs[0]}") {{ id }}' for place in range(MANY))
    assert await count(graph, f"{{ {same} }}", person) == 2
