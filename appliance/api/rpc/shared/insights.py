"""`shared.insights.v1.InsightsService`: aggregated answers [services 7.1].

Invariant: a handler sees validated messages only and decides nothing about meaning.
"""

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.api.ports import Insights
from appliance.gen.common.v1.filter_schema_pb import (
    GetFilterSchemaRequest,
    GetFilterSchemaResponse,
)
from appliance.gen.shared.insights.v1.insights_connect import InsightsService
from appliance.gen.shared.insights.v1.insights_pb import (
    GetPropertyValuesRequest,
    GetPropertyValuesResponse,
    QueryRequest,
    QueryResponse,
    SegmentUsersRequest,
    SegmentUsersResponse,
)
from appliance.services.discovery import DiscoveryService


class InsightAnswers(InsightsService):
    """Questions of dashboards and programs."""

    def __init__(self, insights: Insights, discovery: DiscoveryService) -> None:
        self._insights = insights
        self._discovery = discovery

    async def query(
        self,
        request: QueryRequest,
        ctx: RequestContext[QueryRequest, QueryResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> QueryResponse:
        return await self._insights.query(current_call.get().caller, request)

    async def segment_users(
        self,
        request: SegmentUsersRequest,
        ctx: RequestContext[SegmentUsersRequest, SegmentUsersResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> SegmentUsersResponse:
        return await self._insights.people_behind(current_call.get().caller, request)

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
