"""The cohorts that `scripts/bench query` filters by, and the people in them (decision 0034).

Invariant: everybody of the filled project who has an id that lasts is a person with a plan, so both
cohorts hold a part of them, whatever the number of events.
"""

import json
from collections.abc import Collection, Mapping
from typing import Final

from appliance.domain.cohorts.cohort import CohortContent, Rules
from appliance.domain.cohorts.wire import decode_rules, parse_rules
from appliance.services.cohort_lookup import CohortLookup
from appliance.storage.clickhouse.client import ClickHouse

_BIG: Final = {"property": "amount", "operator": "FILTER_OPERATOR_GT", "value": "900"}
_RULES: Final[Mapping[str, Mapping[str, object]]] = {
    "spenders": {
        "did": {
            "event": {"kind": "purchase", "filters": [_BIG]},
            "comparison": "COMPARISON_AT_LEAST",
            "times": 2,
            "span": {"lastDays": 14},
        }
    },
    "professionals": {
        "trait": {
            "filter": {"property": "plan", "operator": "FILTER_OPERATOR_EQUALS", "value": "pro"}
        }
    },
}


def _trend_of(cohort: str) -> Mapping[str, object]:
    who = {"property": "$cohort", "operator": "FILTER_OPERATOR_EQUALS", "value": cohort}
    return {
        "insightType": "INSIGHT_TYPE_TRENDS",
        "events": [{"event": {"kind": "page_view", "filters": [who]}}],
    }


COHORT_QUESTIONS: Final[Mapping[str, Mapping[str, object]]] = {
    "trend, people who spent (cohort)": _trend_of("spenders"),
    "trend, people on a plan (cohort)": _trend_of("professionals"),
}

_PEOPLE: Final = """
INSERT INTO profiles (project_id, id, external_id, properties, deleted, create_time, update_time,
    version)
WITH
    ['free', 'pro', 'team'][1 + toUInt64(substring(distinct_id, 2)) % 3] AS plan,
    toDateTime64('2025-05-01 00:00:00', 6, 'UTC') AS first
SELECT DISTINCT {project:String}, concat('p', substring(distinct_id, 2)), distinct_id,
    concat('{"plan": "', plan, '"}'), false, first, first, 1
FROM events
WHERE project_id = {project:String} AND startsWith(distinct_id, 'u')
"""


class SavedCohorts(CohortLookup):
    """Those cohorts, without the store they are kept in."""

    def __init__(self) -> None:
        self._known = {
            name: Rules(parse_rules(decode_rules(json.dumps({"groups": [{"criteria": [one]}]}))))
            for name, one in _RULES.items()
        }

    async def contents(self, project_id: str, names: Collection[str]) -> dict[str, CohortContent]:  # noqa: ARG002 one project
        return {name: self._known[name] for name in names}


async def fill_people(clickhouse: ClickHouse, project: str) -> None:
    """A profile for everybody of the project; once made they stay as they are."""
    parameters = {"project": project}
    ((stored,),) = await clickhouse.rows(
        "SELECT count() FROM profiles WHERE project_id = {project:String}", parameters
    )
    if not stored:
        await clickhouse.command(_PEOPLE, parameters)
