"""A worker's numbers: for its own `/metrics`, and told to the API, which shows them with its own.

Invariant: made from the state the workers keep, so telling costs no store anything; a report that
cannot be sent is forgotten. Names are those of [workers 7.4], dots as underscores.
"""

import asyncio
import os
import resource
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError
from appliance.base.tasks import wait
from appliance.domain.delivery import Disposition
from appliance.domain.figures import Family, Kind, Report, Sample
from appliance.storage.streams.reports import FIGURES_SUBJECT, REPORT_SECONDS
from appliance.workers.state import WorkerState

Announce = Callable[[str, bytes], Awaitable[None]]

_COUNTERS: Final = (
    ("worker_blocks_total", "blocks", "Inserts made."),
    ("worker_rows_total", "rows", "Rows inserted, or messages handled."),
    ("worker_repeated_rows_total", "repeated_rows", "Rows that were stored already."),
    ("worker_repairs_total", "repairs", "Inserts mended after a crash."),
    ("worker_pauses_total", "pauses", "Times that a store was waited for."),
)


def worker_families(states: Sequence[WorkerState]) -> tuple[Family, ...]:
    """Everything that these workers count."""
    return (
        _dead_letters(states),
        *(
            Family(
                name=name,
                kind=Kind.COUNTER,
                meaning=meaning,
                samples=tuple(_sample(state, getattr(state, attribute)) for state in states),
            )
            for name, attribute, meaning in _COUNTERS
        ),
        _gauge(states, "worker_paused", "Whether it waits for a store.", _is_paused),
        _gauge(states, "worker_broken", "Whether it has failed and begins again.", _is_broken),
        _gauge(
            states, "worker_lag_seconds", "How long what was taken last had waited.", _lag_seconds
        ),
        Family(
            name="worker_work_seconds",
            kind=Kind.HISTOGRAM,
            meaning="Time of one insert, or of one message.",
            samples=tuple(state.work.sample(worker=state.name) for state in states),
        ),
        Family(
            name="worker_freshness_seconds",
            kind=Kind.HISTOGRAM,
            meaning="From acceptance to effect: an event can be asked for.",
            samples=tuple(state.freshness.sample(worker=state.name) for state in states),
        ),
    )


def process_families(process: str) -> tuple[Family, ...]:
    """Processor and memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    numbers = (
        ("worker_process_cpu_seconds_total", Kind.COUNTER, used.ru_utime + used.ru_stime),
        ("worker_process_memory_bytes", Kind.GAUGE, pages * os.sysconf("SC_PAGE_SIZE")),
    )
    return tuple(
        Family(
            name=name,
            kind=kind,
            meaning="Of a worker process.",
            samples=(Sample(labels={"process": process}, value=value),),
        )
        for name, kind, value in numbers
    )


async def tell_figures(
    announce: Announce, process: str, states: Sequence[WorkerState], ended: asyncio.Event
) -> None:
    """Tell the numbers every few seconds until `ended`."""
    while not ended.is_set():
        families = (*worker_families(states), *process_families(process))
        report = Report(process=process, pid=os.getpid(), families=families)
        with suppress(ApplianceError):
            await announce(FIGURES_SUBJECT, msgspec.json.encode(report))
        await wait(ended, REPORT_SECONDS)


def _dead_letters(states: Sequence[WorkerState]) -> Family:
    return Family(
        name="nats_dlq_messages_total",
        kind=Kind.COUNTER,
        meaning="Messages given up: published among the dead letters, or dropped.",
        samples=tuple(
            Sample(
                labels={
                    "stream": state.stream or state.name,
                    "consumer": state.consumer,
                    "disposition": disposition.value,
                    "outcome": outcome,
                },
                value=count,
            )
            for state in states
            if state.stream or state.dead_letters
            for (disposition, outcome), count in _buried(state)
        ),
    )


def _buried(state: WorkerState) -> list[tuple[tuple[Disposition, str], int]]:
    """What was given up, in every way there is: alerts do not see the first step of a new one."""
    ways = dict.fromkeys(((d, o) for d in Disposition for o in ("published", "dropped")), 0)
    return sorted({**ways, **state.dead_letters}.items())


def _gauge(
    states: Sequence[WorkerState],
    name: str,
    meaning: str,
    read: Callable[[WorkerState], float],
) -> Family:
    samples = tuple(_sample(state, read(state)) for state in states)
    return Family(name=name, kind=Kind.GAUGE, meaning=meaning, samples=samples)


def _sample(state: WorkerState, value: float) -> Sample:
    return Sample(labels={"worker": state.name}, value=value)


def _is_paused(state: WorkerState) -> float:
    return float(bool(state.pause))


def _is_broken(state: WorkerState) -> float:
    return float(bool(state.broken))


def _lag_seconds(state: WorkerState) -> float:
    return state.lag_seconds
