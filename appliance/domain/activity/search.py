"""Which events the feed and the explorer show: a checked question [dashboards 12].

Invariant: a search is complete: the condition is planned, the place to go on is read from the
token, the number of events is set. Whose events they are is decided by the service.
"""

import re
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.cursors import Cursor, decode_event_cursor
from appliance.domain.insights.filters import (
    FILTERS_MAX,
    AllOf,
    AnyOf,
    Condition,
    plan_event_condition,
    plan_filter,
)
from appliance.domain.insights.spec import TimeRange
from appliance.domain.insights.wire import parse_condition, parse_filter, parse_range
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetEventExplorerRequest,
)

PAGE_EVENTS: Final = 100
"""Events of a page when no size is asked for; at most 1000 by the schema [dashboards 11]."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


class EventSearch(Struct, frozen=True, kw_only=True):
    """Events, newest first; without a session or range all of them.

    `matches_nothing` when a session is asked for that no event can have.
    """

    condition: Condition
    limit: int
    session_id: str = ""
    range: TimeRange | None = None
    after: Cursor | None = None
    matches_nothing: bool = False


def plan_search(request: GetActivityFeedRequest | GetEventExplorerRequest) -> EventSearch:
    """The search of a validated request.

    Raises InvalidInputError (`INVALID_PAGE_TOKEN`, `INVALID_ACTIVITY_FILTER`).
    """
    after = decode_event_cursor(request.page_token)
    if after is not None and not is_uuid(after.id):
        raise InvalidInputError("INVALID_PAGE_TOKEN", "the page token is none of ours")
    return EventSearch(
        condition=_plan_condition(request),
        limit=request.page_size or PAGE_EVENTS,
        session_id=request.session_id,
        range=None if request.time_range is None else parse_range(request.time_range),
        after=after,
        matches_nothing=bool(request.session_id) and not is_uuid(request.session_id),
    )


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in the one form that we send."""
    return _UUID.fullmatch(text) is not None


def _plan_condition(request: GetActivityFeedRequest | GetEventExplorerRequest) -> Condition:
    number = len(request.property_filters) + sum(len(event.filters) for event in request.events)
    if number > FILTERS_MAX:
        raise InvalidInputError("INVALID_ACTIVITY_FILTER", f"more than {FILTERS_MAX} filters")
    try:
        events = tuple(plan_event_condition(parse_condition(each)) for each in request.events)
        filters = tuple(plan_filter(parse_filter(each)) for each in request.property_filters)
    except InvalidInputError as error:
        raise InvalidInputError("INVALID_ACTIVITY_FILTER", error.message) from error
    return AllOf((*filters, AnyOf(events))) if events else AllOf(filters)
