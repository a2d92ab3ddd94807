"""Every documented answer of our own services, in both forms of the wire (`documented.py`)."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest

from appliance.config.alerts import AlertSettings
from appliance.config.model import Settings
from appliance.domain.access.permissions import GATES
from appliance.domain.access.roles import Role
from appliance.domain.cohorts.cohort import LIST_IDS_MAX
from appliance.gen.appliance.alerts.v1 import alerts_pb
from appliance.gen.appliance.annotations.v1 import annotations_pb
from appliance.gen.appliance.cohorts.v1 import cohorts_pb
from appliance.gen.appliance.queries.v1 import queries_pb
from appliance.services.alerts.service import PROJECT_ALERTS_MAX
from tests.support.control import ANSWERS, ControlStack, Person, Refusal, control_stack
from tests.support.documented import FORMS, documented_answers

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MANUAL: Final = Path(__file__).parents[3] / "docs"
PAGES: Final = ("cohorts.md", "alerts.md", "expert-sql.md")
COHORTS: Final = "appliance.cohorts.v1.CohortsService"
ANNOTATIONS: Final = "appliance.annotations.v1.AnnotationsService"
ALERTS: Final = "appliance.alerts.v1.AlertsService"
ELSEWHERE: Final = frozenset(
    {
        f"{ALERTS}/Create failed_precondition/WEBHOOKS_OFF",  # needs another installation
        f"{ALERTS}/Update failed_precondition/WEBHOOKS_OFF",
        f"{ANNOTATIONS}/Create resource_exhausted/ANNOTATIONS_EXHAUSTED",
        f"{COHORTS}/Create resource_exhausted/COHORT_TOO_LARGE",
    }
)
EXPLAIN: Final = "appliance.queries.v1.QueriesService/ExplainInsight"
MESSAGES: Final = {
    COHORTS: cohorts_pb,
    ANNOTATIONS: annotations_pb,
    ALERTS: alerts_pb,
    "appliance.queries.v1.QueriesService": queries_pb,
}
PART_IDS: Final = 10_000
GHOST: Final = "00000000000000000000"
WINDOW: Final = {"from": "2026-05-01T00:00:00Z", "to": "2026-05-11T00:00:00Z"}

Json = dict[str, Any]


def asked_of(cohort: str) -> Json:
    return {"property": "$cohort", "operator": "FILTER_OPERATOR_EQUALS", "value": cohort}


def trend(**event: Any) -> Json:
    return {"insightType": "INSIGHT_TYPE_TRENDS", "events": [{"event": event}]}


def rules(**criterion: Any) -> Json:
    return {"groups": [{"criteria": [criterion]}]}


def deed(**event: Any) -> Json:
    return rules(did={"event": event, "comparison": "COMPARISON_AT_LEAST", "times": 1})


def question(spec: Json) -> Json:
    return {"query": {"spec": spec, "timeRange": WINDOW, "granularity": "GRANULARITY_DAY"}}


def alert(**changes: Any) -> Json:
    content = {
        "displayName": "Many",
        "enabled": True,
        "spec": trend(kind="seen"),
        "window": {"granularity": "GRANULARITY_DAY", "periods": 1},
        "condition": {"comparison": "COMPARISON_ABOVE", "amount": 10, "unit": "UNIT_VALUE"},
        "frequency": "FREQUENCY_HOURLY",
    }
    return {"content": content | changes}


def note(**changes: str) -> Json:
    return {"content": {"text": "Release", "startTime": "2026-05-01T10:00:00Z", **changes}}


def webhook(url: str, **more: str) -> Json:
    return {"webhooks": [{"url": url, **more}]}


MANY: Final = {
    "property": "$cohort",
    "operator": "FILTER_OPERATOR_IN",
    "values": [f"{number:020}" for number in range(51)],
}
"""More cohorts than a question may name."""
QUESTIONS: Final[tuple[tuple[Json, str], ...]] = (
    (
        trend(filters=[asked_of("a") | {"operator": "FILTER_OPERATOR_CONTAINS"}]),
        "INVALID_INSIGHT_QUERY",
    ),
    (trend(filters=[MANY]), "INVALID_COHORT"),
    (trend(filters=[asked_of(GHOST)]), "COHORT_NOT_FOUND"),
)
"""Specifications that the schema takes, and why they are refused."""
ALERT_REFUSALS: Final[tuple[tuple[Json, str], ...]] = (
    ({"spec": {"insightType": "INSIGHT_TYPE_USER_FLOW", "userFlow": {}}}, "INVALID_ALERT_QUESTION"),
    *(({"spec": spec}, reason) for spec, reason in QUESTIONS),
    ({"memberIds": [GHOST]}, "ORG_MEMBER_NOT_FOUND"),
    (webhook("ftp://hooks.test/"), "INVALID_WEBHOOK_URL"),
    (webhook("https://other.test/"), "WEBHOOK_HOST_NOT_LISTED"),
    (webhook("https://hooks.test/"), "ALERT_SECRET_KEY_MISSING"),
    (webhook("https://hooks.test/", id=GHOST), "INVALID_WEBHOOK"),
)
SOUND: Final[dict[str, Json]] = {
    f"{COHORTS}/Create": {"displayName": "A", "list": {}},
    f"{COHORTS}/Update": {"id": GHOST, "displayName": "A"},
    f"{COHORTS}/Delete": {"id": GHOST},
    f"{COHORTS}/ChangeIds": {"id": GHOST},
    f"{ANNOTATIONS}/Create": note(),
    f"{ANNOTATIONS}/Update": {"id": GHOST, **note()},
    f"{ANNOTATIONS}/Delete": {"id": GHOST},
    f"{ALERTS}/Create": alert(),
    f"{ALERTS}/Update": {"id": GHOST, **alert()},
    f"{ALERTS}/Delete": {"id": GHOST},
    f"{ALERTS}/Test": {"id": GHOST},
    EXPLAIN: question(trend()),
}
"""What the schema takes, of each method that not every role may call."""
BROKEN: Final[dict[str, Json]] = {
    f"{ANNOTATIONS}/Delete": {"id": 2 * GHOST},
    f"{ALERTS}/Get": {"id": 2 * GHOST},
    f"{ALERTS}/Delete": {"id": 2 * GHOST},
    f"{ALERTS}/Test": {"id": 2 * GHOST},
    f"{ALERTS}/ListFirings": {"pageSize": -1},
}
"""What the schema refuses, where that is not the empty message."""


class Desk:
    """Somebody with a project, who speaks one form of the wire."""

    def __init__(self, control: ControlStack, form: str, people: dict[str, Person]) -> None:
        self._control = control
        self._form = form
        self._people = people
        self.project = ""

    async def call(self, path: str, body: Json, who: str = "admin") -> Any:
        """The answer; raises Refusal."""
        service, _, method = path.partition("/")
        message = getattr(MESSAGES[service], f"{method}Request").from_json(json.dumps(body))
        return await self._control.call(
            path,
            message,
            token=self._people[who].token if who else None,
            project=self.project,
            form=self._form,
        )

    async def refused(self, path: str, body: Json, reason: str, who: str = "admin") -> None:
        """Meet a refusal."""
        with pytest.raises(Refusal) as caught:
            await self.call(path, body, who)
        assert caught.value.reason == reason, f"{path}: {caught.value}"


@pytest.fixture(scope="module")
async def control(engines: Settings, anyio_backend: str) -> AsyncGenerator[ControlStack]:
    settings = Settings(
        data_dir=engines.data_dir, alerts=AlertSettings(webhook_hosts=("hooks.test",))
    )
    async with control_stack(engines, settings, own_events=True) as stack:
        yield stack


@pytest.mark.parametrize("form", FORMS)
async def test_every_documented_answer_is_given(control: ControlStack, form: str) -> None:
    org = await control.make_org()
    roles = {role.value: await control.make_member(role, org) for role in Role}
    desk = Desk(control, form, roles)
    desk.project = await control.make_project(org)
    documented = {path: told for path, told in documented_answers().items() if is_own(path)}
    for path, told in documented.items():
        await at_the_gate(desk, path, set(told))
    await about_cohorts(desk)
    await about_annotations(desk)
    await about_alerts(desk)
    await about_plans(desk)
    missing = {
        f"{path} {answer}"
        for path, told in documented.items()
        for answer in told
        if form not in ANSWERS[path][answer]
    }
    assert missing <= ELSEWHERE


def test_every_method_that_is_served_is_documented() -> None:
    """All but those of SDKs."""
    assert set(documented_answers()) == {path for path in GATES if not path.startswith("sdk.")}


def test_every_reason_of_ours_stands_in_the_manual() -> None:
    told = "".join((MANUAL / name).read_text() for name in PAGES)
    reasons = {
        answer.partition("/")[2]
        for path, answers in documented_answers().items()
        if is_own(path)
        for answer in answers
    }
    common = {"", "INVALID_ARGUMENT", "UNAUTHENTICATED", "ORG_ROLE_FORBIDDEN"}
    assert not {reason for reason in reasons - common if f"`{reason}`" not in told}


def is_own(path: str) -> bool:
    return path.startswith("appliance.")


async def at_the_gate(desk: Desk, path: str, told: set[str]) -> None:
    """What is told before anybody looks at the subject."""
    await desk.refused(path, {}, "UNAUTHENTICATED", who="")
    if "invalid_argument/INVALID_ARGUMENT" in told:
        await desk.refused(path, BROKEN.get(path, {}), "INVALID_ARGUMENT")
    if "permission_denied/ORG_ROLE_FORBIDDEN" in told:
        await desk.refused(path, SOUND[path], "ORG_ROLE_FORBIDDEN", who="viewer")


async def about_cohorts(desk: Desk) -> None:
    made = await desk.call(f"{COHORTS}/Create", {"displayName": "A", "rules": deed(kind="a")})
    list_made = await desk.call(f"{COHORTS}/Create", {"displayName": "B", "list": {}})
    first, second = made.cohort.id, list_made.cohort.id
    within = rules(within={"cohortId": first})
    user = await desk.call(f"{COHORTS}/Create", {"displayName": "C", "rules": within})
    ghost = rules(within={"cohortId": GHOST})
    around = rules(within={"cohortId": user.cohort.id})
    unaskable = deed(filters=[asked_of(first)])
    for method, body in (("Create", {}), ("Update", {"id": first})):
        path = f"{COHORTS}/{method}"
        named = {"displayName": "D", **body}
        await desk.refused(path, {**named, "rules": unaskable}, "INVALID_COHORT")
        await desk.refused(path, {**named, "rules": ghost}, "COHORT_NOT_FOUND")
        taken = {**named, "displayName": "B", "rules": deed(kind="a")}
        await desk.refused(path, taken, "COHORT_NAME_CONFLICT")
    circle = {"id": first, "displayName": "A", "rules": around}
    await desk.refused(f"{COHORTS}/Update", circle, "INVALID_COHORT")
    await desk.refused(f"{COHORTS}/ChangeIds", {"id": first, "add": ["a"]}, "INVALID_COHORT")
    await desk.refused(f"{COHORTS}/Preview", {"rules": unaskable}, "INVALID_COHORT")
    await desk.refused(f"{COHORTS}/Delete", {"id": first}, "COHORT_IN_USE")
    for method in ("Get", "Delete", "Preview", "ListMembers", "ChangeIds"):
        await desk.refused(f"{COHORTS}/{method}", {"id": GHOST}, "COHORT_NOT_FOUND")
        if method != "Delete":
            await desk.call(f"{COHORTS}/{method}", {"id": second})
    same = {"id": first, "displayName": "A", "rules": deed(kind="b")}
    await desk.call(f"{COHORTS}/Update", same)
    assert len((await desk.call(f"{COHORTS}/List", {})).cohorts) == 3
    for part in range(LIST_IDS_MAX // PART_IDS):
        await desk.call(f"{COHORTS}/ChangeIds", {"id": second, "add": some_ids(part)})
    more = {"id": second, "add": ["one more"]}
    await desk.refused(f"{COHORTS}/ChangeIds", more, "COHORT_TOO_LARGE")
    await desk.call(f"{COHORTS}/Delete", {"id": second})


def some_ids(part: int) -> list[str]:
    """As many as one call may bring."""
    return [f"{part}-{number}" for number in range(PART_IDS)]


async def about_annotations(desk: Desk) -> None:
    made = await desk.call(f"{ANNOTATIONS}/Create", note())
    about = {"id": made.annotation.id}
    lost = note(dashboardId=GHOST)
    await desk.refused(f"{ANNOTATIONS}/Create", lost, "DASHBOARD_NOT_FOUND")
    await desk.refused(f"{ANNOTATIONS}/Update", {**about, **lost}, "DASHBOARD_NOT_FOUND")
    await desk.refused(
        f"{ANNOTATIONS}/List", {"timeRange": WINDOW, "pageToken": "a"}, "INVALID_PAGE_TOKEN"
    )
    for method, body in (("Update", note()), ("Delete", {})):
        path = f"{ANNOTATIONS}/{method}"
        await desk.refused(path, {"id": GHOST, **body}, "ANNOTATION_NOT_FOUND")
        await desk.call(f"{ANNOTATIONS}/List", {"timeRange": WINDOW})
        await desk.call(path, {**about, **body})


async def about_alerts(desk: Desk) -> None:
    made = await desk.call(f"{ALERTS}/Create", alert())
    about = {"id": made.alert.id}
    for path, one in ((f"{ALERTS}/Create", {}), (f"{ALERTS}/Update", about)):
        for changes, reason in ALERT_REFUSALS:
            await desk.refused(path, {**one, **alert(**changes)}, reason)
    for method, body in (("Get", {}), ("Update", alert()), ("Test", {}), ("Delete", {})):
        await desk.refused(f"{ALERTS}/{method}", {"id": GHOST, **body}, "ALERT_NOT_FOUND")
        if method != "Delete":
            await desk.call(f"{ALERTS}/{method}", {**about, **body})
    await desk.call(f"{ALERTS}/Test", {**about, "send": True})
    await desk.refused(f"{ALERTS}/Test", {**about, "send": True}, "ALERT_TESTED_JUST_NOW")
    await desk.call(f"{ALERTS}/ListFirings", {})
    await desk.refused(f"{ALERTS}/ListFirings", {"pageToken": "a"}, "INVALID_PAGE_TOKEN")
    for _ in range(PROJECT_ALERTS_MAX - 1):
        await desk.call(f"{ALERTS}/Create", alert())
    await desk.refused(f"{ALERTS}/Create", alert(), "ALERTS_EXHAUSTED")
    assert len((await desk.call(f"{ALERTS}/List", {})).alerts) == PROJECT_ALERTS_MAX
    await desk.call(f"{ALERTS}/Delete", about)


async def about_plans(desk: Desk) -> None:
    for spec, reason in QUESTIONS:
        await desk.refused(EXPLAIN, question(spec), reason)
    await desk.call(EXPLAIN, question(trend()))
