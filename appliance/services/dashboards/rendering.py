"""Boards with answers: every insight tile asked over one window at one instant [dashboards 8].

Invariant: one tile's failure stays its own; only the end of the whole request ends the call. No
more than eight questions of a board are asked at a time.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog
from msgspec import Struct
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    InvalidInputError,
    NotFoundError,
    UnservedError,
)
from appliance.domain.dashboards.windows import parse_preset, resolve_preset, zone_or_utc
from appliance.gen.common.v1.time_pb import TimeRange
from appliance.gen.shared.insights.v1.insights_pb import (
    Granularity,
    InsightQuerySpec,
    QueryRequest,
    QueryResponse,
)
from appliance.services.dashboards.boards import Board
from appliance.services.dashboards.names import named
from appliance.services.dashboards.tiles import BrokenTileError, spec_of, tile_message
from appliance.services.insights import Project
from appliance.services.schema_rules import check_message
from appliance.storage.postgres.dashboards import BoardRow, TileKind, TileRow

TILES_AT_ONCE_MAX: Final = 8
_UNREADABLE: Final = "this tile cannot be displayed by this release"
_FAILED: Final = "the query failed; try again"

_LOG: Final = structlog.stdlib.get_logger()


class Insights(Protocol):
    """Who answers the questions."""

    async def query(self, project: Project, request: QueryRequest, /) -> QueryResponse:
        """Answer one validated question."""
        ...


class Window(Struct, frozen=True, kw_only=True):
    """What a request sets instead of the board's own; each may be None."""

    time_range: TimeRange | None = None
    granularity: Granularity | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a tile: an answer, or why there is none; neither for a text.

    A tile that is not `readable` is told without its content.
    """

    tile: TileRow
    result: QueryResponse | None = None
    error: str = ""
    readable: bool = True


class Rendering:
    """Asks the questions of boards."""

    def __init__(self, insights: Insights, clock: Clock) -> None:
        self._insights = insights
        self._clock = clock

    async def render(self, project: Project, board: Board, window: Window) -> tuple[Outcome, ...]:
        """The outcome of every tile, in the board's order."""
        span = window.time_range or _span(board.row, self._clock.now(), project.timezone)
        width = window.granularity or granularity_of(board.row)
        slots = asyncio.Semaphore(TILES_AT_ONCE_MAX)

        async def ask(tile: TileRow) -> Outcome:
            async with slots:
                return await self._outcome(project, tile, span, width)

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask(tile)) for tile in board.tiles]
        return tuple(task.result() for task in asked)

    async def _outcome(
        self, project: Project, tile: TileRow, span: TimeRange, width: Granularity
    ) -> Outcome:
        try:
            tile_message(tile)
            spec = spec_of(tile)
        except BrokenTileError:
            return Outcome(tile=tile, error=_UNREADABLE, readable=False)
        if tile.content.kind is TileKind.MARKDOWN or spec is None:
            return Outcome(tile=tile)
        return await self._answer(project, tile, spec, QueryWindow(span=span, width=width))

    async def _answer(
        self, project: Project, tile: TileRow, spec: InsightQuerySpec, window: "QueryWindow"
    ) -> Outcome:
        request = QueryRequest(spec=spec, time_range=window.span, granularity=window.width)
        try:
            check_message(request)
            return Outcome(tile=tile, result=await self._insights.query(project, request))
        except (InvalidInputError, NotFoundError, UnservedError) as error:
            return Outcome(tile=tile, error=f"the query does not fit: {error.message}")
        except ApplianceError as error:
            _LOG.warning("tile_failed", tile_id=tile.id, reason=error.reason)
            return Outcome(tile=tile, error=_FAILED)


class QueryWindow(Struct, frozen=True, kw_only=True):
    """The window every tile of a board is asked over."""

    span: TimeRange
    width: Granularity


def granularity_of(board: BoardRow) -> Granularity:
    """The width a board's tiles have; a day for a stored name nobody knows."""
    return named(board.granularity, Granularity.DAY)


def without_people(answer: QueryResponse) -> QueryResponse:
    """An answer for everybody: nobody's profile in it [dashboards 16 #7]."""
    result = answer.result
    if result is not None and result.field == "top_k":
        for row in result.value.rows:
            row.clear_field("profile")
    return answer


def _span(board: BoardRow, now: datetime, timezone: str) -> TimeRange:
    zone = zone_or_utc(timezone)
    start, end = resolve_preset(parse_preset(board.time_range), now.astimezone(UTC), zone)
    return TimeRange(from_=Timestamp.from_datetime(start), to=Timestamp.from_datetime(end))
