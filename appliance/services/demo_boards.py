"""The boards of the demo's project: revenue, acquisition, product health, people.

Invariant: written as a client would send them, so they are what a client could have made; a tile
keeps its id as long as it keeps its name, and no two tiles of a board have the same one.
"""

import json
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from appliance.gen.common.v1.time_pb import TimeRangePreset
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import DashboardTileInput
from appliance.gen.shared.insights.v1.insights_pb import Granularity
from appliance.services.dashboards.boards import TileDraft
from appliance.services.dashboards.names import kept_name
from appliance.services.dashboards.tiles import content_of
from appliance.storage.postgres.dashboards import BoardSettings

Json = Mapping[str, object]
_UNIQUE: Final = "AGGREGATION_TYPE_UNIQUE_USERS"
_PRIOR: Final = {"compare": "COMPARE_PERIOD_PRIOR"}


class DemoBoard(Struct, frozen=True, kw_only=True):
    """A board and its tiles, in their order."""

    settings: BoardSettings
    tiles: tuple[Json, ...]


def drafts(board: DemoBoard, ids: Mapping[str, str]) -> list[TileDraft]:
    """The tiles, in their order; `ids` are those of tiles that are there already, by name."""
    sent = [DashboardTileInput.from_json(json.dumps(tile)) for tile in board.tiles]
    return [TileDraft(id=ids.get(tile.display_name, ""), content=content_of(tile)) for tile in sent]


def _board(
    name: str, description: str, span: TimeRangePreset, step: Granularity, *tiles: Json
) -> DemoBoard:
    settings = BoardSettings(
        display_name=name,
        description=description,
        time_range=kept_name(span),
        granularity=kept_name(step),
    )
    return DemoBoard(settings=settings, tiles=tiles)


def _text(body: str) -> Json:
    return {"displayName": "About this board", "markdown": {"body": body}}


def _tile(name: str, view: str, spec: Json, **more: object) -> Json:
    return {
        "displayName": name,
        "viewMode": f"DASHBOARD_TILE_VIEW_MODE_{view}",
        "insight": {"spec": spec},
        **more,
    }


def _of(kind: str, *filters: Json, **asked: object) -> Json:
    event: dict[str, object] = {"kind": kind}
    if filters:
        event["filters"] = list(filters)
    return {"event": event, **asked}


def _sum(kind: str, key: str, *filters: Json) -> Json:
    return _of(kind, *filters, aggregation="AGGREGATION_TYPE_SUM", aggregationProperty=key)


def _is(key: str, value: str, source: str) -> Json:
    return {
        "property": key,
        "operator": "FILTER_OPERATOR_EQUALS",
        "value": value,
        "source": f"PROPERTY_SOURCE_{source}",
    }


def _trend(*events: Json, by: str = "") -> Json:
    found: dict[str, object] = {"insightType": "INSIGHT_TYPE_TRENDS", "events": list(events)}
    if by:
        found["breakdowns"] = [{"property": by}]
    return found


def _total(*events: Json) -> Json:
    return {"insightType": "INSIGHT_TYPE_SEGMENTATION", "events": list(events)}


def _session(kind: str, metric: str) -> Json:
    return {
        "insightType": f"INSIGHT_TYPE_{kind}",
        "session": {"metric": f"SESSION_METRIC_{metric}"},
    }


def _top(key: str, kind: str, **asked: object) -> Json:
    ranking: dict[str, object] = {"dimension": "DIMENSION_PROPERTY", "property": key}
    return {
        "insightType": "INSIGHT_TYPE_TOP_K",
        "topK": {**ranking, "scope": {"kind": kind}, **asked},
    }


def _funnel(*kinds: str) -> Json:
    return {
        "insightType": "INSIGHT_TYPE_FUNNEL",
        "events": [_of(kind) for kind in kinds],
        "conversionWindow": "86400s",
        "includeStepTiming": True,
    }


def _retention(kind: str) -> Json:
    return {"insightType": "INSIGHT_TYPE_RETENTION", "events": [_of(kind)]}


def _threshold(operator: str, value: float, tone: str) -> Json:
    return {"operator": f"OPERATOR_{operator}", "value": value, "tone": f"TONE_{tone}"}


_VISITORS: Final = _of("page_view", aggregation=_UNIQUE)

BOARDS: Final = (
    _board(
        "Revenue",
        "What the shop earns, and where it is lost on the way. All of it is invented.",
        TimeRangePreset.LAST_90_DAYS,
        Granularity.DAY,
        _text(
            "Some who look at a plant buy it. The funnel shows **where the others stop**; every "
            "sixth week there is a sale. *Nothing here is real.*"
        ),
        _tile("Revenue", "KPI", _total(_sum("purchase", "amount")), **_PRIOR),
        _tile(
            "Orders a day",
            "LINE",
            _trend(_of("purchase")),
            thresholds=[_threshold("LT", 5, "WARN"), _threshold("GTE", 20, "GOOD")],
        ),
        _tile("Revenue by category", "AREA", _trend(_sum("purchase", "amount"), by="category")),
        _tile(
            "From a look to a purchase",
            "BAR_GROUPED",
            _funnel("product_viewed", "add_to_cart", "checkout_started", "purchase"),
        ),
        _tile("Best sellers", "TABLE", _top("productId", "purchase", limit=10)),
        _tile(
            "Revenue from members",
            "LINE",
            _trend(_sum("purchase", "amount", _is("plan", "member", "PROFILE"))),
        ),
        _tile("Coupons", "LINE", _trend(_of("coupon_applied"), _of("order_refunded"))),
    ),
    _board(
        "Acquisition",
        "Where visitors come from, and which of them stay.",
        TimeRangePreset.LAST_90_DAYS,
        Granularity.DAY,
        _text("A quarter of all visits follow a campaign, in a sale nearly half."),
        _tile("Visitors", "KPI", _total(_VISITORS), **_PRIOR),
        _tile("Visitors by channel", "BAR_STACKED", _trend(_VISITORS, by="$channel")),
        _tile("Referrers", "TABLE", _top("$referrerDomain", "page_view", metric=_UNIQUE)),
        _tile("Campaigns", "TABLE", _top("$utmCampaign", "page_view", metric=_UNIQUE)),
        _tile("Where they live", "MAP", {"insightType": "INSIGHT_TYPE_MAP", "map": {}}),
        _tile("New accounts", "LINE", _trend(_of("signup"), by="$platform")),
        _tile(
            "Sign-ups from telephones",
            "LINE",
            _trend(_of("signup", _is("$mobile", "true", "AUTO"))),
        ),
        _tile("Bounce rate", "KPI", _session("SEGMENTATION", "BOUNCE_RATE"), **_PRIOR),
    ),
    _board(
        "Product health",
        "Whether site and app do what they should.",
        TimeRangePreset.LAST_30_DAYS,
        Granularity.DAY,
        _text("A release of the app comes every eight weeks. **Fresh releases crash more often.**"),
        _tile(
            "Crashes",
            "KPI",
            _total(_of("app_crashed")),
            thresholds=[_threshold("GT", 50, "BAD"), _threshold("LTE", 10, "GOOD")],
            **_PRIOR,
        ),
        _tile("Versions of the app", "BAR_STACKED", _trend(_of("app_open"), by="$appVersion")),
        _tile("Errors", "LINE", _trend(_of("error_occurred"), by="errorCode")),
        _tile("Anger", "LINE", _trend(_of("rage_click"), _of("dead_click"))),
        _tile("Length of a visit", "LINE", _session("TRENDS", "AVG_DURATION")),
        _tile("Failed payments", "LINE", _trend(_of("payment_failed"))),
        _tile(
            "Videos watched to the end",
            "BAR_GROUPED",
            _funnel("video_started", "video_pause", "video_completed"),
        ),
    ),
    _board(
        "People",
        "Who comes back, how often, and what they do.",
        TimeRangePreset.LAST_180_DAYS,
        Granularity.WEEK,
        _text("Two of five shoppers stay for years; the others stay about **six weeks**."),
        _tile("People a week", "LINE", _trend(_VISITORS)),
        _tile("Who comes back", "TABLE", _retention("page_view")),
        _tile("Who opens the app again", "TABLE", _retention("app_open")),
        _tile(
            "Members and others",
            "LINE",
            _trend(
                _of("product_viewed", _is("plan", "member", "PROFILE"), aggregation=_UNIQUE),
                _of("product_viewed", _is("plan", "free", "PROFILE"), aggregation=_UNIQUE),
            ),
        ),
        _tile(
            "Paid by card",
            "LINE",
            _trend(_of("purchase", _is("paymentMethodType", "card", "CUSTOM"))),
        ),
        _tile(
            "Most active people",
            "TABLE",
            {"insightType": "INSIGHT_TYPE_TOP_K", "topK": {"dimension": "DIMENSION_USER"}},
        ),
        _tile(
            "Ways through the shop",
            "SANKEY",
            {"insightType": "INSIGHT_TYPE_USER_FLOW", "userFlow": {}},
        ),
    ),
)
