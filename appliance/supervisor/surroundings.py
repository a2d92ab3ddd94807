"""What a tree of processes needs from outside, so that tests can choose all of it.

Invariant: nothing in this room reads a clock, randomness or the environment by itself.
"""

from collections.abc import Callable, Mapping

import msgspec

from appliance.base.clock import Clock
from appliance.supervisor.component import Transition
from appliance.supervisor.identity import Registry
from appliance.supervisor.output import LogBook


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a tree needs from outside.

    `jitter` gives numbers from 0 to 1. `inherited` is the supervisor's own environment.
    `start_failures_max` ends the first start when one component failed so often; None tries on.
    """

    book: LogBook
    registry: Registry
    clock: Clock
    jitter: Callable[[], float]
    inherited: Mapping[str, str]
    on_change: Callable[[Transition], None] | None = None
    start_failures_max: int | None = None
