"""How an insight would be answered: its statement, and what the engine would do with it.

Invariant: the statement is the one that `run.py` asks; a test compares the two for every type.
Nothing of it is executed, for the engine is asked for its plan only; a ranking of pages by unique
users counts events for its floor even then.
"""

from collections.abc import Mapping
from typing import Final, LiteralString, assert_never

from msgspec import Struct

from appliance.domain.insights.funnel import FunnelPlan
from appliance.domain.insights.plan import InsightPlan, SegmentationPlan, TrendsPlan
from appliance.domain.insights.ranking import RankingPlan
from appliance.domain.insights.retention import RetentionPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.session_sums import plan_session_sums
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.user_flow import UserFlowPlan
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Setting
from appliance.storage.clickhouse.compacted_sessions import Reached
from appliance.storage.clickhouse.compacted_visitors import ReachedVisitors
from appliance.storage.clickhouse.fragment import Statement
from appliance.storage.clickhouse.insights.compacted import CompactedReader
from appliance.storage.clickhouse.insights.funnels import compile_funnel
from appliance.storage.clickhouse.insights.people_ranking import (
    compile_people_ranking,
    ranks_people,
)
from appliance.storage.clickhouse.insights.ranking import compile_ranking
from appliance.storage.clickhouse.insights.retention import compile_retention
from appliance.storage.clickhouse.insights.segmentation import compile_segmentation
from appliance.storage.clickhouse.insights.session_sums import compile_session_sums
from appliance.storage.clickhouse.insights.sessions import compile_session_trends
from appliance.storage.clickhouse.insights.trends import compile_trends
from appliance.storage.clickhouse.insights.user_flows import compile_user_flow

_EXPLAIN: Final[LiteralString] = "EXPLAIN PLAN indexes = 1, actions = 0\n"


class InsightExplanation(Struct, frozen=True, kw_only=True):
    """`parameters` are bound beside the text; `plan` is the engine's, line by line."""

    source: Source
    sql: str
    parameters: Mapping[str, object]
    settings: Mapping[str, Setting]
    plan: tuple[str, ...]


async def explain_insight(store: ClickHouse, plan: InsightPlan) -> InsightExplanation:
    """The statement of a plan and the engine's plan; raises as `ask` does."""
    statement = compile_insight(plan, await load_compacted_state(store, plan))
    asked = Statement(
        text=_EXPLAIN + statement.text,
        parameters=statement.parameters,
        settings=statement.settings,
        tables=statement.tables,
    )
    rows = await ask(store, asked)
    return InsightExplanation(
        source=source_of(plan),
        sql=statement.text.strip(),
        parameters=statement.parameters,
        settings=statement.settings,
        plan=tuple(line for row in rows for line in str(row[0]).splitlines()),
    )


class Compacted(Struct, frozen=True, kw_only=True):
    """How far that is compacted which a plan reads; None where it does not read it."""

    sessions: Reached | None = None
    visitors: ReachedVisitors | None = None


NOTHING_COMPACTED: Final = Compacted()


async def load_compacted_state(store: ClickHouse, plan: InsightPlan) -> Compacted:
    """How far what a plan reads is compacted now."""
    match plan:
        case SessionTrendsPlan() | SessionNumberPlan():
            return Compacted(sessions=await CompactedReader(store).sessions(plan.sessions))
        case TrendsPlan() | SegmentationPlan() | RankingPlan():
            return Compacted(visitors=await CompactedReader(store).visitors(plan))
        case _:
            return NOTHING_COMPACTED


def compile_insight(plan: InsightPlan, compacted: Compacted = NOTHING_COMPACTED) -> Statement:
    """The first statement that answers a plan; people of a ranking are read by a second one."""
    statement: Statement
    match plan:
        case TrendsPlan():
            statement = compile_trends(plan, compacted.visitors)
        case SessionTrendsPlan() | SessionNumberPlan():
            statement = _compile_sessions(plan, compacted.sessions)
        case SegmentationPlan():
            statement = compile_segmentation(plan, compacted.visitors)
        case FunnelPlan():
            statement = compile_funnel(plan)
        case RetentionPlan():
            statement = compile_retention(plan)
        case UserFlowPlan():
            statement = compile_user_flow(plan)
        case RankingPlan():
            by_sets = ranks_people(plan) and compacted.visitors is None
            statement = (
                compile_people_ranking(plan)
                if by_sets
                else compile_ranking(plan, compacted.visitors)
            )
        case _:
            assert_never(plan)
    return statement


def _compile_sessions(
    plan: SessionTrendsPlan | SessionNumberPlan, reached: Reached | None
) -> Statement:
    sums = plan_session_sums(plan)
    if sums is not None:
        return compile_session_sums(sums, reached)
    assert isinstance(plan, SessionTrendsPlan), "only a trend is split"
    return compile_session_trends(plan, reached)


def source_of(plan: InsightPlan) -> Source:
    """Who answers a plan: a roll-up or the events."""
    match plan:
        case TrendsPlan() | SegmentationPlan() | RankingPlan():
            return plan.source
        case SessionTrendsPlan() | SessionNumberPlan():
            return plan.sessions.source
        case FunnelPlan() | RetentionPlan() | UserFlowPlan():
            return Source.EVENTS
        case _:
            assert_never(plan)
