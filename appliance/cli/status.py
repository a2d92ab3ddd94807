"""`status`, `stop`, `restart`: talk to the running appliance.

Invariant: everything comes from the supervisor's control socket and the queue itself; the exit
status is 0 when every component is ready and 7 otherwise.
"""

import asyncio
import os
import select
from collections.abc import Iterator
from typing import Final

import click
import msgspec

from appliance.base.errors import ApplianceError, ConflictError, TimedOutError
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.endpoints import load_ports
from appliance.config.model import Settings
from appliance.domain.jobs import JobsReport, describe_jobs
from appliance.engines.nats import QueueLag, queue_lag
from appliance.lifecycle.host import RealHost
from appliance.supervisor.component import ComponentStatus
from appliance.supervisor.control import Answer, Command, Request, ask_supervisor
from appliance.supervisor.identity import descendants, living_processes, memory_bytes
from appliance.supervisor.state import State
from appliance.topology import ENGINES

_EXIT_NOT_READY: Final = 7
_QUEUE_SECONDS_MAX: Final = 2.0
_STOP_SECONDS_MAX: Final = 120
_RESTART_SECONDS_MAX: Final = 60.0
_PAUSE_SECONDS: Final = 0.1
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


class StatusReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `status --json` prints; the memory is that of all components and the supervisor."""

    ready: bool
    stopping: bool
    pid: int
    data_dir: str
    memory_bytes: int
    queue: QueueLag | None
    jobs: JobsReport | None
    components: tuple[ComponentStatus, ...]


@click.command()
@json_option
@settings_options
def status(settings: Settings, *, as_json: bool) -> int:
    """Show every component: state, pid, uptime, restarts, memory, version; and the queue's lag.

    The exit status is 0 when everything is ready and 7 when something is not.
    """
    report = collect_status(settings)
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    return 0 if report.ready else _EXIT_NOT_READY


@click.command()
@click.option("--now", is_flag=True, help="Give nobody time to finish.")
@settings_options
def stop(settings: Settings, *, now: bool) -> None:
    """Stop the running appliance in order, and wait for its end."""
    if settings.installed:
        raise ConflictError(
            "SYSTEMD_RUNS_IT",
            "systemd would start this appliance again",
            hint="run: systemctl stop pug.target",
        )
    answer = _ask(settings, Request(command=Command.STOP))
    try:
        process = os.pidfd_open(answer.pid)
    except ProcessLookupError:
        return
    try:
        if now:
            _ask(settings, Request(command=Command.STOP))
        ended, _, _ = select.select([process], [], [], _STOP_SECONDS_MAX)
    finally:
        os.close(process)
    if not ended:
        raise TimedOutError(
            "STOP_SLOW",
            f"pid {answer.pid} still stops after {_STOP_SECONDS_MAX} s",
            hint="`pug-appliance stop --now` gives nobody time",
        )
    print("stopped")


@click.command()
@click.argument("component")
@settings_options
def restart(settings: Settings, component: str) -> int:
    """Restart COMPONENT, also out of quarantine, and wait until it is ready again."""
    if settings.installed and component in ENGINES:
        raise ConflictError(
            "SYSTEMD_RUNS_IT",
            f"systemd runs {component}",
            hint=f"run: systemctl restart pug-{component}.service",
        )
    before = {
        one.name: one.pid for one in _ask(settings, Request(command=Command.STATUS)).components
    }
    _ask(settings, Request(command=Command.RESTART, component=component))

    async def again() -> ComponentStatus:
        async with asyncio.timeout(_RESTART_SECONDS_MAX):
            while True:
                told = _ask(settings, Request(command=Command.STATUS)).components
                one = next(line for line in told if line.name == component)
                changed = one.pid != before[component] or one.state is State.COMPLETED
                if changed and (one.ready or one.state in {State.QUARANTINED, State.FAILED}):
                    return one
                await asyncio.sleep(_PAUSE_SECONDS)

    try:
        found = asyncio.run(again())
    except TimeoutError as error:
        raise TimedOutError(
            "RESTART_SLOW",
            f"{component} is not ready after {_RESTART_SECONDS_MAX:.0f} s",
            hint=f"`pug-appliance logs {component}` shows why",
        ) from error
    print(f"{component}: {found.state.lower()}" + (f", {found.cause}" if found.cause else ""))
    return 0 if found.ready else _EXIT_NOT_READY


def collect_status(settings: Settings) -> StatusReport:
    """Ask the supervisor and the queue.

    Raises UnavailableError when no appliance runs in the data directory.
    """
    answer = _ask(settings, Request(command=Command.STATUS))
    from appliance.cli.jobs import find_jobs  # noqa: PLC0415 the product half only when something runs

    components = answer.components
    if settings.installed:
        components = asyncio.run(_with_units(components))
    return StatusReport(
        ready=not answer.stopping and all(one.ready for one in components),
        stopping=answer.stopping,
        pid=answer.pid,
        data_dir=str(settings.data_dir),
        memory_bytes=answer.memory_bytes + sum(one.memory_bytes for one in components),
        queue=asyncio.run(_queue_lag(settings)),
        jobs=find_jobs(settings),
        components=components,
    )


async def _with_units(components: tuple[ComponentStatus, ...]) -> tuple[ComponentStatus, ...]:
    """What systemd knows of the engines it runs; nothing where it cannot be asked."""
    host = RealHost()
    processes = living_processes()
    completed: list[ComponentStatus] = []
    for one in components:
        if one.name not in ENGINES:
            completed.append(one)
            continue
        unit = f"pug-{one.name}.service"
        try:
            said = await host.run("systemctl", "show", "--property=MainPID,NRestarts", unit)
        except ApplianceError:
            completed.append(one)
            continue
        found = dict(line.split("=", 1) for line in said.output.split())
        pid = int(found.get("MainPID", "0")) or None
        family = descendants(pid, processes) if pid is not None else ()
        completed.append(
            msgspec.structs.replace(
                one,
                pid=pid,
                restarts=int(found.get("NRestarts", "0")),
                memory_bytes=sum(map(memory_bytes, family)),
            )
        )
    return tuple(completed)


async def _queue_lag(settings: Settings) -> QueueLag | None:
    folders = settings.folders
    try:
        async with asyncio.timeout(_QUEUE_SECONDS_MAX):
            return await queue_lag(settings, load_ports(settings).nats, folders.secrets)
    except (ApplianceError, OSError):
        # The queue's own line says that it does not answer.
        return None


def _ask(settings: Settings, request: Request) -> Answer:
    return ask_supervisor(settings.folders.control_socket, request)


def _print_report(report: StatusReport) -> None:
    headings = ("COMPONENT", "STATE", "READY", "PID", "UPTIME", "RESTARTS", "MEMORY", "VERSION", "")
    print_table(headings, list(_rows(report.components)))
    if report.queue is not None:
        print(f"\nqueue: {report.queue.waiting} messages waiting, {report.queue.in_work} in work")
    else:
        print("\nqueue: unknown")
    print(describe_jobs(report.jobs) if report.jobs is not None else "jobs: unknown")
    word = "stopping" if report.stopping else "ready" if report.ready else "not ready"
    print(f"{report.data_dir}: {word}, {report.memory_bytes >> 20} MiB in all")


def _rows(components: tuple[ComponentStatus, ...]) -> Iterator[tuple[str, ...]]:
    for one in components:
        yield (
            one.name,
            one.state,
            "yes" if one.ready else "no",
            str(one.pid or "-"),
            render_duration(one.uptime_seconds) if one.uptime_seconds else "-",
            str(one.restarts),
            f"{one.memory_bytes >> 20} MiB" if one.memory_bytes else "-",
            one.version,
            one.cause,
        )


def render_duration(seconds: float) -> str:
    """A duration in its two largest units, like `3d 4h`."""
    whole = int(seconds)
    if whole >= _DAY:
        return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"
    if whole >= _HOUR:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    if whole >= _MINUTE:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    return f"{whole}s"
