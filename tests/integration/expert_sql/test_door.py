"""`POST /query`, `ExplainInsight` and the command line, on real stores."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, cast

import httpx
import msgspec
import pytest
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.app import create_app
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from appliance.gen.appliance.queries.v1.queries_pb import (
    ExplainInsightRequest,
    ExplainInsightResponse,
)
from appliance.gen.common.v1.filters_pb import EventFilter
from appliance.gen.common.v1.time_pb import TimeRange
from appliance.gen.shared.insights.v1 import insights_pb as pb
from appliance.services.expert_sql import OF_A_PROJECT_MAX
from appliance.storage.clickhouse.expert_views import views_database
from tests.support.control import ControlStack, Person, Refusal, control_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EXPLAIN = "appliance.queries.v1.QueriesService/ExplainInsight"
ROW = "SELECT generateUUIDv4(), {project:String}, 'd', generateUUIDv4(), {kind:String}, now64(3)"
INSERT = "INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time)"


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    control: ControlStack
    http: httpx.AsyncClient
    project: str
    people: dict[Role, Person]

    def headers(self, role: Role = Role.MEMBER) -> dict[str, str]:
        token = self.people[role].token
        return {"authorization": f"Bearer {token}", "x-project-id": self.project}

    async def post(
        self,
        sql: str,
        role: Role = Role.MEMBER,
        *,
        query: str = "",
        kind: str = "text/plain",
        accept: str = "*/*",
    ) -> httpx.Response:
        sent = {"content-type": kind, "accept": accept, **self.headers(role)}
        return await self.http.post(f"/query{query}", content=sql.encode(), headers=sent)


@pytest.fixture(scope="module")
async def desk(engines: Settings, anyio_backend: str) -> AsyncGenerator[Desk]:
    async with control_stack(engines, own_events=True) as control:
        org = await control.make_org()
        project = await control.make_project(org)
        events = control.services.stores.clickhouse
        for name, kind in ((project, "mine"), ("other", "SECRET")):
            await events.command(f"{INSERT} {ROW}", {"project": name, "kind": kind})
        people = {role: await control.make_member(role, org) for role in Role}
        settings = Settings(data_dir=engines.data_dir)
        app = cast("Any", create_app(control.services, settings))  # ASGI, spelt by another library
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as http:
            yield Desk(control=control, http=http, project=project, people=people)
        rows = await events.rows("SELECT currentDatabase()")
        await events.command(
            "DROP DATABASE IF EXISTS {name:Identifier}", {"name": views_database(str(rows[0][0]))}
        )


async def test_a_member_gets_rows_of_the_project(desk: Desk) -> None:
    for role in (Role.MEMBER, Role.ADMIN):
        answer = await desk.post("SELECT kind FROM events", role)
        assert answer.status_code == 200
        assert answer.json()["data"] == [{"kind": "mine"}]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert not any(name.startswith("x-clickhouse") for name in answer.headers)


@pytest.mark.parametrize(
    ("query", "accept", "kind", "body"),
    [
        ("?format=csv", "*/*", "text/csv", b'"kind"\n"mine"\n'),
        ("", "text/csv", "text/csv", b'"kind"\n"mine"\n'),
        ("?format=jsonl", "text/csv", "application/x-ndjson", b'{"kind":"mine"}\n'),
        ("?format=parquet", "*/*", "application/vnd.apache.parquet", b"PAR1"),
        ("?format=table", "*/*", "text/plain", "┌─kind".encode()),
    ],
)
async def test_the_form_is_chosen(
    desk: Desk, query: str, accept: str, kind: str, body: bytes
) -> None:
    answer = await desk.post("SELECT kind FROM events", query=query, accept=accept)
    assert answer.headers["content-type"].startswith(kind)
    assert answer.content.startswith(body)


async def test_json_bodies(desk: Desk) -> None:
    body = json.dumps({"query": "SELECT 1 AS n", "format": "csv"})
    answer = await desk.post(body, kind="application/json")
    assert answer.content == b'"n"\n1\n'
    for wrong in ("{", "[]", '{"query": 1}', '{"query": "SELECT 1", "settings": {}}', '{"query":"'):
        answer = await desk.post(wrong, kind="application/json")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    answer = await desk.post("SELECT 1", kind="application/xml")
    assert answer.status_code == 400
    answer = await desk.post("SELECT 1", query="?format=xml")
    assert answer.status_code == 400
    assert (await desk.post("x" * 300_000)).status_code == 400
    assert (await desk.http.get("/query", headers=desk.headers())).status_code == 405


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("sql", ["SELECT 1 AS n", "\n( select 1 AS n)", "with 1 AS n SELECT n"])
async def test_what_curl_sends_by_itself(desk: Desk, sql: str) -> None:
    answer = await desk.post(sql, kind=f"{FORM}; charset=utf-8", accept="text/csv")
    assert (answer.status_code, answer.content) == (200, b'"n"\n1\n')


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("query=SELECT+1", FORM),
        ("SELECT%201", FORM),
        ("SELECT+1", FORM),
        ("", FORM),
        ('{"query": "SELECT 1"}', FORM),
        ("SELECT 1 -- the first of what was two lines WHERE kind = 'a'", FORM),
        ("SELECT 1 # the same", FORM),
        ("SELECT 1", "multipart/form-data; boundary=a"),
        ("SELECT 1", "application/xml"),
    ],
)
async def test_a_wrong_label_is_told_with_its_remedy(desk: Desk, body: str, kind: str) -> None:
    answer = await desk.post(body, kind=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert "-H 'content-type: text/plain'" in answer.json()["message"]


async def test_a_page_elsewhere_can_send_a_form_but_no_credential(desk: Desk) -> None:
    """The cookie that counts for GraphQL does not count here."""
    token = desk.people[Role.MEMBER].token
    sent = {
        "content-type": FORM,
        "origin": "https://evil.example",
        "cookie": f"pug-access={token}; __Host-pug-access={token}",
    }
    body = b"SELECT 1"
    for headers in (sent, {**sent, "x-project-id": desk.project, "x-graphql-csrf": "1"}):
        answer = await desk.http.post("/query", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_who_may_not(desk: Desk) -> None:
    viewer = await desk.post("SELECT 1", Role.VIEWER)
    assert (viewer.status_code, viewer.json()["code"]) == (403, "permission_denied")
    assert (await desk.http.post("/query", content=b"SELECT 1")).status_code == 401
    token = {"authorization": desk.headers()["authorization"]}
    assert (await desk.http.post("/query", content=b"SELECT 1", headers=token)).status_code == 401
    stranger = await desk.control.make_member()
    headers = {"authorization": f"Bearer {stranger.token}", "x-project-id": desk.project}
    answer = await desk.http.post("/query", content=b"SELECT 1", headers=headers)
    assert answer.status_code == 401
    for key in ("pub_" + "a" * 20, "prv_" + "a" * 20):
        answer = await desk.http.post("/query", content=b"SELECT 1", headers={"x-api-key": key})
        assert answer.status_code == 401


async def test_refusals_are_told(desk: Desk) -> None:
    for sql, reason in (
        ("SELECT * FROM system.tables", "QUERY_REFUSED"),
        ("SELECT nothing FROM events", "QUERY_INVALID"),
    ):
        answer = await desk.post(sql)
        assert answer.status_code == 400
        assert answer.json()["details"][0]["debug"]["reason"] == reason


async def test_who_asked_what_stands_in_the_log(desk: Desk) -> None:
    sql = "SELECT 'who asked' AS question"
    await desk.post(sql, query="?format=csv")
    await desk.post("SELECT 'refused' FROM nowhere")
    rows = await desk.control.database.rows(
        "SELECT actor_id, project_id, details FROM audit_entries WHERE action = 'project.query.run'"
        " ORDER BY create_time DESC, id DESC LIMIT 1"
    )
    details = json.loads(str(rows[0]["details"]))
    assert details["sql"] == sql
    assert details["format"] == "csv"
    assert len(details["sha256"]) == 64
    assert rows[0]["project_id"] == desk.project
    assert rows[0]["actor_id"] == desk.people[Role.MEMBER].id


ENDLESS = (
    "WITH t AS (SELECT arrayJoin(range(100000)) AS n) SELECT count(), '{mark}' FROM t a, t b, t c"
)


async def is_running(desk: Desk, mark: str, wanted: int) -> bool | None:
    rows = await desk.control.services.stores.clickhouse.rows(
        "SELECT count() FROM system.processes"
        " WHERE query LIKE {mark:String} AND query NOT LIKE '%processes%'",
        {"mark": f"%{mark}%"},
    )
    return True if rows[0][0] == wanted else None


async def test_a_caller_who_leaves_takes_the_query_along(desk: Desk) -> None:
    """Straight into the application: a disconnect while the engine works."""
    mark = "left alone"
    app = create_app(desk.control.services, Settings())
    body = ENDLESS.format(mark=mark).encode()
    gone = asyncio.Event()
    messages: list[dict[str, object]] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    headers = {"content-type": "text/plain", **desk.headers()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/query",
        "raw_path": b"/query",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("pug.test", 80),
    }
    serving = asyncio.ensure_future(app(scope, receive, send))  # type: ignore[arg-type] ASGI by hand
    assert await poll(lambda: is_running(desk, mark, 1), every_seconds=0.05, timeout_seconds=60)
    gone.set()
    await asyncio.wait_for(serving, 60)
    assert not sent
    assert await poll(lambda: is_running(desk, mark, 0), every_seconds=0.05, timeout_seconds=60)


async def test_so_many_at_once_and_no_more(desk: Desk) -> None:
    mark = "one of many"
    sql = ENDLESS.format(mark=mark)
    running = [asyncio.ensure_future(desk.post(sql)) for _ in range(OF_A_PROJECT_MAX)]
    assert await poll(
        lambda: is_running(desk, mark, OF_A_PROJECT_MAX), every_seconds=0.05, timeout_seconds=60
    )
    answer = await desk.post("SELECT 1")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"
    for one in running:
        one.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    async def has_room() -> bool | None:
        return True if (await desk.post("SELECT 1")).status_code == 200 else None

    assert await poll(has_room, every_seconds=0.05, timeout_seconds=60)


EVENT = pb.EventQuery(event=EventFilter(kind="mine"))
SPECS = {
    "trends": pb.InsightQuerySpec(insight_type=pb.InsightType.TRENDS, events=[EVENT]),
    "segmentation": pb.InsightQuerySpec(insight_type=pb.InsightType.SEGMENTATION, events=[EVENT]),
    "funnel": pb.InsightQuerySpec(insight_type=pb.InsightType.FUNNEL, events=[EVENT, EVENT]),
    "retention": pb.InsightQuerySpec(insight_type=pb.InsightType.RETENTION, events=[EVENT]),
    "flow": pb.InsightQuerySpec(
        insight_type=pb.InsightType.USER_FLOW, user_flow=pb.UserFlowQuery()
    ),
    "ranking": pb.InsightQuerySpec(
        insight_type=pb.InsightType.TOP_K,
        top_k=pb.TopKQuery(dimension=pb.TopKQuery.Dimension.EVENT_KIND),
    ),
    "sessions": pb.InsightQuerySpec(
        insight_type=pb.InsightType.TRENDS,
        session=pb.SessionQuery(metric=pb.SessionMetric.SESSIONS),
    ),
    "map": pb.InsightQuerySpec(insight_type=pb.InsightType.MAP, map=pb.MapQuery()),
}


def request(spec: pb.InsightQuerySpec) -> ExplainInsightRequest:
    start, end = Timestamp(seconds=1_767_225_600), Timestamp(seconds=1_767_657_600)
    return ExplainInsightRequest(
        query=pb.QueryRequest(
            spec=spec, time_range=TimeRange(from_=start, to=end), granularity=pb.Granularity.DAY
        )
    )


@pytest.mark.parametrize("name", SPECS)
async def test_every_insight_can_be_explained(desk: Desk, name: str) -> None:
    told = await desk.control.call(
        EXPLAIN, request(SPECS[name]), token=desk.people[Role.ADMIN].token, project=desk.project
    )
    assert isinstance(told, ExplainInsightResponse)
    assert told.source in {"raw", "event rollup", "session rollup"}
    assert "SELECT" in told.sql
    values = {one.value for one in told.parameters}
    assert desk.project in values, "the project is a bound value"
    assert desk.project not in told.sql
    assert all(one.type for one in told.parameters)
    assert {"max_execution_time", "priority"} <= {one.name for one in told.settings}
    assert any("ReadFromMergeTree" in line for line in told.plan), told.plan


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
async def test_only_administrators_look_behind(desk: Desk, role: Role) -> None:
    with pytest.raises(Refusal) as caught:
        await desk.control.call(
            EXPLAIN, request(SPECS["trends"]), token=desk.people[role].token, project=desk.project
        )
    assert caught.value.reason == "ORG_ROLE_FORBIDDEN"


async def test_no_key_looks_behind(desk: Desk) -> None:
    with pytest.raises(Refusal) as caught:
        await desk.control.call(
            EXPLAIN, request(SPECS["trends"]), headers={"x-api-key": "prv_" + "b" * 20}
        )
    assert caught.value.code == "unauthenticated"
