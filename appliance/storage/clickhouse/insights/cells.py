"""From cells to ranked series: what every statement with buckets and breakdowns shares.

Invariant: a cell is (bucket, tuple of values) with one measured element for each asked event:
(event, kind, matched rows, amount, people). Tuples are ranked per kind, the rest is merged in the
server [insights 9.1]: an answer is never larger than what is sent.
"""

from collections.abc import Iterable
from typing import Final, LiteralString

from msgspec import Struct

from appliance.domain.insights.breakdown import BreakdownPlan
from appliance.storage.clickhouse.columns import text_form
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    join,
    literal,
    numbered,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_FLAT: Final = """
SELECT
    cell.1 AS event,
    cell.2 AS event_kind,
    <tuple> AS split,
    bucket,
    cell.4 AS amount,
    cell.5 AS people
FROM (<cells>)
ARRAY JOIN measured AS cell
<only_matched>
"""

_PLAIN: Final = """
SELECT event, event_kind, split, false AS is_rest, bucket, <worth> AS value
FROM (<flat>)
"""

_RANKED: Final = r"""
SELECT event, event_kind, shown, is_rest, bucket, <merged> AS value
FROM
(
    SELECT
        event_kind,
        place > <limit> AS is_rest,
        if(is_rest, emptyArrayString(), split) AS shown,
        point.1 AS event,
        point.2 AS bucket,
        point.3 AS amount,
        point.4 AS people
    FROM
    (
        SELECT
            event_kind,
            split,
            points,
            row_number() OVER (
                PARTITION BY event_kind ORDER BY total DESC, arrayStringConcat(split, '\0') ASC
            ) AS place
        FROM
        (
            SELECT
                event_kind,
                split,
                groupArray((event, bucket, amount, people)) AS points,
                sum(<worth>) AS total
            FROM (<flat>)
            GROUP BY event_kind, split
        )
    )
    ARRAY JOIN points AS point
)
GROUP BY event, event_kind, shown, is_rest, bucket
"""

_NO_TUPLE: Final = literal("emptyArrayString()")


class Worth(Struct, frozen=True, kw_only=True):
    """A value of one cell, and of merged cells, as expressions over `amount` and `people`."""

    single: Fragment
    merged: Fragment


AMOUNTS: Final = Worth(
    single=literal("toFloat64(amount)"), merged=literal("toFloat64(sum(amount))")
)
"""Values that are finished in their cell; of a rest, their plain sum."""


def rank_cells(
    cells: Fragment, breakdown: BreakdownPlan, *, keeps_zeros: bool, worth: Worth = AMOUNTS
) -> Statement:
    """The statement whose rows are (event, kind, values, is_rest, bucket, value).

    `cells` selects `bucket`, `split_0`, … and `measured`.
    """
    flat = fill(
        _FLAT,
        tuple=_tuple_of_cell(len(breakdown.properties)),
        cells=cells,
        only_matched=literal("" if keeps_zeros else "WHERE cell.3 > 0"),
    )
    if not breakdown.properties:
        return finish(fill(_PLAIN, worth=worth.single, flat=flat), INSIGHT)
    return finish(
        fill(
            _RANKED,
            merged=worth.merged,
            limit=integer_value(breakdown.limit),
            worth=worth.single,
            flat=flat,
        ),
        INSIGHT,
    )


def split_columns(texts: Iterable[Fragment], prefix: LiteralString = "split_") -> list[Fragment]:
    """`text AS split_0,` and so on: the columns that a cell is split by."""
    return [
        fill("<text> AS <name>,", text=text, name=numbered(prefix, index))
        for index, text in enumerate(texts)
    ]


def split_groups(count: int) -> list[Fragment]:
    """`, split_0` and so on: the same columns in the grouping."""
    return [numbered(", split_", index) for index in range(count)]


def split_of_one(breakdown: BreakdownPlan, choice: LiteralString) -> Fragment:
    """The tuple of values of one event among many; `choice` says of which, over `<tuple>`."""
    if not breakdown.properties:
        return _NO_TUPLE
    return fill(choice, tuple=_tuple(text_form(subject) for subject in breakdown.properties))


def _tuple_of_cell(count: int) -> Fragment:
    return _tuple(numbered("split_", index) for index in range(count)) if count else _NO_TUPLE


def _tuple(texts: Iterable[Fragment]) -> Fragment:
    shown = (fill("toString(<text>)", text=text) for text in texts)
    return fill("[<texts>]", texts=join(", ", shown))
