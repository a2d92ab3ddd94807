"""Numbers for Prometheus at `/metrics`.

Invariant: labels are closed sets (service, method, code, reason), never ids or values of callers.
Counters of the ingest chain keep the contract's names, dots as underscores [ingestion 15], and are
raised where things happen; this module owns the ones of the faces.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from appliance.api.ports import Disk
from appliance.api.protocols import Answer
from appliance.domain.figures import Family, render
from appliance.domain.ingest.chain import DropReason
from appliance.domain.ingest.cookieless import AddressSource, DegradeReason

REQUESTS: Final = Counter("rpc_requests_total", "Finished requests.", ("service", "method", "code"))
SECONDS: Final = Histogram(
    "rpc_request_seconds",
    "Time from the first byte read to the last written.",
    ("service", "method"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
IN_PROGRESS: Final = Gauge("rpc_requests_in_progress", "Requests under way.")
LIVE_WATCHERS: Final = Gauge("live_watchers", "Live views that are open.")
SCRAPES: Final = Counter("metrics_scrapes_total", "How often these numbers were asked for.")
TLS_EXPIRES: Final = Gauge(
    "tls_certificate_expires_timestamp_seconds",
    "When the certificate of the public port ends; 0 without one.",
)
_LABELS: Final[dict[str, str]] = {
    "events.ip_stripped_total": "source",
    "events.cdn_header_parse_failed_total": "header",
    "events.cookieless_identity_source_total": "source",
    "emails.publish_failure_total": "kind",
    "profiles.degraded_alias_erasure_total": "outcome",
    "insights.kept_answers_total": "outcome",
    "insights.questions_total": "outcome",
}
"""Label names of the contract's counters; the others are told apart by `reason`."""
_FROM_THE_START: Final[dict[tuple[str, str], int]] = {
    ("events.accepted_total", ""): 0,
    ("events.ip_stripped_total", "client"): 0,
    **dict.fromkeys(
        (("events.cookieless_dropped_total", reason.value) for reason in DropReason), 0
    ),
    ("events.cookieless_dropped_total", "identity_headers_missing"): 0,
    **dict.fromkeys(
        (("events.cookieless_identity_source_total", source.value) for source in AddressSource), 0
    ),
    **dict.fromkeys(
        (("events.cookieless_session_degraded_total", reason.value) for reason in DegradeReason), 0
    ),
    ("cookieless.salt_cache_hit_total", ""): 0,
    ("cookieless.salt_cache_miss_total", ""): 0,
    ("ingest.refused_total", "rate_limited"): 0,
    ("ingest.refused_total", "quota_exceeded"): 0,
    ("ingest.refused_total", "queue_full"): 0,
    ("insights.questions_total", "refused"): 0,
    ("profiles.identify_ip_stripped_total", ""): 0,
    ("profiles.degraded_alias_erasure_total", "failed_closed"): 0,
    ("profiles.degraded_alias_erasure_total", "residual_cleanup"): 0,
}
"""Counters that alerts watch begin at 0: the first step of one that is not there is not seen."""


def exposition(
    counts: Mapping[tuple[str, str], int], disk: Disk, stages: Sequence[Family]
) -> Answer:
    """All metrics of this process in the text format, with the `counts` of its services and the
    numbers of the `stages` behind them.
    """
    SCRAPES.inc()
    chain = CollectorRegistry()
    chain.register(_Chain({**_FROM_THE_START, **counts}))
    chain.register(_Disk(disk))
    return Answer(
        status=200,
        headers=[(b"content-type", CONTENT_TYPE_LATEST.encode())],
        body=generate_latest(REGISTRY) + generate_latest(chain) + render(stages).encode(),
    )


class _Disk(Collector):
    """How much room there is for events."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def collect(self) -> Iterator[Metric]:
        free, reserve = "disk_free_bytes", "disk_reserve_bytes"
        yield GaugeMetricFamily(free, "Free for the stores.", value=self._disk.free_bytes)
        yield GaugeMetricFamily(reserve, "Below it no events are taken.", self._disk.reserve_bytes)
        yield CounterMetricFamily(
            "ingest_refused_disk_full", "Batches refused for lack of disk.", self._disk.refused
        )


class _Chain(Collector):
    """The counters of the ingest chain under their contract names [ingestion 15]."""

    def __init__(self, counts: Mapping[tuple[str, str], int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        families: dict[str, CounterMetricFamily] = {}
        for (metric, label), count in sorted(self._counts.items()):
            family = families.get(metric)
            if family is None:
                names = [_LABELS.get(metric, "reason")] if label else []
                family = CounterMetricFamily(
                    metric.replace(".", "_"), "See the contract.", labels=names
                )
                families[metric] = family
            family.add_metric([label] if label else [], count)
        yield from families.values()
