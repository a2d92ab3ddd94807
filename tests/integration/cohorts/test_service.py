"""CohortsService and questions about cohorts by generated clients (docs/cohorts.md)."""

import json
from itertools import count
from typing import Any

import pytest

from appliance.domain.access.roles import Role
from appliance.gen.appliance.cohorts.v1 import cohorts_pb as pb
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    DashboardsServiceDeleteRequest,
    DashboardsServiceQueryDashboardRequest,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    InsightQuerySpec,
    QueryRequest,
    SegmentUsersRequest,
)
from appliance.services.insights import KEPT_METRIC
from tests.support.boards import BoardDesk, insight_tile
from tests.support.control import Refusal
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "appliance.cohorts.v1.CohortsService"
INSIGHTS = "shared.insights.v1.InsightsService"
WEEK = {"from": "2026-05-03T22:00:00Z", "to": "2026-05-10T22:00:00Z"}
"""The seven days that end with the clock's day, in Berlin."""

BUYERS = {
    "groups": [
        {
            "criteria": [
                {
                    "did": {
                        "event": {"kind": "buy"},
                        "comparison": "COMPARISON_AT_LEAST",
                        "times": 2,
                        "span": {"lastDays": 7},
                    }
                }
            ]
        }
    ]
}
EVENTS = [
    ("a1", "buy", "2026-05-03T22:00:00.000Z"),
    ("a2", "buy", "2026-05-09T10:00:00.000Z"),
    ("b", "buy", "2026-05-09T10:00:00.000Z"),
    ("c", "buy", "2026-05-03T21:59:59.999Z"),
    ("c", "buy", "2026-05-09T10:00:00.000Z"),
    ("d", "look", "2026-05-09T10:00:00.000Z"),
    ("cookieless-1", "buy", "2026-05-09T10:00:00.000Z"),
    ("cookieless-1", "buy", "2026-05-09T11:00:00.000Z"),
]


async def store(desk: BoardDesk, project: str, events=tuple(EVENTS)) -> None:
    """Events, and a person who is a1 and a2."""
    engine = desk.control.services.stores.clickhouse
    rows = [
        {
            "distinct_id": name,
            "kind": kind,
            "occur_time": at,
            "session_id": "00000000-0000-4000-8000-000000000001",
        }
        for name, kind, at in events
    ]
    await engine.insert_ndjson("events", [make_rows(project, rows)], {})
    person = {"project_id": project, "id": "P", "external_id": "a1", "version": 1}
    person["properties"] = '{"plan": "pro"}'
    alias = {"project_id": project, "alias_id": "a2", "profile_id": "P", "version": 1}
    await engine.insert_ndjson("profiles", [json.dumps(person).encode()], {})
    await engine.insert_ndjson("profile_aliases", [json.dumps(alias).encode()], {})


_NUMBERS = count()


@pytest.fixture
async def shop(desk: BoardDesk):
    """The desk with a fresh project that has events."""
    name = f"Shop {next(_NUMBERS)}"
    desk.project = await desk.control.make_project(desk.org, name, timezone="Europe/Berlin")
    await store(desk, desk.project)
    return desk


async def call(desk: BoardDesk, method: str, message: Any, *, service: str = SERVICE, **who) -> Any:
    token = who.get("who", desk.member).token
    project = who.get("project", desk.project)
    form = who.get("form", "proto")
    return await desk.control.call(
        f"{service}/{method}", message, token=token, project=project, form=form
    )


async def refused(desk: BoardDesk, method: str, message: Any, **who) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await call(desk, method, message, **who)
    return caught.value


async def create(desk: BoardDesk, name: str, content: dict, **who) -> pb.Cohort:
    request = pb.CreateRequest.from_json(json.dumps({"displayName": name, **content}))
    made: pb.Cohort = (await call(desk, "Create", request, **who)).cohort
    return made


def filtered(operator: str, *ids: str) -> dict:
    key = {"values": list(ids)} if operator.endswith("IN") else {"value": ids[0]}
    asked = {"property": "$cohort", "operator": f"FILTER_OPERATOR_{operator}", **key}
    return {"filterGroups": [{"filters": [asked]}]}


def total_of(spec: dict) -> InsightQuerySpec:
    return InsightQuerySpec.from_json(
        json.dumps({"insightType": "INSIGHT_TYPE_SEGMENTATION", "events": [{"event": {}}], **spec})
    )


async def total(desk: BoardDesk, spec: dict, **who) -> float:
    window = {"from": "2026-05-01T00:00:00Z", "to": "2026-05-11T00:00:00Z"}
    request = QueryRequest.from_json(
        json.dumps({"timeRange": window, "granularity": "GRANULARITY_DAY"})
    )
    request.spec = total_of(spec)
    answer = await call(desk, "Query", request, service=INSIGHTS, **who)
    return answer.result.value.total


async def members(desk: BoardDesk, cohort_id: str, **page) -> list[tuple[str, str]]:
    answer = await call(desk, "ListMembers", pb.ListMembersRequest(id=cohort_id, **page))
    return [(one.id, one.external_id) for one in answer.members]


@pytest.mark.parametrize("form", ["json", "proto"])
async def test_a_cohort_is_told_as_it_was_sent(shop: BoardDesk, form: str) -> None:
    made = await create(shop, "Buyers", {"rules": BUYERS, "description": "why"}, form=form)
    assert (made.display_name, made.description, made.project_id) == ("Buyers", "why", shop.project)
    read = (await call(shop, "Get", pb.GetRequest(id=made.id), form=form)).cohort
    assert read.to_binary() == made.to_binary()
    assert json.loads(read.to_json())["rules"] == {
        "groups": [
            {"criteria": [{"did": BUYERS["groups"][0]["criteria"][0]["did"] | {"times": "2"}}]}
        ]
    }
    listed = (await call(shop, "List", pb.ListRequest(), form=form)).cohorts
    assert [one.id for one in listed] == [made.id]
    assert (await shop.control.audit_actions())[-1] == "cohort.create"


async def test_who_bought_twice_within_seven_local_days(shop: BoardDesk) -> None:
    """Counted over both ids of a person, from the local midnight on, without cookieless ids."""
    buyers = await create(shop, "Buyers", {"rules": BUYERS})
    assert await members(shop, buyers.id) == [("P", "a1")]
    counted = await call(
        shop, "Preview", pb.PreviewRequest.from_json(json.dumps({"rules": BUYERS}))
    )
    assert counted.people == 1
    everything = await total(shop, {})
    inside = await total(shop, filtered("EQUALS", buyers.id))
    outside = await total(shop, filtered("NOT_EQUALS", buyers.id))
    assert (everything, inside, outside) == (8, 2, 6)


async def test_lists_rules_and_cohorts_within_cohorts(shop: BoardDesk) -> None:
    listed = await create(shop, "Friends", {"list": {"distinctIds": ["a2", "d", "nobody", "d"]}})
    assert listed.content.value.ids == 3
    assert await members(shop, listed.id) == [("P", "a1"), ("d", "")]
    within = {"within": {"cohortId": listed.id}}
    bought = {"did": {"event": {"kind": "buy"}, "comparison": "COMPARISON_AT_MOST"}}
    both = await create(
        shop, "Friends who never bought", {"rules": {"groups": [{"criteria": [within, bought]}]}}
    )
    assert await members(shop, both.id) == [("d", "")]
    others = {"groups": [{"criteria": [{"within": {"cohortId": both.id, "isNot": True}}]}]}
    rest = await create(shop, "The others", {"rules": others})
    assert await members(shop, rest.id, page_size=2) == [("P", "a1"), ("b", "")]
    page = await call(
        shop, "ListMembers", pb.ListMembersRequest(id=rest.id, page_size=2, page_token="b")
    )
    assert ([one.id for one in page.members], page.next_page_token) == (["c"], "")
    assert await total(shop, filtered("IN", both.id, listed.id)) == 3
    assert await total(shop, filtered("NOT_IN", both.id, listed.id)) == 5

    changed = await call(
        shop, "ChangeIds", pb.ChangeIdsRequest(id=listed.id, add=["b"], remove=["d", "x"])
    )
    assert changed.cohort.content.value.ids == 3
    assert await members(shop, listed.id) == [("P", "a1"), ("b", "")]
    assert (await shop.control.audit_actions())[-1] == "cohort.change_ids"


async def test_traits_and_first_times(shop: BoardDesk) -> None:
    plan = {"filter": {"property": "plan", "operator": "FILTER_OPERATOR_EQUALS", "value": "pro"}}
    pro = await create(shop, "Pro", {"rules": {"groups": [{"criteria": [{"trait": plan}]}]}})
    assert await members(shop, pro.id) == [("P", "a1")]
    first = {"event": {"kind": "buy"}, "span": {"range": {"from": WEEK["from"], "to": WEEK["to"]}}}
    fresh = {"groups": [{"criteria": [{"firstDid": first}]}]}
    new = await create(shop, "New", {"rules": fresh})
    assert await members(shop, new.id) == [("P", "a1"), ("b", "")]


async def test_people_behind_a_number_and_tiles(shop: BoardDesk) -> None:
    """`SegmentUsers` and boards understand cohorts; a cohort that is gone spoils its tile only."""
    buyers = await create(shop, "Buyers", {"rules": BUYERS})
    request = SegmentUsersRequest.from_json(
        json.dumps({"timeRange": WEEK, "events": [{"event": {}}], **filtered("EQUALS", buyers.id)})
    )
    answer = await call(shop, "SegmentUsers", request, service=INSIGHTS)
    assert list(answer.distinct_ids) == ["a1", "a2"]

    board = await shop.make(
        insight_tile(total_of(filtered("IN", buyers.id)), name="Buyers' events"),
        insight_tile(total_of(filtered("EQUALS", "unknown")), name="Unknown"),
    )
    rendered = await shop.call(
        "QueryDashboard", DashboardsServiceQueryDashboardRequest(dashboard_id=board.id)
    )
    first, second = rendered.dashboard.tiles
    assert first.outcome.value.result.value.total == 2
    assert second.outcome.value == "the query does not fit: there is no such cohort"

    refusal = await refused(shop, "Delete", pb.DeleteRequest(id=buyers.id))
    assert (refusal.code, refusal.reason) == ("failed_precondition", "COHORT_IN_USE")
    assert refusal.resource == ("dashboard_tile", board.tiles[0].id)
    assert "the tile “Buyers' events” of the board “Board”" in refusal.message
    await shop.call("Delete", DashboardsServiceDeleteRequest(id=board.id))
    await call(shop, "Delete", pb.DeleteRequest(id=buyers.id))
    assert (await refused(shop, "Get", pb.GetRequest(id=buyers.id))).reason == "COHORT_NOT_FOUND"
    assert (await shop.control.audit_actions())[-1] == "cohort.delete"


async def test_a_cohort_within_another_is_not_removed(shop: BoardDesk) -> None:
    inner = await create(shop, "Inner", {"rules": BUYERS})
    rules = {"groups": [{"criteria": [{"within": {"cohortId": inner.id}}]}]}
    outer = await create(shop, "Outer", {"rules": rules})
    refusal = await refused(shop, "Delete", pb.DeleteRequest(id=inner.id))
    assert (refusal.reason, refusal.resource) == ("COHORT_IN_USE", ("cohort", outer.id))
    assert "“Outer”" in refusal.message


async def test_a_cohort_that_an_alert_is_about_is_not_removed(shop: BoardDesk) -> None:
    inner = await create(shop, "Watched", {"rules": BUYERS})
    question = {"events": [{"event": filtered_event(inner.id)}]}
    await shop.control.database.execute(
        "INSERT INTO alerts (id, project_id, display_name, question, granularity, periods,"
        " comparison, unit, amount, frequency, next_time)"
        " VALUES ($1, $2, 'Too few', $3::text::jsonb, 'day', 1, 'below', 'value', 1, 'day', now())",
        *(f"alert{next(_NUMBERS)}", shop.project, json.dumps(question)),
    )
    refusal = await refused(shop, "Delete", pb.DeleteRequest(id=inner.id))
    assert refusal.reason == "COHORT_IN_USE"
    assert "the alert “Too few”" in refusal.message


async def test_circles_depth_and_rules_that_cannot_be(shop: BoardDesk) -> None:
    """Refused when saved, also when the damage would be to another cohort."""

    def around(cohort_id: str) -> dict:
        return {"rules": {"groups": [{"criteria": [{"within": {"cohortId": cohort_id}}]}]}}

    first = await create(shop, "1", {"rules": BUYERS})
    second = await create(shop, "2", around(first.id))
    third = await create(shop, "3", around(second.id))
    deep = pb.CreateRequest.from_json(json.dumps({"displayName": "4", **around(third.id)}))
    assert (await refused(shop, "Create", deep)).reason == "INVALID_COHORT"
    circle = pb.UpdateRequest.from_json(
        json.dumps({"id": first.id, "displayName": "1", **around(third.id)})
    )
    assert (await refused(shop, "Update", circle)).reason == "INVALID_COHORT"
    other = await create(shop, "other", {"list": {"distinctIds": ["a1"]}})
    deeper = pb.UpdateRequest.from_json(
        json.dumps({"id": first.id, "displayName": "1", **around(other.id)})
    )
    refusal = await refused(shop, "Update", deeper)
    assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_COHORT")
    assert third.id in refusal.message
    nested = {"did": {"event": filtered_event(first.id), "comparison": "COMPARISON_AT_LEAST"}}
    for criterion in (
        nested,
        {
            "trait": {
                "filter": {"property": "a", "operator": "FILTER_OPERATOR_LT", "value": "1e999"}
            }
        },
    ):
        content = {"rules": {"groups": [{"criteria": [criterion]}]}}
        wrong = pb.CreateRequest.from_json(json.dumps({"displayName": "x", **content}))
        assert (await refused(shop, "Create", wrong)).reason == "INVALID_COHORT"
    unknown = pb.CreateRequest.from_json(json.dumps({"displayName": "x", **around("nowhere")}))
    assert (await refused(shop, "Create", unknown)).reason == "COHORT_NOT_FOUND"


def filtered_event(cohort_id: str) -> dict:
    (group,) = filtered("EQUALS", cohort_id)["filterGroups"]
    return {"kind": "buy", **group}


async def test_names_are_unique_and_rules_stay_rules(shop: BoardDesk) -> None:
    made = await create(shop, "Buyers", {"rules": BUYERS})
    listed = await create(shop, "List", {"list": {}})
    same = pb.CreateRequest.from_json(json.dumps({"displayName": "bUYERS", "rules": BUYERS}))
    refusal = await refused(shop, "Create", same)
    assert (refusal.code, refusal.reason) == ("already_exists", "COHORT_NAME_CONFLICT")
    for request in (
        pb.UpdateRequest(id=made.id, display_name="x"),
        pb.UpdateRequest(id=listed.id, display_name="x", rules=made.content.value),
    ):
        assert (await refused(shop, "Update", request)).reason == "INVALID_COHORT"
    ids = pb.ChangeIdsRequest(id=made.id, add=["a"])
    assert (await refused(shop, "ChangeIds", ids)).reason == "INVALID_COHORT"
    saved = await call(
        shop, "Update", pb.UpdateRequest(id=listed.id, display_name="Renamed", description="d")
    )
    assert (saved.cohort.display_name, saved.cohort.description) == ("Renamed", "d")


async def test_cohorts_of_another_project_do_not_exist(shop: BoardDesk) -> None:
    """Not to read, not to change, not to ask by, not to name in rules."""
    mine = await create(shop, "Mine", {"rules": BUYERS})
    listed = await create(shop, "List", {"list": {"distinctIds": ["a1"]}})
    await shop.make(insight_tile(total_of(filtered("EQUALS", mine.id))))
    theirs = await shop.control.make_project(shop.org, f"Theirs {next(_NUMBERS)}")
    for method, message in (
        ("Get", pb.GetRequest(id=mine.id)),
        ("Delete", pb.DeleteRequest(id=mine.id)),
        ("ListMembers", pb.ListMembersRequest(id=mine.id)),
        ("Update", pb.UpdateRequest(id=listed.id, display_name="x")),
        ("ChangeIds", pb.ChangeIdsRequest(id=listed.id, add=["z"])),
        ("Preview", pb.PreviewRequest.from_json(json.dumps({"id": mine.id}))),
    ):
        refusal = await refused(shop, method, message, project=theirs)
        assert (refusal.code, refusal.reason) == ("not_found", "COHORT_NOT_FOUND"), method
    assert (await call(shop, "List", pb.ListRequest(), project=theirs)).cohorts == []
    with pytest.raises(Refusal) as caught:
        await total(shop, filtered("IN", mine.id), project=theirs)
    assert caught.value.reason == "COHORT_NOT_FOUND"
    within = {"groups": [{"criteria": [{"within": {"cohortId": mine.id}}]}]}
    with pytest.raises(Refusal) as caught:
        await create(shop, "x", {"rules": within}, project=theirs)
    assert caught.value.reason == "COHORT_NOT_FOUND"
    again = await create(shop, "List", {"list": {"distinctIds": ["a1"]}}, project=theirs)
    assert (await call(shop, "Preview", _saved(again.id), project=theirs)).people == 0


def _saved(cohort_id: str) -> pb.PreviewRequest:
    return pb.PreviewRequest.from_json(json.dumps({"id": cohort_id}))


@pytest.mark.parametrize(
    "spec",
    [
        filtered("CONTAINS", "x"),
        {
            "filterGroups": [
                {"filters": [{"property": "$cohort", "operator": "FILTER_OPERATOR_IS_SET"}]}
            ]
        },
        {
            "insightType": "INSIGHT_TYPE_TRENDS",
            "breakdowns": [{"property": "$cohort"}],
        },
    ],
    ids=["operator", "set", "breakdown"],
)
async def test_what_cannot_be_asked_of_cohorts(shop: BoardDesk, spec: dict) -> None:
    with pytest.raises(Refusal) as caught:
        await total(shop, spec)
    assert (caught.value.code, caught.value.reason) == ("invalid_argument", "INVALID_INSIGHT_QUERY")


async def test_an_answer_is_kept_for_the_same_people_only(shop: BoardDesk) -> None:
    """Rules, lists and the day are part of the question."""
    engine = shop.control.services.stores.clickhouse
    counts = shop.control.services.insights.counts

    async def hits(spec: dict) -> tuple[float, int]:
        before = counts[KEPT_METRIC, "hit"]
        return await total(shop, spec), counts[KEPT_METRIC, "hit"] - before

    buyers = await create(shop, "Buyers", {"rules": BUYERS})
    listed = await create(shop, "List", {"list": {"distinctIds": ["b"]}})
    for table in ("events", "profiles", "profile_aliases"):
        await engine.command(f"SYSTEM STOP MERGES {table}", {})
    try:
        for spec, first in ((filtered("EQUALS", buyers.id), 2), (filtered("EQUALS", listed.id), 1)):
            assert await hits(spec) == (first, 0)
            assert await hits(spec) == (first, 1)
        await call(shop, "ChangeIds", pb.ChangeIdsRequest(id=listed.id, add=["d"]))
        assert await hits(filtered("EQUALS", listed.id)) == (2, 0)
        once = json.loads(json.dumps(BUYERS))
        once["groups"][0]["criteria"][0]["did"]["times"] = 1
        update = {"id": buyers.id, "displayName": "Buyers", "rules": once}
        await call(shop, "Update", pb.UpdateRequest.from_json(json.dumps(update)))
        assert await hits(filtered("EQUALS", buyers.id)) == (5, 0)
    finally:
        for table in ("events", "profiles", "profile_aliases"):
            await engine.command(f"SYSTEM START MERGES {table}", {})


NEEDING_A_MEMBER = [
    ("Create", pb.CreateRequest.from_json(json.dumps({"displayName": "x", "rules": BUYERS}))),
    ("Update", pb.UpdateRequest(id="x", display_name="x")),
    ("Delete", pb.DeleteRequest(id="x")),
    ("ChangeIds", pb.ChangeIdsRequest(id="x", add=["y"])),
]


@pytest.mark.parametrize(("method", "message"), NEEDING_A_MEMBER, ids=lambda each: str(each)[:9])
async def test_viewers_may_not_change(shop: BoardDesk, method, message) -> None:
    viewer = await shop.control.make_member(Role.VIEWER, shop.org)
    refusal = await refused(shop, method, message, who=viewer)
    assert (refusal.code, refusal.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN")
    await call(shop, "List", pb.ListRequest(), who=viewer)


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "{p0:String}", "\\", "x\ty\nz\r", "`t0`", "é\u2028"]
)
async def test_texts_are_texts_wherever_they_stand(shop: BoardDesk, text: str) -> None:
    """Nothing that a person writes becomes part of a statement."""
    await store(shop, shop.project, ((text, "odd", "2026-05-09T10:00:00.000Z"),))
    listed = await create(shop, f"list {text}"[:100], {"list": {"distinctIds": [text]}})
    assert await members(shop, listed.id) == [(text, "")]
    assert await total(shop, filtered("EQUALS", listed.id)) == 1
    asked = {"operator": "FILTER_OPERATOR_EQUALS", "value": text}
    event = {"filters": [{"property": "n", **asked}]}
    rules = {
        "groups": [
            {
                "criteria": [
                    {"did": {"event": event, "comparison": "COMPARISON_AT_LEAST", "times": 1}},
                    {"trait": {"filter": {"property": "plan.x-y", **asked}}},
                ],
                "operator": "LOGICAL_OPERATOR_OR",
            }
        ]
    }
    assert await members(shop, (await create(shop, "rules", {"rules": rules})).id) == []
    with pytest.raises(Refusal) as caught:
        await total(shop, filtered("EQUALS", text))
    assert caught.value.reason == "COHORT_NOT_FOUND"
    page = await call(shop, "ListMembers", pb.ListMembersRequest(id=listed.id, page_token=text))
    assert page.members == []
