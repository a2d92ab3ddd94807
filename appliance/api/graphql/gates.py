"""Which RPC's gate stands before which field of the graph.

Invariant: every field that asks a service has exactly one entry, and the gate is the one of the
registry in `domain/access/permissions.py`; there are no rights of GraphQL's own. A field without an
entry cannot be declared (`guard.py`), a test compares this list with the schema, both ways.
"""

from collections.abc import Mapping
from typing import Final

_CUSTOMERS: Final = "dashboard.customers.v1.CustomersService"
_ORGS: Final = "dashboard.orgs.v1.OrgsService"
_PROJECTS: Final = "dashboard.projects.v1.ProjectsService"
_DASHBOARDS: Final = "dashboard.dashboards.v1.DashboardsService"
_PROFILES: Final = "shared.profiles.v1.ProfilesService"

FIELD_GATES: Final[Mapping[str, str]] = {
    "Query.me": f"{_CUSTOMERS}/GetMe",
    "Query.oidcProviders": "public.auth.v1.AuthService/GetAuthConfig",
    "Query.organizations": f"{_ORGS}/List",
    "Query.organization": f"{_ORGS}/Get",
    "Query.projects": f"{_PROJECTS}/BatchGet",
    "Query.project": f"{_PROJECTS}/Get",
    "Organization.projects": f"{_PROJECTS}/BatchGet",
    "Project.dashboards": f"{_DASHBOARDS}/List",
    "Project.dashboard": f"{_DASHBOARDS}/Get",
    "Project.insights": f"{_DASHBOARDS}/List",
    "Project.insight": "shared.insights.v1.InsightsService/Query",
    "Project.profiles": f"{_PROFILES}/List",
    "Project.profile": f"{_PROFILES}/Get",
    "Project.profileByExternalId": f"{_PROFILES}/GetByExternalId",
    "Project.events": "shared.activity.v1.ActivityService/GetEventExplorer",
    "Dashboard.tiles": f"{_DASHBOARDS}/Get",
    "Tile.answer": f"{_DASHBOARDS}/QueryDashboard",
}
"""`Type.field` to `<package>.<Service>/<Method>`."""

FOR_KEYS: Final = frozenset({"Query.project"})
"""Fields of the dashboard boundary that a private key may ask all the same: its own project has to
be named before it can be read. Only what the key stands for is told.
"""

_FOR_PEOPLE: Final = "dashboard."


def needs_person(field: str) -> bool:
    """Whether a field is for signed-in customers only, as the boundary of its RPC is."""
    return FIELD_GATES[field].startswith(_FOR_PEOPLE) and field not in FOR_KEYS
