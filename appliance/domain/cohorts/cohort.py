"""A saved cohort: rules, or a list of ids.

Invariant: rules are a `Crowd` as somebody wrote it: spans that move with the clock, other cohorts
by id. `resolve.py` makes of it what can be asked at one instant.
"""

from typing import Final

from msgspec import Struct

from appliance.domain.insights.spec import Criterion, Crowd, Within

DEPTH_MAX: Final = 3
"""Cohorts within cohorts, the outermost counted."""

CRITERIA_MAX: Final = 50
"""Criteria that one question may ask, those of cohorts within cohorts too, counted where they are.

Each is a question of its own about all of the project's events of its span.
"""

LIST_IDS_MAX: Final = 100_000
"""Ids of one list."""

ASKED_IDS_MAX: Final = 200_000
"""Listed ids that one question may take along, counted where they stand."""

COHORTS_MAX: Final = 1000
"""Cohorts of one project."""


class Rules(Struct, frozen=True):
    """Who belongs: whoever meets the criteria."""

    crowd: Crowd


class IdList(Struct, frozen=True):
    """Who belongs: whoever has one of the ids."""

    ids: tuple[str, ...]


CohortContent = Rules | IdList


def named_cohorts(content: CohortContent) -> frozenset[str]:
    """The ids of the cohorts that the rules name themselves."""
    return frozenset(_named(content.crowd)) if isinstance(content, Rules) else frozenset()


def _named(criterion: Criterion) -> set[str]:
    match criterion:
        case Within(cohort_id=cohort_id):
            return {cohort_id}
        case Crowd(criteria=criteria):
            return {name for one in criteria for name in _named(one)}
        case _:
            return set()
