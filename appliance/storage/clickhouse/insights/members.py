"""The people of a cohort, counted and page by page.

Invariant: the same condition as in a filter decides, over one id of each person that is known: of
live profiles, and of whoever has events and is not cookieless.
"""

import msgspec
from msgspec import Struct

from appliance.domain.insights.filters import Condition
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.insights.cohorts import (
    compile_people_count,
    compile_people_page,
)
from appliance.storage.clickhouse.insights.conditions import PeopledReading, compile_condition
from appliance.storage.clickhouse.insights.ranking import compile_live_profiles
from appliance.storage.clickhouse.insights.settings import HEAVY


class MemberRow(Struct, frozen=True):
    """A person; without an external id where they are not identified."""

    id: str
    external_id: str


class ClickHouseMembers:
    """Answers who is in a crowd.

    Every method raises UnavailableError, TimedOutError or ExhaustedError of the event store.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def count(self, project_id: str, members: Condition) -> int:
        """How many people there are."""
        compiled = compile_condition(members, PeopledReading(project_id))
        statement = compile_people_count(project_id, compiled)
        ((number,),) = await ask(self._clickhouse, statement, HEAVY)
        return msgspec.convert(number, int)

    async def page(
        self, project_id: str, members: Condition, *, after: str, limit: int
    ) -> tuple[MemberRow, ...]:
        """The people whose ids come after that one, ascending."""
        compiled = compile_condition(members, PeopledReading(project_id))
        statement = compile_people_page(project_id, compiled, after=after, limit=limit)
        people = [str(row[0]) for row in await ask(self._clickhouse, statement, HEAVY)]
        if not people:
            return ()
        profiles = await ask(self._clickhouse, compile_live_profiles(project_id, people))
        external = {str(row[0]): str(row[1]) for row in profiles}
        return tuple(MemberRow(one, external.get(one, "")) for one in people)
