"""What is computed, and whose events take part.

Invariant: whether cookieless traffic is left out follows from the measure alone [insights 7]:
measures that count people leave it out unless asked, the others never do.
"""

from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.dimensions import EventProperty, resolve_property
from appliance.domain.insights.spec import Aggregation

_OF_PEOPLE: Final = frozenset({Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG})
_OF_NUMBERS: Final = frozenset({Aggregation.SUM, Aggregation.AVG, Aggregation.MIN, Aggregation.MAX})


class Measure(Struct, frozen=True, kw_only=True):
    """An aggregation, and the property whose numbers it reads (SUM, AVG, MIN, MAX only)."""

    aggregation: Aggregation
    property: EventProperty | None = None
    leaves_out_cookieless: bool = False


def counts_people(measure: Measure) -> bool:
    """Whether a measure needs sets of ids, which are most of a roll-up's bytes."""
    return measure.aggregation in _OF_PEOPLE


def plan_measure(
    aggregation: Aggregation, property_key: str, *, include_cookieless: bool
) -> Measure:
    """The measure of one event query or ranking; InvalidInputError without a needed property."""
    if aggregation not in _OF_NUMBERS:
        return Measure(
            aggregation=aggregation,
            leaves_out_cookieless=aggregation in _OF_PEOPLE and not include_cookieless,
        )
    if not property_key:
        raise InvalidInputError(
            "INVALID_INSIGHT_QUERY", f"the aggregation {aggregation.value} needs a property"
        )
    return Measure(aggregation=aggregation, property=resolve_property(property_key))
