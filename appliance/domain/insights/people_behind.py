"""The people behind a number, page by page [insights 16].

Invariant: raw distinct ids, ascending, never cookieless ones; the last id of a page is the token of
the next.
"""

from typing import Final

from msgspec import Struct

from appliance.domain.insights.filters import Condition, plan_groups
from appliance.domain.insights.plan import plan_any_event
from appliance.domain.insights.spec import EventQuery, FilterGroups, TimeRange

PAGE_IDS_DEFAULT: Final = 100


class PeopleBehindPlan(Struct, frozen=True, kw_only=True):
    """`after` is the last id of the page before, empty for the first page."""

    project_id: str
    range: TimeRange
    filters: Condition
    matches: Condition
    after: str
    limit: int


def plan_people_behind(
    events: tuple[EventQuery, ...],
    filters: FilterGroups,
    window: TimeRange,
    *,
    project_id: str,
    after: str,
    page_size: int,
) -> PeopleBehindPlan:
    """What will be asked; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    return PeopleBehindPlan(
        project_id=project_id,
        range=window,
        filters=plan_groups(filters),
        matches=plan_any_event(events),
        after=after,
        limit=page_size or PAGE_IDS_DEFAULT,
    )
