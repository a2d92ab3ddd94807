"""The states of a component and the one table of legal transitions.

Invariant: status, logs and the manual use these words and no others; an illegal pair of state and
event is a bug and asserts. Pure.
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a component is in its life."""

    WAITING = "WAITING"
    STARTING = "STARTING"
    READY = "READY"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    BACKING_OFF = "BACKING_OFF"
    QUARANTINED = "QUARANTINED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Event(StrEnum):
    """What can happen to a component."""

    START = "start"
    ANSWER = "answer"
    COMPLETE = "complete"
    RETRY_LATER = "retry_later"
    QUARANTINE = "quarantine"
    FAIL = "fail"
    STOP = "stop"
    GONE = "gone"
    RELEASE = "release"


_TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.WAITING, Event.START): State.STARTING,
    (State.WAITING, Event.STOP): State.STOPPED,
    (State.STARTING, Event.ANSWER): State.READY,
    (State.STARTING, Event.COMPLETE): State.COMPLETED,
    (State.STARTING, Event.RETRY_LATER): State.BACKING_OFF,
    (State.STARTING, Event.QUARANTINE): State.QUARANTINED,
    (State.STARTING, Event.FAIL): State.FAILED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.READY, Event.RETRY_LATER): State.BACKING_OFF,
    (State.READY, Event.QUARANTINE): State.QUARANTINED,
    (State.READY, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.GONE): State.STOPPED,
    (State.STOPPED, Event.RELEASE): State.WAITING,
    (State.BACKING_OFF, Event.RELEASE): State.WAITING,
    (State.BACKING_OFF, Event.STOP): State.STOPPED,
    (State.QUARANTINED, Event.RELEASE): State.WAITING,
    (State.QUARANTINED, Event.STOP): State.STOPPED,
    (State.COMPLETED, Event.RELEASE): State.WAITING,
    (State.COMPLETED, Event.STOP): State.STOPPED,
    (State.FAILED, Event.RELEASE): State.WAITING,
    (State.FAILED, Event.STOP): State.STOPPED,
}

USABLE: Final = frozenset({State.READY, State.COMPLETED})
"""States in which others that need this component may start."""

RUNNING: Final = frozenset({State.STARTING, State.READY, State.STOPPING})
"""States in which there may be an operating system process."""


def next_state(state: State, event: Event) -> State:
    """The state after `event`; an illegal pair is a bug."""
    assert (state, event) in _TABLE, f"{event} is illegal in {state}"
    return _TABLE[state, event]


def is_legal(state: State, event: Event) -> bool:
    """Whether `event` may happen in `state`."""
    return (state, event) in _TABLE
