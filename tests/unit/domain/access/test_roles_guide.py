"""`docs/roles.md` says what the registry does."""

from pathlib import Path
from typing import Final

import pytest

from appliance.domain.access.permissions import Action, Gate, GateKind, Resource
from appliance.domain.access.roles import Role

GUIDE: Final = Path(__file__).resolve().parents[4] / "docs" / "roles.md"
ROWS: Final = {
    "the organisation's name": (Resource.ORG,),
    "members": (Resource.MEMBER,),
    "invitations": (Resource.INVITATION,),
    "mail provider of the organisation": (Resource.EMAIL_PROVIDER,),
    "projects": (Resource.PROJECT,),
    "API keys": (Resource.API_KEY,),
    "usage": (Resource.USAGE,),
    "dashboards, insights, activity, profiles, cohorts, alerts, annotations": (
        Resource.DASHBOARD,
        Resource.INSIGHT,
        Resource.ACTIVITY,
        Resource.PROFILE,
        Resource.COHORT,
        Resource.ALERT,
        Resource.ANNOTATION,
    ),
    "[SQL](expert-sql.md) about the project's rows": (Resource.QUERY,),
    "the SQL behind an insight": (Resource.QUERY_PLAN,),
}
WORDS: Final = {
    "none": set[Action](),
    "reads": {Action.READ},
    "reads, masked": {Action.READ},
    "makes and deletes": {Action.CREATE, Action.READ, Action.DELETE},
    "everything": set(Action),
}


def table() -> dict[str, dict[Role, str]]:
    lines = [line for line in GUIDE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    roles = (Role.VIEWER, Role.MEMBER, Role.ADMIN)
    return {name: dict(zip(roles, words, strict=True)) for name, *words in cells}


def rights(role: Role, resource: Resource) -> set[Action]:
    return {
        action
        for action in Action
        if Gate(kind=GateKind.ORG, resource=resource, action=action).admits(role)
    }


def test_every_resource_is_in_the_guide():
    assert set(table()) == set(ROWS)
    assert {each for resources in ROWS.values() for each in resources} == set(Resource)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("role", list(Role))
def test_the_guide_tells_the_rights(name: str, role: Role):
    words = table()[name][role]
    for resource in ROWS[name]:
        assert rights(role, resource) == WORDS[words]
