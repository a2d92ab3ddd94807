"""Boards: made, read, changed as a whole, shared [dashboards 5-7, 9].

Invariant: a board of another project does not exist. A change holds the board's row from its first
look to its end, so parallel changes come out one after the other, and any error undoes all of it.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from appliance.base.errors import ConflictError, NotFoundError, Resource
from appliance.base.ids import IdMaker, random_token
from appliance.domain.access.callers import Actor
from appliance.services.audit import AuditLog
from appliance.services.dashboards.tiles import (
    require_distinct,
    stored_content,
)
from appliance.storage.postgres.dashboards import (
    BoardRow,
    BoardSettings,
    SharedBoard,
    TileContent,
    TileRow,
    add_board,
    add_tile,
    delete_board,
    delete_tiles,
    find_board,
    find_shared,
    free_names,
    list_boards,
    list_boards_of,
    list_tiles,
    lock_board,
    save_board,
    save_tile,
    share_board,
    touch_board,
    unshare_board,
)
from appliance.storage.postgres.pool import Postgres, Transaction

SHARE_TOKEN_BYTES: Final = 32


class Board(Struct, frozen=True, kw_only=True):
    """A board with its tiles."""

    row: BoardRow
    tiles: tuple[TileRow, ...]


class TileDraft(Struct, frozen=True, kw_only=True):
    """A tile as it shall be; a new one has no id."""

    id: str
    content: TileContent


class SharedBoardWithTiles(Struct, frozen=True, kw_only=True):
    """A shared board and the zone of its project."""

    board: Board
    timezone: str


class DashboardsService:
    """Use-cases about boards."""

    def __init__(self, database: Postgres, audit: AuditLog, *, ids: IdMaker) -> None:
        self._database = database
        self._audit = audit.about("dashboard")
        self._ids = ids

    async def create(self, project_id: str, settings: BoardSettings, *, actor: Actor) -> Board:
        """Make an empty, private board."""
        board_id = self._ids.make()
        async with self._database.transaction() as transaction:
            await add_board(transaction, board_id, project_id, settings)
            await self._audit.record(transaction, actor, "create", project_id, board_id)
            return await self._read(transaction, project_id, board_id)

    async def get(self, project_id: str, board_id: str) -> Board:
        """A board with its tiles; raises NotFoundError (`DASHBOARD_NOT_FOUND`)."""
        return await self._read(self._database, project_id, board_id)

    async def list_all(self, project_id: str) -> tuple[Board, ...]:
        """All boards of a project with their tiles, oldest first."""
        rows = await list_boards(self._database, project_id)
        tiles = await list_tiles(self._database, [row.id for row in rows])
        return tuple(Board(row=row, tiles=tiles[row.id]) for row in rows)

    async def list_of(self, project_ids: Sequence[str]) -> dict[str, list[Board]]:
        """The boards of several projects with their tiles by project, oldest first."""
        rows = await list_boards_of(self._database, project_ids)
        tiles = await list_tiles(self._database, [row.id for row in rows])
        boards: dict[str, list[Board]] = {each: [] for each in project_ids}
        for row in rows:
            boards[row.project_id].append(Board(row=row, tiles=tiles[row.id]))
        return boards

    async def shared(self, token: str) -> SharedBoardWithTiles:
        """The board behind a share; raises NotFoundError (`DASHBOARD_NOT_FOUND`)."""
        found: SharedBoard | None = await find_shared(self._database, token)
        if found is None:
            raise _not_found("dashboard_share", token)
        tiles = await list_tiles(self._database, [found.board.id])
        board = Board(row=found.board, tiles=tiles[found.board.id])
        return SharedBoardWithTiles(board=board, timezone=found.timezone)

    async def update(
        self,
        project_id: str,
        board_id: str,
        settings: BoardSettings,
        *,
        keep_description: bool,
        public: bool | None,
        actor: Actor,
    ) -> Board:
        """Replace what is set on a board and open or close it; `public` None leaves that alone.

        Raises NotFoundError (`DASHBOARD_NOT_FOUND`).
        """
        async with self._database.transaction() as transaction:
            before = await self._lock(transaction, project_id, board_id)
            if keep_description:
                settings = replace(settings, description=before.description)
            await save_board(transaction, board_id, settings)
            await touch_board(transaction, board_id)
            if public is not None and public is not (before.share_token is not None):
                await self._share(transaction, before, public=public, actor=actor)
            return await self._read(transaction, project_id, board_id)

    async def upsert(
        self,
        project_id: str,
        board_id: str,
        settings: BoardSettings,
        drafts: Sequence[TileDraft],
    ) -> Board:
        """Bring a board and its tiles into the wanted form; its tiles come in that order.

        Raises InvalidInputError (`INVALID_TILE_CONTENT`), NotFoundError (`DASHBOARD_NOT_FOUND`,
        `DASHBOARD_TILE_NOT_FOUND`), ConflictError (`DASHBOARD_TILE_NAME_CONFLICT`).
        """
        require_distinct([draft.id for draft in drafts if draft.id])
        async with self._database.transaction() as transaction:
            before = await self._lock(transaction, project_id, board_id)
            if before.settings != settings:
                await save_board(transaction, board_id, settings)
            order = await self._replace_tiles(transaction, board_id, drafts)
            board = await self._read(transaction, project_id, board_id)
        tiles = {tile.id: tile for tile in board.tiles}
        return Board(row=board.row, tiles=tuple(tiles[tile_id] for tile_id in order))

    async def delete(self, project_id: str, board_id: str, *, actor: Actor) -> None:
        """Remove a board with tiles and share; raises NotFoundError (`DASHBOARD_NOT_FOUND`)."""
        async with self._database.transaction() as transaction:
            if not await delete_board(transaction, project_id, board_id):
                raise _not_found("dashboard", board_id)
            await self._audit.record(transaction, actor, "delete", project_id, board_id)

    async def _replace_tiles(
        self, transaction: Transaction, board_id: str, drafts: Sequence[TileDraft]
    ) -> list[str]:
        """Store the drafts; the ids of the tiles in the order of the drafts."""
        stored = {tile.id: tile for tile in (await list_tiles(transaction, [board_id]))[board_id]}
        if any(draft.id and draft.id not in stored for draft in drafts):
            raise NotFoundError(
                "DASHBOARD_TILE_NOT_FOUND",
                "a tile of the list is not on this board",
                resource=Resource(kind="dashboard", name=board_id),
            )
        kept = {draft.id for draft in drafts}
        gone = [tile_id for tile_id in stored if tile_id not in kept]
        await delete_tiles(transaction, gone)
        changed = [
            draft
            for draft in drafts
            if not draft.id or stored_content(stored[draft.id].content) != draft.content
        ]
        await free_names(transaction, [draft.id for draft in changed if draft.id])
        fresh: dict[int, str] = {}
        try:
            for draft in changed:
                if draft.id:
                    await save_tile(transaction, draft.id, board_id, draft.content)
                else:
                    fresh[id(draft)] = self._ids.make()
                    await add_tile(transaction, fresh[id(draft)], board_id, draft.content)
        except ConflictError as error:
            raise ConflictError(
                "DASHBOARD_TILE_NAME_CONFLICT", "two tiles of the board have the same name"
            ) from error
        if gone or changed:
            await touch_board(transaction, board_id)
        return [draft.id or fresh[id(draft)] for draft in drafts]

    async def _share(
        self, transaction: Transaction, board: BoardRow, *, public: bool, actor: Actor
    ) -> None:
        if public:
            token = random_token(SHARE_TOKEN_BYTES)
            await share_board(transaction, board, share_id=self._ids.make(), token=token)
        else:
            await unshare_board(transaction, board.id)
        action = "share" if public else "unshare"
        await self._audit.record(transaction, actor, action, board.project_id, board.id)

    async def _lock(self, transaction: Transaction, project_id: str, board_id: str) -> BoardRow:
        row = await lock_board(transaction, project_id, board_id)
        if row is None:
            raise _not_found("dashboard", board_id)
        return row

    async def _read(self, store: Postgres | Transaction, project_id: str, board_id: str) -> Board:
        row = await find_board(store, project_id, board_id)
        if row is None:
            raise _not_found("dashboard", board_id)
        tiles = await list_tiles(store, [board_id])
        return Board(row=row, tiles=tiles[board_id])


def _not_found(kind: str, name: str) -> NotFoundError:
    return NotFoundError(
        "DASHBOARD_NOT_FOUND",
        "there is no such dashboard",
        resource=Resource(kind=kind, name=name),
    )
