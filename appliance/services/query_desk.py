"""What is behind questions: SQL of experts, and the SQL of insights.

Invariant: explaining an insight goes the way of asking it (`insights.py`) up to the plan, and runs
nothing of it.
"""

from appliance.config.endpoints import ClickHouseEndpoint
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.audit import AuditLog
from appliance.services.expert_sql import ExpertSqlService
from appliance.services.insights import InsightsService, Project
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.expert_sql import ExpertSql
from appliance.storage.clickhouse.insights.explain import InsightExplanation, explain_insight


class QueryDesk:
    """`sql` answers queries that people wrote; `explain` shows those of insights."""

    def __init__(
        self,
        stores: Stores,
        endpoint: ClickHouseEndpoint,
        audit: AuditLog,
        insights: InsightsService,
    ) -> None:
        self.sql = ExpertSqlService(ExpertSql(endpoint), stores.postgres, audit)
        self._events: ClickHouse = stores.clickhouse
        self._insights = insights

    async def explain(self, project: Project, request: QueryRequest) -> InsightExplanation:
        """How an insight would be answered now; raises as asking it does."""
        return await explain_insight(self._events, await self._insights.plan(project, request))

    async def close(self) -> None:
        """Let go of what was opened here."""
        await self.sql.close()
