"""Annotations by time, board, role and project."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import pytest
from protobuf import Message
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import ExhaustedError
from appliance.base.ids import IdMaker
from appliance.config.model import Settings
from appliance.domain.access.callers import OPERATOR
from appliance.domain.access.roles import Role
from appliance.domain.annotations import AnnotationContent
from appliance.gen.appliance.annotations.v1 import annotations_pb as pb
from appliance.gen.common.v1.time_pb import TimeRange
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import DashboardsServiceCreateRequest
from appliance.services.annotations import AnnotationsService
from tests.support.control import ControlStack, Person, Refusal, control_stack

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SERVICE = "appliance.annotations.v1.AnnotationsService"


class Desk:
    """Calls about the annotations of one project."""

    def __init__(self, control: ControlStack, org: str, project: str, member: Person) -> None:
        self.control = control
        self.org = org
        self.project = project
        self.member = member

    async def call(
        self, method: str, message: Message[Any], *, who: Person | None = None, project: str = ""
    ) -> Any:
        return await self.control.call(
            f"{SERVICE}/{method}",
            message,
            token=(who or self.member).token,
            project=project or self.project,
            form="json",
        )

    async def refused(self, method: str, message: Message[Any], **where: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.call(method, message, **where)
        return caught.value

    async def make(self, text: str, start: str, end: str = "", board: str = "") -> pb.Annotation:
        content = content_of(text, start, end, board)
        made = await self.call("Create", pb.CreateRequest(content=content))
        annotation: pb.Annotation = made.annotation
        return annotation

    async def texts(self, start: str, end: str, board: str = "", **where: Any) -> list[str]:
        request = pb.ListRequest(time_range=span(start, end), dashboard_id=board)
        answer = await self.call("List", request, **where)
        assert answer.next_page_token == ""
        return [one.content.text for one in answer.annotations]


def moment(text: str) -> Timestamp:
    return Timestamp.from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def span(start: str, end: str) -> TimeRange:
    return TimeRange(from_=moment(start), to=moment(end))


def content_of(text: str, start: str, end: str = "", board: str = "") -> pb.AnnotationContent:
    sent = pb.AnnotationContent(text=text, start_time=moment(start), dashboard_id=board)
    if end:
        sent.end_time = moment(end)
    return sent


@pytest.fixture
async def desk(engines: Settings, anyio_backend: str) -> AsyncGenerator[Desk]:
    async with control_stack(engines) as control:
        org = await control.make_org()
        member = await control.make_member(Role.MEMBER, org)
        yield Desk(control, org, await control.make_project(org), member)


async def make_board(desk: Desk, project: str = "") -> str:
    made = await desk.control.call(
        "dashboard.dashboards.v1.DashboardsService/Create",
        DashboardsServiceCreateRequest(display_name="Board"),
        token=desk.member.token,
        project=project or desk.project,
    )
    board: str = made.dashboard.id
    return board


async def test_life(desk: Desk) -> None:
    """Made, changed, removed; making and removing are in the audit log, its author is told."""
    made = await desk.make("  release 2 ", "2026-05-01T10:00")
    assert made.content is not None
    assert made.content.text == "release 2"
    assert made.author_id == desk.member.id
    content = content_of("release 2.1", "2026-05-01T11:00", "2026-05-01T12:00")
    saved = await desk.call("Update", pb.UpdateRequest(id=made.id, content=content))
    assert saved.annotation.content == content
    assert await desk.texts("2026-05-01T11:30", "2026-05-01T11:31") == ["release 2.1"]
    await desk.call("Delete", pb.DeleteRequest(id=made.id))
    assert await desk.texts("2026-01-01", "2027-01-01") == []
    for method, message in (
        ("Update", pb.UpdateRequest(id=made.id, content=content)),
        ("Delete", pb.DeleteRequest(id=made.id)),
    ):
        assert (await desk.refused(method, message)).reason == "ANNOTATION_NOT_FOUND"
    assert await desk.control.audit_actions() == ["annotation.create", "annotation.delete"]


async def test_by_time(desk: Desk) -> None:
    """What touches the half-open range: instants in it, spans that reach into it."""
    await desk.make("span", "2026-05-01", "2026-05-10")
    await desk.make("instant", "2026-05-05")
    await desk.make("long before", "2026-01-01", "2027-01-01")
    assert await desk.texts("2026-05-05", "2026-05-06") == ["long before", "span", "instant"]
    assert await desk.texts("2026-05-04", "2026-05-05") == ["long before", "span"]
    assert await desk.texts("2026-05-10", "2026-05-11") == ["long before"]
    assert await desk.texts("2025-01-01", "2026-01-01") == []


async def test_pages(desk: Desk) -> None:
    """Each once and in order, several at one instant too."""
    wanted = [(await desk.make(str(number), "2026-05-01")).id for number in range(7)]
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListRequest(
            time_range=span("2026-01-01", "2027-01-01"), page_size=3, page_token=token
        )
        answer = await desk.call("List", request)
        found += [one.id for one in answer.annotations]
        token = answer.next_page_token
        if not token:
            break
    assert found == sorted(wanted)
    request.page_token = "none of ours"
    assert (await desk.refused("List", request)).reason == "INVALID_PAGE_TOKEN"


async def test_boards(desk: Desk) -> None:
    """A board shows its own and those of the project; it takes its own along when it goes."""
    board, other = await make_board(desk), await make_board(desk)
    await desk.make("everywhere", "2026-05-01")
    await desk.make("here", "2026-05-02", board=board)
    await desk.make("there", "2026-05-03", board=other)
    everything = ("2026-01-01", "2027-01-01")
    assert await desk.texts(*everything) == ["everywhere", "here", "there"]
    assert await desk.texts(*everything, board) == ["everywhere", "here"]
    await desk.control.database.execute("DELETE FROM dashboards WHERE id = $1", board)
    assert await desk.texts(*everything) == ["everywhere", "there"]


async def test_roles_and_projects(desk: Desk) -> None:
    """Viewers read; another project's annotations and boards do not exist."""
    made = await desk.make("mine", "2026-05-01")
    viewer = await desk.control.make_member(Role.VIEWER, desk.org)
    everything = ("2026-01-01", "2027-01-01")
    assert await desk.texts(*everything, who=viewer) == ["mine"]
    content = content_of("new", "2026-05-01")
    changes = (
        ("Create", pb.CreateRequest(content=content)),
        ("Update", pb.UpdateRequest(id=made.id, content=content)),
        ("Delete", pb.DeleteRequest(id=made.id)),
    )
    for method, message in changes:
        refusal = await desk.refused(method, message, who=viewer)
        assert refusal.reason == "ORG_ROLE_FORBIDDEN"
    other = await desk.control.make_project(desk.org, "Other")
    assert await desk.texts(*everything, project=other) == []
    for method, message in changes[1:]:
        refusal = await desk.refused(method, message, project=other)
        assert refusal.reason == "ANNOTATION_NOT_FOUND"
    board = await make_board(desk, other)
    content = content_of("stolen", "2026-05-01", board=board)
    for method, message in (
        ("Create", pb.CreateRequest(content=content)),
        ("Update", pb.UpdateRequest(id=made.id, content=content)),
    ):
        assert (await desk.refused(method, message)).reason == "DASHBOARD_NOT_FOUND"
    stranger = await desk.control.make_member()
    request = pb.ListRequest(time_range=span(*everything))
    assert (await desk.refused("List", request, who=stranger)).code == "unauthenticated"
    assert await desk.texts(*everything) == ["mine"]


async def test_what_is_refused(desk: Desk) -> None:
    board = content_of("x", "2026-05-01", board="nothing")
    assert (await desk.refused("Create", pb.CreateRequest(content=board))).reason == (
        "DASHBOARD_NOT_FOUND"
    )
    for content in (
        content_of("   ", "2026-05-01"),
        content_of("", "2026-05-01"),
        content_of("x" * 501, "2026-05-01"),
        content_of("x\0", "2026-05-01"),
        content_of("backwards", "2026-05-02", "2026-05-01"),
        pb.AnnotationContent(text="no time"),
    ):
        refusal = await desk.refused("Create", pb.CreateRequest(content=content))
        assert (refusal.code, refusal.reason) == ("invalid_argument", "INVALID_ARGUMENT")


async def test_a_project_has_a_bounded_number(desk: Desk) -> None:
    audit = desk.control.services.control.audit
    few = AnnotationsService(desk.control.database, audit, ids=IdMaker(), annotations_max=1)
    content = AnnotationContent(text="x", start_at=datetime(2026, 5, 1, tzinfo=UTC))
    await few.create(desk.project, content, author_id=None, actor=OPERATOR)
    with pytest.raises(ExhaustedError) as caught:
        await few.create(desk.project, content, author_id=None, actor=OPERATOR)
    assert caught.value.reason == "ANNOTATIONS_EXHAUSTED"
