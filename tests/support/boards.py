"""A member with a project, who speaks one form of the wire about boards."""

from typing import Any

import pytest
from protobuf import Message, Oneof

from appliance.domain.access.roles import Role
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    Dashboard,
    DashboardsServiceCreateRequest,
    DashboardsServiceUpsertRequest,
    DashboardTile,
    DashboardTileInput,
    InsightTileContent,
    MarkdownTileContent,
)
from appliance.gen.shared.insights.v1.insights_pb import InsightQuerySpec
from tests.support.control import ControlStack, Person, Refusal

SERVICE = "dashboard.dashboards.v1.DashboardsService"


class BoardDesk:
    """Calls about the boards of one project."""

    def __init__(
        self, control: ControlStack, form: str, *, org: str, project: str, member: Person
    ) -> None:
        self.control = control
        self.form = form
        self.org = org
        self.project = project
        self.member = member

    async def call(self, method: str, message: Message[Any], *, who: Person | None = None) -> Any:
        """Call as the member, or as somebody else."""
        return await self.control.call(
            f"{SERVICE}/{method}",
            message,
            token=(who or self.member).token,
            project=self.project,
            form=self.form,
        )

    async def refused(
        self, method: str, message: Message[Any], *, who: Person | None = None
    ) -> Refusal:
        """What a call is refused with."""
        with pytest.raises(Refusal) as caught:
            await self.call(method, message, who=who)
        return caught.value

    async def refused_a_stranger(self, method: str, message: Message[Any]) -> Refusal:
        """What somebody without a credential is told."""
        with pytest.raises(Refusal) as caught:
            await self.control.call(f"{SERVICE}/{method}", message, form=self.form)
        return caught.value

    async def make(self, *tiles: DashboardTileInput, name: str = "Board") -> Dashboard:
        """A board with these tiles."""
        made = await self.call("Create", DashboardsServiceCreateRequest(display_name=name))
        board: Dashboard = made.dashboard
        return await self.put(board.id, *tiles, name=name) if tiles else board

    async def put(
        self, board_id: str, *tiles: DashboardTileInput, name: str = "Board"
    ) -> Dashboard:
        """Upsert a board."""
        request = DashboardsServiceUpsertRequest(id=board_id, display_name=name, tiles=list(tiles))
        told: Dashboard = (await self.call("Upsert", request)).dashboard
        return told


async def open_board_desk(control: ControlStack, form: str) -> BoardDesk:
    """A member of a fresh organisation with a fresh project."""
    org = await control.make_org()
    member = await control.make_member(Role.MEMBER, org)
    project = await control.make_project(org, timezone="Europe/Berlin")
    return BoardDesk(control, form, org=org, project=project, member=member)


def text_tile(body: str, *, name: str = "", tile_id: str = "") -> DashboardTileInput:
    """A tile that shows a text."""
    return DashboardTileInput(
        id=tile_id, display_name=name, content=Oneof("markdown", MarkdownTileContent(body=body))
    )


def insight_tile(spec: InsightQuerySpec, *, name: str = "") -> DashboardTileInput:
    """A tile that asks a question."""
    return DashboardTileInput(
        display_name=name, content=Oneof("insight", InsightTileContent(spec=spec))
    )


def sent_back(tile: DashboardTile) -> DashboardTileInput:
    """A tile as a client sends it after reading it."""
    return DashboardTileInput(
        id=tile.id,
        display_name=tile.display_name,
        description=tile.description,
        content=tile.content,
        position=tile.position,
        view_mode=tile.view_mode,
        compare=tile.compare,
        thresholds=tile.thresholds,
        header=tile.header,
        visualization=tile.visualization,
    )
