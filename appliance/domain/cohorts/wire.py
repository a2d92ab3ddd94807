"""The messages of `appliance.cohorts.v1`: rules read, cohorts told.

Invariant: the only place of the cohorts that knows rules as messages, stored ones too: what is
stored is the canonical ProtoJSON of what was sent.
"""

from typing import Final

import msgspec
from protobuf import Oneof, message_from_json_value, message_to_json_value

from appliance.base.errors import DamagedError, InvalidInputError
from appliance.domain.insights.spec import (
    Comparison,
    Criterion,
    Crowd,
    Did,
    FirstDid,
    Has,
    Last,
    Span,
    Within,
)
from appliance.domain.insights.wire import (
    parse_condition,
    parse_filter,
    parse_logic,
    parse_range,
)
from appliance.gen.appliance.cohorts.v1 import cohorts_pb as pb

_COMPARISONS: Final = {
    pb.Comparison.AT_LEAST: Comparison.AT_LEAST,
    pb.Comparison.AT_MOST: Comparison.AT_MOST,
    pb.Comparison.EXACTLY: Comparison.EXACTLY,
}


def parse_rules(rules: pb.CohortRules) -> Crowd:
    """The crowd of validated rules; raises InvalidInputError (`INVALID_COHORT`)."""
    groups = tuple(
        Crowd(
            criteria=tuple(map(_parse_criterion, group.criteria)), logic=parse_logic(group.operator)
        )
        for group in rules.groups
    )
    return Crowd(criteria=groups, logic=parse_logic(rules.operator))


def encode_rules(rules: pb.CohortRules) -> str:
    """The form in which rules are stored."""
    return msgspec.json.encode(message_to_json_value(rules), order="sorted").decode()


def decode_rules(stored: str) -> pb.CohortRules:
    """Stored rules; raises DamagedError for what this release cannot read."""
    try:
        return message_from_json_value(pb.CohortRules, msgspec.json.decode(stored))
    except ValueError as error:
        raise DamagedError("COHORT_UNREADABLE", "a stored cohort cannot be read") from error


def _parse_criterion(sent: pb.Criterion) -> Criterion:
    match sent.test:
        case Oneof(value=pb.Did() as did):
            return Did(
                condition=parse_condition(did.event),
                comparison=_comparison(did.comparison),
                times=did.times,
                span=_parse_span(did.span),
            )
        case Oneof(value=pb.FirstDid() as first):
            return FirstDid(condition=parse_condition(first.event), span=_parse_span(first.span))
        case Oneof(value=pb.Trait() as trait) if trait.filter is not None:
            return Has(filter=parse_filter(trait.filter))
        case Oneof(value=pb.Within() as within):
            return Within(cohort_id=within.cohort_id, is_not=within.is_not)
        case _:
            raise InvalidInputError("INVALID_COHORT", "a criterion without a test")


def _comparison(sent: pb.Comparison) -> Comparison:
    found = _COMPARISONS.get(sent)
    if found is None:
        raise InvalidInputError("INVALID_COHORT", "an unknown comparison")
    return found


def _parse_span(sent: pb.Span | None) -> Span:
    if sent is None:
        return None
    match sent.span:
        case Oneof(field="last_hours", value=hours):
            return Last(hours=hours)
        case Oneof(field="last_days", value=days):
            return Last(days=days)
        case Oneof(field="range", value=window):
            return parse_range(window)
        case None:
            raise InvalidInputError("INVALID_COHORT", "a span without bounds")
