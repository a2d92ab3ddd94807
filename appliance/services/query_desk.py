"""What is behind questions: SQL of experts, and the SQL of insights.

Invariant: explaining an insight goes the way of asking it (`insights.py`) up to the statement, and
runs nothing of it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from appliance.base.clock import Clock
from appliance.config.endpoints import ClickHouseEndpoint
from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.wire import parse_query
from appliance.gen.shared.insights.v1.insights_pb import QueryRequest
from appliance.services.audit import AuditLog
from appliance.services.cohort_lookup import CohortLookup
from appliance.services.expert_sql import ExpertSqlService
from appliance.services.insights import Project
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.expert_sql import ExpertSql
from appliance.storage.clickhouse.insights.explain import InsightExplanation, explain_insight

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class QueryDesk:
    """`sql` answers queries that people wrote; `explain` shows those of insights."""

    def __init__(
        self, stores: Stores, endpoint: ClickHouseEndpoint, audit: AuditLog, clock: Clock
    ) -> None:
        self.sql = ExpertSqlService(ExpertSql(endpoint), stores.postgres, audit)
        self._events: ClickHouse = stores.clickhouse
        self._cohorts = CohortLookup(stores.postgres)
        self._clock = clock

    async def explain(self, project: Project, request: QueryRequest) -> InsightExplanation:
        """How an insight would be answered now; raises as asking it does."""
        now_ms = (self._clock.now() - _EPOCH) // timedelta(milliseconds=1)
        spec = parse_query(request, timezone=project.timezone)
        spec = await self._cohorts.complete(project.project_id, spec, now_ms)
        plan = plan_insight(spec, project_id=project.project_id, now_ms=now_ms)
        return await explain_insight(self._events, plan)

    async def close(self) -> None:
        """Let go of what was opened here."""
        await self.sql.close()
