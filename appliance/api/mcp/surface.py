"""Which calls an agent is offered, under which names, and why it is not offered the others.

Invariant: the table has one row for every RPC of the three services, either with the name of a tool
or with the reason for hiding it; a table that does not say so keeps the server from starting
[mcp 9]. So a new RPC forces a decision instead of slipping in. Next: `tools.py`, what a call does.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from protobuf import DescMessage, DescMethod, DescService

from appliance.base.errors import MisconfiguredError
from appliance.gen.shared.activity.v1.activity_connect import ActivityService
from appliance.gen.shared.insights.v1.insights_connect import InsightsService
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesService

_INSIGHTS: Final = "shared.insights.v1.InsightsService"
_ACTIVITY: Final = "shared.activity.v1.ActivityService"
_PROFILES: Final = "shared.profiles.v1.ProfilesService"


class Row(Struct, frozen=True, kw_only=True):
    """One RPC: `tool` is its name for agents, `hidden` why it has none; one of the two is set."""

    service: str
    method: str
    tool: str = ""
    hidden: str = ""

    @property
    def path(self) -> str:
        """The RPC as `service/method`."""
        return f"{self.service}/{self.method}"


class Offer(Struct, frozen=True, kw_only=True):
    """One tool: its name, the RPC behind it and the messages of that."""

    tool: str
    service: str
    method: str
    request: DescMessage
    response: DescMessage


ROWS: Final[tuple[Row, ...]] = (
    Row(service=_INSIGHTS, method="Query", tool="query_insights"),
    Row(service=_INSIGHTS, method="GetFilterSchema", tool="get_insights_filter_schema"),
    Row(service=_INSIGHTS, method="GetPropertyValues", tool="get_insights_property_values"),
    Row(service=_INSIGHTS, method="SegmentUsers", hidden="drilling down to people: RPC only"),
    Row(service=_ACTIVITY, method="GetActivityFeed", tool="get_activity_feed"),
    Row(service=_ACTIVITY, method="GetEventExplorer", tool="explore_events"),
    Row(service=_ACTIVITY, method="GetFilterSchema", tool="get_activity_filter_schema"),
    Row(service=_ACTIVITY, method="GetPropertyValues", tool="get_activity_property_values"),
    Row(service=_ACTIVITY, method="GetActivityHeatmap", tool="get_activity_heatmap"),
    Row(service=_ACTIVITY, method="GetProfileStats", tool="get_profile_stats"),
    Row(service=_PROFILES, method="Get", tool="get_profile"),
    Row(service=_PROFILES, method="GetByExternalId", tool="get_profile_by_external_id"),
    Row(service=_PROFILES, method="GetDeletionRequest", tool="get_deletion_request"),
    Row(service=_PROFILES, method="List", hidden="it streams, which a tool call cannot show"),
    Row(service=_PROFILES, method="Delete", hidden="erasing cannot be undone"),
    Row(service=_PROFILES, method="DeleteDataSubject", hidden="erasing cannot be undone"),
)
"""The whole surface [mcp 4]."""


def served() -> tuple[DescService, ...]:
    """The services behind the tools."""
    return InsightsService.desc(), ActivityService.desc(), ProfilesService.desc()


class Surface:
    """The tools, registered one by one: the second lock behind the table."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}

    @property
    def offers(self) -> Mapping[str, Offer]:
        """Every tool by its name, in the order of the table."""
        return self._offers

    def register(self, row: Row, method: DescMethod) -> None:
        """Offer an RPC; raises MisconfiguredError for one that is hidden, streams or has a name
        that is taken.
        """
        if row.hidden or not row.tool:
            raise _wrong(f"{row.path} is hidden and must not be offered: {row.hidden or 'no name'}")
        if method.method_kind != "unary":
            raise _wrong(f"{row.path} streams and cannot be a tool")
        if row.tool in self._offers:
            raise _wrong(f"two calls are offered as {row.tool}")
        self._offers[row.tool] = Offer(
            tool=row.tool,
            service=row.service,
            method=row.method,
            request=method.input,
            response=method.output,
        )


def checked_surface(
    rows: Iterable[Row] | None = None, services: Iterable[DescService] | None = None
) -> Surface:
    """The tools of a table; raises MisconfiguredError when table and services do not agree."""
    methods = {
        f"{service.type_name}/{method.name}": method
        for service in (served() if services is None else services)
        for method in service.methods
    }
    table: dict[str, Row] = {}
    for row in ROWS if rows is None else rows:
        if row.path in table:
            raise _wrong(f"two rows decide on {row.path}")
        table[row.path] = row
    undecided = sorted(methods.keys() - table.keys())
    if undecided:
        raise _wrong(f"nobody decided whether agents may call {', '.join(undecided)}")
    surface = Surface()
    for path, row in table.items():
        method = methods.get(path)
        if method is None:
            raise _wrong(f"{path} is in the table of tools and does not exist")
        if not row.hidden:
            surface.register(row, method)
    return surface


def _wrong(message: str) -> MisconfiguredError:
    return MisconfiguredError(
        "MCP_SURFACE_UNDECIDED", message, hint="see appliance/api/mcp/surface.py"
    )
