"""What happened: the events of a project, and of one person [dashboards 11 to 14].

Invariant: any id of a person leads to the same events, except in the explorer, which takes ids
literally. An unknown id is no error.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from appliance.base.clock import Clock
from appliance.domain.activity.answers import (
    Day,
    StoredEvent,
    render_days,
    render_event,
    render_stats,
)
from appliance.domain.activity.search import EventSearch, plan_search
from appliance.domain.cursors import Cursor, encode_event_cursor
from appliance.domain.insights.spec import TimeRange
from appliance.domain.insights.weight import Weight
from appliance.domain.insights.wire import parse_range
from appliance.domain.people.answers import render_properties
from appliance.domain.people.person import Identity
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetActivityFeedResponse,
    GetActivityHeatmapRequest,
    GetActivityHeatmapResponse,
    GetEventExplorerRequest,
    GetEventExplorerResponse,
    GetProfileStatsRequest,
    GetProfileStatsResponse,
)
from appliance.services.question_slots import QuestionSlots
from appliance.storage.clickhouse.activity_read import ActivityReader
from appliance.storage.clickhouse.people_read import PeopleReader

HEATMAP_DAYS: Final = 60
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ActivityService:
    """`shared.activity.v1` without the wire around it.

    Every method raises UnavailableError, TimedOutError or ExhaustedError of the store.
    """

    def __init__(
        self,
        events: ActivityReader,
        people: PeopleReader,
        clock: Clock,
        *,
        slots: QuestionSlots | None = None,
    ) -> None:
        self._slots = slots or QuestionSlots()
        self._events = events
        self._people = people
        self._clock = clock

    async def feed(
        self, project_id: str, request: GetActivityFeedRequest
    ) -> GetActivityFeedResponse:
        """The events of one person.

        Raises InvalidInputError (`INVALID_PAGE_TOKEN`, `INVALID_ACTIVITY_FILTER`).
        """
        search = plan_search(request)
        who = await self._people.identity(project_id, request.distinct_id)
        found = await self._search(project_id, search, who)
        answer = GetActivityFeedResponse(events=list(map(render_event, found)))
        if len(found) == search.limit:
            answer.next_page_token = _token(found)
        return answer

    async def explorer(
        self, project_id: str, request: GetEventExplorerRequest
    ) -> GetEventExplorerResponse:
        """The events of the project, or of one literal distinct id.

        Raises InvalidInputError (`INVALID_PAGE_TOKEN`, `INVALID_ACTIVITY_FILTER`).
        """
        search = plan_search(request)
        found = await self._search(project_id, search, request.distinct_id)
        answer = GetEventExplorerResponse(events=list(map(render_event, found)))
        if len(found) == search.limit:
            answer.next_page_token = _token(found)
        return answer

    async def heatmap(
        self, project_id: str, request: GetActivityHeatmapRequest
    ) -> GetActivityHeatmapResponse:
        """Events of one person by UTC day, of the last 60 days where no range is sent."""
        window = (
            self._last_days() if request.time_range is None else parse_range(request.time_range)
        )
        who = await self._people.identity(project_id, request.distinct_id)
        return GetActivityHeatmapResponse(
            days=render_days(await self._days(project_id, who, window))
        )

    async def stats(
        self, project_id: str, request: GetProfileStatsRequest
    ) -> GetProfileStatsResponse:
        """What one person did, and the properties of the profile with exactly this id."""
        who = await self._people.identity(project_id, request.distinct_id)
        profile = await self._people.profile(project_id, request.distinct_id)
        answer = GetProfileStatsResponse()
        if profile is not None:
            answer.properties = render_properties(profile.properties)
        activity = await self._events.activity(project_id, who) if who.own_ids else None
        if activity is not None:
            answer.stats = render_stats(activity)
            answer.heatmap = render_days(await self._days(project_id, who, self._last_days()))
        return answer

    async def _search(
        self, project_id: str, search: EventSearch, who: Identity | str
    ) -> Sequence[StoredEvent]:
        if search.matches_nothing or (isinstance(who, Identity) and not who.own_ids):
            return ()
        async with self._slots.held(project_id, Weight.HEAVY):
            return await self._events.search(project_id, search, who)

    async def _days(self, project_id: str, who: Identity, window: TimeRange) -> Sequence[Day]:
        if not who.own_ids:
            return ()
        async with self._slots.held(project_id, Weight.HEAVY):
            return await self._events.days(project_id, who, window)

    def _last_days(self) -> TimeRange:
        now_ms = (self._clock.now() - _EPOCH) // timedelta(milliseconds=1)
        return TimeRange(start_ms=now_ms - HEATMAP_DAYS * 86_400_000, end_ms=now_ms)


def _token(found: Sequence[StoredEvent]) -> str:
    last = found[-1]
    return encode_event_cursor(Cursor(micros=last.occur_ms * 1000, id=last.event_id))
