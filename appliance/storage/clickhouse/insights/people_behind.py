"""The people behind a number as one statement [insights 16]."""

from typing import Final

from appliance.domain.insights.people_behind import PeopleBehindPlan
from appliance.storage.clickhouse.fragment import (
    Statement,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
)
from appliance.storage.clickhouse.insights.conditions import (
    WITH_CONSENT,
    PeopledReading,
    compile_condition,
    compile_window,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_PEOPLE: Final = """
SELECT distinct_id
FROM events
WHERE <window> AND <filters> AND <matches> AND <who> AND distinct_id > <after>
GROUP BY distinct_id
ORDER BY distinct_id ASC
LIMIT <limit>
"""


def compile_people_behind(plan: PeopleBehindPlan) -> Statement:
    """The statement whose rows are ids, ascending."""
    reading = PeopledReading(plan.project_id)
    return finish(
        fill(
            _PEOPLE,
            window=compile_window(plan.project_id, plan.range),
            filters=compile_condition(plan.filters, reading),
            matches=compile_condition(plan.matches, reading),
            who=literal(WITH_CONSENT),
            after=text_value(plan.after),
            limit=integer_value(plan.limit),
        ),
        INSIGHT,
    )
