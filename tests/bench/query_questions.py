"""What `scripts/bench query` asks, and the events it asks about.

Invariant: events follow from their number alone, so every run asks the same data; sessions have
eight events within minutes, people come back, and every question finds something.
"""

import json
from collections.abc import Mapping
from typing import Final

from appliance.gen.shared.insights.v1.insights_pb import QueryRequest

DAYS: Final = 30
END: Final = "2025-05-31T00:00:00Z"
EVENTS_A_SESSION: Final = 8
ROWS_OF_A_PANEL: Final = 50
"""What the panels of an overview show beside the rest; they count cookieless visitors too."""

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

PAGES: Final[Mapping[str, list[Mapping[str, object]]]] = {
    "overview page": [
        spec | {"includeCookieless": True}
        for spec in (
            _trend(events=[_UNIQUE]),
            _trend(events=[_VIEW]),
            *(
                _total(session=_session(metric))
                for metric in ("SESSIONS", "BOUNCE_RATE", "AVG_DURATION", "AVG_EVENTS_PER_SESSION")
            ),
            *(
                _top(
                    dimension="DIMENSION_PROPERTY",
                    property=key,
                    scope=_WEB,
                    metric=_PEOPLE,
                    limit=ROWS_OF_A_PANEL,
                )
                for key in ("$pathname", "$country", "$browser", "$os", "$device")
            ),
            *(
                _trend(
                    session=_session("SESSIONS"),
                    breakdowns=_by(key),
                    breakdownLimit=ROWS_OF_A_PANEL,
                )
                for key in ("$channel", "$referrerDomain")
            ),
        )
    ],
    "dashboard of 8 tiles": [
        QUESTIONS[name]
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


def request_of(spec: Mapping[str, object]) -> QueryRequest:
    """The message that asks a question about all 30 days."""
    message = {
        "spec": spec,
        "timeRange": {"from": "2025-05-01T00:00:00Z", "to": END},
        "granularity": "GRANULARITY_DAY",
    }
    return QueryRequest.from_json(json.dumps(message))
