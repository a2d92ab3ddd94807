"""Which persons a list shows: the filters of `List` as one condition [profiles 4.4].

Invariant: a filter reads the properties of the profile or, with source AUTO, one of the eight texts
of the activity summary; any other is refused, never ignored and never coerced.
"""

from collections.abc import Sequence
from typing import Final

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.dimensions import (
    COHORT,
    ProfileProperty,
    Promoted,
    PromotedProperty,
    Property,
    find_promoted,
)
from appliance.domain.insights.filters import (
    EVERYTHING,
    FILTERS_MAX,
    AllOf,
    AnyOf,
    Condition,
    NumberTest,
    TextTest,
    plan_test,
)
from appliance.domain.insights.spec import Logic
from appliance.domain.insights.wire import parse_filter, parse_logic
from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import PropertyFilter
from appliance.gen.shared.profiles.v1.profiles_pb import FilterGroup, ListRequest

ACTIVITY_TEXTS: Final = (
    Promoted.BROWSER,
    Promoted.BROWSER_VERSION,
    Promoted.OS,
    Promoted.OS_VERSION,
    Promoted.DEVICE,
    Promoted.COUNTRY,
    Promoted.REGION,
    Promoted.CITY,
)
"""What the activity summary knows of the latest event, in the order in which the store keeps it."""


def plan_person_filters(request: ListRequest) -> Condition:
    """The condition of a validated request; without groups every person is meant.

    Raises InvalidInputError (`INVALID_PROFILE_FILTER`).
    """
    if not request.filter_groups:
        return EVERYTHING
    if sum(len(group.filters) for group in request.filter_groups) > FILTERS_MAX:
        raise _refused(f"more than {FILTERS_MAX} filters")
    return _join(
        parse_logic(request.filter_groups_operator), list(map(_plan_group, request.filter_groups))
    )


def reads_activity(condition: Condition) -> bool:
    """Whether a condition asks what persons did."""
    match condition:
        case AllOf(conditions) | AnyOf(conditions):
            return any(map(reads_activity, conditions))
        case TextTest(property=subject) | NumberTest(property=subject):
            return isinstance(subject, PromotedProperty)
        case _:
            return False


def _plan_group(group: FilterGroup) -> Condition:
    if not group.filters:
        raise _refused("a filter group without filters")
    return _join(parse_logic(group.operator), list(map(_plan_filter, group.filters)))


def _plan_filter(sent: PropertyFilter) -> Condition:
    subject = _resolve(sent)
    try:
        test = plan_test(subject, parse_filter(sent))
    except InvalidInputError as error:
        raise _refused(error.message) from error
    if isinstance(test, NumberTest) and isinstance(subject, PromotedProperty):
        raise _refused(f"{sent.property} is text and cannot be compared with a number")
    return test


def _resolve(sent: PropertyFilter) -> Property:
    if sent.property == COHORT:
        raise _refused("the people of a cohort are listed by the cohort")
    match sent.source:
        case PropertySource.UNSPECIFIED | PropertySource.PROFILE:
            return ProfileProperty(tuple(sent.property.split(".")))
        case PropertySource.AUTO:
            promoted = find_promoted(sent.property)
            if promoted is None or promoted not in ACTIVITY_TEXTS:
                raise _refused(f"{sent.property} is not known of persons")
            return PromotedProperty(promoted)
        case _:
            raise _refused("persons have no properties of this source")


def _join(logic: Logic, conditions: Sequence[Condition]) -> Condition:
    return AnyOf(tuple(conditions)) if logic is Logic.OR else AllOf(tuple(conditions))


def _refused(message: str) -> InvalidInputError:
    return InvalidInputError("INVALID_PROFILE_FILTER", message)
