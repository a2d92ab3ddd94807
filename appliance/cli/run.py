"""`run`: the whole appliance in the foreground.

Invariant: signal handlers only set what the loop looks at; whatever happens, every process that was
started is stopped before the command ends, and the last line names the cause. `run_appliance` is
the same for `quickstart`, with something to do when everything answers.
"""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final

import click

from appliance.base.errors import ApplianceError, NotFoundError
from appliance.base.ready import announce_ready
from appliance.cli.console import Console
from appliance.cli.options import json_option, settings_options
from appliance.config.effective import save_effective
from appliance.config.endpoints import Ports, save_ports
from appliance.config.model import Settings
from appliance.config.sources import process_environment
from appliance.config.tls import find_tls
from appliance.engines.ballast import LOOK_SECONDS, Ballast
from appliance.engines.installation import Installation, note_ballast, open_installation
from appliance.engines.nats import NAME as NATS
from appliance.engines.place import Place, choose_place
from appliance.engines.queue_watch import LOOK_SECONDS as QUEUE_LOOK_SECONDS
from appliance.engines.queue_watch import QueueWatch
from appliance.supervisor.component import Transition
from appliance.supervisor.control import Answer, Command, ControlServer, Request
from appliance.supervisor.identity import memory_bytes
from appliance.supervisor.journal_socket import JournalSocket, is_journal
from appliance.supervisor.lines import Entry
from appliance.supervisor.notify import Notifier
from appliance.supervisor.output import SUPERVISOR, Listener
from appliance.supervisor.state import State
from appliance.supervisor.syslog import Forwarder, parse_target
from appliance.supervisor.tree import Supervisor
from appliance.topology import (
    child_settings,
    choose_ports,
    held_grpc_socket,
    open_public_socket,
    processes,
)

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_START_FAILURES_MAX: Final = 5

ReadyHook = Callable[[Ports], Awaitable[None]]


@click.command()
@json_option
@settings_options
def run(settings: Settings, *, as_json: bool) -> int:
    """Run the whole appliance in the foreground; Ctrl-C stops it in order.

    A second Ctrl-C stops at once. Progress is printed on standard error; --json prints every log
    line of every component there as JSON.
    """

    async def ready(ports: Ports) -> None:
        announce_ready(port=ports.api)

    return run_appliance(settings, ready=ready, as_json=as_json, give_up=False)


def run_appliance(
    settings: Settings,
    *,
    ready: ReadyHook | None = None,
    as_json: bool = False,
    give_up: bool = True,
) -> int:
    """Run everything until a signal says stop; the exit status.

    `ready` runs once when every component answers; its failure stops everything. With `give_up`
    the start fails when a component cannot get ready in five attempts; without it, it is tried on.
    Raises ApplianceError with the cause when the appliance cannot run.
    """
    _raise_open_files()
    if not settings.installed and (settings.data_dir / "journal" / "open.jsonl").exists():
        finish_restore(settings)
    journal = JournalSocket() if is_journal(process_environment(), sys.stderr.fileno()) else None
    console = Console(settings.logs, as_json=as_json, journal=journal)
    asyncio.run(_Run(settings, console, ready, give_up=give_up).run())
    return 0


class _Run:
    """One run of the appliance, from taking the lock to giving it back."""

    def __init__(
        self, settings: Settings, console: Console, ready: ReadyHook | None, *, give_up: bool
    ) -> None:
        self._settings = settings
        self._console = console
        self._ready = ready
        self._give_up = give_up
        self._environment = process_environment()
        self._notifier = Notifier(self._environment)
        self._failure: ApplianceError | None = None
        self._stop_asked = 0
        self._supervisor: Supervisor | None = None
        self._welcome: asyncio.Task[None] | None = None
        self._started = 0.0

    async def run(self) -> None:
        """Hold the data directory, run the tree, close everything; raises the cause of an end."""
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        for number in _STOP_SIGNALS:
            # `nohup` wants the hang-up to be ignored. An ignored SIGINT is only what a shell gives
            # to background jobs, and `kill -INT` shall stop them all the same.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self._on_signal)
        forwarder = make_forwarder(self._settings)

        def on_entry(entry: Entry) -> None:
            self._console.entry(entry)
            if forwarder is not None:
                forwarder.send(entry)

        try:
            await self._run_installation(on_entry)
        finally:
            if forwarder is not None:
                forwarder.close()
        if self._failure is not None:
            raise self._failure

    async def _run_installation(self, on_entry: Listener) -> None:
        async with open_installation(self._settings, listener=on_entry) as installation:
            listening = open_public_socket(self._settings, inherited=self._environment)
            try:
                await self._run_tree(installation, listening)
            finally:
                listening.close()

    async def _run_tree(self, installation: Installation, listening: socket.socket) -> None:
        settings = self._settings
        ports = choose_ports(settings, api=int(listening.getsockname()[1]))
        save_ports(settings, ports)
        place = choose_place(settings, ports)
        environment = child_settings(settings, save_effective(settings))
        specs = processes(
            place,
            environment=environment,
            listening=listening.fileno(),
            grpc=held_grpc_socket(settings, inherited=self._environment),
        )

        def on_change(transition: Transition) -> None:
            self._console.change(transition)
            if (
                transition.name == "api"
                and transition.after is State.STOPPED
                and supervisor.stopping
            ):
                # Whoever connects from now on is refused at once instead of waiting in vain.
                listening.close()

        supervisor = Supervisor(
            specs,
            installation.surroundings(
                inherited=self._environment,
                on_change=on_change,
                start_failures_max=_START_FAILURES_MAX if self._give_up else None,
            ),
        )
        self._supervisor = supervisor
        if self._stop_asked:
            supervisor.stop()
        folders = settings.folders
        control = ControlServer(folders.control_socket, self._respond)
        await control.start()
        self._console.say(f"starting in {settings.data_dir}")
        try:
            async with asyncio.TaskGroup() as group:
                welcome = self._when_ready(installation, supervisor, ports)
                self._welcome = group.create_task(self._guard(welcome))
                watchdog = group.create_task(self._tell_watchdog())
                ballast = group.create_task(self._keep_ballast(installation))
                queue = group.create_task(self._watch_queue(place, supervisor))
                await self._guard(supervisor.run())
                self._welcome.cancel()
                watchdog.cancel()
                ballast.cancel()
                queue.cancel()
        finally:
            await control.close()
        self._console.say("stopped")

    async def _guard(self, work: Coroutine[object, object, None]) -> None:
        """Keep the first failure for the end and stop everything else."""
        try:
            await work
        except ApplianceError as error:
            self._failure = self._failure or error
            if self._supervisor is not None and not self._supervisor.stopping:
                self._supervisor.stop()

    async def _when_ready(
        self, installation: Installation, supervisor: Supervisor, ports: Ports
    ) -> None:
        await supervisor.all_ready()
        seconds = asyncio.get_running_loop().time() - self._started
        host = self._settings.api.host
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if find_tls(self._settings) is None else "https"
        url = f"{scheme}://{shown}:{ports.api}"
        self._console.say(f"everything answers after {seconds:.1f} s at {url}")
        installation.book.note(
            SUPERVISOR, "everything_ready", seconds=round(seconds, 3), port=ports.api
        )
        self._notifier.ready(f"answers on port {ports.api}")
        if self._ready is not None:
            await self._ready(ports)

    async def _tell_watchdog(self) -> None:
        seconds = self._notifier.watchdog_seconds
        while seconds is not None:
            self._notifier.watchdog()
            await asyncio.sleep(seconds)

    async def _keep_ballast(self, installation: Installation) -> None:
        ballast = Ballast(self._settings)
        while True:
            change = ballast.keep()
            if change is not None:
                note_ballast(installation.book, change)
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch_queue(self, place: Place, supervisor: Supervisor) -> None:
        watch = QueueWatch(place)
        await supervisor.all_ready()
        while True:
            await asyncio.sleep(QUEUE_LOOK_SECONDS)
            if await watch.needs_restart():
                with suppress(NotFoundError):  # somebody else keeps it, like systemd
                    supervisor.restart(NATS)

    def _on_signal(self) -> None:
        self._stop_asked += 1
        self._notifier.stopping("stopping")
        self._console.say("stopping" if self._stop_asked == 1 else "stopping at once")
        if self._welcome is not None:
            self._welcome.cancel()
        if self._supervisor is not None:
            self._supervisor.stop()

    def _respond(self, request: Request) -> Answer:
        assert self._supervisor is not None
        match request.command:
            case Command.STATUS:
                pass
            case Command.STOP:
                self._on_signal()
            case Command.RESTART:
                self._supervisor.restart(request.component)
            case Command.HOLD:
                self._supervisor.hold(
                    request.component, holder=request.holder, seconds=request.seconds
                )
            case Command.RELEASE:
                self._supervisor.release(request.component, holder=request.holder)
        return Answer(
            pid=os.getpid(),
            memory_bytes=memory_bytes(os.getpid()),
            stopping=self._supervisor.stopping,
            components=self._supervisor.status(),
        )


def make_forwarder(settings: Settings) -> Forwarder | None:
    """Where log entries go beside our own files; raises MisconfiguredError for a bad address."""
    if not settings.logs.syslog:
        return None
    return Forwarder(
        parse_target(settings.logs.syslog),
        hostname=socket.gethostname(),
        authorities=settings.logs.syslog_ca,
    )


def finish_restore(settings: Settings) -> None:
    """Bring a restore to its end that was cut off, before anything opens the data."""
    # Imported here because it is hardly ever needed.
    from appliance.cli.backup_restore import finish_interrupted  # noqa: PLC0415

    finish_interrupted(settings)


def _raise_open_files() -> None:
    """Let every child have as many open files as this process may, and leave no core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
