"""What becomes of a queue message whose handling failed [workers 1].

Invariant: one pure table. A permanent failure goes to the dead letters at once; a transient one
waits longer each time and goes there after the last delivery; an outage of a store is neither: the
consumer pauses and no delivery is counted.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.base.errors import ApplianceError, ConnectCode

RETRY_DELAYS_SECONDS: Final = (1, 5, 15, 30)
DELIVERIES_MAX: Final = 5


class Disposition(StrEnum):
    """Why a message went to the dead letters: an attribute of `nats.dlq_messages_total`."""

    PERMANENT = "permanent"
    MAX_DELIVER = "max_deliver"
    METADATA_UNAVAILABLE = "metadata_unavailable"


class RetryAfter(Struct, frozen=True):
    """Deliver it again after this many seconds."""

    seconds: int


class DeadLetter(Struct, frozen=True):
    """Give it up, visibly."""

    disposition: Disposition


Verdict = RetryAfter | DeadLetter


def judge(
    *, permanent: bool, delivery: int | None, deliveries_max: int = DELIVERIES_MAX
) -> Verdict:
    """The verdict on a failed delivery; `delivery` counts from 1, None when it is unreadable."""
    if permanent:
        return DeadLetter(Disposition.PERMANENT)
    if delivery is None:
        return DeadLetter(Disposition.METADATA_UNAVAILABLE)
    if delivery >= deliveries_max:
        return DeadLetter(Disposition.MAX_DELIVER)
    return RetryAfter(RETRY_DELAYS_SECONDS[min(delivery, len(RETRY_DELAYS_SECONDS)) - 1])


def is_permanent(error: Exception) -> bool:
    """Whether handling the same message again cannot end differently [workers 1].

    Only what is wrong with the message or with what it is about. A fault of ours, a setting or a
    store that fails in a way nobody expected may be repaired before the last delivery.
    """
    return isinstance(error, ApplianceError) and not error.transient and error.code in _ABOUT_IT


_ABOUT_IT: Final = frozenset(
    {
        ConnectCode.INVALID_ARGUMENT,
        ConnectCode.NOT_FOUND,
        ConnectCode.FAILED_PRECONDITION,
        ConnectCode.PERMISSION_DENIED,
    }
)
