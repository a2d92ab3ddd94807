"""Our words for the contract: file heads, services, methods, and cross-field rules as expressions.

Invariant: `proto_from_wire.py` fails on anything of the contract that is not described here, so no
rule can get lost on the way into the .proto sources.
"""

from typing import Final

_EVENTS: Final = "common/events/v1/{}_events.proto"


def _well_known(subject: str, words: str) -> tuple[str, str]:
    return _EVENTS.format(subject), f"Well-known events: {words}.\nThe catalogue of SDKs and demo."


FILE_WORDS: Final[dict[str, str]] = dict(
    [
        _well_known("api", "calls of a programming interface"),
        _well_known("app", "an app opens, closes, updates"),
        _well_known("auth", "signing up, in and out"),
        _well_known("billing", "plans, subscriptions, invoices"),
        _well_known("chat", "conversations and their messages"),
        _well_known("commerce", "products, carts, checkouts, orders"),
        _well_known("discovery", "searching and browsing"),
        _well_known("error", "what went wrong for a visitor"),
        _well_known("file", "files going up and coming down"),
        _well_known("form", "filling in forms"),
        _well_known("integration", "connecting other products"),
        _well_known("invitation", "asking others to join"),
        _well_known("media", "playing sound and pictures"),
        _well_known("navigation", "pages, screens, clicks"),
        _well_known("notification", "messages pushed to a device"),
        _well_known("social", "sharing, following, liking"),
        _well_known("support", "tickets and help"),
        _well_known("workspace", "teams and their rooms"),
    ]
) | {
    "common/events/v1/options.proto": "Options that tie a message to an event kind and mark "
    "personal fields.",
    "common/v1/filter_schema.proto": "What a project's events and profiles can be filtered by.",
    "common/v1/filters.proto": "Conditions on events and properties.",
    "common/v1/property_value.proto": "A typed property value of an event.",
    "common/v1/time.proto": "Spans of time, given or by name.",
    "dashboard/customers/v1/customers.proto": "The signed-in person.",
    "dashboard/dashboards/v1/dashboards.proto": "Boards, their tiles and how tiles are drawn.",
    "dashboard/orgemailproviders/v1/orgemailproviders.proto": "An organisation's own mail carrier.",
    "dashboard/orgs/v1/orgs.proto": "Organisations, members, roles, invitations.",
    "dashboard/projects/v1/projects.proto": "Projects and their API keys.",
    "dashboard/usage/v1/usage.proto": "How many events an organisation has used [services 13].",
    "public/auth/v1/auth.proto": "Signing in: open to everybody.",
    "public/dashboards/v1/dashboards.proto": "Boards shared by link.",
    "sdk/devices/v1/devices.proto": "Devices that take push messages. Defined, not served "
    "[services 11].",
    "sdk/events/v1/events.proto": "Events as SDKs send them.",
    "sdk/profiles/v1/profiles.proto": "Persons as SDKs name them.",
    "shared/activity/v1/activity.proto": "Raw events, one by one.",
    "shared/campaigns/v1/campaigns.proto": "Campaigns. Defined, not served [services 11].",
    "shared/delivery/v1/delivery.proto": "Deliveries of campaigns. Defined, not served "
    "[services 11].",
    "shared/insights/v1/insights.proto": "Questions about many events, and their answers.",
    "shared/profiles/v1/profiles.proto": "Persons: reading, listing, erasing.",
    "workers/compliance/v1/compliance.proto": "Queue messages of erasure.",
    "workers/email/v1/email.proto": "Queue messages of mail.",
    "workers/profiles/v1/profiles.proto": "Queue messages of identities.",
}

SERVICE_WORDS: Final[dict[str, str]] = {
    "dashboard.customers.v1.CustomersService": "The caller's own account [services 6.1].",
    "dashboard.dashboards.v1.DashboardsService": "Boards of the header's project [services 6.4].",
    "dashboard.orgemailproviders.v1.OrgEmailProvidersService": "Own mail carrier [services 6.5].",
    "dashboard.orgs.v1.OrgsService": "Organisations and who belongs to them [services 6.2].",
    "dashboard.projects.v1.ProjectsService": "Projects and keys [services 6.3].",
    "dashboard.usage.v1.UsageService": "Metering, for the newer public client [services 13].",
    "public.auth.v1.AuthService": "Sessions; needs no credential [services 5].",
    "public.dashboards.v1.SharedDashboardsService": "Boards shared by link [services 9].",
    "sdk.devices.v1.DevicesService": "Push devices; defined, not served [services 11].",
    "sdk.events.v1.EventsService": "Where events come in [services 8].",
    "sdk.profiles.v1.ProfilesSDKService": "Where persons get their names [services 8].",
    "shared.activity.v1.ActivityService": "Raw events of a project or a person [services 7.2].",
    "shared.campaigns.v1.CampaignService": "Campaigns; defined, not served [services 11].",
    "shared.delivery.v1.DeliveryService": "Deliveries; defined, not served [services 11].",
    "shared.insights.v1.InsightsService": "Aggregated answers [services 7.1].",
    "shared.profiles.v1.ProfilesService": "Persons of a project [services 7.4].",
}

_METHODS: Final[dict[str, dict[str, str]]] = {
    "dashboard.customers.v1.CustomersService": {
        "GetMe": "Who is calling.",
        "SetPassword": "Sets or replaces the caller's password.",
    },
    "dashboard.dashboards.v1.DashboardsService": {
        "Create": "Makes an empty board.",
        "Delete": "Removes a board and its tiles.",
        "Get": "One board with its tiles.",
        "List": "All boards of the project, oldest first.",
        "Update": "Changes a board's name, window and sharing.",
        "Upsert": "Replaces a board and its whole tile list at once.",
        "QueryDashboard": "Computes every tile; one tile's failure stays its own.",
    },
    "dashboard.orgemailproviders.v1.OrgEmailProvidersService": {
        "Get": "The carrier, its secret redacted.",
        "Set": "Creates or replaces the carrier; needs the whole secret.",
        "Remove": "Goes back to the operator's carrier; may run twice.",
        "SendTest": "Sends one mail to the caller; the carrier's refusal is an answer.",
    },
    "dashboard.orgs.v1.OrgsService": {
        "List": "Organisations of the caller, with the caller's role.",
        "Get": "One organisation.",
        "UpdateDisplayName": "Renames an organisation.",
        "ListMembers": "Members in the order they joined.",
        "RemoveMember": "Removes somebody else.",
        "InviteMember": "Invites an address; the mail goes through the queue.",
        "ResendInvite": "Sends a pending invitation again, with a fresh token.",
        "RevokeInvite": "Takes a pending invitation back.",
        "ListInvitations": "Invitations in every state, newest first.",
        "Create": "Makes an organisation with the caller as admin and a first project.",
        "Leave": "The caller leaves.",
        "UpdateMemberRole": "Changes a member's role; one admin always stays.",
    },
    "dashboard.projects.v1.ProjectsService": {
        "BatchGet": "All projects of an organisation.",
        "Create": "Makes a project and its first public key.",
        "Delete": "Deletes the header's project.",
        "Get": "The header's project.",
        "UpdateMeta": "Changes name and reporting time zone; unset fields stay.",
        "UpdateFCMServiceJSON": "Stores the push credentials.",
        "ListApiKeys": "Keys of the project; private ones masked.",
        "CreateApiKey": "Makes a key; a private one is shown here and never again.",
        "DeleteApiKey": "Ends a key at once.",
    },
    "dashboard.usage.v1.UsageService": {
        "GetUsage": "Events of the current calendar month, and per day and project.",
    },
    "public.auth.v1.AuthService": {
        "SignInWithEmail": "Address and password for a session.",
        "RequestMagicLink": "Mails a link; the answer never tells whether the address is known.",
        "CompleteMagicLink": "A mailed token for a session.",
        "CompleteOAuthSignIn": "A provider's ID token for a session.",
        "RefreshSession": "Rotates the refresh token.",
        "SignOut": "Ends the session of a refresh token.",
        "DemoSignIn": "A read-only session of the demo account.",
        "GetAuthConfig": "Which sign-in providers there are [services 13].",
        "CompleteOIDCSignIn": "An authorization code for a session [services 13].",
    },
    "public.dashboards.v1.SharedDashboardsService": {
        "Query": "Computes a shared board.",
    },
    "sdk.devices.v1.DevicesService": {
        "Subscribe": "Registers a device.",
        "UpdateStatus": "Switches a device on or off.",
        "UpdateToken": "Replaces a device's push token.",
    },
    "sdk.events.v1.EventsService": {
        "BatchCreate": "Takes up to 1000 events; an event sent twice is stored once.",
    },
    "sdk.profiles.v1.ProfilesSDKService": {
        "Identify": "Gives the person behind an anonymous id a name and traits.",
    },
    "shared.activity.v1.ActivityService": {
        "GetActivityFeed": "Events of one person under all their ids, newest first.",
        "GetEventExplorer": "Events of the project, newest first.",
        "GetFilterSchema": "Event kinds and property keys that occur.",
        "GetPropertyValues": "Values a property has had.",
        "GetActivityHeatmap": "Events per UTC day of one id.",
        "GetProfileStats": "First and last seen, totals, last device and place.",
    },
    "shared.campaigns.v1.CampaignService": {
        "BatchGet": "Several campaigns.",
        "Create": "Makes a campaign.",
        "Delete": "Removes a campaign.",
        "Get": "One campaign.",
        "Update": "Changes a campaign.",
    },
    "shared.delivery.v1.DeliveryService": {
        "RecordEvent": "Notes what became of a delivery.",
    },
    "shared.insights.v1.InsightsService": {
        "Query": "Runs one insight.",
        "SegmentUsers": "Ids that match conditions, page by page.",
        "GetFilterSchema": "Event kinds and property keys that occur.",
        "GetPropertyValues": "Values a property has had.",
    },
    "shared.profiles.v1.ProfilesService": {
        "Get": "A person by profile id, alias or derived id.",
        "GetByExternalId": "A person by the name the product gave them.",
        "List": "Every matching person in one stream, newest first.",
        "Delete": "Asks for the erasure of a person.",
        "DeleteDataSubject": "Asks for erasure by external id, known or not.",
        "GetDeletionRequest": "How far an erasure is.",
    },
}

METHOD_WORDS: Final[dict[str, str]] = {
    f"{service}/{method}": words
    for service, methods in _METHODS.items()
    for method, words in methods.items()
}

_FROM_BEFORE_TO: Final = (
    "If `time_range` is set, its `from` is strictly earlier than its `to`.",
    (
        "time_range.order",
        (
            "!has(this.time_range) || !has(this.time_range.from) || !has(this.time_range.to)"
            " || this.time_range.from < this.time_range.to"
        ),
    ),
)
_NO_BLANK_EVENTS: Final = (
    (
        "With two or more entries in `events`, no entry may be blank: each needs a "
        "non-empty `kind` or one filter or more. A single blank entry is fine."
    ),
    (
        "events.not_blank",
        "size(this.events) < 2 || this.events.all(e, e.kind != '' || size(e.filters) > 0)",
    ),
)
_NOT_COOKIELESS: Final = (
    "does not begin with `cookieless-`",
    ("external_id.reserved_prefix", "!this.startsWith('cookieless-')"),
)


def _span(granularity: int, name: str, hours: int) -> tuple[str, str]:
    return (
        f"range.cap_{name}",
        (
            f"this.granularity != {granularity} || !has(this.time_range.from)"
            f" || !has(this.time_range.to)"
            f" || this.time_range.to - this.time_range.from <= duration('{hours}h')"
        ),
    )


def _own(holder: str, kind: int, name: str) -> tuple[str, str]:
    return f"{name}.only", f"!has(this.{holder}) || this.insight_type == {kind}"


def _flow_limit(field: str, low: int, high: int) -> tuple[str, str]:
    value = f"this.user_flow.{field}"
    return (
        f"user_flow.{field}",
        f"this.insight_type != 5 || {value} == 0 || ({value} >= {low} && {value} <= {high})",
    )


_PROPERTY_NAME: Final = "'^\\\\$?[a-zA-Z0-9_.-]+$'"
_BETWEEN: Final = "[13, 14]"
_LISTS: Final = "[11, 12, 13, 14]"
_SUMS: Final = "[4, 5, 6, 7]"

_NUMBERS: Final = (
    "LTE, GTE, LT and GT parse `value` as a double, BETWEEN and NOT_BETWEEN parse `values[0]` "
    "and `values[1]` (two must exist); NaN counts as a violation, and text that does not parse "
    "at all makes the evaluation itself fail (the reference still answers invalid_argument, "
    "but then without a BadRequest detail)."
)

SHORTER_SENTENCES: Final[dict[str, str]] = {
    _NUMBERS: "Numeric comparisons need numbers: LTE, GTE, LT and GT in `value`, "
    "BETWEEN and NOT_BETWEEN two in `values`.",
}
"""What callers read where the contract's own words explain more than they should."""

_RULES: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "common.v1.PropertyFilter": {
        "Every operator other than IS_SET, IS_NOT_SET, IN, NOT_IN, BETWEEN and NOT_BETWEEN needs a "
        "non-empty `value`.": (
            "value.needed",
            "this.operator in [5, 6, 11, 12, 13, 14] || this.value != ''",
        ),
        _NUMBERS: (
            "value.number",
            (
                "this.operator in [7, 8, 9, 10] ? this.value == '' ||"
                " double(this.value) == double(this.value)"
                f" : this.operator in {_BETWEEN} ? size(this.values) >= 2"
                " && double(this.values[0]) == double(this.values[0])"
                " && double(this.values[1]) == double(this.values[1]) : true"
            ),
        ),
        "IN, NOT_IN, BETWEEN and NOT_BETWEEN need at least one entry in `values`.": (
            "values.needed",
            f"!(this.operator in {_LISTS}) || size(this.values) > 0",
        ),
        "All operators except IN, NOT_IN, BETWEEN and NOT_BETWEEN must leave `values` empty.": (
            "values.unwanted",
            f"this.operator in {_LISTS} || size(this.values) == 0",
        ),
        "BETWEEN and NOT_BETWEEN take exactly two entries in `values`.": (
            "values.two",
            f"!(this.operator in {_BETWEEN}) || size(this.values) == 2",
        ),
        "IS_SET and IS_NOT_SET must leave `value` empty.": (
            "value.unwanted",
            "!(this.operator in [5, 6]) || this.value == ''",
        ),
        "For BETWEEN and NOT_BETWEEN with two or more entries, double(values[0]) must be <= "
        "double(values[1]).": (
            "values.order",
            (
                f"!(this.operator in {_BETWEEN}) || size(this.values) < 2"
                " || double(this.values[0]) <= double(this.values[1])"
            ),
        ),
    },
    "common.v1.TimeRange": {
        "`from` is strictly earlier than `to`.": (
            "order",
            "!has(this.from) || !has(this.to) || this.from < this.to",
        ),
    },
    "dashboard.dashboards.v1.VisualizationOptions": {
        "`log_scale` and `zero_baseline` cannot both be true.": (
            "scale.either",
            "!(this.log_scale && this.zero_baseline)",
        ),
    },
    "dashboard.dashboards.v1.GridPosition": {
        "When a position is sent, `w` and `h` must both be present.": (
            "size.both",
            "has(this.w) && has(this.h)",
        ),
    },
    "dashboard.dashboards.v1.DashboardsServiceQueryDashboardRequest": dict([_FROM_BEFORE_TO]),
    "dashboard.dashboards.v1.RenderedTile": {
        "A tile whose content is `insight` carries `result` or `error_message`. (Response message: "
        "the reference does not validate responses.)": (
            "outcome.insight",
            "!has(this.tile.insight) || has(this.result) || has(this.error_message)",
        ),
        "A tile whose content is `markdown` carries neither `result` nor `error_message`. "
        "(Response message: not validated.)": (
            "outcome.markdown",
            "!has(this.tile.markdown) || (!has(this.result) && !has(this.error_message))",
        ),
    },
    "dashboard.orgemailproviders.v1.SetRequest.reply_to": {
        "empty string, or an email address": (
            "reply_to.address",
            "this == '' || this.isEmail()",
        ),
    },
    "dashboard.usage.v1.GetUsageRequest": {
        "If `range` is set, to - from <= 9600h (400 days).": (
            "range.cap",
            (
                "!has(this.range) || !has(this.range.from) || !has(this.range.to)"
                " || this.range.to - this.range.from <= duration('9600h')"
            ),
        ),
    },
    "public.dashboards.v1.SharedDashboardsServiceQueryRequest": dict([_FROM_BEFORE_TO]),
    "sdk.devices.v1.SubscribeRequest": {
        "`profile_id` and `profile_external_id` are not both non-empty.": (
            "profile.either",
            "this.profile_id == '' || this.profile_external_id == ''",
        ),
    },
    "sdk.profiles.v1.IdentifyRequest.external_id": dict([_NOT_COOKIELESS]),
    "sdk.profiles.v1.ProfileIdentifyMessage.external_id": dict([_NOT_COOKIELESS]),
    "sdk.events.v1.BatchCreateRequest": {
        "Each event with `cookieless` true leaves `distinct_id` and `session_id` empty or unset.": (
            "cookieless.no_ids",
            "this.events.all(e, !e.cookieless || (e.distinct_id == '' && e.session_id == ''))",
        ),
        "No event's `distinct_id` begins with `cookieless-`.": (
            "distinct_id.reserved_prefix",
            "this.events.all(e, !e.distinct_id.startsWith('cookieless-'))",
        ),
    },
    "sdk.events.v1.Event": {
        "Each key of `auto_properties` begins with `$`.": (
            "auto_properties.keys",
            "this.auto_properties.all(k, k.startsWith('$'))",
        ),
        "No key of `custom_properties` begins with `$`.": (
            "custom_properties.keys",
            "this.custom_properties.all(k, !k.startsWith('$'))",
        ),
        "Unless `cookieless` is true, `distinct_id` and `session_id` are both non-empty.": (
            "ids.needed",
            "this.cookieless || (this.distinct_id != '' && this.session_id != '')",
        ),
    },
    "shared.activity.v1.GetActivityFeedRequest": dict([_NO_BLANK_EVENTS]),
    "shared.activity.v1.GetEventExplorerRequest": dict([_NO_BLANK_EVENTS]),
    "shared.insights.v1.InsightQuerySpec.conversion_window": {
        "no fraction of a second": (
            "conversion_window.whole",
            "this == duration(string(this.getSeconds()) + 's')",
        ),
    },
    "shared.insights.v1.InsightQuerySpec": {
        "FUNNEL and RETENTION need one entry or more in `events`.": (
            "events.needed",
            "!(this.insight_type in [3, 4]) || size(this.events) > 0",
        ),
        "`conversion_window` may be set for FUNNEL only.": _own("conversion_window", 3, "window"),
        "`include_step_timing` may be true for FUNNEL only.": (
            "step_timing.only",
            "!this.include_step_timing || this.insight_type == 3",
        ),
        "`session` may be set for TRENDS and SEGMENTATION only.": (
            "session.only",
            "!has(this.session) || this.insight_type in [1, 2]",
        ),
        "If `session` is set, `events` is empty.": (
            "session.events",
            "!has(this.session) || size(this.events) == 0",
        ),
        "Session metrics ENTRY and EXIT work only with TRENDS and exactly one breakdown.": (
            "session.entry_exit",
            (
                "!has(this.session) || !(this.session.metric in [4, 5])"
                " || (this.insight_type == 1 && size(this.breakdowns) == 1)"
            ),
        ),
        "SEGMENTATION takes no breakdowns.": (
            "segmentation.breakdowns",
            "this.insight_type != 2 || size(this.breakdowns) == 0",
        ),
        "No two breakdowns name the same property.": (
            "breakdowns.unique",
            "this.breakdowns.map(b, b.property).unique()",
        ),
        "A non-zero `breakdown_limit` needs one breakdown or more.": (
            "breakdown_limit.alone",
            "this.breakdown_limit == 0 || size(this.breakdowns) > 0",
        ),
        "RETENTION takes no more than two events (start, then return).": (
            "retention.events",
            "this.insight_type != 4 || size(this.events) <= 2",
        ),
        "FUNNEL takes no more than 20 events.": (
            "funnel.events",
            "this.insight_type != 3 || size(this.events) <= 20",
        ),
        "Outside TRENDS and SEGMENTATION no event may use the aggregations SUM, AVG, MIN or MAX.": (
            "aggregation.only",
            f"this.insight_type in [1, 2] || this.events.all(e, !(e.aggregation in {_SUMS}))",
        ),
        "`user_flow` may be set for USER_FLOW only.": _own("user_flow", 5, "user_flow"),
        "USER_FLOW needs `user_flow`.": (
            "user_flow.needed",
            "this.insight_type != 5 || has(this.user_flow)",
        ),
        "USER_FLOW takes no `events`.": (
            "user_flow.events",
            "this.insight_type != 5 || size(this.events) == 0",
        ),
        "USER_FLOW takes no `session`.": (
            "user_flow.session",
            "this.insight_type != 5 || !has(this.session)",
        ),
        "USER_FLOW takes no breakdowns.": (
            "user_flow.breakdowns",
            "this.insight_type != 5 || size(this.breakdowns) == 0",
        ),
        "USER_FLOW needs `breakdown_limit` unset or 0.": (
            "user_flow.breakdown_limit",
            "this.insight_type != 5 || this.breakdown_limit == 0",
        ),
        "USER_FLOW with node_kind PROPERTY needs a non-empty `user_flow.node_property` matching "
        "^\\$?[a-zA-Z0-9_.-]+$ .": (
            "user_flow.node_property",
            (
                "this.insight_type != 5 || this.user_flow.node_kind != 2"
                f" || this.user_flow.node_property.matches({_PROPERTY_NAME})"
            ),
        ),
        "USER_FLOW: `user_flow.max_hops` is 0 (server default) or 1..10.": _flow_limit(
            "max_hops", 1, 10
        ),
        "USER_FLOW: `user_flow.max_nodes` is 0 (server default) or 2..50.": _flow_limit(
            "max_nodes", 2, 50
        ),
        "USER_FLOW: `user_flow.max_links` is 0 (server default) or 1..500.": _flow_limit(
            "max_links", 1, 500
        ),
        "`top_k` may be set for TOP_K only.": _own("top_k", 6, "top_k"),
        "TOP_K needs `top_k`.": ("top_k.needed", "this.insight_type != 6 || has(this.top_k)"),
        "TOP_K takes no `events`.": (
            "top_k.events",
            "this.insight_type != 6 || size(this.events) == 0",
        ),
        "TOP_K takes no `session`.": (
            "top_k.session",
            "this.insight_type != 6 || !has(this.session)",
        ),
        "TOP_K takes no breakdowns.": (
            "top_k.breakdowns",
            "this.insight_type != 6 || size(this.breakdowns) == 0",
        ),
        "TOP_K needs `breakdown_limit` unset or 0.": (
            "top_k.breakdown_limit",
            "this.insight_type != 6 || this.breakdown_limit == 0",
        ),
        "TOP_K with dimension PROPERTY needs a non-empty `top_k.property` matching "
        "^\\$?[a-zA-Z0-9_.-]+$ .": (
            "top_k.property",
            (
                "this.insight_type != 6 || this.top_k.dimension != 1"
                f" || this.top_k.property.matches({_PROPERTY_NAME})"
            ),
        ),
        "TOP_K with any other dimension needs `top_k.property` empty.": (
            "top_k.property_unwanted",
            "this.insight_type != 6 || this.top_k.dimension == 1 || this.top_k.property == ''",
        ),
        "TOP_K with metric SUM, AVG, MIN or MAX needs a non-empty `top_k.metric_property`.": (
            "top_k.metric_property",
            (
                f"this.insight_type != 6 || !(this.top_k.metric in {_SUMS})"
                " || this.top_k.metric_property != ''"
            ),
        ),
        "TOP_K with dimension USER cannot use the metrics UNIQUE_USERS and PER_USER_AVG.": (
            "top_k.user_metric",
            "this.insight_type != 6 || this.top_k.dimension != 3 || !(this.top_k.metric in [2, 3])",
        ),
        "`map` may be set for MAP only, and MAP needs it.": (
            "map.only",
            "has(this.map) == (this.insight_type == 7)",
        ),
        "MAP takes no events, no session, no breakdowns, and breakdown_limit unset or 0.": (
            "map.alone",
            (
                "this.insight_type != 7 || (size(this.events) == 0 && !has(this.session)"
                " && size(this.breakdowns) == 0 && this.breakdown_limit == 0)"
            ),
        ),
        "MAP with metric SUM, AVG, MIN or MAX needs a non-empty map.metric_property; with any "
        "other metric it must be empty.": (
            "map.metric_property",
            (
                "this.insight_type != 7 ||"
                f" (this.map.metric in {_SUMS}) == (this.map.metric_property != '')"
            ),
        ),
    },
    "shared.insights.v1.QueryRequest": {
        "MINUTE: to - from <= 6h.": _span(1, "minute", 6),
        "HOUR: to - from <= 336h (14 days).": _span(2, "hour", 336),
        "DAY: to - from <= 8760h (365 days).": _span(3, "day", 8760),
        "WEEK: to - from <= 35064h (1461 days).": _span(4, "week", 35064),
        "MONTH: to - from <= 87660h (3652.5 days).": _span(5, "month", 87660),
    },
    "shared.insights.v1.EventQuery": {
        "Aggregations SUM, AVG, MIN and MAX need a non-empty `aggregation_property`.": (
            "aggregation_property.needed",
            f"!(this.aggregation in {_SUMS}) || this.aggregation_property != ''",
        ),
    },
}

RULES_IN_CEL: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (owner, words): rule for owner, rules in _RULES.items() for words, rule in rules.items()
}
