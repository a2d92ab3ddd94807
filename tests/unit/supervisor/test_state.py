"""The one table of legal transitions."""

import itertools

import pytest

from appliance.supervisor.state import RUNNING, USABLE, Event, State, is_legal, next_state


def test_the_ordinary_life() -> None:
    """Waiting, starting, ready, stopping, stopped, and round again."""
    state = State.WAITING
    for event, expected in (
        (Event.START, State.STARTING),
        (Event.ANSWER, State.READY),
        (Event.STOP, State.STOPPING),
        (Event.GONE, State.STOPPED),
        (Event.RELEASE, State.WAITING),
    ):
        state = next_state(state, event)
        assert state is expected


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_an_illegal_pair_asserts(state: State, event: Event) -> None:
    """A pair is either in the table or a bug."""
    if is_legal(state, event):
        assert next_state(state, event) in State
    else:
        with pytest.raises(AssertionError):
            next_state(state, event)


def test_every_state_can_be_stopped_and_only_running_ones_take_time() -> None:
    """STOP leads to STOPPING where a process may run, straight to STOPPED where none does."""
    for state in set(State) - {State.STOPPING, State.STOPPED}:
        expected = State.STOPPING if state in RUNNING else State.STOPPED
        assert next_state(state, Event.STOP) is expected


def test_nothing_usable_is_quarantined() -> None:
    """Those that others may rely on."""
    assert frozenset({State.READY, State.COMPLETED}) == USABLE


def test_every_state_is_reachable() -> None:
    """No state is there for show."""
    reached = {State.WAITING}
    frontier = {State.WAITING}
    while frontier:
        frontier = {
            next_state(state, event)
            for state in frontier
            for event in Event
            if is_legal(state, event)
        } - reached
        reached |= frontier
    assert reached == set(State)
