"""Conditions as one small tree: what must hold for an event to count.

Invariant: a tree is decidable for every event, present value or not: text tests see the empty
string where nothing is, number tests fail where there is no number [insights 5.1]. Names are
resolved, numbers are numbers. Compiled by `storage/clickhouse/insights/conditions.py`.
"""

import re
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.dimensions import ProfileProperty, Property, resolve_property
from appliance.domain.insights.spec import (
    EventCondition,
    FilterGroup,
    FilterGroups,
    Logic,
    Operator,
    PropertyFilter,
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


class AllOf(Struct, frozen=True):
    """Every condition holds; of no conditions: true."""

    conditions: tuple["Condition", ...]


class AnyOf(Struct, frozen=True):
    """At least one condition holds; of no conditions: false."""

    conditions: tuple["Condition", ...]


Condition = KindIs | TextTest | NumberTest | AllOf | AnyOf

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


def plan_filter(asked: PropertyFilter) -> TextTest | NumberTest:
    """One filter, resolved; InvalidInputError for operands that do not fit the operator."""
    return plan_test(_resolve(asked), asked)


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


def _plan_group(group: FilterGroup) -> Condition:
    if not group.filters:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "a filter group without filters")
    return _join(group.logic, tuple(map(plan_filter, group.filters)))


def _join(logic: Logic, conditions: tuple[Condition, ...]) -> Condition:
    return AnyOf(conditions) if logic is Logic.OR else AllOf(conditions)


def _resolve(asked: PropertyFilter) -> Property:
    if not asked.of_profile:
        return resolve_property(asked.property)
    if _NAME.fullmatch(asked.property) is None:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "a profile filter on a bad name")
    return ProfileProperty(tuple(asked.property.split(".")))


def _numbers(texts: tuple[str, ...], operator: Operator) -> tuple[float, ...]:
    numbers = tuple(number for number in map(parse_number, texts) if number is not None)
    if len(numbers) != len(texts) or len(numbers) != _NUMERIC[operator]:
        raise InvalidInputError(
            "INVALID_INSIGHT_QUERY",
            f"the operator {operator.value} takes {_NUMERIC[operator]} number(s)",
        )
    return numbers
