"""Hostile texts in every text field of every question: nothing breaks out, nobody else appears.

The fields come from the descriptors of the requests. A hostile text is answered as one that nothing
has, or refused with a code that blames the sender; no answer holds anything of the other project.
"""

import importlib
import json
import pkgutil
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, cast

import msgspec
import pytest
from protobuf import Message, message_from_json_value, message_to_json_value

from appliance.config.model import Settings
from appliance.domain.access.permissions import GATES, GateKind
from appliance.domain.access.roles import Role
from appliance.storage.clickhouse.client import ClickHouse
from tests.support.control import CLIENTS, ControlStack, Person, Refusal, control_stack
from tests.support.hostile import HOSTILE, NOTHING, Place, put, text_fields, text_places, without

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

Json = dict[str, Any]
SECRET = "SECRET-OF-THE-OTHER"
OTHER = "otherproject00000000"
RANGE = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-05T00:00:00Z"}
BLAMING = {
    "invalid_argument",
    "not_found",
    "failed_precondition",
    "already_exists",
    "unimplemented",
}
ORDERED = {("shared.insights.v1.SegmentUsersRequest", "page_token")}
"""Where a text is a place in an order: what comes after it may well be something."""
WRITES = {"Create", "Update", "Upsert", "Delete", "DeleteDataSubject", "ChangeIds"}
"""What is answered with fresh ids and times."""
CORE = 2
"""So many texts where a field was tried with all of them before."""
NUMBERED = re.compile(r"\{p\d+:")
"""Equal values share a number."""
EXPLAIN = "appliance.queries.v1.QueriesService/ExplainInsight"

EVENTS = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time, url, country,
    custom_properties)
SELECT generateUUIDv4(), if(number % 2 = 0, {mine:String}, {other:String}),
    concat(if(number % 2 = 0, 'd', {secret:String}), toString(number % 6)),
    toUUID(concat('00000000-0000-4000-8000-00000000000', toString(number % 8))),
    if(number % 2 = 0, if(number % 4 = 0, 'see', 'buy'), {secret:String}),
    toDateTime64('2026-01-02 00:00:00', 3, 'UTC') + number * 60,
    if(number % 2 = 0, 'https://mine.test', {secret:String}), 'AT',
    map('plan', if(number % 2 = 0, 'spro', concat('s', {secret:String})), 'age', 'i42')
FROM numbers(48)
"""
PROFILES = """
INSERT INTO profiles (project_id, id, external_id, properties, deleted, create_time, update_time,
    version)
VALUES ({mine:String}, 'd0', 'ann', '{"name":"Ann"}', false, now64(6), now64(6), 1),
    ({other:String}, 'd2', {secret:String}, '{"name":"SECRET-OF-THE-OTHER"}', false, now64(6),
    now64(6), 1)
"""


def condition(operator: str, *, prop: str = "plan", source: str = "CUSTOM") -> Json:
    """One filter; its text is one that nothing has."""
    many = operator in {"IN", "NOT_IN"}
    return {
        "property": prop,
        "operator": f"FILTER_OPERATOR_{operator}",
        "source": f"PROPERTY_SOURCE_{source}",
        **({"values": [NOTHING, NOTHING]} if many else {"value": NOTHING}),
    }


ANY = [
    condition("EQUALS"),
    condition("CONTAINS"),
    condition("IN"),
    condition("EQUALS", prop="$url", source="AUTO"),
    condition("CONTAINS", prop="name", source="PROFILE"),
]
"""Joined by OR: one that matches would let rows in."""
TRAITS = [ANY[-1], condition("IN", prop="name", source="PROFILE")]
NONE = [condition("NOT_EQUALS"), condition("NOT_CONTAINS"), condition("NOT_IN")]
OR = "LOGICAL_OPERATOR_OR"
GROUPS = {"filterGroups": [{"filters": ANY, "operator": OR}], "filterGroupsOperator": OR}
SCOPE = {"kind": "see", "filters": [condition("EQUALS")]}
EVENT = {"event": SCOPE, "aggregation": "AGGREGATION_TYPE_TOTAL", "aggregationProperty": ""}
SUM = {"event": SCOPE, "aggregation": "AGGREGATION_TYPE_SUM", "aggregationProperty": "age"}
PLAIN = {"event": {"kind": "see"}}

SPECS: dict[str, Json] = {
    "TRENDS": {"events": [EVENT, SUM], "breakdowns": [{"property": "plan"}]},
    "SEGMENTATION": {"events": [SUM]},
    "FUNNEL": {"events": [EVENT, {"event": {"kind": "buy"}}], "breakdowns": [{"property": "plan"}]},
    "RETENTION": {"events": [EVENT, PLAIN], "breakdowns": [{"property": "plan"}]},
    "USER_FLOW": {
        "userFlow": {"nodeKind": "NODE_KIND_PROPERTY", "nodeProperty": "plan", "scope": SCOPE}
    },
    "TOP_K": {
        "topK": {
            "dimension": "DIMENSION_PROPERTY",
            "property": "plan",
            "scope": SCOPE,
            "metric": "AGGREGATION_TYPE_SUM",
            "metricProperty": "age",
        }
    },
    "MAP": {
        "map": {"scope": SCOPE, "metric": "AGGREGATION_TYPE_SUM", "metricProperty": "age"},
    },
}
KEPT_TYPES = {"SEGMENTATION", "RETENTION", "USER_FLOW", "TOP_K", "MAP"}
GROUPED = {"TRENDS", "FUNNEL", "USER_FLOW"}
"""Groups are compiled in one place; these read events in three ways."""
SESSIONS = {
    "insightType": "INSIGHT_TYPE_TRENDS",
    "session": {"metric": "SESSION_METRIC_ENTRY", "scope": SCOPE},
    "breakdowns": [{"property": "$url"}],
}
PEOPLE = {
    "insightType": "INSIGHT_TYPE_TOP_K",
    "topK": {"dimension": "DIMENSION_USER", "scope": SCOPE},
}


def listed(body: Json) -> Json:
    """The same with a condition about a list of texts."""
    for prop, source in (("plan", "CUSTOM"), ("name", "PROFILE")):
        one, many = (
            json.dumps(condition(operator, prop=prop, source=source))
            for operator in ("EQUALS", "IN")
        )
        body = json.loads(json.dumps(body).replace(one, many))
    return body


def specs() -> list[Json]:
    """Every type with conditions on its events, with groups, and with groups of no kind."""
    found: list[Json] = [SESSIONS, PEOPLE]
    for name, spec in SPECS.items():
        typed = {"insightType": f"INSIGHT_TYPE_{name}", **spec}
        found.append(typed)
        if name in GROUPED:
            found.append(json.loads(json.dumps(typed).replace(json.dumps(SCOPE), "{}")) | GROUPS)
    none = {"filters": NONE, "operator": "LOGICAL_OPERATOR_AND"}
    found.append({"insightType": "INSIGHT_TYPE_TRENDS", "events": [PLAIN], "filterGroups": [none]})
    return found


STORED = [one for one in specs() if one["insightType"].split("_", 2)[2] in KEPT_TYPES]
"""Where the same question is only kept or shown, one of each field is enough."""

SPECS_OF_GROUPS = specs()[3]
"""A trend whose groups let any row in that has a text."""


def insight(spec: Json) -> Json:
    """A question about these days."""
    return {
        "spec": spec,
        "timeRange": RANGE,
        "granularity": "GRANULARITY_DAY",
        "timezone": "Europe/Berlin",
    }


FEED = {
    "distinctId": NOTHING,
    "sessionId": NOTHING,
    "timeRange": RANGE,
    "propertyFilters": [condition("EQUALS")],
    "events": [SCOPE],
}
CRITERIA = {
    "groups": [
        {
            "criteria": [
                {
                    "did": {
                        "event": SCOPE,
                        "comparison": "COMPARISON_AT_LEAST",
                        "times": 1,
                        "span": {"range": RANGE},
                    }
                },
                {"firstDid": {"event": SCOPE, "span": {"range": RANGE}}},
                {"trait": {"filter": condition("EQUALS", prop="name", source="PROFILE")}},
            ],
            "operator": OR,
        }
    ]
}
WITHIN = {"groups": [{"criteria": [{"within": {"cohortId": NOTHING}}]}]}
NOTE = {"text": NOTHING, "startTime": RANGE["from"], "dashboardId": NOTHING}
ALERT = {
    "displayName": NOTHING,
    "spec": {"insightType": "INSIGHT_TYPE_SEGMENTATION", "events": [PLAIN]},
    "window": {"granularity": "GRANULARITY_DAY", "periods": 1},
    "condition": {"comparison": "COMPARISON_ABOVE", "amount": 1},
    "frequency": "FREQUENCY_DAILY",
    "memberIds": [NOTHING],
    "webhooks": [{"id": NOTHING, "url": NOTHING}],
}
TILE = {
    "id": NOTHING,
    "displayName": NOTHING,
    "description": NOTHING,
    "header": {"icon": NOTHING[:8], "accentColor": "red"},
    "markdown": {"body": NOTHING},
}
BOARD = {"id": NOTHING, "displayName": NOTHING, "description": NOTHING}

BODIES: dict[str, list[Json]] = {
    "shared.insights.v1.InsightsService/Query": [insight(spec) for spec in specs()],
    "shared.insights.v1.InsightsService/SegmentUsers": [
        {"timeRange": RANGE, "events": [EVENT], "pageToken": "c"},
        {"timeRange": RANGE, "events": [{"event": {}}], **GROUPS},
    ],
    "shared.insights.v1.InsightsService/GetFilterSchema": [{"eventKind": NOTHING}],
    "shared.insights.v1.InsightsService/GetPropertyValues": [
        {"propertyKey": "plan", "source": f"PROPERTY_SOURCE_{one}", "eventKind": "see"}
        for one in ("AUTO", "CUSTOM", "PROFILE")
    ],
    "shared.activity.v1.ActivityService/GetActivityFeed": [
        FEED | {"distinctId": "d0", "sessionId": ""},
        listed(FEED | {"distinctId": "d0", "sessionId": ""}),
        FEED | {"propertyFilters": [], "events": []},
        FEED | {"distinctId": "d0", "sessionId": "", "pageToken": NOTHING},
    ],
    "shared.activity.v1.ActivityService/GetEventExplorer": [
        FEED | {"distinctId": "", "sessionId": ""},
        listed(FEED | {"distinctId": "", "sessionId": ""}),
        FEED | {"propertyFilters": [], "events": []},
        {"timeRange": RANGE, "pageToken": NOTHING},
    ],
    "shared.activity.v1.ActivityService/GetFilterSchema": [{"eventKind": NOTHING}],
    "shared.activity.v1.ActivityService/GetPropertyValues": [
        {"propertyKey": "plan", "source": "PROPERTY_SOURCE_CUSTOM", "eventKind": "see"}
    ],
    "shared.activity.v1.ActivityService/GetActivityHeatmap": [
        {"distinctId": NOTHING, "timeRange": RANGE}
    ],
    "shared.activity.v1.ActivityService/GetProfileStats": [{"distinctId": NOTHING}],
    "shared.profiles.v1.ProfilesService/Get": [{"id": NOTHING}],
    "shared.profiles.v1.ProfilesService/GetByExternalId": [{"externalId": NOTHING}],
    "shared.profiles.v1.ProfilesService/List": [
        {
            "filterGroups": [
                {"filters": [ANY[-1], condition("IN", prop="name", source="PROFILE")]}
            ],
            "filterGroupsOperator": OR,
        },
        {"pageToken": NOTHING},
    ],
    "shared.profiles.v1.ProfilesService/Delete": [{"id": NOTHING}],
    "shared.profiles.v1.ProfilesService/DeleteDataSubject": [{"externalId": NOTHING}],
    "shared.profiles.v1.ProfilesService/GetDeletionRequest": [{"requestId": NOTHING}],
    "dashboard.dashboards.v1.DashboardsService/Create": [
        {"displayName": NOTHING, "description": NOTHING}
    ],
    "dashboard.dashboards.v1.DashboardsService/Get": [{"id": NOTHING}],
    "dashboard.dashboards.v1.DashboardsService/Delete": [{"id": NOTHING}],
    "dashboard.dashboards.v1.DashboardsService/List": [{}],
    "dashboard.dashboards.v1.DashboardsService/Update": [BOARD],
    "dashboard.dashboards.v1.DashboardsService/Upsert": [
        BOARD | {"tiles": [TILE]},
        *(
            BOARD | {"tiles": [{"displayName": NOTHING, "insight": {"spec": spec}}]}
            for spec in STORED
        ),
    ],
    "dashboard.dashboards.v1.DashboardsService/QueryDashboard": [{"dashboardId": NOTHING}],
    "appliance.cohorts.v1.CohortsService/Create": [
        {"displayName": NOTHING, "description": NOTHING, "rules": CRITERIA},
        {"displayName": NOTHING, "rules": listed(CRITERIA)},
        {"displayName": NOTHING, "rules": WITHIN},
        {"displayName": NOTHING, "list": {"distinctIds": [NOTHING]}},
    ],
    "appliance.cohorts.v1.CohortsService/Get": [{"id": NOTHING}],
    "appliance.cohorts.v1.CohortsService/List": [{}],
    "appliance.cohorts.v1.CohortsService/Update": [
        {"id": NOTHING, "displayName": NOTHING, "description": NOTHING, "rules": CRITERIA},
        {"id": NOTHING, "displayName": NOTHING, "rules": listed(CRITERIA)},
        {"id": NOTHING, "displayName": NOTHING, "rules": WITHIN},
    ],
    "appliance.cohorts.v1.CohortsService/Delete": [{"id": NOTHING}],
    "appliance.cohorts.v1.CohortsService/Preview": [
        {"rules": CRITERIA},
        {"rules": listed(CRITERIA)},
        {"rules": WITHIN},
        {"id": NOTHING},
    ],
    "appliance.cohorts.v1.CohortsService/ListMembers": [{"id": NOTHING, "pageToken": NOTHING}],
    "appliance.cohorts.v1.CohortsService/ChangeIds": [
        {"id": NOTHING, "add": [NOTHING], "remove": [NOTHING]}
    ],
    "appliance.annotations.v1.AnnotationsService/Create": [{"content": NOTE}],
    "appliance.annotations.v1.AnnotationsService/List": [
        {"timeRange": RANGE, "dashboardId": NOTHING},
        {"timeRange": RANGE, "pageToken": NOTHING},
    ],
    "appliance.annotations.v1.AnnotationsService/Update": [{"id": NOTHING, "content": NOTE}],
    "appliance.annotations.v1.AnnotationsService/Delete": [{"id": NOTHING}],
    "appliance.alerts.v1.AlertsService/Create": [
        {"content": ALERT},
        *({"content": ALERT | {"spec": spec, "memberIds": [], "webhooks": []}} for spec in STORED),
    ],
    "appliance.alerts.v1.AlertsService/Get": [{"id": NOTHING}],
    "appliance.alerts.v1.AlertsService/List": [{}],
    "appliance.alerts.v1.AlertsService/Update": [
        {"id": NOTHING, "content": ALERT},
        *({"id": NOTHING, "content": ALERT | {"spec": spec}} for spec in STORED),
    ],
    "appliance.alerts.v1.AlertsService/Delete": [{"id": NOTHING}],
    "appliance.alerts.v1.AlertsService/Test": [{"id": NOTHING}],
    "appliance.alerts.v1.AlertsService/ListFirings": [{"alertId": NOTHING, "pageToken": NOTHING}],
    "appliance.queries.v1.QueriesService/ExplainInsight": [
        {"query": insight(spec)} for spec in STORED
    ],
}


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """One RPC as the generated code has it."""

    request: type[Message[Any]]
    streams: bool


def load_methods(services: Iterable[str]) -> dict[str, Method]:
    """The methods of these services, and their clients for `ControlStack`."""
    found: dict[str, Method] = {}
    for name in services:
        package, _, short = name.rpartition(".")
        folder = importlib.import_module(f"appliance.gen.{package}")
        for info in pkgutil.iter_modules(folder.__path__):
            module = importlib.import_module(f"{folder.__name__}.{info.name}")
            if info.name.endswith("_connect") and hasattr(module, short):
                CLIENTS.setdefault(name, getattr(module, f"{short}Client"))
                for method in getattr(module, short).desc().methods:
                    found[f"{name}/{method.name}"] = Method(
                        request=getattr(module, method.input.name),
                        streams=method.method_kind == "server_streaming",
                    )
    return found


QUESTIONS = sorted(
    path
    for path, gate in GATES.items()
    if gate.kind is GateKind.PROJECT and not path.startswith("dashboard.projects.")
)
"""Every method that works for one project, but for those about the project itself."""

METHODS = load_methods({path.partition("/")[0] for path in QUESTIONS})


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """An administrator of a project beside another one."""

    control: ControlStack
    project: str
    person: Person

    async def ask(self, path: str, body: Json) -> tuple[str, Any]:
        """`ok` and the answer as JSON, or the code of a refusal and its text."""
        method = METHODS[path]
        try:
            message = message_from_json_value(method.request, body)
        except ValueError as error:
            return "invalid_argument", str(error)
        call = self.control.call_stream if method.streams else self.control.call
        try:
            told = await call(
                path, message, token=self.person.token, project=self.project, form="json"
            )
        except Refusal as refusal:
            return refusal.code, refusal.message
        parts = cast("list[Any]", told if isinstance(told, list) else [told])
        shown: list[Any] = [message_to_json_value(part) for part in parts]
        if path == EXPLAIN:  # the statement is the same whatever the text; its plan shows the text
            shown = [NUMBERED.sub("{p:", part["sql"]) for part in shown]
        return "ok", shown


@pytest.fixture(scope="module")
async def asking(engines: Settings, anyio_backend: str) -> AsyncGenerator[Asking]:
    async with control_stack(engines, own_events=True) as control:
        org = await control.make_org()
        project = await control.make_project(org)
        person = await control.make_member(Role.ADMIN, org)
        await fill(control.services.stores.clickhouse, project)
        yield Asking(control=control, project=project, person=person)


async def fill(store: ClickHouse, project: str) -> None:
    """Rows of both projects; those of the other one are nothing but its secret."""
    values = {"mine": project, "other": OTHER, "secret": SECRET}
    await store.command(EVENTS, values)
    await store.command(PROFILES, values)


class Trials:
    """Which texts a place is tried with: all at first, then those that tell most."""

    def __init__(self) -> None:
        self.tried: set[Place] = set()
        self.guarded: set[Place] = set()
        """Places where every text was refused, as by a pattern."""

    def texts(self, place: Place) -> Sequence[str]:
        """What to send; the first one is a text with which nothing is wrong."""
        if place in self.guarded:
            return (NOTHING, HOSTILE[1])
        return (NOTHING, *(HOSTILE[:CORE] if place in self.tried else HOSTILE))


@pytest.mark.parametrize("path", QUESTIONS)
async def test_no_text_is_more_than_a_text(asking: Asking, path: str) -> None:
    descriptor = METHODS[path].request.desc()
    trials = Trials()
    for body in BODIES[path]:
        for where, place in text_places(descriptor, body):
            codes: set[str] = set()
            usual: tuple[str, Any] | None = None
            for sent in trials.texts(place):
                text = sent.format(other=OTHER)
                code, told = await asking.ask(path, put(body, where, text))
                assert SECRET not in json.dumps(without(told, text)), (where, text)
                assert code in {"ok", *BLAMING}, (where, text, code, told)
                if usual is None:
                    usual = code, without(told, text)
                    continue
                codes.add(code)
                if code == "ok" and place not in ORDERED and path.rpartition("/")[2] not in WRITES:
                    assert (code, without(told, text)) == usual, (where, text)
            if "ok" not in codes:
                trials.guarded.add(place)
            trials.tried.add(place)
    assert trials.tried == text_fields(descriptor), "a text field without a body that has it"


async def test_the_bodies_are_taken(asking: Asking) -> None:
    """Control: the questions are good ones, so that it is the texts that are refused."""
    for path, bodies in BODIES.items():
        if path.rpartition("/")[2] in {"Query", "ExplainInsight", "SegmentUsers", "Preview"}:
            for body in bodies:
                code, told = await asking.ask(path, body)
                assert code == "ok" or NOTHING in json.dumps(body), (path, body, told)


async def test_rows_are_there_to_be_found(asking: Asking) -> None:
    """Control: the same questions with a text that fits find rows of the project."""
    body = json.loads(json.dumps(insight(SPECS_OF_GROUPS)).replace(NOTHING, "pro"))
    code, told = await asking.ask("shared.insights.v1.InsightsService/Query", body)
    assert code == "ok"
    assert "see" in json.dumps(told)


def test_every_question_has_bodies() -> None:
    assert set(BODIES) == set(QUESTIONS)
