"""Numbers of stages that do not run: the names an API shows that has workers and a queue behind it.

Invariant: the names of the queue stand here a second time, and a test of the whole stack compares.
"""

from typing import Final

from appliance.domain.figures import Family, Kind, Sample
from appliance.workers.figures import process_families, worker_families
from appliance.workers.state import WorkerState

QUEUE_NAMES: Final = (
    "worker_report_age_seconds",
    "queue_up",
    "queue_waiting_messages",
    "queue_age_seconds",
    "queue_bytes",
    "queue_bytes_max",
    "dead_letters",
)


def stage_families() -> tuple[Family, ...]:
    """What an API shows of an events worker that has done nothing, and of an empty queue."""
    queue = [
        Family(
            name=name,
            kind=Kind.GAUGE,
            meaning="Of a test.",
            samples=(Sample(labels={}, value=0.0),),
        )
        for name in QUEUE_NAMES
    ]
    state = WorkerState(name="events", stream="events", consumer="writer")
    return (*queue, *worker_families([state]), *process_families("events"))
