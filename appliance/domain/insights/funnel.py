"""Funnels: steps, their window, and the series with their times [insights 12].

Invariant: totals and times come from two matchings that the contract keeps apart: whole seconds
and any start for totals, milliseconds and the first start for times.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.base.errors import InvalidInputError
from appliance.domain.insights.breakdown import BreakdownPlan, plan_breakdown
from appliance.domain.insights.filters import AllOf, Condition, plan_event_condition, plan_groups
from appliance.domain.insights.ranking import OTHERS
from appliance.domain.insights.spec import EventQuery, Funnel, InsightSpec, TimeRange
from appliance.domain.insights.window import load_zone

BOUNDS_SECONDS: Final = (30, 120, 300, 900, 3600, 21_600, 86_400)
"""Exclusive upper bounds of all buckets of times but the last, which has none."""


class StepPlan(Struct, frozen=True, kw_only=True):
    """One step: its kind as told, and which events match it."""

    kind: str
    condition: AllOf


class FunnelPlan(Struct, frozen=True, kw_only=True, tag=True):
    """`window_seconds` runs from the first step's event, inclusive."""

    project_id: str
    range: TimeRange
    filters: Condition
    steps: tuple[StepPlan, ...]
    window_seconds: int
    has_times: bool
    leaves_out_cookieless: bool
    breakdown: BreakdownPlan


class Times(Struct, frozen=True, kw_only=True):
    """What is told about the times from one step to the next, in nanoseconds."""

    mean_ns: int
    median_ns: int
    p95_ns: int
    counts: tuple[int, ...]


NO_TIMES: Final = Times(mean_ns=0, median_ns=0, p95_ns=0, counts=(0,) * (len(BOUNDS_SECONDS) + 1))


class FunnelStep(Struct, frozen=True, kw_only=True):
    """How many people came at least this far."""

    kind: str
    total: int
    times: Times | None = None


class FunnelSeries(Struct, frozen=True, kw_only=True):
    """The steps of one breakdown tuple."""

    breakdown: tuple[tuple[str, str], ...]
    steps: tuple[FunnelStep, ...]


class FunnelAnswer(Struct, frozen=True, kw_only=True, tag=True):
    """Series by tuple, ascending."""

    series: tuple[FunnelSeries, ...]


class FunnelRow(Struct, frozen=True, kw_only=True):
    """One tuple: people at each step, how many of them walk, and the times of each passage."""

    values: tuple[str, ...]
    is_rest: bool
    reached: tuple[int, ...]
    walkers: int
    times: tuple[Times, ...]


def plan_funnel(spec: InsightSpec, asked: Funnel, *, project_id: str) -> FunnelPlan:
    """What will be computed; raises InvalidInputError (`INVALID_INSIGHT_QUERY`)."""
    load_zone(spec.zone)
    window = asked.conversion_window_seconds
    if window is None:
        window = (spec.range.end_ms - spec.range.start_ms) // 1000
    return FunnelPlan(
        project_id=project_id,
        range=spec.range,
        filters=plan_groups(spec.filters),
        steps=tuple(map(_plan_step, asked.steps)),
        window_seconds=window,
        has_times=asked.include_step_timing,
        leaves_out_cookieless=not spec.include_cookieless,
        breakdown=plan_breakdown(asked.breakdown),
    )


def require_condition(event: EventQuery) -> AllOf:
    """The condition of an event that must have one; raises InvalidInputError."""
    if event.condition.is_empty:
        raise InvalidInputError("INVALID_INSIGHT_QUERY", "an event without kind or filter")
    return plan_event_condition(event.condition)


def shape_funnel(plan: FunnelPlan, rows: Sequence[FunnelRow]) -> FunnelAnswer:
    """The answer of a funnel; rows may come in any order."""
    nobody_passed = not any(row.walkers for row in rows)
    series = sorted(
        (_names(plan, row), _shape_steps(plan, row, nobody_passed=nobody_passed)) for row in rows
    )
    return FunnelAnswer(
        series=tuple(
            FunnelSeries(breakdown=tuple(zip(plan.breakdown.keys, names, strict=True)), steps=steps)
            for names, steps in series
        )
    )


def _plan_step(event: EventQuery) -> StepPlan:
    return StepPlan(kind=event.condition.kind, condition=require_condition(event))


def _names(plan: FunnelPlan, row: FunnelRow) -> tuple[str, ...]:
    return (OTHERS,) * len(plan.breakdown.keys) if row.is_rest else row.values


def _shape_steps(
    plan: FunnelPlan, row: FunnelRow, *, nobody_passed: bool
) -> tuple[FunnelStep, ...]:
    is_plain = not row.is_rest and not any(row.values)
    is_timed = (
        plan.has_times and not row.is_rest and (row.walkers > 0 or (nobody_passed and is_plain))
    )
    return tuple(
        FunnelStep(
            kind=step.kind,
            total=total,
            times=(row.times[place - 1] if row.walkers else NO_TIMES)
            if is_timed and place
            else None,
        )
        for place, (step, total) in enumerate(zip(plan.steps, row.reached, strict=True))
    )
