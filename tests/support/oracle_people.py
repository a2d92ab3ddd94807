"""The truth about funnels and retention, slowly [insights 12, 13].

Invariant: as in `oracle.py`, written from the contract alone. The rest of a retention is pooled
over everybody who is folded [insights 22.9, advice].
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from appliance.domain.insights.spec import EventQuery, Funnel, Granularity, InsightSpec, Retention
from tests.support.oracle import (
    OTHERS,
    Event,
    best,
    bucket_label,
    has_consent,
    is_in_range,
    matches,
    passes,
    text,
    time_ms,
)

Split = tuple[str, ...]
Times = tuple[int, int, int, tuple[int, ...]]
"""Mean, median and 95th percentile in nanoseconds, and the counts of the eight buckets."""
FunnelLine = tuple[Split, list[int], list[Times | None]]
CohortLine = tuple[str, int, list[tuple[int, float]]]

_BOUNDS_MS: Final = [30_000, 120_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000]
_NS: Final = 1_000_000
_NO_TIMES: Final[Times] = (0, 0, 0, (0,) * 8)


class _Walker:
    """One person's steps in a funnel."""

    def __init__(self, spec: InsightSpec, asked: Funnel, events: Sequence[Event]) -> None:
        self.seen = [(time_ms(event), _steps(asked.steps, event)) for event in events]
        self.split = tuple(text(events[0], key) for key in asked.breakdown.properties)
        window = asked.conversion_window_seconds
        length = (spec.range.end_ms - spec.range.start_ms) // 1000
        self.window = length if window is None else window
        self.level = self._level()
        self.walks = self.level >= min(2, len(asked.steps))
        self.times = self._times() if self.walks else []

    def _level(self) -> int:
        """The longest chain from any start, in whole seconds."""
        pairs = sorted((ms // 1000, step) for ms, steps in self.seen for step in steps)
        return max(
            (self._reached(pairs[at:]) for at, (_, step) in enumerate(pairs) if step == 0),
            default=0,
        )

    def _reached(self, pairs: Sequence[tuple[int, int]]) -> int:
        level, (start, _) = 0, pairs[0]
        for second, step in pairs:
            if step == level and second - start <= self.window:
                level += 1
        return level

    def _times(self) -> list[int]:
        """From each reached step to the next, of the first start only, in milliseconds."""
        awaited, start, last, found = 0, 0, 0, list[int]()
        for ms, steps in self.seen:
            if steps[0] != awaited:
                continue
            if awaited == 0:
                start = ms
            elif ms - start > self.window * 1000:
                break
            else:
                found.append(ms - last)
            awaited, last = awaited + 1, ms
        return found


def funnel(spec: InsightSpec, events: Sequence[Event]) -> list[FunnelLine]:
    """Every series: its tuple, the people at each step, and the times of each step."""
    asked = spec.question
    assert isinstance(asked, Funnel)
    people: defaultdict[object, list[Event]] = defaultdict(list)
    for event in _of_people(spec, events):
        if _steps(asked.steps, event):
            people[event["distinct_id"]].append(event)
    tuples: defaultdict[Split, list[_Walker]] = defaultdict(list)
    for seen in people.values():
        walker = _Walker(spec, asked, seen)
        tuples[walker.split].append(walker)
    entered = {split: float(_at(walkers, 0)) for split, walkers in tuples.items()}
    kept = best(entered, asked.breakdown.limit)
    nobody = not any(walker.walks for walkers in tuples.values() for walker in walkers)
    rest = [walker for split in tuples if split not in kept for walker in tuples[split]]
    lines = [_line(asked, split, tuples[split], nobody_passed=nobody) for split in kept]
    if rest:
        totals = [_at(rest, step) for step in range(len(asked.steps))]
        width = len(asked.breakdown.properties)
        lines.append(((OTHERS,) * width, totals, [None] * len(totals)))
    return lines


def retention(spec: InsightSpec, events: Sequence[Event]) -> dict[tuple[bool, Split], object]:
    """Every series (whether it is the rest, tuple) with its cohorts."""
    asked = spec.question
    assert isinstance(asked, Retention)
    start, *others = asked.events
    back = others[0] if others else start
    people: defaultdict[object, list[Event]] = defaultdict(list)
    for event in _of_people(spec, events):
        people[event["distinct_id"]].append(event)
    cohorts: defaultdict[Split, defaultdict[int, list[set[int]]]]
    cohorts = defaultdict(lambda: defaultdict(list))
    for seen in people.values():
        first = next((event for event in seen if matches(start.condition, event)), None)
        if first is None:
            continue
        split = tuple(text(first, key) for key in asked.breakdown.properties)
        visits = {
            bucket_label(spec, time_ms(event))
            for event in seen
            if matches(back.condition, event) and time_ms(event) >= time_ms(first)
        }
        cohorts[split][bucket_label(spec, time_ms(first))].append(visits)
    weights = {
        split: float(sum(len(who) * len(set[int]().union(*who)) for who in found.values()))
        for split, found in cohorts.items()
    }
    kept = best(weights, asked.breakdown.limit)
    series: defaultdict[tuple[bool, Split], defaultdict[int, list[set[int]]]]
    series = defaultdict(lambda: defaultdict(list))
    for split, found in cohorts.items():
        is_rest = split not in kept
        shown = (OTHERS,) * len(split) if is_rest else split
        for cohort, who in found.items():
            series[is_rest, shown][cohort] += who
    told = {key: _cohort_lines(spec, found) for key, found in series.items()}
    return {key: lines for key, lines in told.items() if lines}


def _of_people(spec: InsightSpec, events: Sequence[Event]) -> list[Event]:
    rows = [e for e in events if is_in_range(spec, e) and passes(spec, e) and has_consent(spec, e)]
    return sorted(rows, key=time_ms)


def _steps(steps: Sequence[EventQuery], event: Event) -> list[int]:
    return [place for place, step in enumerate(steps) if matches(step.condition, event)]


def _at(walkers: Sequence[_Walker], step: int) -> int:
    return sum(walker.level > step for walker in walkers)


def _line(
    asked: Funnel, split: Split, walkers: Sequence[_Walker], *, nobody_passed: bool
) -> FunnelLine:
    totals = [_at(walkers, step) for step in range(len(asked.steps))]
    times: list[Times | None] = [None] * len(totals)
    has_progress = any(walker.walks for walker in walkers)
    if asked.include_step_timing and (has_progress or (nobody_passed and not any(split))):
        for step in range(1, len(totals)):
            took = [one.times[step - 1] for one in walkers if len(one.times) >= step]
            times[step] = _statistics(sorted(took))
    return split, totals, times


def _statistics(took: Sequence[int]) -> Times:
    count = len(took)
    if not count:
        return _NO_TIMES
    middles = took[(count - 1) // 2] + took[count // 2]
    rank = -(-95 * count // 100)
    buckets = [sum(ms >= bound for bound in _BOUNDS_MS) for ms in took]
    counts = tuple(buckets.count(place) for place in range(8))
    return sum(took) * _NS // count, middles * _NS // 2, took[rank - 1] * _NS, counts


def _cohort_lines(spec: InsightSpec, found: Mapping[int, list[set[int]]]) -> list[CohortLine]:
    lines: list[CohortLine] = []
    for cohort, who in sorted(found.items()):
        buckets = sorted(set[int]().union(*who))
        points = [(b, 100 * sum(b in visits for visits in who) / len(who)) for b in buckets]
        if points:
            lines.append((_cohort_label(spec, cohort), len(who), points))
    return lines


def _cohort_label(spec: InsightSpec, label_ms: int) -> str:
    is_date = spec.granularity in {Granularity.WEEK, Granularity.MONTH}
    zone = ZoneInfo("UTC" if is_date else spec.zone or "UTC")
    local = datetime.fromtimestamp(label_ms / 1000, tz=UTC).astimezone(zone)
    text_form = local.strftime("%Y-%m-%dT%H:%M:%S%z")
    stamp, offset = text_form[:19], text_form[19:]
    return f"{stamp}Z" if offset == "+0000" else f"{stamp}{offset[:3]}:{offset[3:5]}"
