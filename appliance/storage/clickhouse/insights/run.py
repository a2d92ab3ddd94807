"""Answer a plan: compile, ask, read the rows back.

Invariant: driver errors end here as ours, by `ask`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar, assert_never, cast

import msgspec
import structlog
from msgspec.structs import replace

from appliance.base.errors import ApplianceError
from appliance.domain.insights.funnel import FunnelPlan, FunnelRow, Times, shape_funnel
from appliance.domain.insights.people_behind import PeopleBehindPlan
from appliance.domain.insights.plan import InsightPlan, SegmentationPlan, TrendsPlan
from appliance.domain.insights.ranking import (
    RankedPerson,
    RankingAnswer,
    RankingPlan,
)
from appliance.domain.insights.retention import CohortRow, RetentionPlan, shape_retention
from appliance.domain.insights.session_sums import (
    SessionSums,
    SessionSumsPlan,
    plan_session_sums,
    shape_session_sums,
)
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.shape import (
    InsightAnswer,
    SegmentationAnswer,
    TrendRow,
    shape_trends,
)
from appliance.domain.insights.spec import Dimension
from appliance.domain.insights.user_flow import FlowEnd, FlowLink, UserFlowPlan, shape_user_flow
from appliance.domain.insights.weight import Weight, weigh, weigh_source
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.compacted_visitors import ReachedVisitors
from appliance.storage.clickhouse.fragment import Statement
from appliance.storage.clickhouse.insights.compacted import FEW_IDS, CompactedReader
from appliance.storage.clickhouse.insights.data_version import compile_data_version
from appliance.storage.clickhouse.insights.funnels import compile_funnel
from appliance.storage.clickhouse.insights.people_behind import compile_people_behind
from appliance.storage.clickhouse.insights.people_ranking import rank_people, ranks_people
from appliance.storage.clickhouse.insights.ranking import (
    compile_live_profiles,
    compile_ranking,
    read_ranked_row,
)
from appliance.storage.clickhouse.insights.retention import compile_retention
from appliance.storage.clickhouse.insights.segmentation import compile_segmentation
from appliance.storage.clickhouse.insights.session_sums import (
    compile_session_sums,
    read_session_sums,
)
from appliance.storage.clickhouse.insights.sessions import compile_session_trends
from appliance.storage.clickhouse.insights.settings import HEAVY, QUIET
from appliance.storage.clickhouse.insights.trends import compile_trends
from appliance.storage.clickhouse.insights.user_flows import compile_user_flow
from appliance.storage.clickhouse.insights.visitors import ask_visitors

_Passage = tuple[int, int, int, int, Sequence[int]]
_NS_PER_MS: Final = 1_000_000

_LOG: Final = structlog.stdlib.get_logger()


Plan = TypeVar("Plan", TrendsPlan, SegmentationPlan, RankingPlan)
Compile = Callable[[Plan, ReachedVisitors | None], Statement]


class ClickHouseInsights:
    """Answers plans from the event store; `quiet` is for questions that nobody waits for.

    `few_ids` is what `CompactedReader` takes.
    """

    def __init__(
        self, clickhouse: ClickHouse, *, quiet: bool = False, few_ids: int = FEW_IDS
    ) -> None:
        self._clickhouse = clickhouse
        self._compacted = CompactedReader(clickhouse, few_ids=few_ids)
        self._quiet = quiet

    async def answer(self, plan: InsightPlan) -> InsightAnswer:
        """The answer of a plan.

        Raises UnavailableError, TimedOutError or ExhaustedError when the event store cannot.
        """
        answer: InsightAnswer
        limits = self._limits(weigh(plan))
        match plan:
            case TrendsPlan():
                rows = await self._count(plan, compile_trends, limits)
                answer = shape_trends(plan, [_read_trend_row(row) for row in rows])
            case SessionTrendsPlan() | SessionNumberPlan():
                answer = await self._sessions(plan, limits)
            case SegmentationPlan():
                ((total,),) = await self._count(plan, compile_segmentation, limits)
                answer = SegmentationAnswer(total=msgspec.convert(total, float))
            case FunnelPlan():
                rows = await ask(self._clickhouse, compile_funnel(plan), limits)
                answer = shape_funnel(plan, [_read_funnel_row(row) for row in rows])
            case RetentionPlan():
                rows = await ask(self._clickhouse, compile_retention(plan), limits)
                answer = shape_retention(plan, [_read_cohort_row(row) for row in rows])
            case UserFlowPlan():
                rows = await ask(self._clickhouse, compile_user_flow(plan), limits)
                answer = shape_user_flow(plan, [_read_link(row) for row in rows])
            case RankingPlan():
                answer = await self._rank(plan, limits)
            case _:
                assert_never(plan)
        return answer

    async def session_sums(self, plan: SessionSumsPlan) -> tuple[SessionSums, ...]:
        """What session metrics are told from; raises as `answer` does."""
        limits = self._limits(weigh_source(plan.sessions.source))
        reached = await self._compacted.sessions(plan.sessions)
        rows = await ask(self._clickhouse, compile_session_sums(plan, reached), limits)
        return tuple(read_session_sums(plan, row) for row in rows)

    async def people_behind(self, plan: PeopleBehindPlan) -> tuple[str, ...]:
        """The ids of one page; raises as `answer` does."""
        rows = await ask(self._clickhouse, compile_people_behind(plan), self._limits(Weight.HEAVY))
        return tuple(str(row[0]) for row in rows)

    async def data_version(self) -> int:
        """A number that is another one after anything was stored; raises as `answer` does."""
        ((version,),) = await ask(self._clickhouse, compile_data_version())
        return msgspec.convert(version, int)

    def _limits(self, weight: Weight) -> Mapping[str, Setting]:
        if self._quiet:
            return QUIET
        return HEAVY if weight is Weight.HEAVY else {}

    async def _sessions(
        self, plan: SessionTrendsPlan | SessionNumberPlan, limits: Mapping[str, Setting]
    ) -> InsightAnswer:
        sums = plan_session_sums(plan)
        if sums is not None:
            return shape_session_sums(plan, await self.session_sums(sums))
        assert isinstance(plan, SessionTrendsPlan), "only a trend is split"
        reached = await self._compacted.sessions(plan.sessions)
        rows = await ask(self._clickhouse, compile_session_trends(plan, reached), limits)
        return shape_trends(plan, [_read_trend_row(row) for row in rows])

    async def _count(
        self, plan: Plan, write: Compile[Plan], limits: Mapping[str, Setting]
    ) -> Sequence[Row]:
        rows = await self._count_bitmaps(plan, write, limits)
        return await ask(self._clickhouse, write(plan, None), limits) if rows is None else rows

    async def _count_bitmaps(
        self, plan: Plan, write: Compile[Plan], limits: Mapping[str, Setting]
    ) -> Sequence[Row] | None:
        reached = await self._compacted.visitors(plan)
        if reached is None:
            return None
        return await ask_visitors(self._clickhouse, write(plan, reached), limits)

    async def _rank(self, plan: RankingPlan, limits: Mapping[str, Setting]) -> RankingAnswer:
        found = await self._count_bitmaps(plan, compile_ranking, limits)
        if found is None and ranks_people(plan):
            return RankingAnswer(rows=await rank_people(self._clickhouse, plan, limits))
        if found is None:
            found = await ask(self._clickhouse, compile_ranking(plan), limits)
        rows = [read_ranked_row(row) for row in found]
        if plan.dimension is Dimension.USER and rows:
            live = await self._live_profiles(plan, [row.value for row in rows if not row.is_rest])
            rows = [
                row if row.is_rest else replace(row, person=live.get(row.value)) for row in rows
            ]
        return RankingAnswer(rows=tuple(rows))

    async def _live_profiles(self, plan: RankingPlan, ids: list[str]) -> dict[str, RankedPerson]:
        """The people behind rows; a ranking is told without them when they cannot be found."""
        try:
            rows = await ask(self._clickhouse, compile_live_profiles(plan.project_id, ids))
        except ApplianceError as error:
            _LOG.warning("ranking_without_people", reason=error.reason)
            return {}
        people = (
            RankedPerson(id=str(name), external_id=str(external), properties=str(properties))
            for name, external, properties in rows
        )
        return {person.id: person for person in people}


def _read_trend_row(row: Row) -> TrendRow:
    event, kind, values, is_rest, bucket, value = row
    return TrendRow(
        event=cast("int", event),
        kind=str(kind),
        values=tuple(cast("Sequence[str]", values)),
        is_rest=bool(is_rest),
        bucket_ms=cast("int", bucket),
        value=cast("float", value),
    )


def _read_funnel_row(row: Row) -> FunnelRow:
    values, is_rest, reached, walkers, passages = row
    return FunnelRow(
        values=tuple(cast("Sequence[str]", values)),
        is_rest=bool(is_rest),
        reached=tuple(cast("Sequence[int]", reached)),
        walkers=cast("int", walkers),
        times=tuple(map(_read_times, cast("Sequence[_Passage]", passages))),
    )


def _read_times(passage: _Passage) -> Times:
    count, total, middles, p95, counts = passage
    return Times(
        mean_ns=total * _NS_PER_MS // count if count else 0,
        median_ns=middles * _NS_PER_MS // 2,
        p95_ns=p95 * _NS_PER_MS,
        counts=tuple(counts),
    )


def _read_cohort_row(row: Row) -> CohortRow:
    values, is_rest, cohort, size, buckets, people = row
    return CohortRow(
        values=tuple(cast("Sequence[str]", values)),
        is_rest=bool(is_rest),
        cohort_ms=cast("int", cohort),
        size=cast("int", size),
        buckets_ms=tuple(cast("Sequence[int]", buckets)),
        people=tuple(cast("Sequence[int]", people)),
    )


def _read_link(row: Row) -> FlowLink:
    from_depth, from_rest, from_node, to_depth, to_rest, to_node, sessions = row
    return FlowLink(
        source=FlowEnd(cast("int", from_depth), bool(from_rest), str(from_node)),
        target=FlowEnd(cast("int", to_depth), bool(to_rest), str(to_node)),
        sessions=cast("int", sessions),
    )
