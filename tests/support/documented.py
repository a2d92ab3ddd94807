"""What RPCs are documented to answer [services 2.5, 5, 6, 7, 13], and those of our own services
(docs/cohorts.md, docs/alerts.md, docs/expert-sql.md). SDKs call with a key and are told in a way of
their own: their services are not here.

`ok` is the accept path; the others are `code/REASON`. Errors of the sets *base*, *auth* and *role*
are added by the gate. Left out, because no caller can bring them about on a healthy appliance:
`internal`, `canceled`, `deadline_exceeded`, and what the contract itself calls defensive, shadowed
or a race (`PASSWORD_TOO_LONG`, `ORG_NOT_FOUND`, `ORG_ADMIN_REQUIRED`, `PROJECT_NAME_TAKEN` of
`OrgsService/Create`, `INVALID_EMAIL_PROVIDER_CONFIG`, `CANNOT_LEAVE_AS_LAST_MEMBER`).
"""

from collections.abc import Collection
from typing import Final

from appliance.domain.access.permissions import GATES, GateKind
from appliance.domain.access.roles import Role

_AUTH: Final = "public.auth.v1.AuthService"
_CUSTOMERS: Final = "dashboard.customers.v1.CustomersService"
_ORGS: Final = "dashboard.orgs.v1.OrgsService"
_PROJECTS: Final = "dashboard.projects.v1.ProjectsService"
_MAIL: Final = "dashboard.orgemailproviders.v1.OrgEmailProvidersService"
_USAGE: Final = "dashboard.usage.v1.UsageService"
_BOARDS: Final = "dashboard.dashboards.v1.DashboardsService"
_SHARED_BOARDS: Final = "public.dashboards.v1.SharedDashboardsService"
_NO_BOARD: Final = "not_found/DASHBOARD_NOT_FOUND"
_INSIGHTS: Final = "shared.insights.v1.InsightsService"
_ACTIVITY: Final = "shared.activity.v1.ActivityService"
_PROFILES: Final = "shared.profiles.v1.ProfilesService"
_NO_PERSON: Final = "not_found/PROFILE_NOT_FOUND"
_COHORTS: Final = "appliance.cohorts.v1.CohortsService"
_NO_COHORT: Final = "not_found/COHORT_NOT_FOUND"
_BAD_COHORT: Final = "invalid_argument/INVALID_COHORT"
_ANNOTATIONS: Final = "appliance.annotations.v1.AnnotationsService"
_NO_ANNOTATION: Final = "not_found/ANNOTATION_NOT_FOUND"
_ALERTS: Final = "appliance.alerts.v1.AlertsService"
_NO_ALERT: Final = "not_found/ALERT_NOT_FOUND"
_QUERIES: Final = "appliance.queries.v1.QueriesService"
_BAD_TOKEN: Final = "invalid_argument/INVALID_PAGE_TOKEN"

FORMS: Final = ("json", "proto")
_INVALID: Final = "invalid_argument/INVALID_ARGUMENT"
_UNKNOWN_CALLER: Final = "unauthenticated/UNAUTHENTICATED"
_WITHOUT_RULES: Final = frozenset(
    {
        f"{_AUTH}/RefreshSession",
        f"{_AUTH}/SignOut",
        f"{_AUTH}/DemoSignIn",
        f"{_AUTH}/GetAuthConfig",
        f"{_CUSTOMERS}/GetMe",
        f"{_ORGS}/List",
        f"{_PROJECTS}/Get",
        f"{_PROJECTS}/Delete",
        f"{_PROJECTS}/ListApiKeys",
        f"{_BOARDS}/List",
        f"{_COHORTS}/List",
        f"{_ALERTS}/List",
    }
)
"""Methods whose request has no rule that could be broken."""

_SEARCH: Final = (
    _BAD_TOKEN,
    "invalid_argument/INVALID_ACTIVITY_FILTER",
)
_QUESTION: Final = ("invalid_argument/INVALID_INSIGHT_QUERY", _BAD_COHORT, _NO_COHORT)
_ALERT: Final = (
    "invalid_argument/INVALID_ALERT_QUESTION",
    *_QUESTION,
    "invalid_argument/INVALID_WEBHOOK",
    "invalid_argument/INVALID_WEBHOOK_URL",
    "not_found/ORG_MEMBER_NOT_FOUND",
    "failed_precondition/WEBHOOKS_OFF",
    "failed_precondition/WEBHOOK_HOST_NOT_LISTED",
    "failed_precondition/ALERT_SECRET_KEY_MISSING",
)
_OWN: Final[dict[str, tuple[str, ...]]] = {
    f"{_AUTH}/SignInWithEmail": (
        "unauthenticated/INVALID_CREDENTIALS",
        "resource_exhausted/RESOURCE_EXHAUSTED",
    ),
    f"{_AUTH}/RequestMagicLink": (),
    f"{_AUTH}/CompleteMagicLink": ("invalid_argument/INVALID_TOKEN",),
    f"{_AUTH}/CompleteOAuthSignIn": (
        "invalid_argument/OAUTH_PROVIDER_DISABLED",
        "unauthenticated/OAUTH_CREDENTIAL_INVALID",
    ),
    f"{_AUTH}/RefreshSession": ("unauthenticated/INVALID_TOKEN",),
    f"{_AUTH}/SignOut": (),
    f"{_AUTH}/DemoSignIn": ("unavailable/UNAVAILABLE",),
    f"{_AUTH}/GetAuthConfig": (),
    f"{_AUTH}/CompleteOIDCSignIn": (
        "invalid_argument/OAUTH_PROVIDER_DISABLED",
        "unauthenticated/OAUTH_CREDENTIAL_INVALID",
        "unavailable/UNAVAILABLE",
    ),
    f"{_CUSTOMERS}/GetMe": (),
    f"{_CUSTOMERS}/SetPassword": (),
    f"{_ORGS}/List": (),
    f"{_ORGS}/Create": (),
    f"{_ORGS}/Leave": (
        "not_found/ORG_MEMBER_NOT_FOUND",
        "failed_precondition/CANNOT_REMOVE_LAST_ADMIN",
    ),
    f"{_ORGS}/Get": (),
    f"{_ORGS}/UpdateDisplayName": (),
    f"{_ORGS}/ListMembers": (),
    f"{_ORGS}/RemoveMember": (
        "invalid_argument/ORG_CANNOT_REMOVE_SELF",
        "not_found/ORG_MEMBER_NOT_FOUND",
    ),
    f"{_ORGS}/UpdateMemberRole": (
        "not_found/ORG_MEMBER_NOT_FOUND",
        "failed_precondition/CANNOT_DEMOTE_LAST_ADMIN",
    ),
    f"{_ORGS}/InviteMember": (
        "already_exists/ORG_MEMBER_ALREADY_EXISTS",
        "already_exists/INVITATION_ALREADY_PENDING",
    ),
    f"{_ORGS}/ResendInvite": (
        "not_found/INVITATION_NOT_FOUND",
        "failed_precondition/INVITATION_NOT_PENDING",
        "failed_precondition/INVITATION_SEND_LIMIT",
    ),
    f"{_ORGS}/RevokeInvite": (
        "not_found/INVITATION_NOT_FOUND",
        "failed_precondition/INVITATION_NOT_PENDING",
    ),
    f"{_ORGS}/ListInvitations": (),
    f"{_PROJECTS}/BatchGet": (),
    f"{_PROJECTS}/Create": ("already_exists/PROJECT_NAME_TAKEN",),
    f"{_PROJECTS}/Get": (),
    f"{_PROJECTS}/Delete": (),
    f"{_PROJECTS}/UpdateMeta": (
        "invalid_argument/INVALID_TIMEZONE",
        "already_exists/PROJECT_NAME_TAKEN",
    ),
    f"{_PROJECTS}/UpdateFCMServiceJSON": (),
    f"{_PROJECTS}/ListApiKeys": (),
    f"{_PROJECTS}/CreateApiKey": (),
    f"{_PROJECTS}/DeleteApiKey": ("not_found/API_KEY_NOT_FOUND",),
    f"{_MAIL}/Get": (
        "not_found/EMAIL_PROVIDER_NOT_FOUND",
        "failed_precondition/EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING",
        "failed_precondition/EMAIL_PROVIDER_SECRET_DECRYPT_FAILED",
    ),
    f"{_MAIL}/Set": ("failed_precondition/EMAIL_PROVIDER_ENCRYPTION_KEY_MISSING",),
    f"{_MAIL}/Remove": (),
    f"{_MAIL}/SendTest": (
        "failed_precondition/EMAIL_TEST_SEND_UNAVAILABLE",
        "permission_denied/EMAIL_TEST_RECIPIENT_MISMATCH",
    ),
    f"{_USAGE}/GetUsage": (),
    f"{_BOARDS}/Create": (),
    f"{_BOARDS}/List": (),
    f"{_BOARDS}/Get": (_NO_BOARD,),
    f"{_BOARDS}/Update": (_NO_BOARD,),
    f"{_BOARDS}/Delete": (_NO_BOARD,),
    f"{_BOARDS}/QueryDashboard": (_NO_BOARD,),
    f"{_BOARDS}/Upsert": (
        _NO_BOARD,
        "invalid_argument/INVALID_TILE_CONTENT",
        "not_found/DASHBOARD_TILE_NOT_FOUND",
        "already_exists/DASHBOARD_TILE_NAME_CONFLICT",
    ),
    f"{_SHARED_BOARDS}/Query": (_NO_BOARD,),
    f"{_ACTIVITY}/GetActivityFeed": _SEARCH,
    f"{_ACTIVITY}/GetEventExplorer": _SEARCH,
    f"{_ACTIVITY}/GetActivityHeatmap": (),
    f"{_ACTIVITY}/GetFilterSchema": (),
    f"{_ACTIVITY}/GetPropertyValues": (),
    f"{_INSIGHTS}/GetFilterSchema": (),
    f"{_INSIGHTS}/GetPropertyValues": (),
    f"{_ACTIVITY}/GetProfileStats": (),
    f"{_INSIGHTS}/Query": _QUESTION,
    f"{_INSIGHTS}/SegmentUsers": _QUESTION,
    f"{_PROFILES}/Get": (_NO_PERSON,),
    f"{_PROFILES}/GetByExternalId": (_NO_PERSON,),
    f"{_PROFILES}/List": (_BAD_TOKEN, "invalid_argument/INVALID_PROFILE_FILTER"),
    f"{_PROFILES}/Delete": (_NO_PERSON,),
    f"{_PROFILES}/DeleteDataSubject": (_NO_PERSON,),
    f"{_PROFILES}/GetDeletionRequest": ("not_found/DELETION_REQUEST_NOT_FOUND",),
    f"{_COHORTS}/Create": (
        _BAD_COHORT,
        _NO_COHORT,
        "already_exists/COHORT_NAME_CONFLICT",
        "resource_exhausted/COHORT_TOO_LARGE",
    ),
    f"{_COHORTS}/Get": (_NO_COHORT,),
    f"{_COHORTS}/List": (),
    f"{_COHORTS}/Update": (_BAD_COHORT, _NO_COHORT, "already_exists/COHORT_NAME_CONFLICT"),
    f"{_COHORTS}/Delete": (_NO_COHORT, "failed_precondition/COHORT_IN_USE"),
    f"{_COHORTS}/Preview": (_BAD_COHORT, _NO_COHORT),
    f"{_COHORTS}/ListMembers": (_NO_COHORT,),
    f"{_COHORTS}/ChangeIds": (_BAD_COHORT, _NO_COHORT, "resource_exhausted/COHORT_TOO_LARGE"),
    f"{_ANNOTATIONS}/Create": (_NO_BOARD, "resource_exhausted/ANNOTATIONS_EXHAUSTED"),
    f"{_ANNOTATIONS}/List": (_BAD_TOKEN,),
    f"{_ANNOTATIONS}/Update": (_NO_ANNOTATION, _NO_BOARD),
    f"{_ANNOTATIONS}/Delete": (_NO_ANNOTATION,),
    f"{_ALERTS}/Create": (*_ALERT, "resource_exhausted/ALERTS_EXHAUSTED"),
    f"{_ALERTS}/Get": (_NO_ALERT,),
    f"{_ALERTS}/List": (),
    f"{_ALERTS}/Update": (*_ALERT, _NO_ALERT),
    f"{_ALERTS}/Delete": (_NO_ALERT,),
    f"{_ALERTS}/Test": (_NO_ALERT, "resource_exhausted/ALERT_TESTED_JUST_NOW"),
    f"{_ALERTS}/ListFirings": (_BAD_TOKEN,),
    f"{_QUERIES}/ExplainInsight": _QUESTION,
}


def documented_answers() -> dict[str, tuple[str, ...]]:
    """Every answer each RPC must be able to give, the accept path first."""
    return {path: ("ok", *_common(path), *own) for path, own in _OWN.items()}


def render_table(met: Collection[str]) -> list[str]:
    """One line for each documented answer; `met` are texts `path outcome form`.

    Answers that nobody wrote down come last, marked with a star.
    """
    documented = {
        f"{path} {answer}" for path, answers in documented_answers().items() for answer in answers
    }
    forms: dict[str, list[str]] = {case: [] for case in documented}
    for each in met:
        forms.setdefault(each.rpartition(" ")[0], [])
    for each in sorted(met):
        case, _, form = each.rpartition(" ")
        forms[case].append(form)
    lines: list[str] = []
    for case, found in sorted(forms.items()):
        path, _, answer = case.partition(" ")
        star = " " if case in documented else "*"
        lines.append(f"{path:58} {star}{answer:55} {' '.join(found) or 'NOT MET'}")
    missing = sum(len(forms[case]) < len(FORMS) for case in documented)
    lines.append(f"{len(documented)} documented answers, {missing} not met in both forms")
    return lines


def _common(path: str) -> tuple[str, ...]:
    gate = GATES[path]
    found: list[str] = []
    if path not in _WITHOUT_RULES:
        found.append(_INVALID)
    if gate.kind is not GateKind.PUBLIC:
        found.append(_UNKNOWN_CALLER)
    if gate.kind is GateKind.ORG:
        found.append("permission_denied/ORG_NOT_A_MEMBER")
    if gate.resource is not None and not _open_to_all(path):
        found.append("permission_denied/ORG_ROLE_FORBIDDEN")
    return tuple(found)


def _open_to_all(path: str) -> bool:
    return GATES[path].admits(Role.VIEWER)
