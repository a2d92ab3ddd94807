"""JSON bodies for any request message, made from its descriptor."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hypothesis import strategies as st
from protobuf import DescMessage

from appliance.gen.dashboard.customers.v1.customers_connect import CustomersService
from appliance.gen.dashboard.dashboards.v1.dashboards_connect import DashboardsService
from appliance.gen.dashboard.orgemailproviders.v1.orgemailproviders_connect import (
    OrgEmailProvidersService,
)
from appliance.gen.dashboard.orgs.v1.orgs_connect import OrgsService
from appliance.gen.dashboard.projects.v1.projects_connect import ProjectsService
from appliance.gen.dashboard.usage.v1.usage_connect import UsageService
from appliance.gen.public.auth.v1.auth_connect import AuthService
from appliance.gen.shared.activity.v1.activity_connect import ActivityService
from appliance.gen.shared.insights.v1.insights_connect import InsightsService
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesService

CONTROL: Final = (
    AuthService,
    CustomersService,
    OrgsService,
    ProjectsService,
    OrgEmailProvidersService,
    UsageService,
)
ANALYTICS: Final = (DashboardsService, InsightsService, ActivityService, ProfilesService)

_DEPTH_MAX: Final = 3
_HOSTILE: Final = (
    "",
    " ",
    "\x00",
    "'; DROP TABLE orgs; --",
    "{{7*7}}",
    "\ud7ff\U0001f436",
    "a" * 151,
    "a@b.c",
    "A@pug.test\r\nBcc: b@pug.test",
    "0" * 64,
    "UTC",
    "ORG_ROLE_ADMIN",
    "2026-01-01T00:00:00Z",
    "-1",
    "1e400",
)
_LEAVES: Final[st.SearchStrategy[object]] = st.one_of(
    st.sampled_from(_HOSTILE),
    st.text(max_size=40),
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
)
ANY_JSON: Final[st.SearchStrategy[object]] = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def request_descriptors(services: Iterable[Any]) -> dict[str, DescMessage]:
    """The request message of every method, by `<package>.<Service>/<Method>`."""
    return {
        f"{service.desc().type_name}/{method.name}": method.input
        for service in services
        for method in service.desc().methods
    }


def bodies(
    message: DescMessage, known: Mapping[str, st.SearchStrategy[str]], depth: int = 0
) -> st.SearchStrategy[Any]:
    """Bodies that often fit the message: `known` fields by name, others of any type."""
    fields: dict[str, st.SearchStrategy[object]] = {}
    for field in message.fields:
        inner = getattr(field.value, "message", None)
        if field.name in known:
            fields[field.json_name] = known[field.name] | _LEAVES
        elif inner is not None and depth < _DEPTH_MAX:
            fields[field.json_name] = bodies(inner, known, depth + 1) | ANY_JSON
        else:
            fields[field.json_name] = _LEAVES | ANY_JSON
    return st.fixed_dictionaries({}, optional=fields)
