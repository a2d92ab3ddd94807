"""Conditions as one small tree: what must hold for an event, or for who had it, to count.

Invariant: a tree is decidable for every event, present value or not: text tests see the empty
string where nothing is, number tests fail where there is no number [insights 5.1]. Names are
resolved, numbers are numbers. Compiled by `storage/clickhouse/insights/conditions.py`.
"""

import re
from typing import Final, assert_never

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.dimensions import (
    COHORT,
    ProfileProperty,
    Property,
    resolve_property,
)
from appliance.domain.insights.spec import (
    Comparison,
    Criterion,
    Crowd,
    Did,
    EventCondition,
    FilterGroup,
    FilterGroups,
    FirstDid,
    Has,
    Last,
    Listed,
    Logic,
    Operator,
    PropertyFilter,
    Span,
    TimeRange,
    Within,
)
from appliance.domain.insights.values import parse_number

FILTERS_MAX: Final = 1000
"""Filters of one question; the contract sets no limit, a statement has one."""

_NAME: Final = re.compile(r"\$?[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+)*")

_NUMERIC: Final = {
    Operator.LT: 1,
    Operator.LTE: 1,
    Operator.GT: 1,
    Operator.GTE: 1,
    Operator.BETWEEN: 2,
    Operator.NOT_BETWEEN: 2,
}
"""The operators that compare numbers, and how many they take."""

_LISTS: Final = frozenset({Operator.IN, Operator.NOT_IN})
MEMBERSHIP: Final = frozenset({Operator.EQUALS, Operator.NOT_EQUALS, Operator.IN, Operator.NOT_IN})
"""How a filter on cohorts may ask."""

_ALONE: Final = frozenset({Operator.IS_SET, Operator.IS_NOT_SET})


class KindIs(Struct, frozen=True):
    """The event is of this kind."""

    kind: str


class TextTest(Struct, frozen=True, kw_only=True):
    """A test of the text form; `texts` are the operands, in order."""

    property: Property
    operator: Operator
    texts: tuple[str, ...] = ()


class NumberTest(Struct, frozen=True, kw_only=True):
    """A test of the numeric form; one operand, or two for the BETWEEN operators."""

    property: Property
    operator: Operator
    numbers: tuple[float, ...]


class DidTimes(Struct, frozen=True, kw_only=True):
    """Had so many matching events, at least one; without a range: ever."""

    condition: "Condition"
    range: TimeRange | None
    times_min: int
    times_max: int | None = None


class DidFirst(Struct, frozen=True, kw_only=True):
    """Had the first matching event of all in the range."""

    condition: "Condition"
    range: TimeRange


class HasTrait(Struct, frozen=True):
    """Is identified, and the profile passes."""

    test: TextTest | NumberTest


class HasId(Struct, frozen=True):
    """Has one of these ids."""

    ids: tuple[str, ...]


class IsPerson(Struct, frozen=True):
    """It was a person's: not of a visitor without consent."""


class PersonTest(Struct, frozen=True):
    """It was of somebody for whom this holds over all of their ids (docs/decisions/0034)."""

    holds: DidTimes | DidFirst | HasTrait | HasId


class NoneOf(Struct, frozen=True):
    """The condition does not hold."""

    condition: "Condition"


class AllOf(Struct, frozen=True):
    """Every condition holds; of no conditions: true."""

    conditions: tuple["Condition", ...]


class AnyOf(Struct, frozen=True):
    """At least one condition holds; of no conditions: false."""

    conditions: tuple["Condition", ...]


Condition = KindIs | TextTest | NumberTest | IsPerson | PersonTest | NoneOf | AllOf | AnyOf

EVERYTHING: Final = AllOf(())


def plan_event_condition(event: EventCondition) -> AllOf:
    """Kind and filters of one event, ANDed [insights 2]."""
    kind: tuple[Condition, ...] = (KindIs(event.kind),) if event.kind else ()
    return AllOf((*kind, *map(plan_filter, event.filters)))


def plan_groups(filters: FilterGroups) -> Condition:
    """The top-level groups [insights 5.3]; without any: everything."""
    if not filters.groups:
        return EVERYTHING
    groups = tuple(map(_plan_group, filters.groups))
    return _join(filters.logic, groups)


def plan_filter(asked: PropertyFilter) -> Condition:
    """One filter, resolved; InvalidInputError for operands that do not fit the operator."""
    if asked.property == COHORT:
        return _plan_membership(asked)
    return plan_test(_resolve(asked), asked)


def plan_crowd(crowd: Crowd) -> Condition:
    """What holds for events of the people of a resolved crowd.

    Raises InvalidInputError (`INVALID_INSIGHT_QUERY`) for criteria that cannot be.
    """
    return AllOf((IsPerson(), _plan_criterion(crowd)))


def plan_test(subject: Property, asked: PropertyFilter) -> TextTest | NumberTest:
    """The test that a filter makes of a property already resolved.

    Raises InvalidInputError for operands that do not fit the operator.
    """
    if asked.operator in _NUMERIC:
        texts = asked.values if _NUMERIC[asked.operator] > 1 else (asked.value,)
        return NumberTest(
            property=subject, operator=asked.operator, numbers=_numbers(texts, asked.operator)
        )
    if asked.operator in _LISTS:
        return TextTest(property=subject, operator=asked.operator, texts=asked.values)
    texts = () if asked.operator in _ALONE else (asked.value,)
    return TextTest(property=subject, operator=asked.operator, texts=texts)


def _plan_membership(asked: PropertyFilter) -> Condition:
    if asked.operator not in MEMBERSHIP:
        raise InvalidInputError(
            "INVALID_INSIGHT_QUERY",
            "a filter on $cohort is one of EQUALS, NOT_EQUALS, IN and NOT_IN",
        )
    if asked.crowd is None:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "a filter on $cohort has no place here")
    members = plan_crowd(asked.crowd)
    is_not = asked.operator in {Operator.NOT_EQUALS, Operator.NOT_IN}
    return NoneOf(members) if is_not else members


def _plan_criterion(asked: Criterion) -> Condition:
    planned: Condition
    match asked:
        case Crowd():
            planned = _join(asked.logic, tuple(map(_plan_criterion, asked.criteria)))
            planned = NoneOf(planned) if asked.is_not else planned
        case Did():
            planned = _plan_did(asked)
        case FirstDid():
            span = _resolved(asked.span)
            assert span is not None, "a first time without a span is `Did` at least once"
            condition = plan_event_condition(asked.condition)
            planned = PersonTest(DidFirst(condition=condition, range=span))
        case Has():
            path = _resolve_trait(asked.filter.property)
            planned = PersonTest(HasTrait(plan_test(path, asked.filter)))
        case Listed():
            planned = PersonTest(HasId(asked.ids))
        case Within():
            raise AssertionError("cohorts are looked up before they are planned")
        case _:
            assert_never(asked)
    return planned


def _plan_did(asked: Did) -> Condition:
    """Who never did has no row to count, so whatever includes 0 times is told by its opposite."""
    condition, span = plan_event_condition(asked.condition), _resolved(asked.span)
    times_min, times_max, is_not = asked.times, None, False
    if asked.comparison is Comparison.AT_MOST:
        times_min, is_not = asked.times + 1, True
    elif asked.comparison is Comparison.EXACTLY:
        times_min, is_not = max(asked.times, 1), asked.times == 0
        times_max = asked.times or None
    if times_min == 0:
        return EVERYTHING
    did = DidTimes(condition=condition, range=span, times_min=times_min, times_max=times_max)
    return NoneOf(PersonTest(did)) if is_not else PersonTest(did)


def _resolved(span: Span) -> TimeRange | None:
    assert not isinstance(span, Last), "spans are resolved before they are planned"
    return span


def _plan_group(group: FilterGroup) -> Condition:
    if not group.filters:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "a filter group without filters")
    return _join(group.logic, tuple(map(plan_filter, group.filters)))


def _join(logic: Logic, conditions: tuple[Condition, ...]) -> Condition:
    return AnyOf(conditions) if logic is Logic.OR else AllOf(conditions)


def _resolve(asked: PropertyFilter) -> Property:
    if not asked.of_profile:
        return resolve_property(asked.property)
    return _resolve_trait(asked.property)


def _resolve_trait(name: str) -> ProfileProperty:
    if _NAME.fullmatch(name) is None:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "a profile filter on a bad name")
    return ProfileProperty(tuple(name.split(".")))


def _numbers(texts: tuple[str, ...], operator: Operator) -> tuple[float, ...]:
    numbers = tuple(number for number in map(parse_number, texts) if number is not None)
    if len(numbers) != len(texts) or len(numbers) != _NUMERIC[operator]:
        raise InvalidInputError(
            "INVALID_INSIGHT_QUERY",
            f"the operator {operator.value} takes {_NUMERIC[operator]} number(s)",
        )
    return numbers
