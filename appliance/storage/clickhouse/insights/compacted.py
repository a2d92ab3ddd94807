"""How far that is compacted which a plan reads (decisions 0039, 0042).

Invariant: it is read before the statement it is for, so it never tells of rows which that does not
see. A page asks many questions at once: whoever comes while it is read for a project waits for the
same answer.
"""

from typing import Final, LiteralString

from msgspec import Struct

from appliance.base.tasks import Joint
from appliance.domain.insights.plan import TrendsPlan
from appliance.domain.insights.ranking import RankingPlan
from appliance.domain.insights.route import DAY_MS, Source
from appliance.domain.insights.sessions import SessionsPlan
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.compacted_sessions import REACHED, SCOPES, Reached, read_reached
from appliance.storage.clickhouse.compacted_visitors import (
    REACHED_VISITORS,
    ReachedVisitors,
    read_reached_visitors,
)
from appliance.storage.clickhouse.insights.people_ranking import ranks_changing

_BOTH: Final[LiteralString] = """
SELECT * FROM (<sessions>) AS sessions, (<visitors>) AS visitors
""".replace("<sessions>", REACHED).replace("<visitors>", REACHED_VISITORS)


class _Progress(Struct, frozen=True, kw_only=True):
    sessions: Reached
    visitors: ReachedVisitors


class CompactedReader:
    """Tells how far projects are compacted now; used on one loop."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store
        self._under_way: dict[str, Joint[_Progress]] = {}

    async def sessions(self, plan: SessionsPlan) -> Reached | None:
        """How far the sessions of a plan are; None where the roll-up alone is read."""
        if plan.source is not Source.SESSION_ROLLUP or plan.kind not in SCOPES:
            return None
        reached = (await self._progress(plan.project_id)).sessions
        return reached if reached.before_block else None

    async def visitors(self, plan: TrendsPlan | RankingPlan) -> ReachedVisitors | None:
        """How far the visitors of a plan are; None where the roll-up alone is read.

        So it is where a few sets are united: bitmaps would not make up for the longer statement.
        """
        if plan.source is not Source.EVENT_ROLLUP or not plan.counts_people:
            return None
        if isinstance(plan, RankingPlan) and not ranks_changing(plan):
            return None
        reached = (await self._progress(plan.project_id)).visitors
        return reached if reached.before_day > plan.range.start_ms // DAY_MS else None

    async def _progress(self, project_id: str) -> _Progress:
        reading = self._under_way.get(project_id)
        if reading is None or not reading.is_good:
            reading = self._under_way[project_id] = Joint(lambda: self._read(project_id))
        return await reading.result()

    async def _read(self, project_id: str) -> _Progress:
        try:
            (row,) = await self._store.rows(_BOTH, {"project": project_id})
        finally:
            self._under_way.pop(project_id, None)
        return _Progress(sessions=read_reached(row[:2]), visitors=read_reached_visitors(row[2:]))
