"""Cohorts that questions name: looked up, resolved at the instant of the question, put in place.

Invariant: only the project's own cohorts are found, and a question that names none asks no store.
"""

from collections.abc import Collection, Mapping, Sequence

from appliance.base.errors import InvalidInputError
from appliance.domain.cohorts.asked import (
    CohortNames,
    Crowds,
    change_events,
    change_groups,
    change_spec,
)
from appliance.domain.cohorts.cohort import (
    ASKED_IDS_MAX,
    CRITERIA_MAX,
    DEPTH_MAX,
    CohortContent,
    IdList,
    Rules,
    named_cohorts,
)
from appliance.domain.cohorts.resolve import Moment
from appliance.domain.cohorts.wire import decode_rules, parse_rules
from appliance.domain.insights.spec import EventQuery, FilterGroups, InsightSpec
from appliance.storage.postgres.cohorts import count_listed, load_contents
from appliance.storage.postgres.pool import Postgres


class CohortLookup:
    """Makes questions that name cohorts complete.

    Every method raises NotFoundError (`COHORT_NOT_FOUND`), InvalidInputError (`INVALID_COHORT`),
    UnavailableError.
    """

    def __init__(self, database: Postgres) -> None:
        self._database = database

    async def complete(self, project_id: str, spec: InsightSpec, now_ms: int) -> InsightSpec:
        """The question with the people of its cohorts."""
        names = CohortNames()
        change_spec(spec, names.note)
        if not names.found:
            return spec
        known = await self.contents(project_id, names.found)
        return change_spec(spec, Crowds(known, Moment(now_ms=now_ms, zone=spec.zone)).put)

    async def complete_parts(
        self,
        project_id: str,
        events: tuple[EventQuery, ...],
        filters: FilterGroups,
        moment: Moment,
    ) -> tuple[tuple[EventQuery, ...], FilterGroups]:
        """Events and filters with the people of their cohorts."""
        names = CohortNames()
        change_events(events, names.note)
        change_groups(filters, names.note)
        if not names.found:
            return events, filters
        crowds = Crowds(await self.contents(project_id, names.found), moment)
        return change_events(events, crowds.put), change_groups(filters, crowds.put)

    async def contents(self, project_id: str, names: Collection[str]) -> dict[str, CohortContent]:
        """What these cohorts hold, and those they lead to; unknown ones are left out."""
        known: dict[str, CohortContent] = {}
        wanted = set(names)
        for _ in range(DEPTH_MAX):
            if len(known) + len(wanted) > CRITERIA_MAX:
                raise InvalidInputError("INVALID_COHORT", "a question names too many cohorts")
            found = await self._load(project_id, sorted(wanted))
            fresh = {name: _content(stored) for name, stored in found.items()}
            known |= fresh
            wanted = {name for one in fresh.values() for name in named_cohorts(one)} - set(known)
            if not wanted:
                break
        return known

    async def _load(
        self, project_id: str, names: Sequence[str]
    ) -> Mapping[str, str | tuple[str, ...]]:
        """What is stored; lists that no question may take along are not even read."""
        ids = await count_listed(self._database, project_id, names, limit=ASKED_IDS_MAX + 1)
        if ids > ASKED_IDS_MAX:
            raise InvalidInputError(
                "INVALID_COHORT", f"a question takes along at most {ASKED_IDS_MAX} listed ids"
            )
        return await load_contents(self._database, project_id, names)


def _content(stored: str | tuple[str, ...]) -> CohortContent:
    if isinstance(stored, tuple):
        return IdList(stored)
    return Rules(parse_rules(decode_rules(stored)))
