"""Retention: who came back, by the bucket of their first start [insights 13].

Invariant: a person belongs to one cohort and one breakdown tuple, those of their earliest start in
range. Pairs without anybody and cohorts nobody came back from are not told.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from appliance.domain.insights.breakdown import BreakdownPlan, plan_breakdown
from appliance.domain.insights.filters import AllOf, Condition, plan_groups
from appliance.domain.insights.funnel import require_condition
from appliance.domain.insights.ranking import OTHERS
from appliance.domain.insights.route import COARSE_DATES
from appliance.domain.insights.spec import InsightSpec, Retention, TimeRange
from appliance.domain.insights.window import Buckets, load_zone, make_buckets

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RetentionPlan(Struct, frozen=True, kw_only=True, tag=True):
    """`zone` is that of the labels: the project's, or UTC where labels are dates."""

    project_id: str
    range: TimeRange
    buckets: Buckets
    zone: str
    filters: Condition
    start: AllOf
    back: AllOf
    leaves_out_cookieless: bool
    breakdown: BreakdownPlan


class ReturnPoint(Struct, frozen=True, kw_only=True):
    """How many per cent of a cohort came back in a bucket."""

    time_ms: int
    percent: float


class Cohort(Struct, frozen=True, kw_only=True):
    """People who started in one bucket; `label` is its start as RFC 3339 text."""

    label: str
    size: int
    points: tuple[ReturnPoint, ...]


class RetentionSeries(Struct, frozen=True, kw_only=True):
    """The cohorts of one breakdown tuple, ascending."""

    breakdown: tuple[tuple[str, str], ...]
    cohorts: tuple[Cohort, ...]


class RetentionAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """Series by tuple, the rest last."""

    series: tuple[RetentionSeries, ...]


class CohortRow(Struct, frozen=True, kw_only=True):
    """A cohort of one tuple: its size, and how many came back in which bucket."""

    values: tuple[str, ...]
    is_rest: bool
    cohort_ms: int
    size: int
    buckets_ms: tuple[int, ...]
    people: tuple[int, ...]


def plan_retention(spec: InsightSpec, asked: Retention, *, project_id: str) -> RetentionPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    start, *rest = map(require_condition, asked.events)
    return RetentionPlan(
        project_id=project_id,
        range=spec.range,
        buckets=make_buckets(spec.range, spec.granularity, load_zone(spec.zone)),
        zone="" if spec.granularity in COARSE_DATES else spec.zone,
        filters=plan_groups(spec.filters),
        start=start,
        back=rest[0] if rest else start,
        leaves_out_cookieless=not spec.include_cookieless,
        breakdown=plan_breakdown(asked.breakdown),
    )


def shape_retention(plan: RetentionPlan, rows: Sequence[CohortRow]) -> RetentionAnswer:
    """The answer of a retention; rows may come in any order."""
    labels = dict(zip(plan.buckets.starts_ms, plan.buckets.labels_ms, strict=True))
    zone = load_zone(plan.zone)
    series: defaultdict[tuple[bool, tuple[str, ...]], list[CohortRow]] = defaultdict(list)
    for row in rows:
        series[row.is_rest, row.values].append(row)
    return RetentionAnswer(
        series=tuple(
            RetentionSeries(
                breakdown=_breakdown(plan, is_rest=is_rest, values=values),
                cohorts=tuple(
                    _cohort(row, labels, zone)
                    for row in sorted(cohorts, key=lambda one: one.cohort_ms)
                ),
            )
            for (is_rest, values), cohorts in sorted(series.items())
        )
    )


def _breakdown(
    plan: RetentionPlan, *, is_rest: bool, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    keys = plan.breakdown.keys
    return tuple(zip(keys, (OTHERS,) * len(keys) if is_rest else values, strict=True))


def _cohort(row: CohortRow, labels: dict[int, int], zone: ZoneInfo) -> Cohort:
    seen = sorted(zip(row.buckets_ms, row.people, strict=True))
    return Cohort(
        label=_label(labels[row.cohort_ms], zone),
        size=row.size,
        points=tuple(
            ReturnPoint(time_ms=labels[bucket], percent=100 * people / row.size)
            for bucket, people in seen
        ),
    )


def _label(milliseconds: int, zone: ZoneInfo) -> str:
    local = (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(zone)
    return local.isoformat(timespec="seconds").replace("+00:00", "Z")
