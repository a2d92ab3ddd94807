"""When a condition holds, and what is told of it."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.alerts.condition import (
    Act,
    Comparison,
    Condition,
    Measured,
    State,
    Unit,
    describe,
    format_number,
    holds,
    judge,
    state_after,
)

ABOVE, BELOW = Comparison.ABOVE, Comparison.BELOW
RISE, FALL, CHANGE = Comparison.RISE, Comparison.FALL, Comparison.CHANGE
VALUE, PERCENT = Unit.VALUE, Unit.PERCENT


@pytest.mark.parametrize(
    ("comparison", "unit", "amount", "value", "baseline", "held"),
    [
        (ABOVE, VALUE, 10.0, 10.0, None, False),
        (ABOVE, VALUE, 10.0, 10.5, None, True),
        (BELOW, VALUE, 10.0, 10.0, None, False),
        (BELOW, VALUE, 10.0, 0.0, None, True),
        (BELOW, VALUE, 10.0, None, None, None),
        (BELOW, VALUE, 10.0, nan, None, None),
        (RISE, VALUE, 5.0, 15.0, 10.0, True),
        (RISE, VALUE, 5.0, 14.0, 10.0, False),
        (RISE, VALUE, 5.0, 15.0, None, None),
        (RISE, PERCENT, 50.0, 15.0, 10.0, True),
        (RISE, PERCENT, 50.0, 14.9, 10.0, False),
        (RISE, PERCENT, 50.0, 5.0, 10.0, False),
        (RISE, PERCENT, 1e9, 1.0, 0.0, True),
        (RISE, PERCENT, 1.0, 0.0, 0.0, False),
        (FALL, PERCENT, 1.0, 0.0, 0.0, False),
        (FALL, PERCENT, 100.0, 0.0, 10.0, True),
        (FALL, PERCENT, 50.0, 15.0, 10.0, False),
        (FALL, PERCENT, 50.0, -15.0, -10.0, True),
        (FALL, VALUE, 3.0, 7.0, 10.0, True),
        (CHANGE, PERCENT, 20.0, 12.0, 10.0, True),
        (CHANGE, PERCENT, 20.0, 8.0, 10.0, True),
        (CHANGE, PERCENT, 20.0, 9.0, 10.0, False),
        (CHANGE, VALUE, 2.0, 10.0, inf, None),
    ],
)
def test_holds(
    comparison: Comparison,
    unit: Unit,
    amount: float,
    value: float | None,
    baseline: float | None,
    held: bool | None,
) -> None:
    condition = Condition(comparison=comparison, unit=unit, amount=amount)
    assert holds(condition, Measured(value=value, baseline=baseline)) is held


@given(st.lists(st.sampled_from([True, False, None]), max_size=50))
def test_each_change_is_told_once(answers: list[bool | None]) -> None:
    """Beginnings and ends alternate, whatever is found; without a number nothing is told."""
    state, told = State.OK, []
    for held in answers:
        act = judge(state, held=held)
        assert act is None or held is not None
        if act is not None:
            told.append(act)
            state = state_after(act)
        if held is not None:
            assert state is (State.FIRING if held else State.OK)
    assert told == [Act.FIRED, Act.RESOLVED] * (len(told) // 2) + [Act.FIRED] * (len(told) % 2)


def test_words() -> None:
    assert [format_number(one) for one in (12.0, 0.5, 1234.567, None, 100.0, -0.1)] == [
        *("12", "0.5", "1234.57", "no number", "100", "-0.1")
    ]
    told = [
        describe(Condition(comparison=one, unit=PERCENT, amount=20.0))
        for one in (RISE, FALL, CHANGE)
    ]
    assert told == [*("rises by 20 % or more", "falls by 20 % or more", "changes by 20 % or more")]
    assert describe(Condition(comparison=ABOVE, unit=VALUE, amount=1.5)) == "above 1.5"
    assert describe(Condition(comparison=BELOW, unit=VALUE, amount=7)) == "below 7"
