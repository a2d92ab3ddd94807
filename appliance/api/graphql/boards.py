"""Boards and tiles in the graph.

Invariant: a tile is told as the Connect face tells it, and asked as the dashboard asks it: its
failure is a sentence beside it, not an error of the whole answer. A tile this release cannot read
is told without its content.
"""

import strawberry
from strawberry import Info

from appliance.api.graphql.answers import InsightAnswer
from appliance.api.graphql.asker import Asker, Scope
from appliance.api.graphql.guard import Guarded
from appliance.api.graphql.limits import PAGE_DEFAULT
from appliance.api.graphql.pages import Connection, connect_list
from appliance.api.graphql.questions import Granularity, TimeRange, message_of, range_fields
from appliance.api.graphql.scalars import Instant, Json
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    DashboardsServiceQueryDashboardRequest,
    DashboardTile,
)
from appliance.services.dashboards.boards import Board
from appliance.services.dashboards.rendering import Window, granularity_of
from appliance.services.dashboards.tiles import BrokenTileError, bare_tile_message, tile_message
from appliance.storage.postgres.dashboards import TileKind, TileRow


@strawberry.type(description="What became of a tile's question: an answer, or why there is none.")
class TileAnswer:
    """One of the two, or neither for a text."""

    result: InsightAnswer | None
    error_message: str | None


@strawberry.type(description="A tile of a board: an insight or a text.")
class Tile:
    """A stored tile."""

    scope: strawberry.Private[Scope]
    board: strawberry.Private[Board]
    row: strawberry.Private[TileRow]

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(self.row.id)

    @strawberry.field
    def dashboard_id(self) -> strawberry.ID:
        return strawberry.ID(self.row.dashboard_id)

    @strawberry.field
    def display_name(self) -> str:
        return self.row.content.display_name

    @strawberry.field
    def description(self) -> str:
        return self.row.content.description

    @strawberry.field(description="The text of a tile that is one, in Markdown.")
    def markdown(self) -> str | None:
        return self.row.content.markdown

    @strawberry.field(description="The question of a tile that has one, as JSON of the contract.")
    def spec(self) -> Json | None:
        content = self._message().content
        return (
            Json(content.value.spec) if content is not None and content.field == "insight" else None
        )

    @strawberry.field(description="Everything about the tile, as the Connect API sends it.")
    def json(self) -> Json:
        return Json(self._message())

    @strawberry.field
    def create_time(self) -> Instant:
        return Instant(self.row.create_time)

    @strawberry.field
    def update_time(self) -> Instant:
        return Instant(self.row.update_time)

    @strawberry.field(
        extensions=[Guarded("Tile.answer")],
        description="The answer over the board's window, or over the one named here.",
    )
    async def answer(
        self,
        info: Info[Asker, None],
        time_range: TimeRange | None = None,
        granularity: Granularity | None = None,
    ) -> TileAnswer | None:
        request = message_of(
            DashboardsServiceQueryDashboardRequest,
            {
                "dashboardId": self.row.dashboard_id,
                "timeRange": range_fields(time_range),
                "granularity": granularity and granularity.value,
            },
        )
        window = Window(time_range=request.time_range, granularity=request.granularity or None)
        alone = Board(row=self.board.row, tiles=(self.row,))
        async with info.context.slot():
            rendering = info.context.services.dashboards.rendering
            (outcome,) = await rendering.render(self.scope, alone, window)
        return TileAnswer(
            result=None if outcome.result is None else InsightAnswer(message=outcome.result),
            error_message=outcome.error or None,
        )

    def _message(self) -> DashboardTile:
        try:
            return tile_message(self.row)
        except BrokenTileError:
            return bare_tile_message(self.row)


@strawberry.type(description="A board with tiles.")
class Dashboard:
    """A stored board."""

    scope: strawberry.Private[Scope]
    board: strawberry.Private[Board]

    @strawberry.field
    def id(self) -> strawberry.ID:
        return strawberry.ID(self.board.row.id)

    @strawberry.field
    def display_name(self) -> str:
        return self.board.row.display_name

    @strawberry.field
    def description(self) -> str:
        return self.board.row.description

    @strawberry.field(description="The name of the span of time the board shows by itself.")
    def default_time_range(self) -> str:
        return self.board.row.time_range

    @strawberry.field
    def default_granularity(self) -> Granularity:
        return Granularity[granularity_of(self.board.row).name]

    @strawberry.field(description="Under which secret the board is shared; null while it is not.")
    def share_id(self) -> str | None:
        return self.board.row.share_token

    @strawberry.field
    def create_time(self) -> Instant:
        return Instant(self.board.row.create_time)

    @strawberry.field
    def update_time(self) -> Instant:
        return Instant(self.board.row.update_time)

    @strawberry.field(extensions=[Guarded("Dashboard.tiles")])
    async def tiles(
        self, first: int = PAGE_DEFAULT, after: str | None = None
    ) -> Connection[Tile] | None:
        return connect_list(
            tiles_of(self.scope, self.board),
            first=first,
            after=after,
            name=lambda tile: tile.row.id,
            node=lambda tile: tile,
        )


def tiles_of(scope: Scope, board: Board) -> list[Tile]:
    """The tiles of a board as nodes."""
    return [Tile(scope=scope, board=board, row=row) for row in board.tiles]


def insights_of(scope: Scope, boards: list[Dashboard]) -> list[Tile]:
    """The tiles of these boards that ask something."""
    return [
        tile
        for one in boards
        for tile in tiles_of(scope, one.board)
        if tile.row.content.kind is TileKind.INSIGHT
    ]
