"""`shared.insights.v1.InsightsService`: aggregated answers [services 7.1].

Invariant: a handler sees validated messages only and decides nothing about meaning.
"""

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.api.ports import Insights
from appliance.gen.shared.insights.v1.insights_connect import InsightsService
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest, QueryResponse


class InsightAnswers(InsightsService):
    """Questions of dashboards and programs."""

    def __init__(self, insights: Insights) -> None:
        self._insights = insights

    async def query(
        self,
        request: QueryRequest,
        ctx: RequestContext[QueryRequest, QueryResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> QueryResponse:
        return await self._insights.query(current_call.get().caller, request)
