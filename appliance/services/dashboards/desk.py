"""Everything about boards in one place.

Invariant: making it touches no network.
"""

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.services.audit import AuditLog
from appliance.services.dashboards.boards import DashboardsService
from appliance.services.dashboards.rendering import Insights, Rendering
from appliance.storage.postgres.pool import Postgres


class DashboardDesk:
    """Boards of one process, stored and asked."""

    def __init__(
        self, database: Postgres, insights: Insights, audit: AuditLog, *, clock: Clock, ids: IdMaker
    ) -> None:
        self.boards = DashboardsService(database, audit, ids=ids)
        self.rendering = Rendering(insights, clock)
