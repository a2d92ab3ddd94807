"""The truth about insights, slowly: plain loops over events in the form of the shared vectors.

Trends and segmentation here, the other types in `oracle_*.py`.

Invariant: written from the contract alone; shares the question types with the product, but no
planning, no SQL and no bucket arithmetic. Where the contract leaves a choice (rest of a breakdown)
the caller says which arm is meant.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol, cast, runtime_checkable
from zoneinfo import ZoneInfo

from appliance.domain.insights.spec import (
    Aggregation,
    Crowd,
    EventCondition,
    EventQuery,
    FilterGroup,
    Granularity,
    InsightSpec,
    Logic,
    Operator,
    PropertyFilter,
    Segmentation,
    Trends,
)
from tests.support.event_rows import tagged

Event = Mapping[str, object]


@runtime_checkable
class Crowded(Protocol):
    """A world that knows whose events these are (`oracle_cohorts.World`)."""

    def admits(self, crowd: Crowd, event: Event) -> bool:
        """Whether an event is one of the crowd's."""
        ...


Cell = tuple[int, tuple[str, ...]]
SeriesKey = tuple[str, tuple[str, ...]]
Answer = dict[SeriesKey, list[tuple[int, float]]]
"""(kind, breakdown values) to (label in ms, value), ascending."""

OTHERS: Final = "$others"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER: Final = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?")
_ALWAYS_SET: Final = {"$mobile": "false"}
_NO_NUMBERS: Final = {"$mobile", "$verified_bot"}
_PEOPLE: Final = {Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG}


def trends(spec: InsightSpec, events: Sequence[Event], *, is_rest_exact: bool) -> Answer:
    """Every series of a trend [insights 8, 9]."""
    question = spec.question
    assert isinstance(question, Trends)
    asked = question.events or (EventQuery(),)
    keys = question.breakdown.properties
    rows = [event for event in events if is_in_range(spec, event) and passes(spec, event)]
    label = {id(row): bucket_label(spec, time_ms(row)) for row in rows}
    cells: dict[int, dict[tuple[str, Cell], list[Event]]] = {}
    for index, query in enumerate(asked):
        found: defaultdict[tuple[str, Cell], list[Event]] = defaultdict(list)
        for row in rows:
            if matches(query.condition, row) and _counts(query, row, spec):
                split = tuple(text(row, key) for key in keys)
                found[str(row["kind"]), (label[id(row)], split)].append(row)
        cells[index] = dict(found)
    if len(asked) > 1 and all(query.condition.kind for query in asked):
        grid = {cell for found in cells.values() for _, cell in found}
        for index, query in enumerate(asked):
            for cell in grid:
                cells[index].setdefault((query.condition.kind, cell), [])
    return _fold(asked, cells, question.breakdown.limit if keys else None, len(keys), is_rest_exact)


def segmentation(spec: InsightSpec, events: Sequence[Event]) -> float:
    """The number of a segmentation [insights 10]."""
    question = spec.question
    assert isinstance(question, Segmentation)
    asked = question.events or (EventQuery(),)
    rows = [
        event
        for event in events
        if is_in_range(spec, event)
        and passes(spec, event)
        and any(matches(query.condition, event) for query in asked)
        and _counts(asked[0], event, spec)
    ]
    return measure(asked[0], rows)


def measure(query: EventQuery, rows: Sequence[Event]) -> float:
    """An aggregation over rows [insights 6]."""
    people = {row["distinct_id"] for row in rows}
    found = [number(row, query.aggregation_property) for row in rows]
    numbers = [value for value in found if value is not None]
    formulas: dict[Aggregation, Callable[[], float]] = {
        Aggregation.TOTAL: lambda: len(rows),
        Aggregation.UNIQUE_USERS: lambda: len(people),
        Aggregation.PER_USER_AVG: lambda: len(rows) / len(people) if people else 0,
        Aggregation.SUM: lambda: sum(numbers),
        Aggregation.AVG: lambda: sum(numbers) / len(numbers) if numbers else 0,
        Aggregation.MIN: lambda: min(numbers, default=0),
        Aggregation.MAX: lambda: max(numbers, default=0),
    }
    return float(formulas[query.aggregation]())


def text(event: Event, key: str) -> str:
    """The text form of a property [insights 4.2]."""
    held = _held(event, key)
    return _ALWAYS_SET.get(key, "") if held is None else tagged(held)[1:]


def number(event: Event, key: str) -> float | None:
    """The numeric form of a property [insights 4.3]."""
    held = _held(event, key)
    if held is None or key in _NO_NUMBERS or tagged(held)[0] in "bt":
        return None
    whole = text(event, key)
    return float(whole) if _NUMBER.fullmatch(whole) else None


def bucket_label(spec: InsightSpec, time_ms: int) -> int:
    """The label of the bucket an instant falls into [insights 3.2]; whole-hour clock changes."""
    zone = ZoneInfo(spec.zone or "UTC")
    local = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone)
    into = timedelta(seconds=local.second, microseconds=local.microsecond)
    if spec.granularity is Granularity.MINUTE:
        return time_ms - into // timedelta(milliseconds=1)
    if spec.granularity is Granularity.HOUR:
        return time_ms - (into + timedelta(minutes=local.minute)) // timedelta(milliseconds=1)
    day = local.date()
    if spec.granularity is Granularity.DAY:
        return _first_instant(day, zone)
    while day.strftime("%a") != "Sun" if spec.granularity is Granularity.WEEK else day.day != 1:
        day -= timedelta(days=1)
    return _ms(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _fold(
    asked: Sequence[EventQuery],
    cells: Mapping[int, Mapping[tuple[str, Cell], list[Event]]],
    limit: int | None,
    width: int,
    is_rest_exact: bool,
) -> Answer:
    totals: defaultdict[SeriesKey, float] = defaultdict(float)
    for index, found in cells.items():
        for (kind, (_, split)), rows in found.items():
            totals[kind, split] += measure(asked[index], rows)
    kept = _best(totals, limit)
    points: defaultdict[tuple[str, tuple[str, ...], int, int], list[tuple[float, list[Event]]]]
    points = defaultdict(list)
    for index, found in cells.items():
        for (kind, (label, split)), rows in found.items():
            shown = split if (kind, split) in kept else (OTHERS,) * width
            points[kind, shown, label, index].append((measure(asked[index], rows), rows))
    answer: defaultdict[SeriesKey, list[tuple[int, float]]] = defaultdict(list)
    for (kind, shown, label, index), parts in sorted(points.items(), key=lambda item: item[0]):
        together = [row for _, rows in parts for row in rows]
        exact = measure(asked[index], together)
        value = exact if is_rest_exact else sum(value for value, _ in parts)
        answer[kind, shown].append((label, value))
    return dict(answer)


def _best(totals: Mapping[SeriesKey, float], limit: int | None) -> set[SeriesKey]:
    by_kind: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for (kind, split), total in totals.items():
        by_kind[kind][split] = total
    return {
        (kind, split)
        for kind, found in by_kind.items()
        for split in best(found, len(found) if limit is None else limit)
    }


def is_in_range(spec: InsightSpec, event: Event) -> bool:
    """Half-open [insights 3.1]."""
    return spec.range.start_ms <= time_ms(event) < spec.range.end_ms


def has_consent(spec: InsightSpec, event: Event) -> bool:
    """Whether an event takes part where people are told apart [insights 7]."""
    return spec.include_cookieless or not str(event["distinct_id"]).startswith("cookieless-")


def best(totals: Mapping[tuple[str, ...], float], limit: int) -> set[tuple[str, ...]]:
    """The tuples that a breakdown keeps [insights 9.1]."""
    ranked = sorted(totals, key=lambda split: (-totals[split], "\0".join(split).encode()))
    return set(ranked[:limit])


def _counts(query: EventQuery, event: Event, spec: InsightSpec) -> bool:
    return query.aggregation not in _PEOPLE or has_consent(spec, event)


def matches(condition: EventCondition, event: Event) -> bool:
    """Kind and filters of one asked event [insights 2]."""
    if condition.kind and condition.kind != event["kind"]:
        return False
    return all(holds_for(asked, event) for asked in condition.filters)


def passes(spec: InsightSpec, event: Event) -> bool:
    """The top-level filter groups [insights 5.3]."""
    if not spec.filters.groups:
        return True
    join = any if spec.filters.logic is Logic.OR else all
    return join(_group_holds(group, event) for group in spec.filters.groups)


def _group_holds(group: FilterGroup, event: Event) -> bool:
    join = any if group.logic is Logic.OR else all
    return join(holds_for(asked, event) for asked in group.filters)


def holds_for(asked: PropertyFilter, event: Event) -> bool:
    """Whether one filter holds for an event [insights 5.1]."""
    if asked.crowd is not None:
        found = event["world"]
        assert isinstance(found, Crowded), "an event that is asked for its people has a world"
        is_member = found.admits(asked.crowd, event)
        return is_member is not (asked.operator in {Operator.NOT_EQUALS, Operator.NOT_IN})
    whole, found = text(event, asked.property), number(event, asked.property)
    bounds = [float(bound) for bound in asked.values if _NUMBER.fullmatch(bound)]
    low = float(asked.value) if _NUMBER.fullmatch(asked.value) else 0.0
    tests: dict[Operator, Callable[[], bool]] = {
        Operator.EQUALS: lambda: whole == asked.value,
        Operator.NOT_EQUALS: lambda: whole != asked.value,
        Operator.CONTAINS: lambda: asked.value in whole,
        Operator.NOT_CONTAINS: lambda: asked.value not in whole,
        Operator.IS_SET: lambda: whole != "",
        Operator.IS_NOT_SET: lambda: whole == "",
        Operator.IN: lambda: whole in asked.values,
        Operator.NOT_IN: lambda: whole not in asked.values,
        Operator.LT: lambda: found is not None and found < low,
        Operator.LTE: lambda: found is not None and found <= low,
        Operator.GT: lambda: found is not None and found > low,
        Operator.GTE: lambda: found is not None and found >= low,
        Operator.BETWEEN: lambda: found is not None and bounds[0] <= found <= bounds[1],
        Operator.NOT_BETWEEN: lambda: found is not None and not bounds[0] <= found <= bounds[1],
    }
    return tests[asked.operator]()


def _held(event: Event, key: str) -> object | None:
    bag = cast("Mapping[str, object]", event.get("auto" if key.startswith("$") else "custom", {}))
    return bag.get(key)


def time_ms(event: Event) -> int:
    """When it occurred, in milliseconds since 1970."""
    return _ms(datetime.fromisoformat(str(event["occur_time"])))


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _first_instant(day: date, zone: ZoneInfo) -> int:
    minute = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while minute.astimezone(zone).date() != day:
        minute += timedelta(minutes=1)
    return _ms(minute)
