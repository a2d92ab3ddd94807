"""Numbers for Prometheus at `/metrics`.

Invariant: labels are closed sets (service, method, code, reason), never ids or values of callers.
Counters of the ingest chain keep the contract's names, dots as underscores [ingestion 15], and are
raised where things happen; this module owns the ones of the faces.
"""

from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Histogram, generate_latest

from appliance.api.protocols import Answer

REQUESTS: Final = Counter("rpc_requests_total", "Finished requests.", ("service", "method", "code"))
SECONDS: Final = Histogram(
    "rpc_request_seconds",
    "Time from the first byte read to the last written.",
    ("service", "method"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EVENTS_ACCEPTED: Final = Counter("events_accepted_total", "Events acknowledged to SDKs.")
EVENTS_DROPPED: Final = Counter(
    "events_dropped_total", "Events dropped from acknowledged batches.", ("reason",)
)


def exposition() -> Answer:
    """All metrics of this process in the text format."""
    return Answer(
        status=200,
        headers=[(b"content-type", CONTENT_TYPE_LATEST.encode())],
        body=generate_latest(REGISTRY),
    )
