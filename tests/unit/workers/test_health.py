"""What a worker answers to probes [workers 3.1]."""

from appliance.domain.delivery import Disposition
from appliance.domain.figures import render
from appliance.workers.figures import worker_families
from appliance.workers.health import healthz, readyz
from appliance.workers.state import WorkerState


def test_healthy_and_ready() -> None:
    state = WorkerState(name="events", started=True, connected=True)
    assert healthz((state,)) == (200, "ok")
    assert readyz((state,)) == (200, "ok")


def test_not_started_is_healthy_and_not_ready() -> None:
    """A worker that waits for its store must not be restarted, and gets no traffic."""
    state = WorkerState(name="events", connected=True, pause="UNAVAILABLE")
    assert healthz((state,)) == (200, "ok")
    assert readyz((state,)) == (503, "worker events has not started: UNAVAILABLE")


def test_lost_queue_is_not_ready() -> None:
    state = WorkerState(name="events", started=True)
    assert readyz((state,)) == (503, "worker events: the queue is not connected")


def test_broken_is_unhealthy() -> None:
    state = WorkerState(name="events", started=True, connected=True, broken="KeyError")
    assert healthz((state,)) == (503, "worker events is broken: KeyError")


def test_metrics_name_dead_letters() -> None:
    """The counter to alert on carries disposition and outcome [workers 7.4]."""
    state = WorkerState(name="events", rows=3)
    state.count_dead_letter(Disposition.PERMANENT, outcome="dropped")
    text = render(worker_families((state,)))
    assert (
        'nats_dlq_messages_total{stream="events",consumer="",disposition="permanent",'
        'outcome="dropped"} 1' in text
    )
    assert 'worker_rows_total{worker="events"} 3' in text
