"""The board of the demo's project.

Invariant: written as a client would send it, so it is what a client could have made.
"""

import json
from collections.abc import Mapping
from typing import Final

from appliance.gen.common.v1.time_pb import TimeRangePreset
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import DashboardTileInput
from appliance.gen.shared.insights.v1.insights_pb import Granularity
from appliance.services.dashboards.boards import TileDraft
from appliance.services.dashboards.names import kept_name
from appliance.services.dashboards.tiles import content_of
from appliance.storage.postgres.dashboards import BoardSettings


def drafts() -> list[TileDraft]:
    """The tiles, in their order."""
    sent = [DashboardTileInput.from_json(json.dumps(tile)) for tile in TILES]
    return [TileDraft(id="", content=content_of(tile)) for tile in sent]


def _event(kind: str, **asked: object) -> dict[str, object]:
    return {"event": {"kind": kind}, **asked}


def _insight(name: str, view: str, spec: Mapping[str, object], **more: object) -> dict[str, object]:
    return {
        "displayName": name,
        "viewMode": f"DASHBOARD_TILE_VIEW_MODE_{view}",
        "insight": {"spec": spec},
        **more,
    }


BOARD: Final = BoardSettings(
    display_name="The shop",
    description="What a plant shop wants to know. All of it is invented.",
    time_range=kept_name(TimeRangePreset.LAST_90_DAYS),
    granularity=kept_name(Granularity.DAY),
)
TILES: Final[tuple[Mapping[str, object], ...]] = (
    {
        "displayName": "About this board",
        "markdown": {"body": "Visitors look at plants, some buy one. **Nothing here is real.**"},
    },
    _insight(
        "Visitors",
        "LINE",
        {
            "insightType": "INSIGHT_TYPE_TRENDS",
            "events": [_event("page_view", aggregation="AGGREGATION_TYPE_UNIQUE_USERS")],
        },
    ),
    _insight(
        "Revenue",
        "LINE",
        {
            "insightType": "INSIGHT_TYPE_TRENDS",
            "events": [
                _event(
                    "purchase",
                    aggregation="AGGREGATION_TYPE_SUM",
                    aggregationProperty="amount",
                )
            ],
        },
    ),
    _insight(
        "From a look to a purchase",
        "BAR_GROUPED",
        {
            "insightType": "INSIGHT_TYPE_FUNNEL",
            "events": [
                _event(kind)
                for kind in ("product_viewed", "add_to_cart", "checkout_started", "purchase")
            ],
            "conversionWindow": "86400s",
            "includeStepTiming": True,
        },
    ),
    _insight(
        "Who comes back",
        "TABLE",
        {"insightType": "INSIGHT_TYPE_RETENTION", "events": [_event("page_view")]},
    ),
    _insight(
        "Pages",
        "TABLE",
        {
            "insightType": "INSIGHT_TYPE_TOP_K",
            "topK": {
                "dimension": "DIMENSION_PROPERTY",
                "property": "$pathname",
                "scope": {"kind": "page_view"},
            },
        },
    ),
)
