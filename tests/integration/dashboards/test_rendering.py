"""Boards with answers: windows, tiles that fail alone, what the public sees [dashboards 4, 8]."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.gen.common.v1.filters_pb import EventFilter
from appliance.gen.common.v1.time_pb import TimeRange, TimeRangePreset
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    DashboardsServiceQueryDashboardRequest,
    DashboardsServiceUpdateRequest,
    DashboardsServiceUpsertRequest,
    RenderedDashboard,
)
from appliance.gen.public.dashboards.v1.dashboards_pb import SharedDashboardsServiceQueryRequest
from appliance.gen.shared.insights.v1.insights_pb import (
    EventQuery,
    Granularity,
    InsightQuerySpec,
    InsightType,
)
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from tests.support.boards import BoardDesk, insight_tile, text_tile
from tests.support.pipeline import encode, make_events

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

TRENDS = InsightQuerySpec(
    insight_type=InsightType.TRENDS, events=[EventQuery(event=EventFilter(kind="seen"))]
)


async def store_views(desk: BoardDesk, *times: datetime) -> None:
    rows = [
        row | {"project_id": desk.project, "kind": "seen", "occur_time": f"{at:%F %T}.000"}
        for row, at in zip(make_events(len(times)), times, strict=True)
    ]
    events = desk.control.services.stores.clickhouse
    await events.insert_ndjson("events", [encode(rows)], INSERT_SETTINGS)


async def ask(desk: BoardDesk, board_id: str, **window: object) -> RenderedDashboard:
    request = DashboardsServiceQueryDashboardRequest(dashboard_id=board_id, **window)  # type: ignore[arg-type]
    told: RenderedDashboard = (await desk.call("QueryDashboard", request)).dashboard
    return told


def points(rendered: RenderedDashboard, place: int) -> list[tuple[datetime, float]]:
    result = rendered.tiles[place].outcome
    assert result is not None
    assert result.field == "result", result
    (series,) = result.value.result.value.series
    return [(point.time.to_datetime(), point.value) for point in series.points]


async def test_tiles_have_the_window_of_the_board_in_the_zone_of_the_project(
    asking_desk: BoardDesk,
) -> None:
    desk = asking_desk
    now = desk.control.clock.now().replace(tzinfo=UTC)
    await store_views(desk, now - timedelta(hours=1), now - timedelta(days=3), now - timedelta(9))
    made = await desk.make(insight_tile(TRENDS), text_tile("why"))
    request = DashboardsServiceUpdateRequest(
        id=made.id, display_name="Board", default_time_range=TimeRangePreset.LAST_7_DAYS
    )
    await desk.call("Update", request)
    week = await ask(desk, made.id)
    assert sum(value for _, value in points(week, 0)) == 2
    assert all(at.minute == 0 for at, _ in points(week, 0))
    assert week.tiles[1].outcome is None
    assert week.tiles[1].tile.content.value.body == "why"
    assert week.default_time_range is TimeRangePreset.LAST_7_DAYS
    day = await ask(desk, made.id, granularity=Granularity.HOUR)
    assert sum(value for _, value in points(day, 0)) == 2
    span = TimeRange(
        from_=Timestamp.from_datetime(now - timedelta(days=14)), to=Timestamp.from_datetime(now)
    )
    longer = await ask(desk, made.id, time_range=span)
    assert sum(value for _, value in points(longer, 0)) == 3


async def test_a_tile_that_fails_fails_alone(asking_desk: BoardDesk) -> None:
    """Minutes over thirty days break a cap for every question; what cannot be read is said."""
    desk = asking_desk
    made = await desk.make(insight_tile(TRENDS), insight_tile(TRENDS, name="broken"))
    await desk.control.database.execute(
        "UPDATE dashboard_tiles SET insight_query = $2::text::jsonb WHERE id = $1",
        made.tiles[1].id,
        msgspec.json.encode({"insightType": "INSIGHT_TYPE_OF_TOMORROW"}).decode(),
    )
    capped = await ask(desk, made.id, granularity=Granularity.MINUTE)
    assert [tile.outcome.field for tile in capped.tiles if tile.outcome] == ["error_message"] * 2
    told = await ask(desk, made.id)
    assert told.tiles[0].outcome is not None
    assert told.tiles[0].outcome.field == "result"
    broken = told.tiles[1]
    assert broken.outcome is not None
    assert broken.outcome.field == "error_message"
    assert (broken.tile.display_name, broken.tile.content) == ("broken", None)


async def test_the_public_sees_the_board_as_members_do(asking_desk: BoardDesk) -> None:
    desk = asking_desk
    now = desk.control.clock.now().replace(tzinfo=UTC)
    await store_views(desk, now - timedelta(hours=1))
    made = await desk.make(insight_tile(TRENDS))
    request = DashboardsServiceUpdateRequest(id=made.id, display_name="Board", is_public=True)
    share = (await desk.call("Update", request)).dashboard.share_id
    private = await ask(desk, made.id)
    answer = await desk.control.call(
        "public.dashboards.v1.SharedDashboardsService/Query",
        SharedDashboardsServiceQueryRequest(share_id=share),
    )
    assert points(answer.dashboard, 0) == points(private, 0)
    assert desk.project not in repr(answer.to_json())


async def test_a_board_accepts_a_window_its_tiles_cannot_have(asking_desk: BoardDesk) -> None:
    """The pair is not judged when it is written [dashboards 4]."""
    desk = asking_desk
    made = await desk.make()
    request = DashboardsServiceUpsertRequest(
        id=made.id,
        display_name="Board",
        default_granularity=Granularity.MINUTE,
        default_time_range=TimeRangePreset.LAST_365_DAYS,
        tiles=[insight_tile(TRENDS)],
    )
    await desk.call("Upsert", request)
    told = await ask(desk, made.id)
    assert told.tiles[0].outcome is not None
    assert told.tiles[0].outcome.field == "error_message"
