"""Rankings: what is grouped, what is computed, and the rows in their order [insights 15].

Invariant: the rest is computed over its own events, never from rows; people are canonical persons
and only rows of live profiles name one.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from appliance.domain.insights.dimensions import EventProperty, resolve_property
from appliance.domain.insights.filters import AllOf, Condition, plan_event_condition, plan_groups
from appliance.domain.insights.measures import Measure, counts_people, plan_measure
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Dimension, InsightSpec, TimeRange, TopK
from appliance.domain.insights.window import load_zone

OTHERS: Final = "$others"
"""Stands for the merged rest of values [insights 9.1, 15.1]."""


class RankingPlan(Struct, frozen=True, kw_only=True, tag=True):
    """`property` is what is grouped by where `dimension` is PROPERTY."""

    project_id: str
    source: Source
    range: TimeRange
    filters: Condition
    scope: AllOf
    dimension: Dimension
    property_key: str
    measure: Measure
    limit: int
    has_rest: bool

    @property
    def counts_people(self) -> bool:
        """Whether sets of ids are needed."""
        return counts_people(self.measure)

    @property
    def property(self) -> EventProperty:
        """Where the grouped value is looked up."""
        return resolve_property(self.property_key)


class RankedPerson(Struct, frozen=True, kw_only=True):
    """The live profile behind a row; `properties` is a JSON object."""

    id: str
    external_id: str
    properties: str


class RankedRow(Struct, frozen=True, kw_only=True):
    """One value of the dimension, or the rest of them."""

    value: str
    amount: float
    is_rest: bool
    person: RankedPerson | None = None


class RankingAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """Rows from the first place on, the rest last."""

    rows: tuple[RankedRow, ...]


def plan_ranking(spec: InsightSpec, asked: TopK, *, project_id: str, source: Source) -> RankingPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    load_zone(spec.zone)
    measure = plan_measure(
        asked.metric, asked.metric_property, include_cookieless=spec.include_cookieless
    )
    if asked.dimension is Dimension.USER:
        measure = replace(measure, leaves_out_cookieless=not spec.include_cookieless)
    return RankingPlan(
        project_id=project_id,
        source=source,
        range=spec.range,
        filters=plan_groups(spec.filters),
        scope=plan_event_condition(asked.scope),
        dimension=asked.dimension,
        property_key=asked.property,
        measure=measure,
        limit=asked.limit,
        has_rest=not asked.omit_others,
    )
