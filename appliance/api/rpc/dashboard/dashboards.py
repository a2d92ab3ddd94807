"""`dashboard.dashboards.v1.DashboardsService`: boards and their tiles [services 6.4].

Invariant: handlers translate messages only; the project is always that of the header.
"""

from connectrpc.request import RequestContext
from protobuf import Oneof
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.gen.common.v1.time_pb import TimeRange, TimeRangePreset
from appliance.gen.dashboard.dashboards.v1.dashboards_connect import DashboardsService
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    Dashboard,
    DashboardsServiceCreateRequest,
    DashboardsServiceCreateResponse,
    DashboardsServiceDeleteRequest,
    DashboardsServiceDeleteResponse,
    DashboardsServiceGetRequest,
    DashboardsServiceGetResponse,
    DashboardsServiceListRequest,
    DashboardsServiceListResponse,
    DashboardsServiceQueryDashboardRequest,
    DashboardsServiceQueryDashboardResponse,
    DashboardsServiceUpdateRequest,
    DashboardsServiceUpdateResponse,
    DashboardsServiceUpsertRequest,
    DashboardsServiceUpsertResponse,
    RenderedDashboard,
    RenderedTile,
)
from appliance.gen.shared.insights.v1.insights_pb import Granularity
from appliance.services.dashboards.boards import Board, TileDraft
from appliance.services.dashboards.boards import DashboardsService as Boards
from appliance.services.dashboards.names import kept_name, named
from appliance.services.dashboards.rendering import Outcome, Rendering, Window, granularity_of
from appliance.services.dashboards.tiles import bare_tile_message, content_of, tile_message
from appliance.storage.postgres.dashboards import BoardRow, BoardSettings


class Dashboards(DashboardsService):
    """Boards of the header's project."""

    def __init__(self, boards: Boards, rendering: Rendering) -> None:
        self._boards = boards
        self._rendering = rendering

    async def create(
        self,
        request: DashboardsServiceCreateRequest,
        ctx: RequestContext[DashboardsServiceCreateRequest, DashboardsServiceCreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceCreateResponse:
        call = current_call.get()
        board = await self._boards.create(
            call.caller.project_id, _settings(request), actor=call.actor
        )
        return DashboardsServiceCreateResponse(dashboard=_board(board))

    async def delete(
        self,
        request: DashboardsServiceDeleteRequest,
        ctx: RequestContext[DashboardsServiceDeleteRequest, DashboardsServiceDeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceDeleteResponse:
        call = current_call.get()
        await self._boards.delete(call.caller.project_id, request.id, actor=call.actor)
        return DashboardsServiceDeleteResponse()

    async def get(
        self,
        request: DashboardsServiceGetRequest,
        ctx: RequestContext[DashboardsServiceGetRequest, DashboardsServiceGetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceGetResponse:
        board = await self._boards.get(current_call.get().caller.project_id, request.id)
        return DashboardsServiceGetResponse(dashboard=_board(board))

    async def list(
        self,
        request: DashboardsServiceListRequest,  # noqa: ARG002 the header says which
        ctx: RequestContext[DashboardsServiceListRequest, DashboardsServiceListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceListResponse:
        boards = await self._boards.list_all(current_call.get().caller.project_id)
        return DashboardsServiceListResponse(dashboards=[_board(board) for board in boards])

    async def update(
        self,
        request: DashboardsServiceUpdateRequest,
        ctx: RequestContext[DashboardsServiceUpdateRequest, DashboardsServiceUpdateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceUpdateResponse:
        call = current_call.get()
        board = await self._boards.update(
            call.caller.project_id,
            request.id,
            _settings(request),
            keep_description=not request.has_field("description"),
            public=request.is_public if request.has_field("is_public") else None,
            actor=call.actor,
        )
        return DashboardsServiceUpdateResponse(dashboard=_board(board))

    async def upsert(
        self,
        request: DashboardsServiceUpsertRequest,
        ctx: RequestContext[DashboardsServiceUpsertRequest, DashboardsServiceUpsertResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DashboardsServiceUpsertResponse:
        board = await self._boards.upsert(
            current_call.get().caller.project_id,
            request.id,
            _settings(request),
            [TileDraft(id=tile.id, content=content_of(tile)) for tile in request.tiles],
        )
        return DashboardsServiceUpsertResponse(dashboard=_board(board))

    async def query_dashboard(
        self,
        request: DashboardsServiceQueryDashboardRequest,
        ctx: RequestContext[  # noqa: ARG002 the shape of the library
            DashboardsServiceQueryDashboardRequest, DashboardsServiceQueryDashboardResponse
        ],
        /,
    ) -> DashboardsServiceQueryDashboardResponse:
        caller = current_call.get().caller
        board = await self._boards.get(caller.project_id, request.dashboard_id)
        window = window_of(request.time_range, request.granularity)
        outcomes = await self._rendering.render(caller, board, window)
        return DashboardsServiceQueryDashboardResponse(
            dashboard=rendered_message(board.row, outcomes)
        )


def window_of(time_range: TimeRange | None, granularity: Granularity) -> Window:
    """What a request sets instead of the board's own window."""
    return Window(time_range=time_range, granularity=granularity or None)


def rendered_message(board: BoardRow, outcomes: tuple[Outcome, ...]) -> RenderedDashboard:
    """A board with its answers, without project and share."""
    return RenderedDashboard(
        id=board.id,
        display_name=board.display_name,
        description=board.description,
        default_time_range=_preset(board),
        default_granularity=granularity_of(board),
        create_time=Timestamp.from_datetime(board.create_time),
        update_time=Timestamp.from_datetime(board.update_time),
        tiles=[_rendered(outcome) for outcome in outcomes],
    )


def _rendered(outcome: Outcome) -> RenderedTile:
    told = tile_message(outcome.tile) if outcome.readable else bare_tile_message(outcome.tile)
    rendered = RenderedTile(tile=told)
    if outcome.result is not None:
        rendered.outcome = Oneof("result", outcome.result)
    elif outcome.error:
        rendered.outcome = Oneof("error_message", outcome.error)
    return rendered


def _board(board: Board) -> Dashboard:
    row = board.row
    told = Dashboard(
        id=row.id,
        project_id=row.project_id,
        display_name=row.display_name,
        description=row.description,
        create_time=Timestamp.from_datetime(row.create_time),
        update_time=Timestamp.from_datetime(row.update_time),
        tiles=[tile_message(tile) for tile in board.tiles],
        default_time_range=_preset(row),
        default_granularity=granularity_of(row),
    )
    if row.share_token is not None:
        told.share_id = row.share_token
    return told


def _settings(
    request: DashboardsServiceCreateRequest
    | DashboardsServiceUpdateRequest
    | DashboardsServiceUpsertRequest,
) -> BoardSettings:
    span = request.default_time_range or TimeRangePreset.LAST_30_DAYS
    width = request.default_granularity or Granularity.DAY
    return BoardSettings(
        display_name=request.display_name,
        description=request.description,
        time_range=kept_name(span),
        granularity=kept_name(width),
    )


def _preset(board: BoardRow) -> TimeRangePreset:
    return named(board.time_range, TimeRangePreset.LAST_30_DAYS)
