"""Tiles between the wire and the store: what is kept of a tile, and how it is told again.

Invariant: a tile is normalised before it is stored or compared, so sending back what was read
changes nothing [dashboards 7]. JSON columns hold canonical ProtoJSON (sorted keys, no spaces); a
stored tile that this release cannot read raises BrokenTileError and is never guessed at.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from protobuf import Message, Oneof, message_from_json_value, message_to_json_value
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import InvalidInputError
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    ComparePeriod,
    DashboardTile,
    DashboardTileInput,
    DashboardTileViewMode,
    GridPosition,
    InsightTileContent,
    MarkdownTileContent,
    ThresholdRule,
    TileHeader,
    VisualizationOptions,
)
from appliance.gen.shared.insights.v1.insights_pb import InsightQuerySpec
from appliance.services.dashboards.names import kept_name, named
from appliance.storage.postgres.dashboards import TileContent, TileKind, TileRow

_Part = TypeVar("_Part", bound=Message[Any])

_EMPTY: Final = "{}"


class BrokenTileError(Exception):
    """A stored tile that this release cannot read; `internal` on the wire [dashboards 5]."""


def content_of(sent: DashboardTileInput) -> TileContent:
    """What is kept of a sent tile; raises InvalidInputError (`INVALID_TILE_CONTENT`)."""
    match sent.content:
        case Oneof(value=InsightTileContent() as insight):
            kind, markdown = TileKind.INSIGHT, None
            query = _canonical(insight.spec)
            view = _known(DashboardTileViewMode, sent.view_mode) or DashboardTileViewMode.LINE
        case Oneof(value=MarkdownTileContent() as text) if text.body:
            kind, markdown, query = TileKind.MARKDOWN, text.body, None
            view = DashboardTileViewMode.UNSPECIFIED
        case _:
            raise invalid_tiles("a tile has either an insight or a text that is not empty")
    compare = _known(ComparePeriod, sent.compare) or ComparePeriod.UNSPECIFIED
    return TileContent(
        kind=kind,
        view_mode=kept_name(view),
        display_name=sent.display_name,
        description=sent.description,
        insight_query=query,
        markdown=markdown,
        position=_canonical(sent.position),
        header=_canonical(sent.header),
        visualization=_canonical(sent.visualization),
        thresholds=_encode([message_to_json_value(one) for one in sent.thresholds]),
        compare_mode=kept_name(compare),
    )


def stored_content(content: TileContent) -> TileContent:
    """A stored tile in the form in which sent ones are compared with it."""
    return msgspec.structs.replace(
        content,
        insight_query=content.insight_query and _recoded(content.insight_query),
        position=_recoded(content.position),
        header=_recoded(content.header),
        visualization=_recoded(content.visualization),
        thresholds=_recoded(content.thresholds),
    )


def spec_of(tile: TileRow) -> InsightQuerySpec | None:
    """The question of an insight tile; raises BrokenTileError."""
    query = tile.content.insight_query
    return None if query is None else _part(InsightQuerySpec, query)


def tile_message(tile: TileRow) -> DashboardTile:
    """A stored tile as it is told; raises BrokenTileError."""
    content = tile.content
    told = bare_tile_message(tile)
    spec = spec_of(tile)
    told.content = (
        Oneof("markdown", MarkdownTileContent(body=content.markdown or ""))
        if spec is None
        else Oneof("insight", InsightTileContent(spec=spec))
    )
    told.compare = named(content.compare_mode, ComparePeriod.UNSPECIFIED)
    told.thresholds.extend(
        _part(ThresholdRule, one)
        for one in msgspec.json.decode(content.thresholds, type=list[msgspec.Raw])
    )
    if content.header != _EMPTY:
        told.header = _part(TileHeader, content.header)
    if content.visualization != _EMPTY:
        told.visualization = _part(VisualizationOptions, content.visualization)
    return told


def bare_tile_message(tile: TileRow) -> DashboardTile:
    """What can be told of any tile: ids, name, times, view mode, and its place if readable."""
    content = tile.content
    told = DashboardTile(
        id=tile.id,
        dashboard_id=tile.dashboard_id,
        display_name=content.display_name,
        description=content.description,
        create_time=Timestamp.from_datetime(tile.create_time),
        update_time=Timestamp.from_datetime(tile.update_time),
        view_mode=named(content.view_mode, DashboardTileViewMode.UNSPECIFIED),
        compare=ComparePeriod.UNSPECIFIED,
    )
    if content.position != _EMPTY:
        try:
            told.position = _part(GridPosition, content.position)
        except BrokenTileError:
            return told
    return told


def invalid_tiles(sentence: str) -> InvalidInputError:
    """The error for a list of tiles that cannot be."""
    return InvalidInputError("INVALID_TILE_CONTENT", sentence)


def require_distinct(ids: Sequence[str]) -> None:
    """Raise InvalidInputError (`INVALID_TILE_CONTENT`) when a tile is named twice."""
    if len(set(ids)) < len(ids):
        raise invalid_tiles("a tile stands twice in the list")


_Name = TypeVar("_Name", DashboardTileViewMode, ComparePeriod)


def _known(kind: type[_Name], value: _Name) -> _Name | None:
    return value if value in list(kind) else None


def _canonical(part: Message[Any] | None) -> str:
    return _EMPTY if part is None else _encode(message_to_json_value(part))


def _encode(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _recoded(text: str) -> str:
    return _encode(msgspec.json.decode(text))


def _part(kind: type[_Part], text: str | msgspec.Raw) -> _Part:
    try:
        return message_from_json_value(kind, msgspec.json.decode(text))
    except ValueError as error:
        raise BrokenTileError(f"a stored {kind.__name__} cannot be read") from error
