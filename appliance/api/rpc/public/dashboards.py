"""`public.dashboards.v1.SharedDashboardsService`: boards shared by link [services 9].

Invariant: the share id is the only credential; nothing about people leaves here.
"""

from connectrpc.request import RequestContext
from msgspec import Struct
from msgspec.structs import replace

from appliance.api.rpc.dashboard.dashboards import rendered_message, window_of
from appliance.gen.public.dashboards.v1.dashboards_connect import SharedDashboardsService
from appliance.gen.public.dashboards.v1.dashboards_pb import (
    SharedDashboardsServiceQueryRequest,
    SharedDashboardsServiceQueryResponse,
)
from appliance.services.dashboards.boards import DashboardsService
from appliance.services.dashboards.rendering import Rendering, without_people


class SharedProject(Struct, frozen=True, kw_only=True):
    """The project of a shared board."""

    project_id: str
    timezone: str


class SharedDashboards(SharedDashboardsService):
    """Boards for whoever has their link."""

    def __init__(self, boards: DashboardsService, rendering: Rendering) -> None:
        self._boards = boards
        self._rendering = rendering

    async def query(
        self,
        request: SharedDashboardsServiceQueryRequest,
        ctx: RequestContext[  # noqa: ARG002 the shape of the library
            SharedDashboardsServiceQueryRequest, SharedDashboardsServiceQueryResponse
        ],
        /,
    ) -> SharedDashboardsServiceQueryResponse:
        found = await self._boards.shared(request.share_id)
        row = found.board.row
        outcomes = await self._rendering.render(
            SharedProject(project_id=row.project_id, timezone=found.timezone),
            found.board,
            window_of(request.time_range, request.granularity),
        )
        public = tuple(
            one if one.result is None else replace(one, result=without_people(one.result))
            for one in outcomes
        )
        return SharedDashboardsServiceQueryResponse(dashboard=rendered_message(row, public))
