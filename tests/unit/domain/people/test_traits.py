"""Which value of a trait wins."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.people.traits import (
    Held,
    Properties,
    absorb,
    apply_traits,
    without_address,
)

NOTHING = Held(properties={}, orders={})
KEYS = st.sampled_from(["plan", "n", "$x", ""])
VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.text("ab", max_size=2))
CALLS = st.lists(st.tuples(st.integers(1, 4), st.dictionaries(KEYS, VALUES)), max_size=6)


def hold(calls: list[tuple[int, Properties]]) -> Held:
    held = NOTHING
    for at, traits in calls:
        held = apply_traits(held, traits, at=at)
    return held


@given(calls=CALLS, data=st.data())
def test_order_and_repetition_do_not_matter(
    calls: list[tuple[int, Properties]], data: st.DataObject
) -> None:
    """Calls in any order, some of them again, end in the same properties."""
    again = data.draw(st.lists(st.sampled_from(calls), max_size=3)) if calls else []
    mixed = data.draw(st.permutations([*calls, *again]))
    assert hold(mixed) == hold(calls)


@given(calls=CALLS)
def test_in_order_the_last_value_stands(calls: list[tuple[int, Properties]]) -> None:
    """Calls one after the other are merges one after the other."""
    spaced = [(place, traits) for place, (_, traits) in enumerate(calls, start=1)]
    merged: Properties = {}
    for _, traits in spaced:
        merged |= traits
    assert hold(spaced).properties == merged


@given(calls=CALLS, source=st.dictionaries(KEYS, VALUES), data=st.data())
def test_an_anonymous_profile_fills_gaps_whenever_it_comes(
    calls: list[tuple[int, Properties]], source: Properties, data: st.DataObject
) -> None:
    """Whether it is merged before, between or after the calls, their values stand."""
    place = data.draw(st.integers(0, len(calls)))
    held = absorb(hold(calls[:place]), source)
    for at, traits in calls[place:]:
        held = apply_traits(held, traits, at=at)
    assert held.properties == {**source, **hold(calls).properties}


def test_true_is_not_one() -> None:
    """Values that Python calls equal are told apart."""
    held = apply_traits(hold([(1, {"a": 1})]), {"a": True}, at=2)
    assert held.properties["a"] is True


def test_the_address_goes_at_the_top_only() -> None:
    assert without_address({"$ip": "192.0.2.1", "geo": {"$ip": "192.0.2.1"}}) == (
        {"geo": {"$ip": "192.0.2.1"}},
        True,
    )
    assert without_address({"ip": 1}) == ({"ip": 1}, False)
