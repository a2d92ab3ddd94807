"""What a worker tells about itself: to `/healthz`, `/readyz`, `/metrics` and the log.

Invariant: written by the worker, read by the health listener; nothing here decides anything.
"""

from dataclasses import dataclass, field

from appliance.domain.delivery import Disposition
from appliance.domain.figures import Histogram


@dataclass(slots=True)
class WorkerState:
    """The observable state of one worker; changed in place by its owner only.

    `stream` and `consumer` are named by the metric of dead letters. `pause` names why nothing is
    taken from the queue at the moment, empty when all is well. `lag_seconds` is how long what was
    taken last had waited; `work` counts the seconds of an insert or a message, `freshness` those
    from a message's arrival in the queue to its effect, for events once for each row.
    """

    name: str
    stream: str = ""
    consumer: str = ""
    started: bool = False
    broken: str = ""
    pause: str = ""
    connected: bool = False
    blocks: int = 0
    rows: int = 0
    repeated_rows: int = 0
    repairs: int = 0
    pauses: int = 0
    lag_seconds: float = 0.0
    work: Histogram = field(default_factory=Histogram)
    freshness: Histogram = field(default_factory=Histogram)
    dead_letters: dict[tuple[Disposition, str], int] = field(
        default_factory=dict[tuple[Disposition, str], int]
    )

    def count_dead_letter(self, disposition: Disposition, *, outcome: str) -> None:
        """Count one dead letter; `outcome` is `published` or `dropped`."""
        key = (disposition, outcome)
        self.dead_letters[key] = self.dead_letters.get(key, 0) + 1
