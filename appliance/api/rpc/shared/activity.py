"""`shared.activity.v1.ActivityService`: single events [services 7.2].

Invariant: handlers translate messages only; the project is that of the credential.
"""

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.gen.common.v1.filter_schema_pb import (
    GetFilterSchemaRequest,
    GetFilterSchemaResponse,
)
from appliance.gen.shared.activity.v1.activity_connect import ActivityService
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetActivityFeedResponse,
    GetActivityHeatmapRequest,
    GetActivityHeatmapResponse,
    GetEventExplorerRequest,
    GetEventExplorerResponse,
    GetProfileStatsRequest,
    GetProfileStatsResponse,
    GetPropertyValuesRequest,
    GetPropertyValuesResponse,
)
from appliance.services.activity import ActivityService as Events
from appliance.services.discovery import DiscoveryService


class Activity(ActivityService):
    """What persons did, event by event."""

    def __init__(self, events: Events, discovery: DiscoveryService) -> None:
        self._events = events
        self._discovery = discovery

    async def get_activity_feed(
        self,
        request: GetActivityFeedRequest,
        ctx: RequestContext[GetActivityFeedRequest, GetActivityFeedResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetActivityFeedResponse:
        return await self._events.feed(current_call.get().caller.project_id, request)

    async def get_event_explorer(
        self,
        request: GetEventExplorerRequest,
        ctx: RequestContext[GetEventExplorerRequest, GetEventExplorerResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetEventExplorerResponse:
        return await self._events.explorer(current_call.get().caller.project_id, request)

    async def get_activity_heatmap(
        self,
        request: GetActivityHeatmapRequest,
        ctx: RequestContext[GetActivityHeatmapRequest, GetActivityHeatmapResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetActivityHeatmapResponse:
        return await self._events.heatmap(current_call.get().caller.project_id, request)

    async def get_profile_stats(
        self,
        request: GetProfileStatsRequest,
        ctx: RequestContext[GetProfileStatsRequest, GetProfileStatsResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetProfileStatsResponse:
        return await self._events.stats(current_call.get().caller.project_id, request)

    async def get_filter_schema(
        self,
        request: GetFilterSchemaRequest,
        ctx: RequestContext[GetFilterSchemaRequest, GetFilterSchemaResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetFilterSchemaResponse:
        return await self._discovery.filter_schema(current_call.get().caller.project_id, request)

    async def get_property_values(
        self,
        request: GetPropertyValuesRequest,
        ctx: RequestContext[GetPropertyValuesRequest, GetPropertyValuesResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetPropertyValuesResponse:
        found = await self._discovery.property_values(
            current_call.get().caller.project_id,
            request.property_key,
            request.source,
            request.event_kind,
        )
        return GetPropertyValuesResponse(values=list(found))
