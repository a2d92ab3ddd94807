"""What an answer is split by [insights 9]."""

from msgspec import Struct

from appliance.domain.insights.dimensions import EventProperty, resolve_property
from appliance.domain.insights.spec import Breakdown


class BreakdownPlan(Struct, frozen=True, kw_only=True):
    """What to split by: keys as asked, where their values are, how many tuples are kept."""

    keys: tuple[str, ...] = ()
    properties: tuple[EventProperty, ...] = ()
    limit: int


def plan_breakdown(asked: Breakdown) -> BreakdownPlan:
    """The properties resolved."""
    return BreakdownPlan(
        keys=asked.properties,
        properties=tuple(map(resolve_property, asked.properties)),
        limit=asked.limit,
    )
