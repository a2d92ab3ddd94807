"""How far that is compacted which a plan reads (decisions 0039, 0042).

Invariant: it is read before the statement it is for, so it never tells of rows which that does not
see. A page asks many questions at once: whoever comes while it is read for a project waits for the
same answer.
"""

from typing import Final, LiteralString, assert_never

from msgspec import Struct

from appliance.base.tasks import Joint
from appliance.domain.insights.plan import SegmentationPlan, TrendsPlan
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
from appliance.storage.clickhouse.insights.people_ranking import is_changing, ranks_changing

_BOTH: Final[LiteralString] = """
SELECT * FROM (<sessions>) AS sessions, (<visitors>) AS visitors
""".replace("<sessions>", REACHED).replace("<visitors>", REACHED_VISITORS)


FEW_IDS: Final = 400_000
"""Sets of so many ids are united in less time than the longer statement takes to plan."""

PeoplePlan = TrendsPlan | SegmentationPlan | RankingPlan
"""What may count people from the daily roll-up."""


class _Progress(Struct, frozen=True, kw_only=True):
    sessions: Reached
    visitors: ReachedVisitors


class CompactedReader:
    """Tells how far projects are compacted now; used on one loop.

    Up to `few_ids`, visitors are counted from sets although there are bitmaps.
    """

    def __init__(self, store: ClickHouse, *, few_ids: int = FEW_IDS) -> None:
        self._store = store
        self._few_ids = few_ids
        self._under_way: dict[str, Joint[_Progress]] = {}

    async def sessions(self, plan: SessionsPlan) -> Reached | None:
        """How far the sessions of a plan are; None where the roll-up alone is read."""
        if plan.source is not Source.SESSION_ROLLUP or plan.kind not in SCOPES:
            return None
        reached = (await self._progress(plan.project_id)).sessions
        return reached if reached.before_block else None

    async def visitors(self, plan: PeoplePlan) -> ReachedVisitors | None:
        """How far the visitors of a plan are; None where the roll-up alone is read."""
        if plan.source is not Source.EVENT_ROLLUP or not plan.counts_people:
            return None
        reached = (await self._progress(plan.project_id)).visitors
        if reached.before_day <= plan.range.start_ms // DAY_MS:
            return None
        return None if self._has_few_ids(plan, reached) else reached

    def _has_few_ids(self, plan: PeoplePlan, reached: ReachedVisitors) -> bool:
        """Whether the sets of a plan hold few ids together, each visitor once a day at most."""
        if _has_people_many_times(plan):
            return False
        days = (plan.range.end_ms - plan.range.start_ms) // DAY_MS
        return (reached.before_number - 1) * days <= self._few_ids

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


def _has_people_many_times(plan: PeoplePlan) -> bool:
    """Whether one person has many of the values that a plan is split by."""
    match plan:
        case RankingPlan():
            return ranks_changing(plan)
        case TrendsPlan():
            return any(is_changing(key) for key in plan.breakdown.keys)
        case SegmentationPlan():
            return False
        case _:
            assert_never(plan)
