"""How much runs at once, and how much of the machine a statement may take.

Invariant: never more than `queries_max` statements run and never more than a fixed number wait,
each for a bounded time; whoever does not fit is told TOO_MANY_SIMULTANEOUS_QUERIES and may retry.
A statement with a `priority` above 1 yields: all of them together leave a quarter of the places
free, and each has a share of the memory and no more threads than there are cores. So rows always
find a place and memory, whatever is asked (decision 0037).
"""

import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from appliance.clickhouse_http.errors import Codes, EngineError

WAITING_PER_RUNNING: Final = 8
"""Requests that may wait for each one that runs; more than that is overload, not a burst."""

FREE_SHARE: Final = 4
"""One place of so many is never taken by statements that yield."""

MEMORY_SHARE: Final = 6
"""Four heavy questions at once leave a third of the memory to what is stored."""

_PRIORITY: Final = "priority"
_LIGHT: Final = "2"
"""Of a question that is answered in a moment; one after it leaves half of the cores."""

_SPILLS: Final = ("max_bytes_before_external_group_by", "max_bytes_before_external_sort")


def yields(settings: Mapping[str, str]) -> bool:
    """Whether a statement leaves way to those without a priority and to those with the first."""
    return settings.get(_PRIORITY, "0") not in {"", "0", "1"}


def yielding_settings(
    settings: Mapping[str, str], *, memory_bytes_max: int, cores: int
) -> dict[str, str]:
    """The settings of a statement that yields, with no more than its share of the machine.

    A light one may use every core, a heavy one half of them.

    What it may group or sort in memory is at most half of that, or it would fail before it spills.
    """
    bytes_max = _least(settings.get("max_memory_usage"), memory_bytes_max // MEMORY_SHARE)
    spills = {name: _least(settings[name], bytes_max // 2) for name in _SPILLS if name in settings}
    light = settings[_PRIORITY] == _LIGHT
    bounds = {
        "max_memory_usage": bytes_max,
        "max_threads": _least(settings.get("max_threads"), cores if light else max(1, cores // 2)),
        **spills,
    }
    return {**settings, **{name: str(bound) for name, bound in bounds.items()}}


def _least(given: str | None, bound: int) -> int:
    """A limit that was asked for, where 0 is none, and ours."""
    asked = int(given) if given and given.isascii() and given.isdigit() else 0
    return min(asked or bound, bound)


class Admission:
    """A gate for statements."""

    def __init__(self, *, queries_max: int, wait_seconds_max: float) -> None:
        self._slots = threading.BoundedSemaphore(queries_max)
        kept_free = max(1, queries_max // FREE_SHARE) if queries_max > 1 else 0
        self._yielding = threading.BoundedSemaphore(queries_max - kept_free)
        self._waiting = threading.BoundedSemaphore(queries_max * WAITING_PER_RUNNING)
        self._wait_seconds_max = wait_seconds_max
        self._queries_max = queries_max

    @contextmanager
    def admitted(self, *, yielding: bool = False) -> Generator[None]:
        """Hold a slot; raises EngineError 202 when none becomes free in time."""
        with ExitStack() as held:
            for slots in (self._yielding, self._slots) if yielding else (self._slots,):
                if not slots.acquire(blocking=False):
                    self._wait(slots)
                held.callback(slots.release)
            yield

    def _wait(self, slots: threading.BoundedSemaphore) -> None:
        if not self._waiting.acquire(blocking=False):
            raise self._too_many()
        try:
            if not slots.acquire(timeout=self._wait_seconds_max):
                raise self._too_many()
        finally:
            self._waiting.release()

    def _too_many(self) -> EngineError:
        return EngineError(
            Codes.TOO_MANY_SIMULTANEOUS_QUERIES,
            f"Too many simultaneous queries. Maximum: {self._queries_max}",
        )
