"""The cohorts that a question names: found, and put into their filters.

Invariant: after `put_crowds` every filter on `$cohort` carries its people, so the question is
complete again and its name for the kept answers tells them.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from msgspec.structs import replace

from appliance.domain.cohorts.cohort import CohortContent
from appliance.domain.cohorts.resolve import Moment, any_of, require_small, resolve_cohort
from appliance.domain.insights.dimensions import COHORT
from appliance.domain.insights.filters import MEMBERSHIP
from appliance.domain.insights.spec import (
    Crowd,
    EventCondition,
    EventQuery,
    FilterGroups,
    Funnel,
    InsightSpec,
    Operator,
    PropertyFilter,
    Question,
    Retention,
    Segmentation,
    SessionNumber,
    SessionTrends,
    TopK,
    Trends,
    UserFlow,
)

Change = Callable[[PropertyFilter], PropertyFilter]


def change_spec(spec: InsightSpec, change: Change) -> InsightSpec:
    """The question with every filter changed."""
    return replace(
        spec,
        question=_change_question(spec.question, change),
        filters=change_groups(spec.filters, change),
    )


def change_groups(groups: FilterGroups, change: Change) -> FilterGroups:
    """The groups with every filter changed."""
    changed = (replace(group, filters=tuple(map(change, group.filters))) for group in groups.groups)
    return replace(groups, groups=tuple(changed))


def change_events(events: tuple[EventQuery, ...], change: Change) -> tuple[EventQuery, ...]:
    """The events with every filter changed."""
    return tuple(
        replace(event, condition=_change_condition(event.condition, change)) for event in events
    )


class CohortNames:
    """Collects the names of cohorts from filters that pass by."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def note(self, asked: PropertyFilter) -> PropertyFilter:
        """Take down which cohorts a filter names; the filter stays as it is."""
        self.found.update(_names(asked))
        return asked


class Crowds:
    """Puts people into filters that name cohorts."""

    def __init__(self, known: Mapping[str, CohortContent], moment: Moment) -> None:
        self._known = known
        self._moment = moment
        self._resolved: dict[str, Crowd] = {}
        self._put: list[Crowd] = []

    def put(self, asked: PropertyFilter) -> PropertyFilter:
        """The filter with its people.

        Raises NotFoundError (`COHORT_NOT_FOUND`), InvalidInputError (`INVALID_COHORT`).
        """
        names = _names(asked)
        if not names:
            return asked
        crowd = any_of(tuple(map(self._resolve, names)))
        self._put.append(crowd)
        require_small(iter(self._put))
        return replace(asked, crowd=crowd)

    def _resolve(self, name: str) -> Crowd:
        if name not in self._resolved:
            self._resolved[name] = resolve_cohort(name, self._known, self._moment)
        return self._resolved[name]


def _names(asked: PropertyFilter) -> tuple[str, ...]:
    if asked.property != COHORT or asked.operator not in MEMBERSHIP:
        return ()
    is_list = asked.operator in {Operator.IN, Operator.NOT_IN}
    return tuple(dict.fromkeys(asked.values)) if is_list else (asked.value,)


def _change_condition(condition: EventCondition, change: Change) -> EventCondition:
    return replace(condition, filters=tuple(map(change, condition.filters)))


def _change_question(question: Question, change: Change) -> Question:
    match question:
        case Trends() | Segmentation() | Retention():
            return replace(question, events=change_events(question.events, change))
        case Funnel():
            return replace(question, steps=change_events(question.steps, change))
        case SessionTrends() | SessionNumber() | UserFlow() | TopK():
            return replace(question, scope=_change_condition(question.scope, change))
        case _:
            assert_never(question)
