"""What workers tell about themselves, carried by the queue's server to whoever shows it.

Invariant: a report is a sign of life nobody stores: lost without harm, replaced by the next,
bounded in size and number. A process that ended is known by its silence for a while.
"""

from typing import Final

import msgspec
import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.domain.figures import Report
from appliance.storage.streams.connection import Streams

FIGURES_SUBJECT: Final = "pug.figures"
REPORT_SECONDS: Final = 5.0
STALE_SECONDS: Final = 3 * REPORT_SECONDS
"""After so long without a word a process's numbers are not shown any more, only its silence."""
FORGOTTEN_SECONDS: Final = 3600.0
PROCESSES_MAX: Final = 32
REPORT_BYTES_MAX: Final = 256 << 10

_LOG: Final = structlog.stdlib.get_logger()


class Heard(Struct, frozen=True, kw_only=True):
    """The last report of a process, and how long ago it came."""

    report: Report
    age_seconds: float

    @property
    def fresh(self) -> bool:
        """Whether its numbers are of now."""
        return self.age_seconds < STALE_SECONDS


class Reports:
    """Listens to the reports of all workers; made before the first connection."""

    def __init__(self, streams: Streams, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, tuple[float, Report]] = {}
        streams.listen(FIGURES_SUBJECT, self._hear)

    def all(self) -> tuple[Heard, ...]:
        """The last report of every process that was heard lately."""
        now = self._clock.monotonic_seconds()
        return tuple(
            Heard(report=report, age_seconds=now - at)
            for at, report in self._heard.values()
            if now - at < FORGOTTEN_SECONDS
        )

    def _hear(self, payload: bytes) -> None:
        if len(payload) > REPORT_BYTES_MAX:
            return
        try:
            report = msgspec.json.decode(payload, type=Report)
        except msgspec.DecodeError:
            _LOG.debug("report_unreadable")
            return
        now = self._clock.monotonic_seconds()
        known = self._heard.get(report.process)
        if known is not None and known[1].pid != report.pid and now - known[0] < STALE_SECONDS:
            return  # of two of a name, as while one stands by, the first is shown
        if known is None and len(self._heard) >= PROCESSES_MAX:
            self._heard = {
                name: told
                for name, told in self._heard.items()
                if now - told[0] < FORGOTTEN_SECONDS
            }
            if len(self._heard) >= PROCESSES_MAX:
                return
        self._heard[report.process] = (now, report)
