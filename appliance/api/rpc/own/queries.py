"""`appliance.queries.v1.QueriesService`: the SQL behind insights (decision 0033).

Invariant: handlers translate messages only; the project is always that of the credential.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec
from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.gen.appliance.queries.v1 import queries_pb as pb
from appliance.gen.appliance.queries.v1.queries_connect import QueriesService
from appliance.services.query_desk import QueryDesk
from appliance.storage.clickhouse.insights.explain import InsightExplanation

_SLOT: Final = re.compile(r"\{(\w+):([^}]+)\}")


class Queries(QueriesService):
    """Looks behind questions."""

    def __init__(self, desk: QueryDesk) -> None:
        self._desk = desk

    async def explain_insight(
        self,
        request: pb.ExplainInsightRequest,
        ctx: RequestContext[pb.ExplainInsightRequest, pb.ExplainInsightResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ExplainInsightResponse:
        assert request.query is not None, "the schema needs it"
        found = await self._desk.explain(current_call.get().caller, request.query)
        return explanation_message(found)


def explanation_message(found: InsightExplanation) -> pb.ExplainInsightResponse:
    """An explanation as it is sent; also what the command line prints."""
    return pb.ExplainInsightResponse(
        source=found.source.value,
        sql=found.sql,
        parameters=list(_parameters(found)),
        settings=[
            pb.EngineSetting(name=name, value=str(value)) for name, value in found.settings.items()
        ],
        plan=list(found.plan),
    )


def _parameters(found: InsightExplanation) -> Iterable[pb.BoundParameter]:
    types = dict(_SLOT.findall(found.sql))
    for name, value in found.parameters.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield pb.BoundParameter(name=name, type=types.get(name, ""), value=shown)
