"""Who waits for whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.supervisor.graph import start_levels, stop_levels

NEEDS = {"a": (), "b": (), "c": ("a",), "d": ("b", "c"), "e": ("b",)}


def test_levels_follow_needs() -> None:
    """Independent components start together."""
    assert start_levels(NEEDS) == (("a", "b"), ("c", "e"), ("d",))
    assert stop_levels(NEEDS) == (("d",), ("c", "e"), ("a", "b"))
    assert start_levels({}) == ()


def test_an_unknown_need_is_a_bug() -> None:
    """The name is told."""
    with pytest.raises(AssertionError, match="x needs unknown"):
        start_levels({"x": ("y",)})


def test_a_knot_is_a_bug() -> None:
    """Its members are told."""
    with pytest.raises(AssertionError, match="knot"):
        start_levels({"x": ("y",), "y": ("x",), "z": ()})


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_nobody_starts_before_its_needs(wanted: list[set[int]]) -> None:
    """For any graph without knots."""
    needs = {
        str(number): tuple(str(other) for other in others if other < number)
        for number, others in enumerate(wanted)
    }
    order = {name: place for place, level in enumerate(start_levels(needs)) for name in level}
    assert set(order) == set(needs)
    assert all(order[other] < order[name] for name in needs for other in needs[name])
