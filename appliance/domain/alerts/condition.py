"""When an alert's condition holds, and what that means for its state.

Invariant: pure; without a number nothing changes, because nobody knows whether the condition holds.
A state changes only through `judge`, so one beginning and one end are told for each firing.
Which numbers are compared: `question.py` and `window.py`. Who acts on it: `services/alerts/`.
"""

from enum import StrEnum
from math import inf, isfinite
from typing import Final, assert_never

from msgspec import Struct

PERCENT: Final = 100.0


class Comparison(StrEnum):
    """How the number is compared; the value is what is stored."""

    ABOVE = "above"
    BELOW = "below"
    RISE = "rise"
    FALL = "fall"
    CHANGE = "change"

    @property
    def needs_baseline(self) -> bool:
        """Whether the period before counts."""
        return self in {Comparison.RISE, Comparison.FALL, Comparison.CHANGE}


class Unit(StrEnum):
    """What an amount of change is measured in."""

    VALUE = "value"
    PERCENT = "percent"


class State(StrEnum):
    """Of an alert."""

    OK = "ok"
    FIRING = "firing"


class Act(StrEnum):
    """What a message tells."""

    FIRED = "fired"
    RESOLVED = "resolved"
    TEST = "test"


class EndCause(StrEnum):
    """Why a firing is over; only the first is told."""

    RESOLVED = "resolved"
    CHANGED = "changed"
    DISABLED = "disabled"
    TEST = "test"


class Condition(Struct, frozen=True, kw_only=True):
    """What must be true of the number for the alert to fire."""

    comparison: Comparison
    unit: Unit
    amount: float


class Measured(Struct, frozen=True, kw_only=True):
    """A number and that of the period before; None where there is none."""

    value: float | None
    baseline: float | None = None


def holds(condition: Condition, measured: Measured) -> bool | None:
    """Whether the condition holds; None when the numbers do not say.

    A threshold is passed only beyond the amount, a change reaches it. From zero any change is
    infinitely many percent, and none is no percent.
    """
    value = measured.value
    if value is None or not isfinite(value):
        return None
    match condition.comparison:
        case Comparison.ABOVE:
            return value > condition.amount
        case Comparison.BELOW:
            return value < condition.amount
        case Comparison.RISE | Comparison.FALL | Comparison.CHANGE:
            change = _change(value, measured.baseline, condition.unit)
            return None if change is None else _is_reached(condition, change)
        case _:
            assert_never(condition.comparison)


def judge(state: State, *, held: bool | None) -> Act | None:
    """What is to be told: nothing while nothing changes."""
    if held is None or held is (state is State.FIRING):
        return None
    return Act.FIRED if held else Act.RESOLVED


def state_after(act: Act) -> State:
    """The state that a told change leads to."""
    return State.FIRING if act is Act.FIRED else State.OK


def describe(condition: Condition) -> str:
    """A condition in words, like `above 100` or `rises by 20 % or more`."""
    amount = format_number(condition.amount)
    percent = " %" if condition.unit is Unit.PERCENT else ""
    match condition.comparison:
        case Comparison.ABOVE:
            return f"above {amount}"
        case Comparison.BELOW:
            return f"below {amount}"
        case Comparison.RISE:
            return f"rises by {amount}{percent} or more"
        case Comparison.FALL:
            return f"falls by {amount}{percent} or more"
        case Comparison.CHANGE:
            return f"changes by {amount}{percent} or more"
        case _:
            assert_never(condition.comparison)


def format_number(value: float | None) -> str:
    """A number as people read it: no needless decimals, at most two of them."""
    if value is None:
        return "no number"
    text = f"{value:.2f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _change(value: float, baseline: float | None, unit: Unit) -> float | None:
    if baseline is None or not isfinite(baseline):
        return None
    difference = value - baseline
    if unit is Unit.VALUE or not difference:
        return difference
    return difference / abs(baseline) * PERCENT if baseline else inf * (1 if difference > 0 else -1)


def _is_reached(condition: Condition, change: float) -> bool:
    if condition.comparison is Comparison.RISE:
        return change >= condition.amount
    if condition.comparison is Comparison.FALL:
        return -change >= condition.amount
    return abs(change) >= condition.amount
