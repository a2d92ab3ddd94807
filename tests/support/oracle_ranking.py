"""The truth about rankings, slowly [insights 15].

Invariant: as in `oracle.py`, written from the contract alone; nobody here has a profile, so a
person is an id.
"""

from collections import defaultdict
from collections.abc import Sequence

from appliance.domain.insights.spec import (
    Aggregation,
    Dimension,
    EventQuery,
    InsightSpec,
    TopK,
)
from tests.support.oracle import (
    Event,
    has_consent,
    is_in_range,
    matches,
    measure,
    number,
    passes,
    text,
)

Row = tuple[str, bool, float]
"""Value of the dimension, whether it is the rest, amount."""

_OF_PEOPLE = {Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG}


def ranking(spec: InsightSpec, events: Sequence[Event]) -> list[Row]:
    """The rows from the first place on, the rest last."""
    asked = spec.question
    assert isinstance(asked, TopK)
    needs_consent = asked.metric in _OF_PEOPLE or asked.dimension is Dimension.USER
    groups: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if (
            is_in_range(spec, event)
            and passes(spec, event)
            and matches(asked.scope, event)
            and (has_consent(spec, event) or not needs_consent)
        ):
            groups[_value(asked, event)].append(event)
    query = EventQuery(aggregation=asked.metric, aggregation_property=asked.metric_property)
    rows = sorted(
        (_has_no_place(query, found), -measure(query, found), value.encode(), value)
        for value, found in groups.items()
    )
    told = [(value, False, -negative) for _, negative, _, value in rows[: asked.limit]]
    rest = [event for *_, value in rows[asked.limit :] for event in groups[value]]
    if rest and not asked.omit_others:
        told.append(("", True, measure(query, rest)))
    return told


def _value(asked: TopK, event: Event) -> str:
    if asked.dimension is Dimension.PROPERTY:
        return text(event, asked.property)
    return str(event["kind" if asked.dimension is Dimension.EVENT_KIND else "distinct_id"])


def _has_no_place(query: EventQuery, rows: Sequence[Event]) -> bool:
    """A sum over no numbers comes after every number."""
    return query.aggregation is Aggregation.SUM and all(
        number(row, query.aggregation_property) is None for row in rows
    )
