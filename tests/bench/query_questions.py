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

FILL: Final = """
INSERT INTO events (event_id, project_id, distinct_id, session_id, kind, occur_time,
    auto_properties, custom_properties, country, os, browser, device, pathname, channel,
    referrer_domain)
WITH
    intDiv(number, 8) AS visit,
    number % 8 AS nth,
    cityHash64(visit) AS seed,
    seed % {people:UInt64} AS person
SELECT
    toUUID(concat('00000000-0000-4000-8000-', leftPad(lower(hex(number)), 12, '0'))),
    concat('bench-', toString(visit % {projects:UInt64})),
    concat(if(person % 10 = 0, 'cookieless-', 'u'), toString(person)),
    toUUID(concat('00000000-0000-4000-9000-', leftPad(lower(hex(visit)), 12, '0'))),
    multiIf(nth < 5, 'page_view', nth = 5, 'click', nth = 6, 'signup', 'purchase'),
    fromUnixTimestamp64Milli(
        1746057600000 + toInt64(cityHash64(visit, 1) % 2591000000)
            + toInt64(nth * 20000) + toInt64(cityHash64(number, 2) % 20000), 'UTC'),
    map('$tag', concat('s', toString(cityHash64(number, 5) % 20))),
    map('plan', concat('s', ['free', 'pro', 'team'][1 + person % 3]),
        'amount', concat('i', toString(cityHash64(number, 7) % 1000))),
    ['AT', 'DE', 'US', 'FR', 'GB', 'IN', 'JP', 'BR', 'ES', 'IT', 'PL', 'SE']
        [1 + cityHash64(person, 8) % 12],
    ['iOS', 'Android', 'Windows', 'macOS'][1 + cityHash64(person, 9) % 4],
    ['Chrome', 'Safari', 'Firefox', 'Edge'][1 + cityHash64(person, 10) % 4],
    ['mobile', 'desktop'][1 + cityHash64(person, 11) % 2],
    concat('/page/', toString(cityHash64(number, 12) % 500)),
    ['Direct', 'Organic Search', 'Referral', 'Email'][1 + cityHash64(visit, 13) % 4],
    concat('site', toString(cityHash64(visit, 14) % 50), '.example')
FROM numbers({start:UInt64}, {rows:UInt64})
"""

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
    "entries by page": _trend(session=_session("ENTRY"), breakdowns=_by("$pathname")),
    "bounce rate": _total(session=_session("BOUNCE_RATE")),
    "session duration": _total(session=_session("AVG_DURATION")),
    "top pages": _top(dimension="DIMENSION_PROPERTY", property="$pathname", scope=_WEB),
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
        _trend(events=[_UNIQUE]),
        _trend(events=[_VIEW]),
        *(
            _total(session=_session(metric))
            for metric in ("SESSIONS", "BOUNCE_RATE", "AVG_DURATION", "AVG_EVENTS_PER_SESSION")
        ),
        *(
            _top(dimension="DIMENSION_PROPERTY", property=key, scope=_WEB, metric=_PEOPLE)
            for key in ("$pathname", "$country", "$browser", "$os", "$device")
        ),
        _trend(session=_session("SESSIONS"), breakdowns=_by("$channel")),
        _trend(session=_session("SESSIONS"), breakdowns=_by("$referrerDomain")),
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
