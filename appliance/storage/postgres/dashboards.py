"""Boards, their tiles and their shares in PostgreSQL [storage 1.3].

Invariant: whoever changes a board holds its row; tiles are read in the order they were made. JSON
columns hold ProtoJSON that nobody here looks into. A share's token is a secret: it is read only to
be told to members, and looked up only as a whole.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.storage.postgres.pool import Postgres, Transaction

BOARDS_LISTED_MAX: Final = 10_000
TILES_LISTED_MAX: Final = 1_000_000


class TileKind(IntEnum):
    """What a tile shows; the value is the stored number."""

    INSIGHT = 1
    MARKDOWN = 2


class BoardSettings(Struct, frozen=True, kw_only=True):
    """What is set on a board; span and granularity by their stored names."""

    display_name: str
    description: str
    time_range: str
    granularity: str


class BoardRow(Struct, frozen=True, kw_only=True):
    """A stored board; `share_token` is None while it is not shared."""

    id: str
    project_id: str
    display_name: str
    description: str
    time_range: str
    granularity: str
    create_time: datetime
    update_time: datetime
    share_token: str | None

    @property
    def settings(self) -> BoardSettings:
        """What is set on it."""
        return BoardSettings(
            display_name=self.display_name,
            description=self.description,
            time_range=self.time_range,
            granularity=self.granularity,
        )


class TileContent(Struct, frozen=True, kw_only=True):
    """Everything a client decides about a tile; JSON texts are canonical, see `services`."""

    kind: TileKind
    view_mode: str
    display_name: str
    description: str
    insight_query: str | None
    markdown: str | None
    position: str
    header: str
    visualization: str
    thresholds: str
    compare_mode: str


class TileRow(Struct, frozen=True, kw_only=True):
    """A stored tile."""

    id: str
    dashboard_id: str
    content: TileContent
    create_time: datetime
    update_time: datetime


class SharedBoard(Struct, frozen=True, kw_only=True):
    """A board found by its share, and the zone of its project."""

    board: BoardRow
    timezone: str


_BOARD: Final = """
SELECT d.id, d.project_id, d.display_name, d.description, d.default_time_range AS time_range,
    d.default_granularity AS granularity, d.create_time, d.update_time, s.token AS share_token
FROM dashboards AS d
LEFT JOIN dashboard_shares AS s ON s.dashboard_id = d.id AND s.enabled
"""
_LIST: Final = _BOARD + "WHERE d.project_id = $1 ORDER BY d.create_time, d.id LIMIT $2"
_LIST_OF: Final = _BOARD + "WHERE d.project_id = ANY($1) ORDER BY d.create_time, d.id LIMIT $2"
_FIND: Final = _BOARD + "WHERE d.id = $2 AND d.project_id = $1"
_LOCK: Final = _FIND + " FOR NO KEY UPDATE OF d"
_SHARED: Final = """
SELECT d.id, d.project_id, d.display_name, d.description, d.default_time_range AS time_range,
    d.default_granularity AS granularity, d.create_time, d.update_time, s.token AS share_token,
    p.reporting_timezone AS timezone
FROM dashboard_shares AS s
JOIN dashboards AS d ON d.id = s.dashboard_id
JOIN projects AS p ON p.id = d.project_id AND p.delete_time IS NULL
WHERE s.token = $1 AND s.enabled
"""
_ADD: Final = """
INSERT INTO dashboards
    (id, project_id, display_name, description, default_time_range, default_granularity)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_SAVE: Final = """
UPDATE dashboards SET display_name = $2, description = $3, default_time_range = $4,
    default_granularity = $5 WHERE id = $1
"""
_TOUCH: Final = "UPDATE dashboards SET update_time = clock_timestamp() WHERE id = $1"
_DELETE: Final = "DELETE FROM dashboards WHERE id = $2 AND project_id = $1"
_TILES: Final = """
SELECT id, dashboard_id, kind, view_mode, display_name, description, insight_query::text,
    markdown, "position"::text, header::text, visualization::text, thresholds::text, compare_mode,
    create_time, update_time
FROM dashboard_tiles WHERE dashboard_id = ANY($1) ORDER BY create_time, id LIMIT $2
"""
_ADD_TILE: Final = """
INSERT INTO dashboard_tiles
    (id, dashboard_id, kind, view_mode, display_name, description, insight_query, markdown,
     "position", header, visualization, thresholds, compare_mode)
VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8, $9::text::jsonb, $10::text::jsonb,
    $11::text::jsonb, $12::text::jsonb, $13)
"""
_SAVE_TILE: Final = """
UPDATE dashboard_tiles SET kind = $3, view_mode = $4, display_name = $5, description = $6,
    insight_query = $7::text::jsonb, markdown = $8, "position" = $9::text::jsonb,
    header = $10::text::jsonb, visualization = $11::text::jsonb, thresholds = $12::text::jsonb,
    compare_mode = $13
WHERE id = $1 AND dashboard_id = $2
"""
_FREE_NAMES: Final = "UPDATE dashboard_tiles SET display_name = '' WHERE id = ANY($1)"
_DELETE_TILES: Final = "DELETE FROM dashboard_tiles WHERE id = ANY($1)"
_SHARE: Final = """
INSERT INTO dashboard_shares (id, dashboard_id, project_id, token) VALUES ($1, $2, $3, $4)
ON CONFLICT (dashboard_id) DO UPDATE SET enabled = true
"""
_UNSHARE: Final = "UPDATE dashboard_shares SET enabled = false WHERE dashboard_id = $1"


async def list_boards(database: Postgres, project_id: str) -> tuple[BoardRow, ...]:
    """The boards of a project, oldest first."""
    rows = await database.rows(_LIST, project_id, BOARDS_LISTED_MAX)
    return tuple(msgspec.convert(dict(row), BoardRow) for row in rows)


async def list_boards_of(database: Postgres, project_ids: Sequence[str]) -> tuple[BoardRow, ...]:
    """The boards of several projects, oldest first."""
    rows = await database.rows(_LIST_OF, list(project_ids), BOARDS_LISTED_MAX)
    return tuple(msgspec.convert(dict(row), BoardRow) for row in rows)


async def find_board(
    store: Postgres | Transaction, project_id: str, board_id: str
) -> BoardRow | None:
    """A board of a project."""
    row = await store.row(_FIND, project_id, board_id)
    return None if row is None else msgspec.convert(dict(row), BoardRow)


async def lock_board(transaction: Transaction, project_id: str, board_id: str) -> BoardRow | None:
    """A board of a project, which nobody else changes until the transaction ends."""
    row = await transaction.row(_LOCK, project_id, board_id)
    return None if row is None else msgspec.convert(dict(row), BoardRow)


async def find_shared(database: Postgres, token: str) -> SharedBoard | None:
    """The board that is shared under this token now."""
    row = await database.row(_SHARED, token)
    if row is None:
        return None
    values = dict(row)
    timezone = cast("str", values.pop("timezone"))
    return SharedBoard(board=msgspec.convert(values, BoardRow), timezone=timezone)


async def add_board(
    transaction: Transaction, board_id: str, project_id: str, settings: BoardSettings
) -> None:
    """Store a new board; raises NotFoundError when the project is gone."""
    await transaction.execute(_ADD, board_id, project_id, *msgspec.structs.astuple(settings))


async def save_board(transaction: Transaction, board_id: str, settings: BoardSettings) -> None:
    """Replace what is set on a board."""
    await transaction.execute(_SAVE, board_id, *msgspec.structs.astuple(settings))


async def touch_board(transaction: Transaction, board_id: str) -> None:
    """Move the time of its last change."""
    await transaction.execute(_TOUCH, board_id)


async def delete_board(transaction: Transaction, project_id: str, board_id: str) -> bool:
    """Remove a board with its tiles and share; False when there is none."""
    return await transaction.execute(_DELETE, project_id, board_id) == "DELETE 1"


async def list_tiles(
    store: Postgres | Transaction, board_ids: Sequence[str]
) -> dict[str, tuple[TileRow, ...]]:
    """The tiles of boards by board, each in the order they were made."""
    found: dict[str, list[TileRow]] = {board_id: [] for board_id in board_ids}
    for row in await store.rows(_TILES, list(board_ids), TILES_LISTED_MAX):
        values = dict(row)
        tile = TileRow(
            id=cast("str", values["id"]),
            dashboard_id=cast("str", values["dashboard_id"]),
            content=msgspec.convert(values, TileContent),
            create_time=cast("datetime", values["create_time"]),
            update_time=cast("datetime", values["update_time"]),
        )
        found[tile.dashboard_id].append(tile)
    return {board_id: tuple(tiles) for board_id, tiles in found.items()}


async def add_tile(
    transaction: Transaction, tile_id: str, board_id: str, content: TileContent
) -> None:
    """Store a new tile; raises ConflictError when its name is taken on the board."""
    await transaction.execute(_ADD_TILE, tile_id, board_id, *msgspec.structs.astuple(content))


async def save_tile(
    transaction: Transaction, tile_id: str, board_id: str, content: TileContent
) -> None:
    """Replace a tile; raises ConflictError when its name is taken on the board."""
    await transaction.execute(_SAVE_TILE, tile_id, board_id, *msgspec.structs.astuple(content))


async def free_names(transaction: Transaction, tile_ids: Sequence[str]) -> None:
    """Take the names of tiles away, so that they may be exchanged within the transaction."""
    await transaction.execute(_FREE_NAMES, list(tile_ids))


async def delete_tiles(transaction: Transaction, tile_ids: Sequence[str]) -> None:
    """Remove tiles."""
    await transaction.execute(_DELETE_TILES, list(tile_ids))


async def share_board(
    transaction: Transaction, board: BoardRow, *, share_id: str, token: str
) -> None:
    """Open a board to whoever has its token; an old share keeps its own."""
    await transaction.execute(_SHARE, share_id, board.id, board.project_id, token)


async def unshare_board(transaction: Transaction, board_id: str) -> None:
    """Close a board to the public; its token is kept for another time."""
    await transaction.execute(_UNSHARE, board_id)
