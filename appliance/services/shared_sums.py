"""Session metrics of a page from one reading for each window (decision 0043).

Invariant: sums are given to another question only for the same sessions, stretches and version of
the stored data, which was read after that question came. Whoever joins a reading takes no place of
its own (`question_slots.py`), and waits no longer than the one that does.
"""

from typing import Final

from msgspec import Struct

from appliance.domain.insights.session_sums import SessionSums, SessionSumsPlan
from appliance.domain.insights.weight import weigh_source
from appliance.services.question_slots import QuestionSlots
from appliance.services.shared_reads import Shared
from appliance.storage.clickhouse.insights.run import ClickHouseInsights

KEPT_MAX: Final = 32
"""Windows: some overviews, each with the period before. One is at most 400 rows of five numbers."""


class _Asked(Struct, frozen=True):
    plan: SessionSumsPlan
    data_version: int


class SharedSums:
    """The sums of sessions, read once for all metrics."""

    def __init__(self, store: ClickHouseInsights, slots: QuestionSlots) -> None:
        self._store = store
        self._slots = slots
        self._shared: Shared[_Asked, tuple[SessionSums, ...]] = Shared(kept_max=KEPT_MAX)

    async def read(
        self, plan: SessionSumsPlan, data_version: int | None
    ) -> tuple[SessionSums, ...]:
        """The sums of a window; without a version they are read for this question alone.

        Raises UnavailableError, TimedOutError or ExhaustedError, also of whom it joined.
        """

        async def read() -> tuple[SessionSums, ...]:
            sessions = plan.sessions
            async with self._slots.held(sessions.project_id, weigh_source(sessions.source)):
                return await self._store.session_sums(plan)

        if data_version is None:
            return await read()
        return await self._shared.get(_Asked(plan, data_version), read)
