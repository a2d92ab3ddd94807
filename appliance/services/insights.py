"""Answers about many events: from message to message, one question at a time.

Invariant: the project comes from the credential and the zone from the project, never from the
message [insights 1]; one request is one instant, read once, for every decision about the present.
An answer may be one given before to the same question about the same data (`kept_answers.py`); a
question that must be asked waits for a place first (`question_slots.py`). Numbers and series about
the same sessions share one reading of them, and one place (`shared_reads.py`, decision 0043).
The stages: `domain/insights/wire.py` → `plan.py` → `storage/clickhouse/insights/` → `shape.py`.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.cohorts.resolve import Moment
from appliance.domain.insights.people_behind import plan_people_behind
from appliance.domain.insights.plan import InsightPlan, plan_insight
from appliance.domain.insights.session_sums import plan_session_sums, shape_session_sums
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan
from appliance.domain.insights.shape import InsightAnswer
from appliance.domain.insights.spec import Dimension, InsightSpec, TopK
from appliance.domain.insights.weight import Weight, weigh
from appliance.domain.insights.wire import (
    parse_event,
    parse_groups,
    parse_query,
    parse_range,
    render_answer,
)
from appliance.gen.shared.insights.v1.insights_pb import (
    QueryRequest,
    QueryResponse,
    SegmentUsersRequest,
    SegmentUsersResponse,
)
from appliance.services.cohort_lookup import CohortLookup
from appliance.services.kept_answers import Asked, KeptAnswers, name_question
from appliance.services.question_slots import QuestionSlots
from appliance.services.shared_reads import Coalesced
from appliance.services.shared_sums import SharedSums
from appliance.storage.clickhouse.insights.run import ClickHouseInsights

KEPT_METRIC: Final = "insights.kept_answers_total"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Project(Protocol):
    """Whose events are asked about, and in which zone its people live (empty: UTC)."""

    @property
    def project_id(self) -> str: ...

    @property
    def timezone(self) -> str: ...


class InsightsService:
    """`shared.insights.v1` without the wire around it; without `kept` every answer is computed.

    With `layered_flows` user flows tell depths (decision 0038).

    `counts` is what the metrics show: questions answered from memory, computed, and those whose
    answers are never kept; and what became of those that needed a place.
    """

    def __init__(
        self,
        store: ClickHouseInsights,
        clock: Clock,
        *,
        kept: KeptAnswers | None = None,
        slots: QuestionSlots | None = None,
        layered_flows: bool = False,
        cohorts: CohortLookup | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._slots = slots or QuestionSlots()
        self._versions = Coalesced(store.data_version)
        self._sums = SharedSums(store, self._slots)
        self._layered_flows = layered_flows
        self._cohorts = cohorts
        self.counts = self._slots.counts

    async def query(self, project: Project, request: QueryRequest) -> QueryResponse:
        """Answer one validated request.

        Raises InvalidInputError (`INVALID_INSIGHT_QUERY`, `INVALID_COHORT`), NotFoundError
        (`COHORT_NOT_FOUND`), UnservedError for a type of insight that only newer clients know,
        UnavailableError, TimedOutError and ExhaustedError of the stores.
        """
        spec, plan = await self._plan(project, request)
        version = await self._data_version(spec, plan)
        asked = self._name(project, spec, version)
        known = self._kept.find(asked) if self._kept and asked else None
        if known is not None:
            self.counts[KEPT_METRIC, "hit"] += 1
            return QueryResponse.from_binary(known)
        self.counts[KEPT_METRIC, "miss" if asked else "never"] += 1
        answer = render_answer(await self._answer(project, plan, version))
        if self._kept and asked:
            self._kept.keep(asked, answer.to_binary())
        return answer

    async def plan(self, project: Project, request: QueryRequest) -> InsightPlan:
        """How a question would be answered now; raises as `query` does, but for the event store."""
        return (await self._plan(project, request))[1]

    async def _plan(
        self, project: Project, request: QueryRequest
    ) -> tuple[InsightSpec, InsightPlan]:
        now_ms = self._now_ms()
        spec = parse_query(request, timezone=project.timezone)
        if self._cohorts is not None:
            spec = await self._cohorts.complete(project.project_id, spec, now_ms)
        plan = plan_insight(
            spec,
            project_id=project.project_id,
            now_ms=now_ms,
            layered_flows=self._layered_flows,
        )
        return spec, plan

    def _now_ms(self) -> int:
        return (self._clock.now() - _EPOCH) // timedelta(milliseconds=1)

    async def _data_version(self, spec: InsightSpec, plan: InsightPlan) -> int | None:
        """What is stored after the question came, where its answer may be kept or shared."""
        is_kept = self._kept is not None and not _tells_people(spec)
        if not is_kept and not isinstance(plan, SessionNumberPlan | SessionTrendsPlan):
            return None
        try:
            return await self._versions.get()
        except ApplianceError:
            return None  # the question itself will say what is wrong

    def _name(self, project: Project, spec: InsightSpec, version: int | None) -> Asked | None:
        """The key of a question whose answer may be kept."""
        if self._kept is None or version is None or _tells_people(spec):
            return None
        return name_question(project.project_id, spec, version)

    async def _answer(
        self, project: Project, plan: InsightPlan, version: int | None
    ) -> InsightAnswer:
        if isinstance(plan, SessionNumberPlan | SessionTrendsPlan):
            sums = plan_session_sums(plan)
            if sums is not None:
                return shape_session_sums(plan, await self._sums.read(sums, version))
        async with self._slots.held(project.project_id, weigh(plan)):
            return await self._store.answer(plan)

    async def people_behind(
        self, project: Project, request: SegmentUsersRequest
    ) -> SegmentUsersResponse:
        """The ids behind a number, one page of them; raises as `query` does."""
        window = request.time_range
        if window is None:
            raise InvalidInputError("INVALID_INSIGHT_QUERY", "a time range is needed")
        events = tuple(map(parse_event, request.events))
        filters = parse_groups(request.filter_groups, request.filter_groups_operator)
        if self._cohorts is not None:
            moment = Moment(now_ms=self._now_ms(), zone=project.timezone)
            events, filters = await self._cohorts.complete_parts(
                project.project_id, events, filters, moment
            )
        plan = plan_people_behind(
            events,
            filters,
            parse_range(window),
            project_id=project.project_id,
            after=request.page_token,
            page_size=request.page_size,
        )
        async with self._slots.held(project.project_id, Weight.HEAVY):
            ids = await self._store.people_behind(plan)
        answer = SegmentUsersResponse(distinct_ids=list(ids))
        if len(ids) == plan.limit:
            answer.next_page_token = ids[-1]
        return answer


def _tells_people(spec: InsightSpec) -> bool:
    """Whether profiles are shown beside rows, which are never kept [insights 21.4]."""
    question = spec.question
    return isinstance(question, TopK) and question.dimension is Dimension.USER
