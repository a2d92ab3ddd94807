"""The one registry of authorisation: every served RPC has exactly one entry [services 4].

Invariant: a handler never asks about roles; the guard in front of it looks here. A method without
an entry cannot be called, and a test compares this list with the served schema, both ways.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.access.roles import Role


class GateKind(StrEnum):
    """Where the organisation comes from, or why none is needed."""

    PUBLIC = "public"
    """No credential."""
    SELF = "self"
    """Any signed-in customer; the handler limits itself to the caller."""
    ORG = "org"
    """The organisation is `org_id` of the request."""
    PROJECT = "project"
    """The organisation is that of the project in the credential; API keys need no role."""
    SDK = "sdk"
    """An API key."""


class Action(StrEnum):
    """What is done to a resource."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


class Resource(StrEnum):
    """What roles are about."""

    ORG = "org"
    MEMBER = "member"
    INVITATION = "invitation"
    EMAIL_PROVIDER = "email_provider"
    PROJECT = "project"
    API_KEY = "api_key"
    DASHBOARD = "dashboard"
    INSIGHT = "insight"
    ACTIVITY = "activity"
    PROFILE = "profile"
    COHORT = "cohort"
    ANNOTATION = "annotation"
    ALERT = "alert"
    USAGE = "usage"
    QUERY = "query"
    QUERY_PLAN = "query_plan"


class Gate(Struct, frozen=True, kw_only=True):
    """What a caller of one RPC needs; without a resource no role is asked for."""

    kind: GateKind
    resource: Resource | None = None
    action: Action | None = None

    def admits(self, role: Role) -> bool:
        """Whether a member with this role may call."""
        if self.resource is None or self.action is None:
            return True
        return self.action in _RIGHTS[role].get(self.resource, frozenset())


_ALL: Final = frozenset(Action)
_READ: Final = frozenset({Action.READ})
_ANALYTICS: Final = (
    *(Resource.DASHBOARD, Resource.INSIGHT, Resource.ACTIVITY, Resource.PROFILE),
    *(Resource.COHORT, Resource.ANNOTATION, Resource.ALERT),
)
_READABLE: Final = (
    *(Resource.ORG, Resource.MEMBER, Resource.PROJECT, Resource.API_KEY, Resource.USAGE),
    *_ANALYTICS,
)
_VIEWER: Final = dict.fromkeys(_READABLE, _READ)

_RIGHTS: Final[dict[Role, dict[Resource, frozenset[Action]]]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _VIEWER | dict.fromkeys(_ANALYTICS, _ALL) | {Resource.QUERY: _READ},
    Role.ADMIN: dict.fromkeys(Resource, _ALL)
    | {Resource.API_KEY: _ALL - {Action.UPDATE}, Resource.USAGE: _READ},
}

_PUBLIC: Final = Gate(kind=GateKind.PUBLIC)
_SELF: Final = Gate(kind=GateKind.SELF)
_SDK: Final = Gate(kind=GateKind.SDK)
_ANY_PROJECT: Final = Gate(kind=GateKind.PROJECT)


def _org(resource: Resource, action: Action) -> Gate:
    return Gate(kind=GateKind.ORG, resource=resource, action=action)


def _proj(resource: Resource, action: Action) -> Gate:
    return Gate(kind=GateKind.PROJECT, resource=resource, action=action)


_BY_SERVICE: Final[dict[str, dict[str, Gate]]] = {
    "public.auth.v1.AuthService": {
        "SignInWithEmail": _PUBLIC,
        "RequestMagicLink": _PUBLIC,
        "CompleteMagicLink": _PUBLIC,
        "CompleteOAuthSignIn": _PUBLIC,
        "RefreshSession": _PUBLIC,
        "SignOut": _PUBLIC,
        "DemoSignIn": _PUBLIC,
        "GetAuthConfig": _PUBLIC,
        "CompleteOIDCSignIn": _PUBLIC,
    },
    "public.dashboards.v1.SharedDashboardsService": {"Query": _PUBLIC},
    "dashboard.customers.v1.CustomersService": {"GetMe": _SELF, "SetPassword": _SELF},
    "dashboard.orgs.v1.OrgsService": {
        "List": _SELF,
        "Create": _SELF,
        "Leave": _SELF,
        "Get": _org(Resource.ORG, Action.READ),
        "UpdateDisplayName": _org(Resource.ORG, Action.UPDATE),
        "ListMembers": _org(Resource.MEMBER, Action.READ),
        "RemoveMember": _org(Resource.MEMBER, Action.DELETE),
        "UpdateMemberRole": _org(Resource.MEMBER, Action.UPDATE),
        "InviteMember": _org(Resource.INVITATION, Action.CREATE),
        "ResendInvite": _org(Resource.INVITATION, Action.UPDATE),
        "RevokeInvite": _org(Resource.INVITATION, Action.DELETE),
        "ListInvitations": _org(Resource.INVITATION, Action.READ),
    },
    "dashboard.projects.v1.ProjectsService": {
        "BatchGet": _org(Resource.PROJECT, Action.READ),
        "Create": _org(Resource.PROJECT, Action.CREATE),
        "Get": _ANY_PROJECT,
        "Delete": _proj(Resource.PROJECT, Action.DELETE),
        "UpdateMeta": _proj(Resource.PROJECT, Action.UPDATE),
        "UpdateFCMServiceJSON": _proj(Resource.PROJECT, Action.UPDATE),
        "ListApiKeys": _proj(Resource.API_KEY, Action.READ),
        "CreateApiKey": _proj(Resource.API_KEY, Action.CREATE),
        "DeleteApiKey": _proj(Resource.API_KEY, Action.DELETE),
    },
    "dashboard.dashboards.v1.DashboardsService": {
        "Create": _proj(Resource.DASHBOARD, Action.CREATE),
        "Get": _proj(Resource.DASHBOARD, Action.READ),
        "List": _proj(Resource.DASHBOARD, Action.READ),
        "Update": _proj(Resource.DASHBOARD, Action.UPDATE),
        "Delete": _proj(Resource.DASHBOARD, Action.DELETE),
        "Upsert": _proj(Resource.DASHBOARD, Action.UPDATE),
        "QueryDashboard": _proj(Resource.DASHBOARD, Action.READ),
    },
    "dashboard.orgemailproviders.v1.OrgEmailProvidersService": {
        "Get": _org(Resource.EMAIL_PROVIDER, Action.READ),
        "Set": _org(Resource.EMAIL_PROVIDER, Action.UPDATE),
        "Remove": _org(Resource.EMAIL_PROVIDER, Action.DELETE),
        "SendTest": _org(Resource.EMAIL_PROVIDER, Action.UPDATE),
    },
    "dashboard.usage.v1.UsageService": {"GetUsage": _org(Resource.USAGE, Action.READ)},
    "shared.insights.v1.InsightsService": {
        "Query": _proj(Resource.INSIGHT, Action.READ),
        "SegmentUsers": _proj(Resource.INSIGHT, Action.READ),
        "GetFilterSchema": _proj(Resource.INSIGHT, Action.READ),
        "GetPropertyValues": _proj(Resource.INSIGHT, Action.READ),
    },
    "shared.activity.v1.ActivityService": {
        "GetActivityFeed": _proj(Resource.ACTIVITY, Action.READ),
        "GetEventExplorer": _proj(Resource.ACTIVITY, Action.READ),
        "GetFilterSchema": _proj(Resource.ACTIVITY, Action.READ),
        "GetPropertyValues": _proj(Resource.ACTIVITY, Action.READ),
        "GetActivityHeatmap": _proj(Resource.ACTIVITY, Action.READ),
        "GetProfileStats": _proj(Resource.ACTIVITY, Action.READ),
    },
    "shared.profiles.v1.ProfilesService": {
        "Get": _proj(Resource.PROFILE, Action.READ),
        "GetByExternalId": _proj(Resource.PROFILE, Action.READ),
        "List": _proj(Resource.PROFILE, Action.READ),
        "Delete": _proj(Resource.PROFILE, Action.DELETE),
        "DeleteDataSubject": _proj(Resource.PROFILE, Action.DELETE),
        "GetDeletionRequest": _proj(Resource.PROFILE, Action.READ),
    },
    "appliance.cohorts.v1.CohortsService": {
        "Create": _proj(Resource.COHORT, Action.CREATE),
        "Get": _proj(Resource.COHORT, Action.READ),
        "List": _proj(Resource.COHORT, Action.READ),
        "Update": _proj(Resource.COHORT, Action.UPDATE),
        "Delete": _proj(Resource.COHORT, Action.DELETE),
        "Preview": _proj(Resource.COHORT, Action.READ),
        "ListMembers": _proj(Resource.PROFILE, Action.READ),
        "ChangeIds": _proj(Resource.COHORT, Action.UPDATE),
    },
    "appliance.queries.v1.QueriesService": {
        "ExplainInsight": _proj(Resource.QUERY_PLAN, Action.READ),
    },
    "appliance.annotations.v1.AnnotationsService": {
        "Create": _proj(Resource.ANNOTATION, Action.CREATE),
        "List": _proj(Resource.ANNOTATION, Action.READ),
        "Update": _proj(Resource.ANNOTATION, Action.UPDATE),
        "Delete": _proj(Resource.ANNOTATION, Action.DELETE),
    },
    "appliance.alerts.v1.AlertsService": {
        "Create": _proj(Resource.ALERT, Action.CREATE),
        "Get": _proj(Resource.ALERT, Action.READ),
        "List": _proj(Resource.ALERT, Action.READ),
        "Update": _proj(Resource.ALERT, Action.UPDATE),
        "Delete": _proj(Resource.ALERT, Action.DELETE),
        "Test": _proj(Resource.ALERT, Action.UPDATE),
        "ListFirings": _proj(Resource.ALERT, Action.READ),
    },
    "sdk.events.v1.EventsService": {"BatchCreate": _SDK},
    "sdk.profiles.v1.ProfilesSDKService": {"Identify": _SDK},
}

GATES: Final[dict[str, Gate]] = {
    f"{service}/{method}": gate
    for service, methods in _BY_SERVICE.items()
    for method, gate in methods.items()
}
"""Gate of each RPC by `<package>.<Service>/<Method>`."""

EXPERT_SQL: Final = _proj(Resource.QUERY, Action.READ)
"""Gate of `POST /query`, which is no RPC."""
