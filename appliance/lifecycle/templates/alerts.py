"""When the operator is told of what.

Invariant: only metrics that the appliance really shows are named; a test compares, and another lets
each rule fire and be silent. An alert says what is wrong and what to do.
"""

from typing import Final

import msgspec

INGEST: Final = 'service="sdk.events.v1.EventsService"'
_OURS: Final = 'code=~"internal|unknown|data_loss|unavailable"'


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One rule: when it fires, how grave that is, and what to tell."""

    name: str
    expression: str
    minutes: int
    severity: str
    summary: str
    remedy: str


ALERTS: Final = (
    Alert(
        name="PugDown",
        expression='up{job="pug"} == 0',
        minutes=2,
        severity="critical",
        summary="The appliance does not answer.",
        remedy="`pug-appliance doctor` works also when nothing starts.",
    ),
    Alert(
        name="PugRefusesEvents",
        expression="increase(ingest_refused_disk_full_total[5m]) > 0",
        minutes=0,
        severity="critical",
        summary="Events are refused, because the disk is nearly full.",
        remedy="Free space; taking events begins again by itself.",
    ),
    Alert(
        name="PugDiskLow",
        expression="disk_free_bytes < 4 * disk_reserve_bytes",
        minutes=10,
        severity="warning",
        summary="The disk fills up: {{ $value | humanize1024 }}B are free.",
        remedy="Add disk or shorten the retention before events are refused.",
    ),
    Alert(
        name="PugDiskFullSoon",
        expression="predict_linear(disk_free_bytes[6h], 3 * 86400) < disk_reserve_bytes",
        minutes=60,
        severity="warning",
        summary="At this rate the disk is full within three days.",
        remedy="Add disk or shorten the retention.",
    ),
    Alert(
        name="PugCertificateExpires",
        expression=(
            "tls_certificate_expires_timestamp_seconds > 0 and "
            "tls_certificate_expires_timestamp_seconds - time() < 21 * 86400"
        ),
        minutes=60,
        severity="warning",
        summary="The certificate of the public port expires within three weeks.",
        remedy="`pug-appliance tls import CERT KEY`, then restart.",
    ),
    Alert(
        name="PugErrors",
        expression=(
            f"sum(rate(rpc_requests_total{{{_OURS}}}[5m])) / sum(rate(rpc_requests_total[5m])) "
            "> 0.01"
        ),
        minutes=5,
        severity="warning",
        summary="More than 1 % of the requests fail on our side.",
        remedy="`pug-appliance status` and `pug-appliance logs api`.",
    ),
    Alert(
        name="PugIngestSlow",
        expression=(
            "histogram_quantile(0.99, sum by (le) "
            f"(rate(rpc_request_seconds_bucket{{{INGEST}}}[5m]))) > 0.5"
        ),
        minutes=10,
        severity="warning",
        summary="One batch in a hundred takes longer than 0.5 s.",
        remedy="Look at the disk's latency and at `pug-appliance status`.",
    ),
    Alert(
        name="PugNoEvents",
        expression=(
            "rate(events_accepted_total[30m]) == 0 "
            "and rate(events_accepted_total[1d] offset 1d) > 0"
        ),
        minutes=30,
        severity="info",
        summary="No event came for half an hour.",
        remedy="Perhaps nobody was there; else look at the senders and at the proxy.",
    ),
    Alert(
        name="PugRestarts",
        expression='changes(process_start_time_seconds{job="pug"}[15m]) > 2',
        minutes=0,
        severity="warning",
        summary="The API was started again several times.",
        remedy="`pug-appliance logs api` shows why.",
    ),
    Alert(
        name="PugQueueDown",
        expression="queue_up == 0",
        minutes=2,
        severity="critical",
        summary="The queue does not answer.",
        remedy="`pug-appliance status` and `pug-appliance logs nats`.",
    ),
    Alert(
        name="PugQueueFull",
        expression='increase(ingest_refused_total{reason="queue_full"}[5m]) > 0',
        minutes=0,
        severity="critical",
        summary="Events are refused, because too many wait to be stored.",
        remedy="`pug-appliance logs events`: the events worker or the event store is behind.",
    ),
    Alert(
        name="PugWorkerSilent",
        expression=(
            'worker_report_age_seconds > 60 or absent(worker_report_age_seconds{process="events"})'
        ),
        minutes=2,
        severity="critical",
        summary="A worker tells nothing any more.",
        remedy="`pug-appliance status`; events are taken meanwhile and wait in the queue.",
    ),
    Alert(
        name="PugWorkerBroken",
        expression="worker_broken > 0",
        minutes=5,
        severity="warning",
        summary="The worker {{ $labels.worker }} fails again and again.",
        remedy="`pug-appliance logs` shows why.",
    ),
    Alert(
        name="PugWorkerPaused",
        expression="worker_paused > 0",
        minutes=10,
        severity="warning",
        summary="The worker {{ $labels.worker }} waits for a store.",
        remedy="`pug-appliance status` shows which one is away.",
    ),
    Alert(
        name="PugQueueOld",
        expression="queue_age_seconds > 60",
        minutes=5,
        severity="warning",
        summary="What waits for {{ $labels.consumer }} is older than a minute.",
        remedy="`pug-appliance status`; nothing is lost, but it shows late.",
    ),
    Alert(
        name="PugStale",
        expression=(
            "histogram_quantile(0.99, sum by (le) "
            '(rate(worker_freshness_seconds_bucket{worker="events"}[5m]))) > 10'
        ),
        minutes=10,
        severity="warning",
        summary="Events show more than 10 s after they were accepted.",
        remedy="More comes than is stored: look at processor, disk and large questions.",
    ),
    Alert(
        name="PugInsertSlow",
        expression=(
            "histogram_quantile(0.95, sum by (le) "
            '(rate(worker_work_seconds_bucket{worker="events"}[5m]))) > 5'
        ),
        minutes=10,
        severity="warning",
        summary="Inserts into the event store take longer than 5 s.",
        remedy="Look at the disk's latency and at large questions.",
    ),
    Alert(
        name="PugMessagesLost",
        expression='increase(nats_dlq_messages_total{outcome="dropped"}[15m]) > 0',
        minutes=0,
        severity="critical",
        summary="A message that could not be handled was lost.",
        remedy="The stream of dead letters is full or away: `pug-appliance dlq list`.",
    ),
    Alert(
        name="PugDeadLetters",
        expression="dead_letters > 0",
        minutes=0,
        severity="warning",
        summary="Messages of {{ $labels.stream }} could not be handled and wait for you.",
        remedy="`pug-appliance dlq list` and `dlq replay`.",
    ),
    Alert(
        name="PugProjectLimited",
        expression=(
            'increase(ingest_refused_total{reason=~"rate_limited|quota_exceeded"}[15m]) > 0'
        ),
        minutes=15,
        severity="info",
        summary="A project sends more than it may.",
        remedy="`pug-appliance project limits`.",
    ),
    Alert(
        name="PugSaltCorrupt",
        expression='increase(events_cookieless_dropped_total{reason="salt_corrupt"}[15m]) > 0',
        minutes=0,
        severity="critical",
        summary="Cookieless events are dropped, because a day's salt is damaged.",
        remedy="Restart the queue: the salt lies in its memory, and a new one is made.",
    ),
    Alert(
        name="PugProxyUnknown",
        expression=(
            "increase(events_cookieless_identity_source_total"
            '{source="peer_after_rejected_header"}[15m]) > 0'
        ),
        minutes=0,
        severity="warning",
        summary="A proxy sends addresses that are none, so its visitors count as one.",
        remedy="Look at the X-Forwarded-For of the proxy (docs/proxies.md).",
    ),
    Alert(
        name="PugSessionsDegraded",
        expression="sum(rate(events_cookieless_session_degraded_total[10m])) > 0",
        minutes=30,
        severity="warning",
        summary="Sessions of cookieless visitors are guessed.",
        remedy="The queue answers late or not: `pug-appliance status`.",
    ),
    Alert(
        name="PugErasureUncertain",
        expression=(
            'increase(profiles_degraded_alias_erasure_total{outcome="failed_closed"}[1h]) > 0'
        ),
        minutes=0,
        severity="critical",
        summary="An erasure was refused, because other names of the person could not be read.",
        remedy="Ask for it again when `pug-appliance status` is well.",
    ),
)
