"""Rankings by unique users from the daily roll-up, without a set of people for every value.

Invariant: a value has at most as many people as events, and events are cheap to add up. Only values
whose events reach a floor, the candidates, get a set of their own; the order is told only if the
last place has at least that many people, so whoever is no candidate has strictly fewer. Otherwise
the floor is lowered to what was found, which proves the next answer (decision 0040). All others
share one set, of which the rest needs no more.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from msgspec import Struct

from appliance.domain.insights.dimensions import Promoted, find_promoted
from appliance.domain.insights.filters import EVERYTHING
from appliance.domain.insights.ranking import RankedRow, RankingPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import Aggregation, Dimension
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row, Setting
from appliance.storage.clickhouse.compacted_visitors import COUNTED_MAX
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    literal,
)
from appliance.storage.clickhouse.insights.ranking import compile_rolled_up, read_ranked_row
from appliance.storage.clickhouse.insights.settings import INSIGHT

EVENTS_A_PERSON: Final = 2
"""The guess behind the first floor: with a higher one more is merged, with a lower one twice."""

FEW_VALUES: Final = 64
"""So many values are merged in less time than it takes to choose among them."""

CHANGING: Final = frozenset(
    {
        Promoted.PATHNAME,
        Promoted.HOSTNAME,
        Promoted.REFERRER_DOMAIN,
        Promoted.UTM_SOURCE,
        Promoted.UTM_MEDIUM,
        Promoted.UTM_CAMPAIGN,
        Promoted.UTM_TERM,
        Promoted.UTM_CONTENT,
    }
)
"""What one person has many values of. The sets of all countries or browsers together hold a person
once a day: they are merged in less time than it takes to choose, and have many events a person."""

EVERY_VALUE: Final = 0
"""The floor that every value reaches."""

_SETTINGS: Final[Mapping[str, Setting]] = {
    **INSIGHT,
    # a second thread has sets of its own, which are merged once more: a quarter more work
    "max_threads": 1,
}

_WITH_REST: Final = """
SELECT shown, is_rest, toFloat64(uniqMerge(people)) AS amount, min(place) AS first_place,
    <floor> AS floor
FROM
(
    SELECT
        people,
        row_number() OVER (
            ORDER BY is_candidate DESC, finalizeAggregation(people) DESC, name ASC
        ) AS place,
        NOT is_candidate OR place > <limit> AS is_rest,
        if(is_rest, '', name) AS shown
    FROM
    (
        SELECT
            <candidate> AS is_candidate,
            if(is_candidate, value, '') AS name,
            uniqMergeState(visitors) AS people
        FROM dashboard_event_rollup_daily
        WHERE <rows>
        GROUP BY is_candidate, name
    )
)
GROUP BY shown, is_rest
ORDER BY is_rest ASC, first_place ASC
"""

_WITHOUT_REST: Final = """
SELECT value AS shown, false AS is_rest, toFloat64(uniqMerge(visitors)) AS amount,
    0 AS first_place, <floor> AS floor
FROM dashboard_event_rollup_daily
WHERE <rows> AND <candidate>
GROUP BY shown
ORDER BY amount DESC, shown ASC
LIMIT <limit>
"""

_CANDIDATE: Final = """value IN (SELECT value FROM (<counted>) WHERE events >= <floor>)"""

_FLOOR: Final = """(
    SELECT if(
        count() <= <few>,
        <every>,
        least(<estimated>, intDiv(arrayReverseSort(groupArray(events))[<limit>], <guess>))
    )
    FROM (<counted>)
)"""

_COUNTED: Final = """
    SELECT value, sum(event_count) AS events
    FROM dashboard_event_rollup_daily
    WHERE <rows>
    GROUP BY value
"""


class Ranked(Struct, frozen=True, kw_only=True):
    """The rows of an answer, and the events that made a value take part in the order."""

    rows: tuple[RankedRow, ...]
    floor: int

    def proves(self, limit: int) -> bool:
        """Whether no value below the floor belongs to the first `limit`, by a tie or at all."""
        return self.floor == EVERY_VALUE or self.least(limit) >= self.floor

    def least(self, limit: int) -> int:
        """The people of the last place, rounded down; 0 if not every place is taken."""
        places = [row for row in self.rows if not row.is_rest]
        return int(places[limit - 1].amount) if len(places) >= limit else 0


def ranks_people(plan: RankingPlan) -> bool:
    """Whether the statements here answer a plan."""
    return (
        plan.source is Source.EVENT_ROLLUP
        and plan.measure.aggregation is Aggregation.UNIQUE_USERS
        and ranks_changing(plan)
    )


def ranks_changing(plan: RankingPlan) -> bool:
    """Whether one person has many of the ranked values, so that sets hold people many times."""
    return plan.dimension is Dimension.PROPERTY and is_changing(plan.property_key)


def is_changing(key: str) -> bool:
    """Whether one person has many values of a property."""
    return find_promoted(key) in CHANGING


async def rank_people(
    store: ClickHouse,
    plan: RankingPlan,
    limits: Mapping[str, Setting],
    *,
    few_values: int = FEW_VALUES,
) -> tuple[RankedRow, ...]:
    """The rows of an answer; raises as `ask` does. Up to `few_values`, every value is merged."""
    guessed = compile_people_ranking(plan, few_values=few_values)
    ranked = read_ranked(await ask(store, guessed, limits))
    if not ranked.proves(plan.limit):
        lowered = compile_people_ranking(plan, ranked.least(plan.limit))
        ranked = read_ranked(await ask(store, lowered, limits))
    if not ranked.proves(plan.limit):  # events were erased between the two
        whole = compile_people_ranking(plan, EVERY_VALUE)
        ranked = read_ranked(await ask(store, whole, limits))
    return ranked.rows


def compile_people_ranking(
    plan: RankingPlan, floor: int | None = None, *, few_values: int = FEW_VALUES
) -> Statement:
    """The statement whose rows are (value, is_rest, amount, place, floor), in order.

    Without a floor the engine guesses one. A given one must not be above `COUNTED_MAX + 1`.
    """
    assert plan.filters == EVERYTHING, "a roll-up cannot filter"
    rows = compile_rolled_up(plan)
    counted = fill(_COUNTED, rows=rows)
    told = integer_value(floor) if floor is not None else _guess(plan, counted, few_values)
    candidate = fill(_CANDIDATE, counted=counted, floor=told)
    return finish(
        fill(
            _WITH_REST if plan.has_rest else _WITHOUT_REST,
            rows=rows,
            floor=told,
            candidate=literal("true") if floor == EVERY_VALUE else candidate,
            limit=integer_value(plan.limit),
        ),
        _SETTINGS,
    )


def read_ranked(rows: Sequence[Row]) -> Ranked:
    """The answer of a statement made here."""
    return Ranked(
        rows=tuple(map(read_ranked_row, rows)),
        floor=cast("int", rows[0][4]) if rows else EVERY_VALUE,
    )


def _guess(plan: RankingPlan, counted: Fragment, few_values: int) -> Fragment:
    """Never above the events of the last place, so that every place has a candidate.

    Nor above the first number of events whose people may be an estimate.
    """
    return fill(
        _FLOOR,
        few=integer_value(max(few_values, plan.limit)),
        every=integer_value(EVERY_VALUE),
        estimated=integer_value(COUNTED_MAX + 1),
        limit=integer_value(plan.limit),
        guess=integer_value(EVENTS_A_PERSON),
        counted=counted,
    )
