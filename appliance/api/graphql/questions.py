"""Questions as they are typed in the graph, and the messages they become.

Invariant: an argument becomes a message of the contract through its ProtoJSON form and is checked
by the rules of that message's schema, exactly as if it had come by Connect; nothing is decided
here.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, cast

import strawberry
from protobuf import Message, message_from_json_value

from appliance.api.graphql.scalars import Instant, Json
from appliance.base.errors import InvalidInputError
from appliance.services.schema_rules import check_message

_Message = TypeVar("_Message", bound=Message[Any])


@strawberry.enum(description="How wide the steps of a series are.")
class Granularity(Enum):
    """As in the contract."""

    MINUTE = "GRANULARITY_MINUTE"
    HOUR = "GRANULARITY_HOUR"
    DAY = "GRANULARITY_DAY"
    WEEK = "GRANULARITY_WEEK"
    MONTH = "GRANULARITY_MONTH"


@strawberry.enum(description="How a property is compared.")
class FilterOperator(Enum):
    """As in the contract."""

    EQUALS = "FILTER_OPERATOR_EQUALS"
    NOT_EQUALS = "FILTER_OPERATOR_NOT_EQUALS"
    CONTAINS = "FILTER_OPERATOR_CONTAINS"
    NOT_CONTAINS = "FILTER_OPERATOR_NOT_CONTAINS"
    IS_SET = "FILTER_OPERATOR_IS_SET"
    IS_NOT_SET = "FILTER_OPERATOR_IS_NOT_SET"
    LTE = "FILTER_OPERATOR_LTE"
    GTE = "FILTER_OPERATOR_GTE"
    LT = "FILTER_OPERATOR_LT"
    GT = "FILTER_OPERATOR_GT"
    IN = "FILTER_OPERATOR_IN"
    NOT_IN = "FILTER_OPERATOR_NOT_IN"
    BETWEEN = "FILTER_OPERATOR_BETWEEN"
    NOT_BETWEEN = "FILTER_OPERATOR_NOT_BETWEEN"


@strawberry.enum(description="Where a property stands.")
class PropertySource(Enum):
    """As in the contract."""

    AUTO = "PROPERTY_SOURCE_AUTO"
    CUSTOM = "PROPERTY_SOURCE_CUSTOM"
    PROFILE = "PROPERTY_SOURCE_PROFILE"


@strawberry.enum(description="Whether all or one of several conditions must hold.")
class LogicalOperator(Enum):
    """As in the contract."""

    AND = "LOGICAL_OPERATOR_AND"
    OR = "LOGICAL_OPERATOR_OR"


@strawberry.input(description="From a moment on and before another.")
class TimeRange:
    """Half open."""

    from_: Instant = strawberry.field(name="from")
    to: Instant


@strawberry.input(description="A condition on one property.")
class PropertyFilter:
    """As in the contract."""

    property: str
    operator: FilterOperator
    value: str | None = None
    values: list[str] | None = None
    source: PropertySource | None = None


@strawberry.input(description="Conditions that belong together.")
class FilterGroup:
    """As in the contract."""

    filters: list[PropertyFilter]
    operator: LogicalOperator | None = None


@strawberry.input(description="Events of a kind, with these properties.")
class EventFilter:
    """As in the contract."""

    kind: str | None = None
    filters: list[PropertyFilter] | None = None


@strawberry.input(description="An insight: what is asked, over which time, in which steps.")
class InsightQuery:
    """`spec` is the JSON form of `shared.insights.v1.InsightQuerySpec`."""

    spec: Json
    time_range: TimeRange
    granularity: Granularity


def message_of(kind: type[_Message], fields: Mapping[str, object]) -> _Message:
    """The message with these fields, of which those that are None are left out.

    Raises InvalidInputError (`INVALID_ARGUMENT`) when there is no such message or it breaks rules.
    """
    sent = {name: value for name, value in fields.items() if value is not None}
    try:
        message = message_from_json_value(kind, cast("Any", sent), ignore_unknown_fields=True)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInputError(
            "INVALID_ARGUMENT", f"the arguments are no {kind.__name__} of the contract"
        ) from error
    check_message(message)
    return message


def range_fields(span: TimeRange | None) -> Mapping[str, object] | None:
    """A time range in ProtoJSON."""
    return None if span is None else {"from": span.from_, "to": span.to}


def filter_fields(sent: Sequence[PropertyFilter] | None) -> list[dict[str, object]]:
    """Conditions in ProtoJSON."""
    return [
        {
            "property": one.property,
            "operator": one.operator.value,
            "value": one.value or "",
            "values": one.values or [],
            **({"source": one.source.value} if one.source else {}),
        }
        for one in sent or ()
    ]


def group_fields(sent: Sequence[FilterGroup] | None) -> list[dict[str, object]]:
    """Groups of conditions in ProtoJSON."""
    return [
        {
            "filters": filter_fields(one.filters),
            **({"operator": one.operator.value} if one.operator else {}),
        }
        for one in sent or ()
    ]


def event_fields(sent: Sequence[EventFilter] | None) -> list[dict[str, object]]:
    """Conditions on events in ProtoJSON."""
    return [{"kind": one.kind or "", "filters": filter_fields(one.filters)} for one in sent or ()]
