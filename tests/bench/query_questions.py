"""What `scripts/bench query` asks, and the events it asks about.

Invariant: events follow from their number alone, so every run asks the same data; sessions have
eight events within minutes, people come back, and every question finds something.

The overview page is that of the contract, traffic view [dashboard-ui Overview]: six tiles with
total, total of the period before and series, and eight panels. There are events of 30 days only.
Asked about 30 days, the period before would be empty and cost nothing; so it is the same 30 days a
day earlier, of which 29 have events. It costs what it costs in life, and shares nothing with the
present one.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from appliance.gen.shared.insights.v1.insights_pb import QueryRequest

DAYS: Final = 30
START: Final = "2025-05-01T00:00:00Z"
END: Final = "2025-05-31T00:00:00Z"
EVENTS_A_SESSION: Final = 8
ROWS_OF_A_PANEL: Final = 50
"""What the panels of an overview show beside the rest; they count cookieless visitors too."""

Spec = Mapping[str, object]


class Call(Struct, frozen=True):
    """A question of a page; `days_earlier` is how much earlier its window is than the page's."""

    spec: Spec
    days_earlier: int = 0


_VIEW: Final = {"event": {"kind": "page_view"}}
_UNIQUE: Final = {**_VIEW, "aggregation": "AGGREGATION_TYPE_UNIQUE_USERS"}
_PRO: Final = {"property": "plan", "operator": "FILTER_OPERATOR_EQUALS", "value": "pro"}
_STEPS: Final = [{"event": {"kind": k}} for k in ("page_view", "click", "signup", "purchase")]
_WEB: Final = {"kind": "page_view"}


def _trend(**spec: object) -> dict[str, object]:
    return {"insightType": "INSIGHT_TYPE_TRENDS", **spec}


def _total(**spec: object) -> dict[str, object]:
    return {"insightType": "INSIGHT_TYPE_SEGMENTATION", **spec}


def _top(**asked: object) -> dict[str, object]:
    return {"insightType": "INSIGHT_TYPE_TOP_K", "topK": asked}


def _session(metric: str) -> dict[str, object]:
    return {"metric": f"SESSION_METRIC_{metric}", "scope": _WEB}


def _by(key: str) -> list[dict[str, str]]:
    return [{"property": key}]


_PEOPLE = "AGGREGATION_TYPE_UNIQUE_USERS"
_SUM = {"aggregation": "AGGREGATION_TYPE_SUM", "aggregationProperty": "amount"}

QUESTIONS: Final[Mapping[str, Mapping[str, object]]] = {
    "trend, total by day": _trend(events=[_VIEW]),
    "trend, unique users by day": _trend(events=[_UNIQUE]),
    "trend, unique users by country": _trend(events=[_UNIQUE], breakdowns=_by("$country")),
    "trend, four kinds": _trend(events=_STEPS),
    "trend, plan = pro by page": _trend(
        events=[{"event": {**_WEB, "filters": [_PRO]}}], breakdowns=_by("$pathname")
    ),
    "trend, sum of a number": _trend(events=[_SUM]),
    "segmentation, total": _total(events=[_VIEW]),
    "segmentation, unique users": _total(events=[_UNIQUE]),
    "sessions by day": _trend(session=_session("SESSIONS")),
    "sessions by channel": _trend(session=_session("SESSIONS"), breakdowns=_by("$channel")),
    "sessions by referrer": _trend(session=_session("SESSIONS"), breakdowns=_by("$referrerDomain")),
    "entries by page": _trend(session=_session("ENTRY"), breakdowns=_by("$pathname")),
    "bounce rate": _total(session=_session("BOUNCE_RATE")),
    "session duration": _total(session=_session("AVG_DURATION")),
    "top pages": _top(dimension="DIMENSION_PROPERTY", property="$pathname", scope=_WEB),
    "top pages, unique users": _top(
        dimension="DIMENSION_PROPERTY", property="$pathname", scope=_WEB, metric=_PEOPLE
    ),
    "top pages, unique users, 50": _top(
        dimension="DIMENSION_PROPERTY",
        property="$pathname",
        scope=_WEB,
        metric=_PEOPLE,
        limit=ROWS_OF_A_PANEL,
    ),
    "top pages, unique users, no rest": _top(
        dimension="DIMENSION_PROPERTY",
        property="$pathname",
        scope=_WEB,
        metric=_PEOPLE,
        omitOthers=True,
    ),
    "top countries, unique users": _top(
        dimension="DIMENSION_PROPERTY", property="$country", scope=_WEB, metric=_PEOPLE
    ),
    "top kinds": _top(dimension="DIMENSION_EVENT_KIND"),
    "top people": _top(dimension="DIMENSION_USER"),
    "map": {"insightType": "INSIGHT_TYPE_MAP", "map": {}},
    "funnel, 4 steps": {
        "insightType": "INSIGHT_TYPE_FUNNEL",
        "events": _STEPS,
        "conversionWindow": "86400s",
    },
    "funnel, 4 steps with times": {
        "insightType": "INSIGHT_TYPE_FUNNEL",
        "events": _STEPS,
        "conversionWindow": "86400s",
        "includeStepTiming": True,
    },
    "retention by day": {"insightType": "INSIGHT_TYPE_RETENTION", "events": [_VIEW]},
    "user flow by kind": {"insightType": "INSIGHT_TYPE_USER_FLOW", "userFlow": {}},
    "user flow by page": {
        "insightType": "INSIGHT_TYPE_USER_FLOW",
        "userFlow": {"nodeKind": "NODE_KIND_PROPERTY", "nodeProperty": "$pathname"},
    },
}


def _ranked_people(key: str) -> dict[str, object]:
    return _top(
        dimension="DIMENSION_PROPERTY",
        property=key,
        scope=_WEB,
        metric=_PEOPLE,
        limit=ROWS_OF_A_PANEL,
    )


_TILES: Final[tuple[dict[str, object], ...]] = (
    {"events": [_UNIQUE]},
    {"session": _session("SESSIONS")},
    {"events": [_VIEW]},
    {"session": _session("AVG_EVENTS_PER_SESSION")},
    {"session": _session("BOUNCE_RATE")},
    {"session": _session("AVG_DURATION")},
)
_SPLIT_SESSIONS: Final = tuple(
    _trend(session=_session("SESSIONS"), breakdowns=_by(key), breakdownLimit=ROWS_OF_A_PANEL)
    for key in ("$channel", "$referrerDomain")
)
_PANELS: Final = (
    *map(_ranked_people, ("$pathname", "$referrerDomain", "$country", "$browser")),
    {"insightType": "INSIGHT_TYPE_MAP", "map": {"scope": _WEB, "metric": _PEOPLE}},
    _top(dimension="DIMENSION_EVENT_KIND", limit=ROWS_OF_A_PANEL),
    *_SPLIT_SESSIONS,
)


def _with_cookieless(spec: Spec) -> Spec:
    return {**spec, "includeCookieless": True}


def _overview() -> list[Call]:
    calls: list[Call] = []
    for tile in _TILES:
        total, series = _with_cookieless(_total(**tile)), _with_cookieless(_trend(**tile))
        calls += [Call(total), Call(total, days_earlier=1), Call(series)]
    return calls + [Call(_with_cookieless(panel)) for panel in _PANELS]


PAGES: Final[Mapping[str, list[Call]]] = {
    "overview page": _overview(),
    "overview page, 13 of before": [
        Call(_with_cookieless(spec))
        for spec in (
            _trend(events=[_UNIQUE]),
            _trend(events=[_VIEW]),
            *(
                _total(session=_session(metric))
                for metric in ("SESSIONS", "BOUNCE_RATE", "AVG_DURATION", "AVG_EVENTS_PER_SESSION")
            ),
            *map(_ranked_people, ("$pathname", "$country", "$browser", "$os", "$device")),
            *_SPLIT_SESSIONS,
        )
    ],
    "dashboard of 8 tiles": [
        Call(QUESTIONS[name])
        for name in (
            "trend, total by day",
            "trend, unique users by day",
            "trend, unique users by country",
            "trend, four kinds",
            "segmentation, unique users",
            "sessions by day",
            "top pages",
            "top kinds",
        )
    ],
}
"""Questions that are asked at the same time."""


def request_of(spec: Spec, *, days_earlier: int = 0) -> QueryRequest:
    """The message that asks a question about all 30 days, or about as many some days earlier."""
    earlier = timedelta(days=days_earlier)
    message = {
        "spec": spec,
        "timeRange": {
            "from": (datetime.fromisoformat(START) - earlier).isoformat(),
            "to": (datetime.fromisoformat(END) - earlier).isoformat(),
        },
        "granularity": "GRANULARITY_DAY",
    }
    return QueryRequest.from_json(json.dumps(message))
